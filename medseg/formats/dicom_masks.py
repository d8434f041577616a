"""The door to masks that other programs drew: DICOM Segmentations and RT Structure Sets.

They are put on the grid of the series that they were drawn on. A mask on another grid is refused:
its voxels, or the planes of its contours, would have to be guessed.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels
from skimage.draw import polygon

from medseg.core.geometry import Geometry
from medseg.core.volume import MAX_VOXELS
from medseg.errors import GeometryMismatchError, UnreadableFileError, UnsupportedImageError
from medseg.formats.dicom_values import READING_FAULTS, items, quiet, text

SEG_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation and Label Map Segmentation Storage."""

RTSTRUCT_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"

OFF_GRID = 0.1
"""Part of a voxel by which a pixel may miss the centre of one: decimal strings are rounded."""

OFF_PLANE = 0.25
"""Part of the distance between slices by which a contour may miss one: some programs draw on
rounded positions."""

RAS_FROM_LPS = np.array((-1.0, -1.0, 1.0))


@dataclass(frozen=True, eq=False)
class DrawnMask:
    """What another program drew, on the grid of a series.

    Attributes:
        kind: `dicom-seg` or `rtstruct`.
        sha256: Of the file.
        labels: (I, J, K) uint16: 0 is background, else the number of a segment or region.
        contested_voxels: Voxels that several claim; the first one has them.
    """

    kind: str
    sha256: str
    labels: NDArray[np.uint16]
    contested_voxels: int


def is_dicom_mask(path: Path) -> bool:
    """Whether a file is a segmentation or a structure set."""
    try:
        with quiet():
            header = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
        return text(header, "SOPClassUID") in (*SEG_CLASSES, RTSTRUCT_CLASS)
    except READING_FAULTS:
        return False


def read_mask(path: Path, acquired: Geometry, only: tuple[int, ...] = ()) -> DrawnMask:
    """Read a segmentation or a structure set.

    Args:
        path: The file.
        acquired: Grid of the series that it was drawn on.
        only: Numbers of the segments or regions that are wanted; empty takes all.

    Raises:
        UnreadableFileError: It cannot be decoded.
        UnsupportedImageError: Its segments are no masks (fractional).
        GeometryMismatchError: It was drawn on another grid or in another frame of reference.
    """
    labels = np.zeros(acquired.shape, np.uint16)
    contested = 0
    try:
        stored = path.read_bytes()
        with quiet():
            dataset = dcmread(path)
            is_seg = text(dataset, "SOPClassUID") in SEG_CLASSES
            _check_frame(dataset, acquired)
            parts = _segments(dataset, acquired) if is_seg else _regions(dataset, acquired)
            for number, voxels in parts:
                if only and number not in only:
                    continue
                taken = labels[voxels]
                contested += int(np.count_nonzero((taken > 0) & (taken != number)))
                labels[voxels] = np.where(taken > 0, taken, number)
    except READING_FAULTS:
        raise UnreadableFileError(
            "The mask is a DICOM object that cannot be decoded, so nothing was measured.",
            "Export it again as a segmentation (SEG) or as a structure set (RTSTRUCT).",
        ) from None
    kind = "dicom-seg" if is_seg else "rtstruct"
    return DrawnMask(kind, hashlib.sha256(stored).hexdigest(), labels, contested)


Voxels = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]


def _segments(dataset: Dataset, acquired: Geometry) -> Iterator[tuple[int, Voxels]]:
    """The number and the voxels of each frame's segment, frame by frame."""
    kind = text(dataset, "SegmentationType")
    if kind == "FRACTIONAL":
        raise UnsupportedImageError(
            "The segmentation holds fractions instead of a mask, so nothing was measured.",
            "Export it as a binary segmentation.",
        )
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if rows * columns * int(dataset.NumberOfFrames) > MAX_VOXELS * 8:
        raise ValueError("more pixels than a segmentation can hold")
    (shared,) = items(dataset, "SharedFunctionalGroupsSequence") or (Dataset(),)
    frames = _bits(dataset) if kind == "BINARY" else iter_pixels(dataset, raw=True)
    for group, frame in zip(dataset.PerFrameFunctionalGroupsSequence, frames, strict=True):
        seen = np.nonzero(frame)
        voxels = _on_grid(np.column_stack(seen), group, shared, acquired)
        if kind == "BINARY":
            segment = (group if "SegmentIdentificationSequence" in group else shared)[
                "SegmentIdentificationSequence"
            ][0]
            yield int(segment.ReferencedSegmentNumber), voxels
            continue
        numbers = frame[seen]
        for number in np.unique(numbers):
            i, j, k = (axis[numbers == number] for axis in voxels)
            yield int(number), (i, j, k)


