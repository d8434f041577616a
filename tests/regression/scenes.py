"""Lesions that touch, are missed, false, split and merged, for comparisons with other programs."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from medseg.core.geometry import Geometry
from medseg.core.instances import InstanceMap
from tests.strategies import instance_map

SEEDS = range(8)


def scene(seed: int) -> tuple[InstanceMap, InstanceMap]:
    """A prediction and a reference on an oblique, anisotropic grid; seed 0 has no reference."""
    rng = np.random.default_rng((2026, seed))
    shape = tuple(int(n) for n in rng.permutation((17, 23, 29)))
    spacing = rng.uniform(0.7, 2.6, 3)
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", rng.uniform(8, 35, 3), degrees=True).as_matrix()
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = rng.uniform(-90, 90, 3)
    geometry = Geometry((shape[0], shape[1], shape[2]), affine)
    truth, noise = (gaussian_filter(rng.normal(size=shape), 1.5) for _ in range(2))
    seen = truth + 0.3 * noise
    expected, predicted = truth > np.quantile(truth, 0.90), seen > np.quantile(seen, 0.91)
    middles = rng.choice(np.argwhere(expected), 14, replace=False)
    others = rng.choice(np.argwhere(predicted), 3, replace=False)
    reference = _parts(expected, middles)
    prediction = _parts(predicted, np.concatenate([middles[:10], others]))
    if seed == 0:
        reference = np.zeros_like(reference)
    return instance_map(prediction, geometry), instance_map(reference, geometry)


def _parts(mask: NDArray[np.bool_], middles: NDArray[np.intp]) -> NDArray[np.uint16]:
    """Each voxel of a mask gets the number of the nearest of some places."""
    places = np.argwhere(mask)
    labels = np.zeros(mask.shape, np.uint16)
    labels[tuple(places.T)] = KDTree(middles).query(places)[1] + 1
    return labels
