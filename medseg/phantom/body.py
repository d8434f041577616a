"""A whole body as PET and CT with every lesion known."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from medseg.core.geometry import Geometry
from medseg.core.instances import Instance, InstanceMap, tracking_uid
from medseg.core.volume import IntensityUnit, Volume
from medseg.phantom.anatomy import Tissue, draw_patient, normal_body
from medseg.phantom.lesions import CORE_SHARE, LESION_HU, Lesion, draw_lesions
from medseg.phantom.shapes import Shape, Union, coverage, distance_on_grid, points_in

PSF_FWHM_MM = 6.5
"""Resolution of the PET after reconstruction (NEMA figures of clinical scanners plus a filter)."""

FWHM_TO_SIGMA = 1 / np.sqrt(8 * np.log(2))

PET_NOISE = 0.22
"""Noise of tissue with an SUV of 1, g/mL; it grows with the root of the uptake, as counts do. In
muscle of the whole-body PET of STS_001 (Vallieres et al. 2015) it is 0.18 to 0.25."""

PET_NOISE_FWHM_MM = 8.0
"""How far the noise of neighbouring voxels hangs together."""

CT_NOISE_HU = 14.0
AIR_HU = -1000.0

BOTTOM_MM = -155.0
"""Where both scans of a whole body begin, in the thighs."""


@dataclass(frozen=True, eq=False)
class Phantom:
    """A body with a known truth.

    Attributes:
        pet: FDG PET, SUV by body weight.
        ct: CT of the same body in the same frame of reference, HU, on its own grid.
        lesions: The truth on the grid of the PET. `organ` names the place of each lesion.
        organs: Normal organs on the grid of the PET, as if there were no lesions.
        lesion_suv: Label to the uptake of the lesion's hottest tissue before noise and blurring.
    """

    pet: Volume
    ct: Volume
    lesions: InstanceMap
    organs: InstanceMap
    lesion_suv: Mapping[int, float]


def make_phantom(seed: int = 0) -> Phantom:
    """A patient from the thighs to the crown, as a PET/CT scanner would show him.

    The same seed gives the same phantom; another seed another patient, with other lesions.

    Args:
        seed: Of body, uptake, lesions and noise.
    """
    frame = frame_of_reference(seed, "whole body")
    pet = _scanner_grid((124, 96, 288), (4.3, 4.3, 3.4), frame)
    ct = _scanner_grid((160, 124, 261), (3.4, 3.4, 3.75), frame)
    return _acquire(seed, pet, ct)


def small_phantom(seed: int = 0) -> Phantom:
    """The groin with the three touching nodes of the same patient, on small oblique grids.

    For tests and notebooks: it is made, written and delineated in a moment.

    Args:
        seed: As of `make_phantom`.
    """
    rng = np.random.default_rng(seed)
    nodes = [lesion for lesion in _scene(rng)[1] if lesion.organ == "groin"]
    centre = np.mean([lesion.lobes[0].centre_mm for lesion in nodes], axis=0)
    frame = frame_of_reference(seed, "groin")
    return _acquire(
        seed,
        _oblique_grid((40, 34, 46), (3.9, 4.2, 3.3), centre, frame),
        _oblique_grid((58, 50, 60), (2.7, 2.9, 2.5), centre, frame),
    )


def _scene(rng: np.random.Generator) -> tuple[list[Tissue], list[Lesion]]:
    """Normal tissue and lesions of the next patient."""
    patient = draw_patient(rng)
    tissues = normal_body(patient, rng)
    return tissues, draw_lesions(patient, rng)


def _acquire(seed: int, pet_grid: Geometry, ct_grid: Geometry) -> Phantom:
    """Put the patient of a seed into the scanner."""
    rng = np.random.default_rng(seed)
    tissues, drawn = _scene(rng)
    found = np.unique(lesion_labels(drawn, pet_grid))
    lesions = [drawn[n - 1] for n in found[found > 0]]
    labels = lesion_labels(lesions, pet_grid)
    identity = f"phantom {seed} on {pet_grid.shape}"
    rows = tuple(
        Instance(n, "lesion", "lesion", tracking_uid(identity, "lesion", n), lesion.organ)
        for n, lesion in enumerate(lesions, 1)
    )
    return Phantom(
        pet=Volume(_scan_pet(tissues, lesions, pet_grid, rng), pet_grid, IntensityUnit.SUV),
        ct=Volume(_scan_ct(tissues, lesions, ct_grid, rng), ct_grid, IntensityUnit.HU),
        lesions=InstanceMap(labels, pet_grid, rows),
        organs=organ_map(tissues, pet_grid, identity),
        lesion_suv=MappingProxyType({n: lesion.suv for n, lesion in enumerate(lesions, 1)}),
    )


def lesion_labels(lesions: list[Lesion], geometry: Geometry) -> NDArray[np.uint16]:
    """Label of the lesion that each voxel's centre lies in; the deeper one where two overlap."""
    labels = np.zeros(geometry.shape, np.uint16)
    deepest = np.zeros(geometry.shape, np.float32)
    for label, lesion in enumerate(lesions, 1):
        found = distance_on_grid(Union(lesion.lobes), geometry)
        if found is not None:
            box, distance = found
            inside = distance < deepest[box]
            labels[box][inside] = label
            deepest[box][inside] = distance[inside]
    return labels


