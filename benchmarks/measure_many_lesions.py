"""Time to measure 20, 200 and 2,000 lesions in a 512x512x300 CT, beside SimpleITK in one process.

The peer computes what it has of our columns: volume, centroid, Feret diameter, perimeter and the
intensity statistics. It has no axial diameters, end points, mesh or SUVpeak.

Run: .venv/bin/python benchmarks/measure_many_lesions.py
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from medseg.config import MeasureSettings
from medseg.core.geometry import Geometry
from medseg.core.instances import Instance, InstanceMap, tracking_uid
from medseg.core.volume import IntensityUnit, Volume
from medseg.measure.measure import measure

SHAPE = (512, 512, 300)
SPACING_MM = (0.8, 0.8, 1.5)
REPEATS = 3


def draw(lesions: int) -> NDArray[np.uint16]:
    """Labels of that many balls of 2 to 6 voxels radius, anywhere."""
    rng = np.random.default_rng(lesions)
    labels = np.zeros(SHAPE, np.uint16)
    for label in range(1, lesions + 1):
        radius = int(rng.integers(2, 7))
        size = 2 * radius + 1
        corner = [int(rng.integers(0, n - size)) for n in SHAPE]
        inside = ((np.indices((size,) * 3) - radius) ** 2).sum(axis=0) <= radius**2
        box = tuple(slice(c, c + size) for c in corner)
        labels[box][inside] = label
    return labels


def peer(labels: NDArray[np.uint16], data: NDArray[np.float32]) -> None:
    """What SimpleITK has of the columns."""
    label_image = sitk.GetImageFromArray(labels.T)
    intensity_image = sitk.GetImageFromArray(data.T)
    for image in (label_image, intensity_image):
        image.SetSpacing(SPACING_MM)
    statistics_filter = sitk.LabelIntensityStatisticsImageFilter()
    statistics_filter.ComputeFeretDiameterOn()
    statistics_filter.ComputePerimeterOn()
    statistics_filter.Execute(label_image, intensity_image)


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main() -> None:
    """Print seconds of both, and the ratio peer to ours with its spread."""
    data = np.random.default_rng(0).normal(40, 20, SHAPE).astype(np.float32)
    geometry = Geometry(SHAPE, np.diag((*SPACING_MM, 1.0)))
    volume = Volume(data, geometry, IntensityUnit.HU)
    print(f"{'lesions':>8} {'medseg s':>9} {'SimpleITK s':>12} {'ratio':>7} {'min':>6} {'max':>6}")
    for lesions in (20, 200, 2000):
        labels = draw(lesions)
        rows = tuple(
            Instance(int(n), "lesion", "lesion", tracking_uid("benchmark", "lesion", int(n)))
            for n in np.flatnonzero(np.bincount(labels.ravel())[1:]) + 1
        )
        instances = InstanceMap(labels, geometry, rows)
        ours, theirs = [], []
        for _ in range(REPEATS):
            ours.append(seconds(lambda: measure(instances, volume, MeasureSettings())))  # noqa: B023
            theirs.append(seconds(lambda: peer(labels, data)))  # noqa: B023
        ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
        print(
            f"{lesions:8} {statistics.median(ours):9.2f} {statistics.median(theirs):12.2f} "
            f"{statistics.median(ratios):7.2f} {ratios[0]:6.2f} {ratios[-1]:6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
