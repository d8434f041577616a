"""Lesions whose shape and split are known on paper, and models that see them in milliseconds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.config import SegmentSettings
from medseg.core.geometry import Geometry
from medseg.core.prediction import ModelInput, Progress, VoxelPrediction, silent
from medseg.core.volume import IntensityUnit, Volume

SETTINGS = SegmentSettings(model="none")

SOFT_MM = 15.0
"""Intensity falls from 1 to 0 over this distance on either side of a surface."""


@dataclass(frozen=True)
class Ellipsoid:
    """Centre and semi-axes in RAS+ mm; a ball where they are equal."""

    centre: tuple[float, float, float]
    axes: tuple[float, float, float]

    @property
    def volume_mm3(self) -> float:
        return 4 / 3 * np.pi * float(np.prod(self.axes))


def ball(centre: tuple[float, float, float], radius: float) -> Ellipsoid:
    return Ellipsoid(centre, (radius, radius, radius))


def positions(geometry: Geometry) -> NDArray[np.float64]:
    """(I, J, K, 3) world positions of all voxels."""
    return geometry.to_world(np.moveaxis(np.indices(geometry.shape), 0, -1))


def depths(points: NDArray[np.float64], bodies: list[Ellipsoid]) -> NDArray[np.float64]:
    """(..., B) depth in mm below the surface of each body; exact for balls."""
    scaled = [
        np.linalg.norm((points - body.centre) / np.array(body.axes), axis=-1) for body in bodies
    ]
    return np.stack(
        [(1 - s) * min(body.axes) for s, body in zip(scaled, bodies, strict=True)], axis=-1
    )


def picture(geometry: Geometry, bodies: list[Ellipsoid]) -> Volume:
    """A volume of intensity 0.5 on the surfaces, linear in the depth around them."""
    depth = depths(positions(geometry), bodies).max(axis=-1)
    data = np.clip(0.5 + depth / (2 * SOFT_MM), 0, 1).astype(np.float32)
    return Volume(data, geometry, IntensityUnit.SUV)


def heatmap(geometry: Geometry, bodies: list[Ellipsoid], sigma_mm: float = 8) -> NDArray:
    """A Gaussian at each centre, as the heads of networks are trained to predict."""
    square = [((positions(geometry) - body.centre) ** 2).sum(axis=-1) for body in bodies]
    return np.exp(-np.min(square, axis=0) / (2 * sigma_mm**2)).astype(np.float32)


@dataclass(frozen=True)
class Threshold:
    """A model whose probability is the intensity, and which may know centres."""

    spacing_mm: tuple[float, float, float]
    bodies: tuple[Ellipsoid, ...] = ()
    roles: tuple[str, ...] = ("pet",)

    def predict(self, study: ModelInput, progress: Progress = silent) -> VoxelPrediction:
        progress("predict", 0)
        centres = heatmap(study.geometry, list(self.bodies)) if self.bodies else None
        progress("predict", 1)
        return VoxelPrediction(study.data[:1], ("lesion",), study.geometry, centres)