def organ_map(tissues: list[Tissue], geometry: Geometry, identity: str) -> InstanceMap:
    """The organ that each voxel's centre lies in."""
    names = sorted({tissue.organ for tissue in tissues if tissue.organ is not None})
    labels = np.zeros(geometry.shape, np.uint16)
    for tissue in tissues:
        found = distance_on_grid(tissue.shape, geometry)
        if found is not None and tissue.organ is not None:
            box, distance = found
            labels[box][distance < 0] = names.index(tissue.organ) + 1
    rows = tuple(
        Instance(int(n), "organ", names[n - 1], tracking_uid(identity, "organ", int(n)))
        for n in np.unique(labels[labels > 0])
    )
    return InstanceMap(labels, geometry, rows)


def _scan_pet(
    tissues: list[Tissue], lesions: list[Lesion], geometry: Geometry, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Uptake, blurred by the scanner, with noise that grows with the counts."""
    uptake = np.zeros(geometry.shape, np.float32)
    for tissue in tissues:
        paint(uptake, geometry, tissue.shape, tissue.suv)
    labels = lesion_labels(lesions, geometry)
    for label, lesion in enumerate(lesions, 1):
        paint_lesion(uptake, geometry, lesion, (labels == 0) | (labels == label))
    blurred = blur(uptake, geometry, PSF_FWHM_MM)
    grain = blur(rng.standard_normal(geometry.shape, dtype=np.float32), geometry, PET_NOISE_FWHM_MM)
    grain *= PET_NOISE / grain.std()
    tissue_share = (blurred > 0.1).mean(axis=(0, 1))
    thickness = np.sqrt(tissue_share / max(float(np.median(tissue_share)), 1e-3))
    noisy = blurred + grain * np.sqrt(blurred + 0.01) * thickness.astype(np.float32)
    activity: NDArray[np.float32] = np.maximum(noisy, 0)
    return activity


def _scan_ct(
    tissues: list[Tissue], lesions: list[Lesion], geometry: Geometry, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Density, a little blurred, with even noise; whole HU as scanners store them."""
    density = np.full(geometry.shape, AIR_HU, np.float32)
    for tissue in tissues:
        paint(density, geometry, tissue.shape, tissue.hu)
    for lesion in lesions:
        paint(density, geometry, Union(lesion.lobes), LESION_HU)
    noise = blur(rng.standard_normal(geometry.shape, dtype=np.float32), geometry, 3.0)
    noise *= CT_NOISE_HU / noise.std()
    stored: NDArray[np.float32] = np.round(np.clip(density + noise, -1024, 3071))
    return stored


def paint(field: NDArray[np.float32], geometry: Geometry, shape: Shape, value: float) -> None:
    """Fill a shape with a value; voxels that its surface cuts get a share of it."""
    found = distance_on_grid(shape, geometry)
    if found is not None:
        box, distance = found
        share = coverage(distance, min(geometry.spacing_mm))
        field[box] += share * (np.float32(value) - field[box])


def paint_lesion(
    field: NDArray[np.float32], geometry: Geometry, lesion: Lesion, allowed: NDArray[np.bool_]
) -> None:
    """Fill a lesion with its uneven uptake where its voxels are allowed, with its dead core."""
    found = distance_on_grid(Union(lesion.lobes), geometry)
    if found is None:
        return
    box, distance = found
    points = points_in(geometry, box)
    uptake = np.float32(lesion.suv) * lesion.texture.factor(points)
    if lesion.core is not None:
        dead = coverage(lesion.core.distance_mm(points), 2 * min(geometry.spacing_mm))
        uptake = uptake * (1 - np.float32(1 - CORE_SHARE) * dead)
    share = coverage(distance, min(geometry.spacing_mm)) * allowed[box]
    field[box] += share * (uptake - field[box])


def blur(field: NDArray[np.float32], geometry: Geometry, fwhm_mm: float) -> NDArray[np.float32]:
    """Gaussian blur of that full width at half maximum along each axis."""
    sigma = [fwhm_mm * FWHM_TO_SIGMA / spacing for spacing in geometry.spacing_mm]
    blurred: NDArray[np.float32] = gaussian_filter(field, sigma, mode="nearest")
    return blurred


def frame_of_reference(seed: int, region: str) -> str:
    """UID of the frame that both scans of a phantom share, by DICOM PS3.5 B.2."""
    digest = hashlib.sha256(f"medseg phantom {region} {seed}".encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def _scanner_grid(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], frame: str
) -> Geometry:
    """Axial slices as a scanner lays them: columns to the left, rows to the back, upwards."""
    steps = np.array(spacing_mm) * (-1, -1, 1)
    affine = np.diag([*steps, 1.0])
    affine[:3, 3] = (0, 0, BOTTOM_MM) - steps * (np.array(shape) - 1) / 2 * (1, 1, 0)
    return Geometry(shape, affine, frame)


def _oblique_grid(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    centre_mm: NDArray[np.float64],
    frame: str,
) -> Geometry:
    """A grid turned against all three world axes about a centre."""
    turn = Rotation.from_euler("xyz", (11, -8, 17), degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn * np.array(spacing_mm) * (-1, -1, 1)
    affine[:3, 3] = centre_mm - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Geometry(shape, affine, frame)
