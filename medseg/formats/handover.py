"""Studies and instances on disk between two stages of one run.

Paths and small records cross between stages, never arrays: a stage writes what the next one reads.
Arrays are plain `.npy` files (read back memory-mapped, never pickled), the rest is JSON. The format
is private to one version of medseg; the files vanish when the run folder is published.
"""

import errno
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from medseg.core.geometry import Geometry
from medseg.core.instances import Instance, InstanceMap
from medseg.core.study import Candidate, QualityFlag, Series, SliceReference, Study
from medseg.core.volume import IntensityUnit, Volume


def write_study(folder: Path, study: Study) -> None:
    """Write every series of a study, one array and one record each."""
    for role, series in study.series.items():
        _write_array(folder / f"series-{role}.npy", series.volume.data)
        record = {
            "number": series.number,
            "modality": series.modality,
            "digest": series.digest,
            "unit": series.volume.unit.value,
            "geometry": _geometry_record(series.volume.geometry),
            "slices": [asdict(reference) for reference in series.slices],
            "flags": [asdict(flag) for flag in series.flags],
            "pacs_number": series.pacs_number,
        }
        (folder / f"series-{role}.json").write_text(json.dumps(record), encoding="utf-8")
    index = {
        "roles": list(study.series),
        "choice": dict(study.choice),
        "candidates": {
            role: [asdict(one) for one in row] for role, row in study.candidates.items()
        },
        "keyed_name": study.keyed_name,
        "patient_key": study.patient_key,
    }
    (folder / "study.json").write_text(json.dumps(index), encoding="utf-8")


def read_study(folder: Path) -> Study:
    """Read a study back; its voxels stay on disk until they are used."""
    index = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    rows = TypeAdapter(dict[str, tuple[Candidate, ...]])
    return Study(
        {role: _read_series(folder, role) for role in index["roles"]},
        index["choice"],
        rows.validate_python(index["candidates"]),
        index["keyed_name"],
        index["patient_key"],
    )


def write_instances(path: Path, instances: InstanceMap) -> None:
    """Write an instance map as `path` with the endings .npy and .json."""
    _write_array(path.with_suffix(".npy"), instances.labels)
    record = {
        "geometry": _geometry_record(instances.geometry),
        "instances": [asdict(instance) for instance in instances.instances],
    }
    path.with_suffix(".json").write_text(json.dumps(record), encoding="utf-8")


def read_instances(path: Path) -> InstanceMap:
    """Read an instance map back."""
    record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    rows = TypeAdapter(tuple[Instance, ...]).validate_python(record["instances"])
    labels = np.load(path.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
    return InstanceMap(labels, _geometry(record["geometry"]), rows)


def write_flags(path: Path, flags: tuple[QualityFlag, ...]) -> None:
    """Write the doubts that a stage had."""
    path.write_text(json.dumps([asdict(flag) for flag in flags]), encoding="utf-8")


def read_flags(path: Path) -> tuple[QualityFlag, ...]:
    """Read doubts back."""
    return TypeAdapter(tuple[QualityFlag, ...]).validate_json(path.read_text(encoding="utf-8"))


def _write_array(path: Path, array: NDArray[np.generic]) -> None:
    """Write an array; a disk that fills up says so, which numpy's own error does not."""
    try:
        np.save(path, array, allow_pickle=False)
    except OSError as error:
        raise OSError(error.errno or errno.ENOSPC, "the array was not written whole") from None


def _read_series(folder: Path, role: str) -> Series:
    record = json.loads((folder / f"series-{role}.json").read_text(encoding="utf-8"))
    data = np.load(folder / f"series-{role}.npy", mmap_mode="r", allow_pickle=False)
    return Series(
        number=record["number"],
        modality=record["modality"],
        volume=Volume(data, _geometry(record["geometry"]), IntensityUnit(record["unit"])),
        digest=record["digest"],
        slices=TypeAdapter(tuple[SliceReference, ...]).validate_python(record["slices"]),
        flags=TypeAdapter(tuple[QualityFlag, ...]).validate_python(record["flags"]),
        pacs_number=record["pacs_number"],
    )


def _geometry_record(geometry: Geometry) -> dict[str, object]:
    return {
        "shape": list(geometry.shape),
        "affine": geometry.affine.tolist(),
        "frame_of_reference": geometry.frame_of_reference,
    }


def _geometry(record: dict[str, object]) -> Geometry:
    shape = TypeAdapter(tuple[int, int, int]).validate_python(record["shape"])
    frame = TypeAdapter(str | None).validate_python(record["frame_of_reference"])
    return Geometry(shape, np.array(record["affine"], dtype=np.float64), frame)
