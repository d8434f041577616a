"""A run folder into a BIDS derivatives dataset."""

import json
import re
import shutil
import tempfile
from pathlib import Path

from medseg import run_folder
from medseg.core.measurements import Measurement
from medseg.errors import RunFolderError, SettingsError
from medseg.formats import bids, tables

LABEL = re.compile("[0-9a-zA-Z]+")


def export(run: Path, dataset: Path, subject: str, session: str | None) -> list[Path]:
    """Add a run to a derivatives dataset.

    Args:
        run: A complete run folder of an MR study.
        dataset: The dataset's folder; made where it is not there.
        subject: The subject's label in it: letters and digits.
        session: The session's, or None.

    Returns:
        The files that were added.

    Raises:
        RunFolderError: It is no run folder of an MR study, the dataset holds this subject's run
            already, or it cannot be written.
        SettingsError: A label is none.
    """
    if not all(LABEL.fullmatch(one) for one in (subject, session) if one is not None):
        raise SettingsError(
            "A label of subject or session is not of letters and digits alone, so nothing was "
            "written.",
            "Write for example --subject 01 --session 2.",
        )
    record, rows = _read(run)
    _check_modality(record)
    place = bids.Place(subject, session)
    target = dataset / place.folder
    maps = {
        kind: run / name
        for kind, name in (("lesion", run_folder.LESIONS), ("organ", run_folder.ORGANS))
        if kind == "lesion" or any(row.kind == kind for row in rows)
    }
    sidecar = {key: record[key] for key in ("identity", "counting_rule", "models")}
    if any(target.glob(f"{place.stem}_*")):
        raise RunFolderError(
            "The dataset holds a run of this subject and session already, so nothing was written.",
            "Remove it first, or choose another label.",
        )
    try:
        with run_folder.machine_faults():
            bids.write_dataset(dataset, str(record["versions"]["medseg"]))  # type: ignore[index]
            target.mkdir(parents=True, exist_ok=True)
            beside = Path(tempfile.mkdtemp(prefix=".part-", dir=dataset))
            try:
                made = bids.write_run(beside, place, maps, rows, sidecar)
                return [one.rename(target / one.name) for one in made]
            finally:
                shutil.rmtree(beside, ignore_errors=True)
    except OSError:
        raise RunFolderError(
            "The dataset's folder cannot be written, so the run is not in it.",
            "Check that you may write there.",
        ) from None


def _read(run: Path) -> tuple[dict[str, object], tuple[Measurement, ...]]:
    try:
        record = dict(json.loads((run / run_folder.RUN_RECORD).read_bytes()))
    except (OSError, ValueError, TypeError):
        raise RunFolderError(
            "This is not a complete run folder, so nothing was written.",
            "Give the folder that `medseg delineate` made.",
        ) from None
    return record, tables.read_json(run / run_folder.TABLE_JSON)


def _check_modality(record: dict[str, object]) -> None:
    """BIDS knows label maps of MR alone."""
    roles = record["settings"]["roles"]  # type: ignore[index]
    modality = next(iter(roles.values()))["modality"]
    if modality != "MR":
        raise RunFolderError(
            f"BIDS has no place for label maps of {modality}, so nothing was written.",
            "BIDS derivatives are made of MR runs; use the run folder's tables instead.",
        )
