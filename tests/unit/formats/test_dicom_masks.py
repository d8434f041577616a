"""Masks of other programs, written here by hand from the standard, on an oblique grid."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medseg.core.geometry import Geometry
from medseg.errors import GeometryMismatchError, UnreadableFileError, UnsupportedImageError
from medseg.formats.dicom_masks import is_dicom_mask, read_mask

FRAME = "1.2.3.4.5"
LPS = np.diag((-1.0, -1.0, 1.0))
ROW_WAY = np.array((0.96, 0.28, 0.0))  # along a row, to the next column
COLUMN_WAY = np.array((-0.28 * 0.8, 0.96 * 0.8, 0.6))
NORMAL = np.cross(ROW_WAY, COLUMN_WAY)
BETWEEN_ROWS, BETWEEN_COLUMNS, BETWEEN_SLICES = 1.5, 0.9, 3.2
ORIGIN = np.array((-40.0, 31.0, -210.0))
COLUMNS, ROWS, SLICES = 13, 11, 7


def grid() -> Geometry:
    """The series: i along a row, j down a column, k from slice to slice, in RAS."""
    affine = np.eye(4)
    steps = [ROW_WAY * BETWEEN_COLUMNS, COLUMN_WAY * BETWEEN_ROWS, NORMAL * BETWEEN_SLICES]
    affine[:3, :3] = LPS @ np.column_stack(steps)
    affine[:3, 3] = LPS @ ORIGIN
    return Geometry((COLUMNS, ROWS, SLICES), affine, FRAME)


def save(dataset: Dataset, path: Path) -> Path:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.save_as(path, enforce_file_format=True)
    return path


def segmentation(frames: list[tuple[int, int, np.ndarray]], path: Path, **values: object) -> Path:
    """A BINARY segmentation of (segment, slice, (row, column) mask)."""
    made = Dataset()
    made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    made.FrameOfReferenceUID = FRAME
    made.SegmentationType = "BINARY"
    made.Rows, made.Columns, made.NumberOfFrames = ROWS, COLUMNS, len(frames)
    made.BitsAllocated = made.BitsStored = made.SamplesPerPixel = 1
    made.HighBit = made.PixelRepresentation = 0
    made.PhotometricInterpretation = "MONOCHROME2"
    shared, plane, measures = Dataset(), Dataset(), Dataset()
    plane.ImageOrientationPatient = [float(x) for x in (*ROW_WAY, *COLUMN_WAY)]
    measures.PixelSpacing = [BETWEEN_ROWS, BETWEEN_COLUMNS]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [plane], [measures]
    made.SharedFunctionalGroupsSequence = [shared]
    made.PerFrameFunctionalGroupsSequence = []
    for segment, k, _ in frames:
        group, place, identification = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [
            round(float(x), 4) for x in ORIGIN + k * BETWEEN_SLICES * NORMAL
        ]
        identification.ReferencedSegmentNumber = segment
        group.PlanePositionSequence = [place]
        group.SegmentIdentificationSequence = [identification]
        made.PerFrameFunctionalGroupsSequence.append(group)
    bits = np.concatenate([mask.ravel() for _, _, mask in frames]).astype(np.uint8)
    packed = np.packbits(bits, bitorder="little").tobytes()
    made.PixelData = packed + b"\0" * (len(packed) % 2)
    for name, value in values.items():
        setattr(made, name, value)
    return save(made, path)


def random_frames(seed: int = 0) -> list[tuple[int, int, np.ndarray]]:
    rng = np.random.default_rng(seed)
    masks = [rng.random((ROWS, COLUMNS)) < 0.3 for _ in range(4)]
    return [(1, 2, masks[0]), (1, 5, masks[1]), (4, 3, masks[2]), (4, 0, masks[3])]


def test_each_segment_is_where_its_frames_say(tmp_path: Path) -> None:
    frames = random_frames()
    path = segmentation(frames, tmp_path / "x.dcm")
    assert is_dicom_mask(path)
    found = read_mask(path, grid())
    expected = np.zeros((COLUMNS, ROWS, SLICES), np.uint16)
    for segment, k, mask in frames:
        for row, column in np.argwhere(mask):
            expected[column, row, k] = segment
    np.testing.assert_array_equal(found.labels, expected)
    assert (found.kind, found.contested_voxels) == ("dicom-seg", 0)
    only = read_mask(path, grid(), (4,)).labels
    np.testing.assert_array_equal(only, np.where(expected == 4, 4, 0))


def test_a_voxel_that_two_segments_claim_is_the_firsts_and_counted(tmp_path: Path) -> None:
    mask = np.zeros((ROWS, COLUMNS), bool)
    mask[2:5, 3:9] = True
    path = segmentation([(2, 1, mask), (7, 1, mask)], tmp_path / "x.dcm")
    found = read_mask(path, grid())
    assert set(np.unique(found.labels)) == {0, 2}
    assert found.contested_voxels == 18


def test_a_mask_of_other_voxels_is_refused(tmp_path: Path) -> None:
    path = segmentation(random_frames(), tmp_path / "x.dcm")
    affine = grid().affine.copy()
    affine[:3, 3] += 0.5 * affine[:3, 0]
    with pytest.raises(GeometryMismatchError, match="voxels of the series"):
        read_mask(path, Geometry((COLUMNS, ROWS, SLICES), affine, FRAME))
    with pytest.raises(GeometryMismatchError, match="voxels of the series"):
        read_mask(path, Geometry((COLUMNS, ROWS, 3), grid().affine, FRAME))
    with pytest.raises(GeometryMismatchError, match="frame of reference"):
        read_mask(path, Geometry((COLUMNS, ROWS, SLICES), grid().affine, "1.2.9"))


def test_what_is_no_mask_is_refused(tmp_path: Path) -> None:
    fractional = segmentation(random_frames(), tmp_path / "x.dcm", SegmentationType="FRACTIONAL")
    with pytest.raises(UnsupportedImageError, match="fractions"):
        read_mask(fractional, grid())
    cut = segmentation(random_frames(), tmp_path / "y.dcm", NumberOfFrames=40)
    with pytest.raises(UnreadableFileError):
        read_mask(cut, grid())
    (tmp_path / "z.dcm").write_bytes(b"nothing")
    assert not is_dicom_mask(tmp_path / "z.dcm")


def structures(regions: dict[int, list[tuple[int, list[tuple[float, float]]]]], path: Path) -> Path:
    """A structure set: region to contours, each a slice and its (column, row) corners."""
    made = Dataset()
    made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    frame = Dataset()
    frame.FrameOfReferenceUID = FRAME
    made.ReferencedFrameOfReferenceSequence = [frame]
    made.ROIContourSequence = []
    for number, contours in regions.items():
        item = Dataset()
        item.ReferencedROINumber = number
        item.ContourSequence = []
        for k, corners in contours:
            contour = Dataset()
            contour.ContourGeometricType = "CLOSED_PLANAR"
            points = [
                ORIGIN
                + k * BETWEEN_SLICES * NORMAL
                + column * BETWEEN_COLUMNS * ROW_WAY
                + row * BETWEEN_ROWS * COLUMN_WAY
                for column, row in corners
            ]
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = [round(float(x), 3) for point in points for x in point]
            item.ContourSequence.append(contour)
        made.ROIContourSequence.append(item)
    return save(made, path)


def rectangle(low: tuple[float, float], high: tuple[float, float]) -> list[tuple[float, float]]:
    return [low, (high[0], low[1]), high, (low[0], high[1])]


def test_a_region_holds_the_voxels_whose_centres_its_contours_surround(tmp_path: Path) -> None:
    path = structures(
        {
            3: [
                (2, rectangle((1.5, 2.5), (9.5, 8.5))),
                (2, rectangle((3.5, 4.5), (5.5, 6.5))),  # a hole
                (4, rectangle((0.6, 0.6), (2.4, 3.4))),
            ],
            8: [(6, [(2.0, 1.0), (11.0, 1.2), (6.0, 9.4)])],
        },
        tmp_path / "x.dcm",
    )
    found = read_mask(path, grid())
    expected = np.zeros((COLUMNS, ROWS, SLICES), np.uint16)
    expected[2:10, 3:9, 2] = 3
    expected[4:6, 5:7, 2] = 0
    expected[1:3, 1:4, 4] = 3
    np.testing.assert_array_equal(found.labels[:, :, :6], expected[:, :, :6])
    triangle = found.labels[:, :, 6]
    assert triangle[6, 5] == 8
    assert triangle[2, 8] == 0
    # Half the base times the height, within half a row of voxels.
    assert np.count_nonzero(triangle) == pytest.approx(9 * 8.3 / 2, abs=6)
    assert found.kind == "rtstruct"


def test_contours_between_the_slices_are_refused(tmp_path: Path) -> None:
    path = structures({1: [(2, rectangle((1, 2), (7, 8)))]}, tmp_path / "x.dcm")
    affine = grid().affine.copy()
    affine[:3, 3] += 0.5 * affine[:3, 2]
    with pytest.raises(GeometryMismatchError, match="voxels of the series"):
        read_mask(path, Geometry((COLUMNS, ROWS, SLICES), affine, FRAME))
