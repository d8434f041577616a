"""What a model says of every voxel, cut into instances on the model's grid."""

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, find_objects
from scipy.spatial import KDTree
from skimage.segmentation import watershed

from medseg.config import SegmentSettings
from medseg.core.geometry import Geometry
from medseg.core.prediction import VoxelPrediction
from medseg.segment.doubt import certainty, join_wide
from medseg.segment.peaks import CUBE, prominent_peaks
from medseg.segment.votes import centre_landscape, split_by_votes, votes


@dataclass(frozen=True, eq=False)
class Separated:
    """Instances on the model's grid, with what it takes to bring them to another one.

    Attributes:
        labels: (I, J, K) int32; 0 is background, label n is an instance of `structures[n - 1]`.
        structures: What each instance is.
        foreground: (I, J, K) float32 in 0..1: how likely a voxel belongs to any instance, or the
            mean of that around it (`segment.smooth`); 0 where foreground was dropped, so that it
            cannot come back on another grid.
        threshold: The labels cover exactly the voxels whose foreground is at least this.
        geometry: The model's grid.
        scores: How sure the model is of each instance that it proposed; None of a dense model.

    Raises:
        ValueError: The arrays do not lie on the grid, or labels and foreground disagree.
    """

    labels: NDArray[np.int32]
    structures: tuple[str, ...]
    foreground: NDArray[np.float32]
    threshold: float
    geometry: Geometry
    scores: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.labels.shape == self.foreground.shape == self.geometry.shape:
            raise ValueError(f"labels {self.labels.shape} on a grid of {self.geometry.shape}")
        if not np.array_equal(self.labels > 0, self.foreground >= self.threshold):
            raise ValueError("labels and foreground disagree")


def separate(prediction: VoxelPrediction, settings: SegmentSettings) -> Separated:
    """Cut the foreground of a dense prediction into instances, by the rule `cc26-peaks`.

    A voxel whose highest probability reaches `foreground_threshold` belongs to that structure;
    voxels of one structure that touch, corners included (26-connectivity), form a component. One
    is split where the landscape of its centres has several peaks with saddles `vote_prominence`
    deep. The landscape is what the heatmap and the votes of the offsets say, and
    each voxel goes to the peak that it votes for; without offsets it is the heatmap alone, saddles
    are `peak_prominence` deep, and voxels go by shape. Without a heatmap too a component is
    split where it has necks: the landscape is then the depth below its surface in mm, and a saddle
    must be deeper by that share of the lower peak and by a voxel, because probabilities saturate
    inside a lesion while a voxel is the error of the depth. With a heatmap, each part is split
    again where its logit has peaks with saddles `doubt_prominence` deep, if that is set, and the
    cut between them is narrow (`segment.doubt`). All else stays whole.

    The time grows with the number of voxels, not with pairs of instances. The same prediction
    gives the same labels.

    Returns:
        Labels in the order of the components; `restore` numbers them for the reader.
    """
    best, which = most_likely(prediction, settings.foreground_threshold)
    labels, structures = _components(which, prediction.structures)
    for number, box in enumerate(find_objects(labels), start=1):
        parts = _parts(labels[box] == number, prediction, box, settings)
        beyond = parts > 1
        labels[box][beyond] = len(structures) + parts[beyond] - 1
        structures += [structures[number - 1]] * (int(parts.max()) - 1)
    return Separated(
        labels, tuple(structures), best, settings.foreground_threshold, prediction.geometry
    )


def _parts(
    mask: NDArray[np.bool_],
    prediction: VoxelPrediction,
    box: tuple[slice, slice, slice],
    settings: SegmentSettings,
) -> NDArray[np.int32]:
    """The instances of one component, in its box: 0 outside the mask, else 1, 2, ..."""
    geometry, heatmap, offsets = (
        prediction.geometry,
        prediction.centre_heatmap,
        prediction.offsets_mm,
    )
    spacing, prominence = geometry.spacing_mm, settings.peak_prominence
    if heatmap is None:
        depth = depth_mm(mask, spacing)
        peaks = prominent_peaks(depth, mask, least=max(spacing), share=prominence)
        return split(mask, peaks, spacing)
    if offsets is None:
        peaks = prominent_peaks(heatmap[box], mask, least=prominence)
        parts = split(mask, peaks, spacing)
    else:
        seen = votes(mask, offsets[:, box[0], box[1], box[2]], geometry)
        centres = centre_landscape(mask, seen, heatmap[box], spacing)
        peaks = prominent_peaks(centres, np.ones_like(mask), least=settings.vote_prominence)
        parts = mask.astype(np.int32)
        if len(peaks) > 1:
            parts = _without_gaps(split_by_votes(mask, seen, peaks, spacing))
    if settings.doubt_prominence is None:
        return parts
    return _parts_by_doubt(parts, certainty(heatmap[box]), spacing, settings.doubt_prominence)


