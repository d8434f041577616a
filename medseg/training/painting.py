"""MS lesions painted into the white matter of a FLAIR, after those that its patient has.

Place and shape are those of another patient's real lesions, brightness and edge those of the
brain's own: nothing of a third brain is needed, and the truth is what was painted.
"""

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.config import Spacing
from medseg.model.networks.features import LIQUOR, brain

WHITE = (0.80, 1.10)
"""Intensities of white matter, blurred by 1 mm, in multiples of the tissue's: below is liquor,
above is cortex or lesion (both cases of ms_flair)."""

CORTEX_MM = 4.0
"""Depth at which what lies beside liquor is cortex no more; it is 2 to 5 mm thick."""

SURFACE_MM = 5.0
"""Nearer to the surface of the brain is cortex, whatever its intensity."""

CLEAR_MM = 1.5
"""Distance that painted lesions keep from real ones, so that they touch none."""

WITHIN = 0.6
"""Share of a lesion that must lie in white matter for it to be painted; the rest is cut off."""

RING_MM = (1.5, 4.0)
"""Around a lesion, where its surroundings are measured."""

ALIKE = 5
"""Lesions of about the same size among which a painted one's contrast is drawn."""

EDGE_MM = (0.45, 0.85)
"""Standard deviation of the blur of a lesion's edge: partial volume. Real ones of ms_flair rise
from a tenth of their excess to half of it within the voxels on either side of the outline."""

HEALED_FROM_MM = 4.0
"""Standard deviation of the blur of the white matter that takes a lesion's place."""

VARIED = 0.2
"""Standard deviation of the logarithm of a factor on the contrast, and of the texture within."""


@dataclass(frozen=True, eq=False)
class Looks:
    """How bright the lesions of one brain are, by their size.

    Attributes:
        volumes_mm3: (L,) ascending.
        contrasts: (L,) mean excess over the surroundings, in multiples of the tissue's intensity.
    """

    volumes_mm3: NDArray[np.float64]
    contrasts: NDArray[np.float64]

    def draw(self, volume_mm3: float, rng: np.random.Generator) -> float:
        """The contrast of a lesion of about that size, somewhat varied."""
        far = np.abs(np.log(self.volumes_mm3 / volume_mm3))
        alike = np.argsort(far, kind="stable")[:ALIKE]
        return float(self.contrasts[rng.choice(alike)] * np.exp(rng.normal(0, VARIED)))


def white_matter(
    image: NDArray[np.float32], labels: NDArray[np.integer], spacing_mm: Spacing
) -> NDArray[np.bool_]:
    """Where lesions may be painted: the largest piece of white matter without lesions.

    Args:
        image: (I, J, K) FLAIR of a brain alone, in multiples of its tissue's intensity.
        labels: (I, J, K) its real lesions; 0 is background.
        spacing_mm: Along the axes of the arrays.
    """
    soft = ndimage.gaussian_filter(image, [1 / mm for mm in spacing_mm])
    deep = ndimage.distance_transform_edt(brain(image), sampling=spacing_mm) > SURFACE_MM
    white = deep & (soft > WHITE[0]) & (soft < WHITE[1])
    pieces = cc3d.largest_k(ndimage.binary_opening(white), k=1, connectivity=6)
    clear = ndimage.distance_transform_edt(labels == 0, sampling=spacing_mm) > CLEAR_MM
    found: NDArray[np.bool_] = (pieces > 0) & clear
    return found


def cortex(
    image: NDArray[np.float32], labels: NDArray[np.integer], spacing_mm: Spacing
) -> NDArray[np.float32]:
    """How much of a voxel is tissue beside liquor or the brain's surface, which cortex is.

    Walls of ventricles are taken for it too; where lesions are is not.

    Args:
        image: (I, J, K) FLAIR of a brain alone, in multiples of its tissue's intensity.
        labels: (I, J, K) its real lesions; 0 is background.
        spacing_mm: Along the axes of the arrays.

    Returns:
        (I, J, K) float32 in 0..1, falling off over `CORTEX_MM`.
    """
    far_mm = ndimage.distance_transform_edt(image > LIQUOR, sampling=spacing_mm)
    clear_mm = ndimage.distance_transform_edt(labels == 0, sampling=spacing_mm)
    beside = np.exp(-((far_mm / CORTEX_MM) ** 2)) * np.clip(clear_mm / CLEAR_MM - 1, 0, 1)
    sharp = np.where(image > LIQUOR, beside, 0).astype(np.float32)
    found: NDArray[np.float32] = ndimage.gaussian_filter(sharp, [0.5 / mm for mm in spacing_mm])
    return found


