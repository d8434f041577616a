"""The door to BIDS: a run as derivatives of a dataset (BIDS 1.10, derivatives, segmentations)."""

import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.core.measurements import COLUMNS, Measurement
from medseg.formats.tables import cell, column_unit

VERSION = "1.10.0"

KINDS = {"lesion": "lesions", "organ": "organs"}
"""Kind of an instance to the word that BIDS calls its map by."""


@dataclass(frozen=True)
class Place:
    """Where a run belongs in a dataset.

    Attributes:
        subject, session: Their labels, letters and digits; no session is None.
    """

    subject: str
    session: str | None

    @property
    def folder(self) -> Path:
        """Below the dataset; BIDS knows label maps of MR alone."""
        levels = [f"sub-{self.subject}", *([f"ses-{self.session}"] if self.session else [])]
        return Path(*levels, "anat")

    @property
    def stem(self) -> str:
        """What its files begin with: as acquired, so that the space is the image's own."""
        session = f"_ses-{self.session}" if self.session else ""
        return f"sub-{self.subject}{session}_space-orig"


def write_dataset(folder: Path, version: str) -> None:
    """Write what a derivatives dataset says of itself, unless it does already."""
    folder.mkdir(parents=True, exist_ok=True)
    description = {
        "Name": "medseg: lesions and organs as instances. Not for diagnostic use.",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "medseg", "Version": version}],
    }
    if not (folder / "dataset_description.json").exists():
        _write_json(folder / "dataset_description.json", description)
        text = "Made by medseg. `index` of a dseg.tsv is the label in the dseg.nii.gz beside it.\n"
        (folder / "README").write_text(text, encoding="utf-8")


def write_run(
    folder: Path,
    place: Place,
    maps: Mapping[str, Path],
    rows: Sequence[Measurement],
    sidecar: Mapping[str, object],
) -> list[Path]:
    """Write the label maps of a run, each with its table and what it says of itself.

    Args:
        folder: Where the run's files go; exists.
        place: What they are called by.
        maps: Kind of instance (`lesion`, `organ`) to its label map in NIfTI; one without instances
            is left out by its caller.
        rows: The table of all.
        sidecar: What the JSON beside a map says beyond its description.

    Returns:
        The files.
    """
    made: list[Path] = []
    for kind, path in maps.items():
        stem = f"{place.stem}_desc-{KINDS[kind]}_dseg"
        image, about, table = (folder / f"{stem}{end}" for end in (".nii.gz", ".json", ".tsv"))
        shutil.copyfile(path, image)
        columns = {name: _described(name) for name in COLUMNS if name != "instance"}
        _write_json(about, {**sidecar, "Description": f"Instances of {KINDS[kind]}", **columns})
        _write_table(table, [row for row in rows if row.kind == kind])
        made += [image, about, table]
    return made


def _write_table(path: Path, rows: Sequence[Measurement]) -> None:
    """Labels, their names and their measurements; `n/a` is BIDS's word for nothing."""
    names = [name for name in COLUMNS if name != "instance"]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["index", "name", *names])
        for row in rows:
            values = [cell(getattr(row, name)) or "n/a" for name in names]
            writer.writerow([row.instance, f"{row.structure} {row.instance}", *values])


def _described(column: str) -> dict[str, str]:
    """What BIDS wants to know of a column of a table."""
    unit = column_unit(column)
    said = {"Description": column.replace("_", " ")}
    return said if unit in {None, "1"} else {**said, "Units": str(unit)}


def _write_json(path: Path, values: object) -> None:
    path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