def _parts_by_doubt(
    parts: NDArray[np.int32],
    sure: NDArray[np.float32],
    spacing_mm: tuple[float, float, float],
    least: float,
) -> NDArray[np.int32]:
    """Parts split again where the model doubts that a centre is, and the cut is narrow."""
    further = parts.copy()
    count = int(parts.max())
    for number, box in enumerate(find_objects(parts), start=1):
        mask = parts[box] == number
        peaks = prominent_peaks(sure[box], mask, least=least)
        if len(peaks) == 1:
            continue
        again = join_wide(split(mask, peaks, spacing_mm), spacing_mm)
        beyond = again > 1
        further[box][beyond] = count + again[beyond] - 1
        count += int(again.max()) - 1
    return further


def _without_gaps(parts: NDArray[np.int32]) -> NDArray[np.int32]:
    """The same parts, numbered 1, 2, ... where some numbers had no voxel."""
    there = np.unique(parts)
    numbers: NDArray[np.int32] = np.searchsorted(there[there > 0], parts, side="right").astype(
        np.int32
    )
    return numbers


def depth_mm(
    mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Distance in mm from each voxel of a mask to the nearest one outside; 0 outside.

    Beyond the array is outside, so an instance at its edge is as deep as what is seen of it.
    """
    padded = distance_transform_edt(np.pad(mask, 1), sampling=spacing_mm)
    depth: NDArray[np.float32] = padded[1:-1, 1:-1, 1:-1].astype(np.float32)
    return depth


def split(
    mask: NDArray[np.bool_], peaks: NDArray[np.intp], spacing_mm: tuple[float, float, float]
) -> NDArray[np.int32]:
    """Give each voxel of a component to one of its peaks; one alone has it whole.

    Around each peak lies the largest ball that fits into the component. Two balls that meet are
    cut in their radical plane, the plane through the circle in which their surfaces meet, which
    is where two touching lesions of whatever size meet if they are round. From there a watershed
    on the depth below the surface gives the rest to the ball from which it is reached through the
    widest neck. A watershed on the heatmap itself would cut half-way between the centres, and
    give a small lesion a part of its large neighbour.

    Args:
        mask: Boolean (I, J, K), one component.
        peaks: (P, 3) indices within the mask, P at least 1.
        spacing_mm: Of the grid, along the array axes, which are at right angles.

    Returns:
        (I, J, K) int32: 0 outside the mask, else 1 + the row of the peak.
    """
    if len(peaks) == 1:
        return mask.astype(np.int32)
    depth = depth_mm(mask, spacing_mm)
    spacing = np.array(spacing_mm)
    centres = peaks * spacing
    nearest = KDTree(centres).query(centres, k=2)[0][:, 1]
    # A ball that swallowed another peak would not be of one instance.
    radii = np.minimum(depth[tuple(peaks.T)], nearest)
    power = np.zeros(mask.shape)
    markers = np.zeros(mask.shape, np.int32)
    for number, (peak, radius) in enumerate(zip(peaks, radii, strict=True), start=1):
        reach = np.floor(radius / spacing).astype(int)
        low = np.maximum(peak - reach, 0)
        high = np.minimum(peak + reach + 1, mask.shape)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        axes = np.ogrid[box]
        square = sum(((a - p) * s) ** 2 for a, p, s in zip(axes, peak, spacing, strict=True))
        nearer = square - radius**2 < power[box]
        power[box] = np.where(nearer, square - radius**2, power[box])
        markers[box][nearer] = number
    parts: NDArray[np.int32] = watershed(-depth, markers, connectivity=CUBE, mask=mask)
    return parts


def most_likely(
    prediction: VoxelPrediction, threshold: float
) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
    """The highest probability of each voxel, and 1 + the structure it is of where it reaches it."""
    best = prediction.probabilities[0].copy()
    which = (best >= threshold).astype(np.uint16)
    for number, probability in enumerate(prediction.probabilities[1:], start=2):
        higher = probability > best
        best[higher] = probability[higher]
        which[higher & (best >= threshold)] = number
    return best, which


def _components(
    which: NDArray[np.uint16], names: tuple[str, ...]
) -> tuple[NDArray[np.int32], list[str]]:
    """Components by 26-connectivity, numbered from 1, and the structure of each."""
    found, count = cc3d.connected_components(which, connectivity=26, return_N=True)
    where = np.flatnonzero(found)
    structure = np.zeros(count + 1, np.uint16)
    structure[found.ravel()[where]] = which.ravel()[where]
    labels: NDArray[np.int32] = found.astype(np.int32)
    return labels, [names[n - 1] for n in structure[1:]]