def _on_grid(
    pixels: NDArray[np.intp], group: Dataset, shared: Dataset, acquired: Geometry
) -> Voxels:
    """Voxels of the series for (N, 2) rows and columns of a frame."""

    def macro(name: str) -> Dataset:
        found: Dataset = (group if name in group else shared)[name][0]
        return found

    position = np.array(macro("PlanePositionSequence").ImagePositionPatient, float)
    cosines = np.array(macro("PlaneOrientationSequence").ImageOrientationPatient, float)
    between = np.array(macro("PixelMeasuresSequence").PixelSpacing, float)
    # A step to the next row runs along a column, and the other way round.
    steps = cosines.reshape(2, 3)[::-1] * between[:, None]
    index = acquired.to_index((pixels @ steps + position) * RAS_FROM_LPS)
    whole = np.rint(index).astype(np.intp)
    if len(index) and (
        np.abs(index - whole).max() > OFF_GRID
        or (whole < 0).any()
        or (whole >= acquired.shape).any()
    ):
        raise _other_grid()
    i, j, k = whole.T
    return i, j, k


def _bits(dataset: Dataset) -> Iterator[NDArray[np.uint8]]:
    """Frames of one bit a pixel; compressed ones are decoded as they are stored."""
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        yield from iter_pixels(dataset, raw=True)
        return
    size = int(dataset.Rows) * int(dataset.Columns)
    stored = np.frombuffer(dataset.PixelData, np.uint8)
    for start in range(0, int(dataset.NumberOfFrames) * size, size):
        held = stored[start // 8 : -(-(start + size) // 8)]
        bits = np.unpackbits(held, bitorder="little")[start % 8 :][:size]
        yield bits.reshape(int(dataset.Rows), int(dataset.Columns))


def _regions(dataset: Dataset, acquired: Geometry) -> Iterator[tuple[int, Voxels]]:
    """The number and the voxels of each region of interest in each slice.

    A voxel belongs to a region if its centre lies inside an odd number of the region's contours in
    its slice (even-odd rule), so that a contour within another is a hole.
    """
    for item in items(dataset, "ROIContourSequence"):
        number = int(item.ReferencedROINumber)
        inside: dict[int, NDArray[np.bool_]] = {}
        for contour in items(item, "ContourSequence"):
            if text(contour, "ContourGeometricType") not in {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"}:
                continue
            points = np.array(contour.ContourData, float).reshape(-1, 3) * RAS_FROM_LPS
            index = acquired.to_index(points)
            k = int(np.rint(index[:, 2].mean()))
            if np.abs(index[:, 2] - k).max() > OFF_PLANE or not 0 <= k < acquired.shape[2]:
                raise _other_grid()
            plane = inside.setdefault(k, np.zeros(acquired.shape[:2], bool))
            plane[polygon(index[:, 0], index[:, 1], plane.shape)] ^= True
        for k, mask in sorted(inside.items()):
            i, j = np.nonzero(mask)
            yield number, (i, j, np.full(len(i), k))


def _check_frame(dataset: Dataset, acquired: Geometry) -> None:
    """Refuse what was drawn in another frame of reference than the series'."""
    frames = {text(dataset, "FrameOfReferenceUID")}
    frames |= {
        text(item, "FrameOfReferenceUID")
        for item in items(dataset, "ReferencedFrameOfReferenceSequence")
    }
    frames.discard("")
    if acquired.frame_of_reference and frames and acquired.frame_of_reference not in frames:
        raise GeometryMismatchError(
            "The mask was drawn in another frame of reference than the series, so its place in "
            "the patient is not known and nothing was measured.",
            "Choose the series that it was drawn on with --series.",
        )


def _other_grid() -> GeometryMismatchError:
    return GeometryMismatchError(
        "The mask was not drawn on the voxels of the series, so nothing was measured.",
        "Choose the series that it was drawn on with --series, or give the mask as NIfTI, which "
        "is put onto another grid.",
    )
