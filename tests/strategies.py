"""Test grids and maps: never a cube, never isotropic, never axis-aligned, never all zeros."""

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from medseg.core.geometry import Geometry
from medseg.core.instances import Instance, InstanceMap, tracking_uid


@st.composite
def shapes(draw: st.DrawFn, least: int = 4, most: int = 14) -> tuple[int, int, int]:
    """Three different sizes."""
    sizes = draw(st.lists(st.integers(least, most), min_size=3, max_size=3, unique=True))
    return (sizes[0], sizes[1], sizes[2])


@st.composite
def affines(draw: st.DrawFn) -> NDArray[np.float64]:
    """Oblique, anisotropic, left- and right-handed, off-centre."""
    spacing = np.array(draw(st.lists(st.floats(0.6, 5.0), min_size=3, max_size=3, unique=True)))
    angles = [draw(st.floats(5, 40)) * draw(st.sampled_from((-1, 1))) for _ in range(3)]
    rotation = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    order = draw(st.permutations((0, 1, 2)))
    flips = np.array([draw(st.sampled_from((-1.0, 1.0))) for _ in range(3)])
    affine = np.eye(4)
    affine[:3, :3] = (rotation * flips)[:, order] * spacing
    affine[:3, 3] = [draw(st.floats(-300, 300)) for _ in range(3)]
    return affine


@st.composite
def geometries(draw: st.DrawFn, least: int = 4, most: int = 14) -> Geometry:
    """Grids that show a swapped axis, a flip and a wrong handedness."""
    return Geometry(draw(shapes(least, most)), draw(affines()))


def instance_map(labels: NDArray[np.uint16], geometry: Geometry) -> InstanceMap:
    """The labels as a map of lesions, a row for each value that occurs."""
    found = np.unique(labels[labels > 0])
    rows = tuple(
        Instance(int(n), "lesion", "lesion", tracking_uid("test", "lesion", int(n))) for n in found
    )
    return InstanceMap(labels.astype(np.uint16), geometry, rows)


@st.composite
def instance_maps(draw: st.DrawFn) -> InstanceMap:
    """One to four blobs of random boxes with ragged edges on such a grid."""
    geometry = draw(geometries(6, 16))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = np.zeros(geometry.shape, np.uint16)
    for label in range(1, draw(st.integers(1, 4)) + 1):
        start = [int(rng.integers(0, n - 2)) for n in geometry.shape]
        box = tuple(
            slice(s, s + int(rng.integers(2, n - s + 1)))
            for s, n in zip(start, geometry.shape, strict=True)
        )
        ragged = rng.random(labels[box].shape) < 0.8
        labels[box][ragged] = label
    if not labels.any():
        labels[1, 2, 3] = 1
    return instance_map(labels, geometry)
