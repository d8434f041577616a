"""How long the objects for a PACS take, and the gate that reads them back: 50 lesions, 31 organs.

    .venv/bin/python benchmarks/dicom_objects.py

Balls on a CT of 512 x 512 x 300. Prints seconds of processor time, and sizes.
"""

import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from medseg import config
from medseg.config import MeasureSettings
from medseg.core.geometry import Geometry
from medseg.core.instances import Instance, InstanceMap, Kind, tracking_uid
from medseg.core.study import SliceReference
from medseg.core.volume import IntensityUnit, Volume
from medseg.formats import dicom_read_back as read_back
from medseg.formats import dicom_seg, dicom_sr, rtstruct
from medseg.formats.dicom_objects import ObjectRun
from medseg.formats.dicom_source import DicomSource, SourceSlice
from medseg.measure.measure import measure
from medseg.verify import contours, objects
from medseg.verify.truth import Truth, check_rows

SHAPE = (512, 512, 300)
SPACING = (0.8, 0.8, 1.5)
FRAME = "2.25.3"
Result = TypeVar("Result")


def timed(what: str, work: Callable[[], Result]) -> Result:
    """Do it, and print how long it took."""
    begin = time.process_time()
    result = work()
    print(f"{what:32}{time.process_time() - begin:7.2f} s")
    return result


def source() -> DicomSource:
    """A series that is described and does not exist."""
    header = Dataset()
    header.StudyInstanceUID, header.SeriesInstanceUID = "2.25.1", "2.25.2"
    header.FrameOfReferenceUID, header.SOPClassUID = FRAME, CTImageStorage
    slices = tuple(
        SourceSlice(f"2.25.100{k}", None, (-200.0, -200.0, SPACING[2] * k)) for k in range(SHAPE[2])
    )
    return DicomSource(header, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (0.8, 0.8), slices)


def balls(count: int, radii: tuple[float, float], seed: int) -> NDArray[np.uint16]:
    """Labels of balls of random place and size; the later one loses where two meet."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.uint16)
    for label in range(1, count + 1):
        radius = rng.uniform(*radii)
        centre = [rng.uniform(0.15, 0.85) * n for n in SHAPE]
        reach = [int(radius / step) + 1 for step in SPACING]
        low = [max(0, int(c) - r) for c, r in zip(centre, reach, strict=True)]
        box = tuple(slice(a, int(c) + r) for a, c, r in zip(low, centre, reach, strict=True))
        view = labels[box]
        index = np.ogrid[tuple(slice(a, a + n) for a, n in zip(low, view.shape, strict=True))]
        away = sum(((i - c) * step) ** 2 for i, c, step in zip(index, centre, SPACING, strict=True))
        view[(away <= radius**2) & (view == 0)] = label
    return labels


def instances(labels: NDArray[np.uint16], geometry: Geometry, kind: Kind) -> InstanceMap:
    """The labels as a map."""
    structure = "lesion" if kind == "lesion" else "liver"
    rows = tuple(
        Instance(int(n), kind, structure, tracking_uid("benchmark", kind, int(n)))
        for n in np.unique(labels[labels > 0])
    )
    return InstanceMap(labels, geometry, rows)


def main() -> None:
    """Write and read back everything once."""
    affine = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    affine[:2, 3] = 200
    geometry = Geometry(SHAPE, affine, FRAME)
    lesions = instances(balls(50, (3, 22), 0), geometry, "lesion")
    organs = instances(balls(31, (20, 70), 1), geometry, "organ")
    intensities = np.random.default_rng(2).normal(40, 20, SHAPE).astype(np.float32)
    volume = Volume(intensities, geometry, IntensityUnit.HU)
    run = ObjectRun(source(), "0" * 64, "benchmark", config.load_structures())
    slices = tuple(
        SliceReference(one.sop_instance_uid, k) for k, one in enumerate(run.source.slices, start=1)
    )
    maps = (lesions, organs)
    rows = [measure(one, volume, MeasureSettings(), slices) for one in maps]
    truth = Truth(lesions, organs, volume, slices, (*rows[0], *rows[1]))
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), truth, run)
        gate(Path(folder), truth, run)
        for path in sorted(Path(folder).iterdir()):
            print(f"{path.name:32}{path.stat().st_size / 2**20:7.1f} MiB")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{'peak memory':32}{peak / 1024:7.0f} MiB")


def write(folder: Path, truth: Truth, run: ObjectRun) -> None:
    """Write every object."""
    lesions, organs = truth.lesions, truth.organs
    path = folder / "segmentation.dcm"
    uid = timed(
        "write lesions",
        lambda: dicom_seg.write_segmentation(path, lesions, dicom_seg.LESIONS, run),
    )
    own = list(truth.rows_of(lesions).values())
    report = folder / "measurements.dcm"
    timed(
        "write measurements",
        lambda: dicom_sr.write_measurements(report, own, lesions.geometry, uid, run),
    )
    binary, compact = folder / "organs.dcm", folder / "organs-labelmap.dcm"
    timed(
        "write organs, binary",
        lambda: dicom_seg.write_segmentation(binary, organs, dicom_seg.ORGANS, run),
    )
    timed(
        "write organs, label map",
        lambda: dicom_seg.write_label_map(compact, organs, dicom_seg.ORGAN_LABELS, run),
    )
    drawn = folder / "structures.dcm"
    timed("write structures", lambda: rtstruct.write_structures(drawn, (lesions, organs), run))


def gate(folder: Path, truth: Truth, run: ObjectRun) -> None:
    """Read every object back and compare it."""
    timed("gate: table", lambda: check_rows(truth))
    for name, labelled in (("segmentation", truth.lesions), ("organs", truth.organs)):
        rows = truth.rows_of(labelled)
        path = folder / f"{name}.dcm"
        read = timed(f"read {name}", lambda path=path: read_back.read_segmentation(path))
        objects.check_segmentation(read, labelled, rows, run)
    segmentation = read_back.read_segmentation(folder / "segmentation.dcm")
    report = timed("read measurements", lambda: read_back.read_report(folder / "measurements.dcm"))
    rows = truth.rows_of(truth.lesions)
    objects.check_report(report, segmentation, rows, truth.volume.geometry, run)
    read = timed("read structures", lambda: read_back.read_structures(folder / "structures.dcm"))
    timed(
        "gate: structures",
        lambda: contours.check_structures(read, (truth.lesions, truth.organs), truth.rows, run),
    )


if __name__ == "__main__":
    main()