def looks_of(image: NDArray[np.float32], labels: NDArray[np.integer], spacing_mm: Spacing) -> Looks:
    """How bright the lesions of a brain are; those no brighter than their surroundings aside.

    Args:
        image: (I, J, K) in multiples of the tissue's intensity.
        labels: (I, J, K), n where lesion n is.
        spacing_mm: Along the axes of the arrays.
    """
    far, nearest = ndimage.distance_transform_edt(
        labels == 0, sampling=spacing_mm, return_indices=True
    )
    owner = labels[tuple(nearest)]
    around = (far > RING_MM[0]) & (far < RING_MM[1]) & (image > WHITE[0])
    numbers = np.unique(labels[labels > 0])
    beside = ndimage.median(image, np.where(around, owner, 0), numbers)
    contrasts = ndimage.mean(image, labels, numbers) - beside
    volumes = np.bincount(labels.ravel())[numbers] * float(np.prod(spacing_mm))
    brighter = np.flatnonzero(contrasts > 0)  # not a number where nothing was around
    order = brighter[np.argsort(volumes[brighter], kind="stable")]
    return Looks(volumes[order].astype(np.float64), contrasts[order].astype(np.float64))


def paint(
    image: NDArray[np.float32],
    mask: NDArray[np.bool_],
    white: NDArray[np.bool_],
    looks: Looks,
    spacing_mm: Spacing,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """An image with lesions more, each 26-connected part of a mask being one.

    Args:
        image: (I, J, K) in multiples of the tissue's intensity.
        mask: (I, J, K) where lesions are wanted.
        white: (I, J, K) where they may be.
        looks: Of the lesions of the same brain.
        spacing_mm: Along the axes of the arrays.
        rng: Chance.

    Returns:
        The image, float32, and where lesions were painted: within the mask and the white matter.
    """
    wanted = cc3d.connected_components(mask, connectivity=26)
    sizes = np.bincount(wanted.ravel())
    inside = np.bincount(wanted[white], minlength=len(sizes))
    taken = inside >= WITHIN * sizes
    taken[0] = False
    painted = cc3d.connected_components(taken[wanted] & white, connectivity=26)
    if not painted.any():
        return image, painted > 0
    blur = [rng.uniform(*EDGE_MM) / mm for mm in spacing_mm]
    numbers = np.arange(1, int(painted.max()) + 1)
    kept = ndimage.mean(
        ndimage.gaussian_filter((painted > 0).astype(np.float32), blur), painted, numbers
    )
    volumes = np.bincount(painted.ravel())[1:] * float(np.prod(spacing_mm))
    heights = np.array([looks.draw(volume, rng) for volume in volumes]) / kept
    grain = ndimage.gaussian_filter(rng.standard_normal(image.shape, np.float32), 1.5)
    texture = 1 + VARIED * np.clip(grain / max(float(grain.std()), 1e-6), -2, 2)
    excess = np.concatenate([[0], heights])[painted] * texture
    result = image + ndimage.gaussian_filter(excess.astype(np.float32), blur) * (image > 0)
    return result.astype(np.float32), painted > 0


def heal(
    image: NDArray[np.float32],
    lesion: NDArray[np.bool_],
    white: NDArray[np.bool_],
    spacing_mm: Spacing,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """An image whose lesions are made white matter: that around them, with its grain.

    Args:
        image: (I, J, K) in multiples of the tissue's intensity; 0 beyond the brain.
        lesion: (I, J, K) what is to be healed.
        white: (I, J, K) white matter without lesions, which there must be.
        spacing_mm: Along the axes of the arrays.
        rng: Chance.
    """

    def blurred(values: NDArray[np.float32], mm: float) -> NDArray[np.float32]:
        made: NDArray[np.float32] = ndimage.gaussian_filter(values, [mm / s for s in spacing_mm])
        return made

    there = blurred(white.astype(np.float32), HEALED_FROM_MM)
    around = blurred(image * white, HEALED_FROM_MM) / np.maximum(there, 1e-4)
    around = np.where(there > 1e-3, around, np.median(image[white]))
    grain = ndimage.gaussian_filter(rng.standard_normal(image.shape, np.float32), 0.5)
    texture = grain * ((image - blurred(image, 1.5))[white].std() / grain.std())
    soft = np.clip(blurred(ndimage.binary_dilation(lesion).astype(np.float32), 0.7) * 1.2, 0, 1)
    whole = (image * (1 - soft) + (around + texture) * soft) * (image > 0)
    healed: NDArray[np.float32] = whole.astype(np.float32)
    return healed
