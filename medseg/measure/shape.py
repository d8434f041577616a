"""The surface of a region, as a mesh."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.measure import marching_cubes, mesh_surface_area

from medseg.core.geometry import Geometry


@dataclass(frozen=True)
class Surface:
    """The mesh at half height between a region and its surroundings.

    Attributes:
        area_mm2: Area of the mesh (IBSI C0JK).
        volume_mm3: Volume that the mesh encloses (IBSI RNU0); less than that of the voxels, whose
            edges it cuts.
        sphericity: Area of the ball of the mesh's volume over the area of the mesh (IBSI QCFX),
            in 0..1; 1 is a ball.
    """

    area_mm2: float
    volume_mm3: float
    sphericity: float


def surface(mask: NDArray[np.bool_], geometry: Geometry) -> Surface:
    """Mesh a region by marching cubes and measure the mesh.

    The mesh is found in index space at 0.5, halfway between the voxel centres inside and outside
    (IBSI, Zwanenburg et al., Radiology 295:328, 2020, section 3.1.1), and its vertices are taken to
    mm by the affine. So it is right on oblique and sheared grids. Then A is the sum of the areas of
    the triangles, V the sum of the signed tetrahedra under them, and

        sphericity = (36 pi V^2)^(1/3) / A.

    Args:
        mask: (A, B, C) boolean, not empty.
        geometry: Where the mask lies.
    """
    padded = np.pad(mask, 1).astype(np.float32)
    vertices, triangles, _, _ = marching_cubes(padded, level=0.5)
    vertices = vertices.astype(np.float64) @ geometry.affine[:3, :3].T
    vertices -= vertices.mean(axis=0)
    area = float(mesh_surface_area(vertices, triangles))
    a, b, c = vertices[triangles].transpose(1, 0, 2)
    volume = abs(float(np.einsum("ij,ij->", a, np.cross(b, c)))) / 6
    return Surface(area, volume, (36 * np.pi * volume**2) ** (1 / 3) / area)
