"""Time to measure, in seconds of processor so that a busy machine does not fail it."""

import time

import numpy as np
import pytest

from medseg.config import MeasureSettings
from medseg.core.geometry import Geometry
from medseg.core.volume import IntensityUnit, Volume
from medseg.measure.diameters import max_diameter_3d
from medseg.measure.measure import measure
from tests.strategies import instance_map

AFFINE = np.array(
    [[-0.8, 0.05, 0.1, 200], [0.05, 0.8, -0.1, -190], [0.04, 0.05, 1.5, 0], [0, 0, 0, 1]]
)


@pytest.mark.slow
def test_two_thousand_lesions_in_a_whole_body_ct_take_seconds():
    rng = np.random.default_rng(1)
    labels = np.zeros((512, 512, 300), np.uint16)
    for label in range(1, 2001):
        radius = int(rng.integers(2, 7))
        size = 2 * radius + 1
        i, j, k = (int(rng.integers(0, n - size)) for n in labels.shape)
        inside = ((np.indices((size,) * 3) - radius) ** 2).sum(axis=0) <= radius**2
        labels[i : i + size, j : j + size, k : k + size][inside] = label
    instances = instance_map(labels, Geometry(labels.shape, AFFINE))
    data = rng.random(labels.shape, dtype=np.float32)
    volume = Volume(data, instances.geometry, IntensityUnit.SUV)
    start = time.process_time()
    found = measure(instances, volume, MeasureSettings())
    assert time.process_time() - start < 40  # 6 to 9 s where it was written
    assert len(found) == len(instances.instances) > 1900


@pytest.mark.slow
def test_a_lesion_of_a_million_voxels_takes_less_than_two_seconds():
    """Its 3D diameter alone: all pairs of its corners would be 10^12."""
    inside = ((np.indices((160, 150, 140)).T - (80, 75, 70)) ** 2).sum(axis=-1).T < 62.1**2
    labels = inside.astype(np.uint16)
    assert labels.sum() > 1e6
    geometry = Geometry(labels.shape, AFFINE)
    start = time.process_time()
    diameter = max_diameter_3d(inside, geometry)
    assert time.process_time() - start < 2
    longest = np.linalg.svd(AFFINE[:3, :3], compute_uv=False)[0]  # of the ball, made an ellipsoid
    assert diameter.length_mm == pytest.approx(2 * 62.1 * longest, rel=0.02)
    volume = Volume(labels.astype(np.float32), geometry, IntensityUnit.HU)
    start = time.process_time()
    measure(instance_map(labels, geometry), volume, MeasureSettings())
    assert time.process_time() - start < 2
