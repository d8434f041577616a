"""The volumes of a study on the grid of a model."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from medseg.core.geometry import Geometry
from medseg.core.prediction import ModelInput
from medseg.core.volume import IntensityUnit, Volume
from medseg.errors import GeometryMismatchError
from medseg.formats.itk import resample

AIR_HU = -1000.0
"""What lies beyond a CT. Elsewhere it is 0: no uptake on PET, no signal on MR."""

SMOOTH_FROM = 1.5
"""Ratio of the model's spacing to the acquired one from which a volume is smoothed first. Linear
interpolation averages two neighbours, which is enough below it."""

FWHM_PER_SIGMA = float(np.sqrt(8 * np.log(2)))


def prepare(
    volumes: Mapping[str, Volume], roles: Sequence[str], spacing_mm: tuple[float, float, float]
) -> ModelInput:
    """The volumes of the roles, one channel each, on the model's grid.

    Args:
        volumes: Role to volume; roles that the model does not ask for are left aside.
        roles: The model's roles; the volume of the first sets the grid.
        spacing_mm: Spacing of the model's grid along R, A and S.

    Raises:
        ValueError: A role has no volume; ingest has to see to that.
        GeometryMismatchError: A volume lies in another frame of reference than the main one, or
            they have no place in common.
    """
    missing = [role for role in roles if role not in volumes]
    if missing:
        raise ValueError(f"no volume for {', '.join(missing)}")
    main = volumes[roles[0]].geometry
    target = model_grid(main, spacing_mm)
    data = np.empty((len(roles), *target.shape), np.float32)
    for channel, role in enumerate(roles):
        volume = volumes[role]
        _check_place(role, volume.geometry, main)
        outside = AIR_HU if volume.unit is IntensityUnit.HU else 0.0
        smooth = smoothed(volume, spacing_mm)
        data[channel] = resample(
            smooth, volume.geometry, target, interpolation="linear", outside=outside
        )
    return ModelInput(data, target)


def model_grid(main: Geometry, spacing_mm: tuple[float, float, float]) -> Geometry:
    """The grid that runs along R, A and S and covers every voxel centre of the main volume.

    It starts in the lowest corner of those centres, so a volume that lies along the axes at the
    model's spacing keeps its own voxels, in whatever order it is stored.
    """
    corners = main.corners_mm
    low, high = corners.min(axis=0), corners.max(axis=0)
    # A thousandth of a voxel of rounding shall not add a plane; the interpolation reaches half a
    # voxel beyond the last centre anyway.
    steps = np.ceil((high - low) / spacing_mm - 1e-3).astype(int)
    i, j, k = (int(n) + 1 for n in steps)
    affine = np.diag((*spacing_mm, 1.0))
    affine[:3, 3] = low
    return Geometry((i, j, k), affine, main.frame_of_reference)


def smoothed(volume: Volume, spacing_mm: tuple[float, float, float]) -> NDArray[np.float32]:
    """The volume's data, blurred along the axes on which the model's grid is much coarser.

    The Gaussian turns a point spread as wide as the acquired spacing into one as wide as the
    model's: sigma = sqrt(model² - acquired²) / sqrt(8 ln 2) (Cardoso et al., Scale factor point
    spread function matching, MICCAI 2015, equation 4). Each array axis is compared with the world
    axis that it lies nearest to.
    """
    acquired = np.array(volume.geometry.spacing_mm)
    wanted = np.array(spacing_mm)[list(volume.geometry.world_axes)]
    variance = np.where(wanted > SMOOTH_FROM * acquired, wanted**2 - acquired**2, 0.0)
    if not variance.any():
        return volume.data
    sigma = np.sqrt(variance) / FWHM_PER_SIGMA / acquired
    result: NDArray[np.float32] = gaussian_filter(volume.data, sigma, mode="nearest")
    return result


def axial_coverage(volume: Geometry, main: Geometry) -> float:
    """Share, 0 to 1, of the main volume's extent along S that the other one covers too."""
    (low, high), (main_low, main_high) = _extent(volume), _extent(main)
    common = np.minimum(high, main_high) - np.maximum(low, main_low)
    return float(np.clip(common[2] / (main_high - main_low)[2], 0, 1))


def _extent(geometry: Geometry) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest R, A and S in mm of the voxels' outer edges."""
    half = np.abs(geometry.affine[:3, :3]).sum(axis=1) / 2
    return geometry.corners_mm.min(axis=0) - half, geometry.corners_mm.max(axis=0) + half


def _check_place(role: str, volume: Geometry, main: Geometry) -> None:
    """Refuse a volume whose coordinates mean other places than the main one's."""
    if len({volume.frame_of_reference, main.frame_of_reference} - {None}) > 1:
        raise GeometryMismatchError(
            f"The series for '{role}' has another frame of reference than the main one, so its "
            "voxels cannot be placed in the same patient and nothing was delineated.",
            "Choose a series of the same examination with --series, or register the two first.",
        )
    (low, high), (main_low, main_high) = _extent(volume), _extent(main)
    if (np.minimum(high, main_high) <= np.maximum(low, main_low)).any():
        raise GeometryMismatchError(
            f"The series for '{role}' and the main one have no place in common, so nothing was "
            "delineated.",
            "Choose a series of the same body region with --series.",
        )
