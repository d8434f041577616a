"""DICOM files for tests, written with pydicom alone: our writer is not asked to prove itself."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    generate_uid,
)

from medseg.core.geometry import Geometry

AXES = np.linalg.qr([[-1.5, 0.0, 0.4], [0.0, -1.9, 1.2], [0.1, 0.2, 3.0]])[0]
GRID = Geometry(
    (6, 5, 9),
    np.vstack(
        [
            np.column_stack(
                [
                    AXES[:, 0] * 1.5,
                    AXES[:, 1] * 1.9,
                    np.cross(AXES[:, 0], AXES[:, 1]) * 3.25,
                    (40, -20, 110),
                ]
            ),
            (0, 0, 0, 1),
        ]
    ),
)
"""Right-handed, oblique, with three spacings."""

STORED = np.random.default_rng(0).integers(-1000, 3000, GRID.shape).astype(np.int16)

KINDS = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "PT": PositronEmissionTomographyImageStorage,
}

FDG: Mapping[str, object] = {
    "Units": "BQML",
    "DecayCorrection": "START",
    "CorrectedImage": ["DECY", "ATTN"],
    "PatientWeight": "70",
    "SeriesDate": "20240305",
    "SeriesTime": "130000",
    "AcquisitionDate": "20240305",
    "AcquisitionTime": "130000",
}
"""A PET of 70 kg; with `drug()` 370 MBq of F-18 one hour before."""


def drug(**changed: object) -> Items:
    """The radiopharmaceutical of that PET, some of its tags changed; None removes one."""
    item = Dataset()
    tags = {
        "RadionuclideTotalDose": "370000000",
        "RadionuclideHalfLife": "6586.2",
        "RadiopharmaceuticalStartTime": "120000",
        **changed,
    }
    for name, value in tags.items():
        if value is not None:
            setattr(item, name, value)
    return Items([item])


def slices(
    geometry: Geometry, stored: NDArray[np.int16], modality: str = "CT", **tags: object
) -> list[Dataset]:
    """A dataset for each k of a grid; rows run along i, as DICOM's columns do.

    The grid must be right-handed for the slices to ascend with k.
    """
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ geometry.affine
    spacing = geometry.spacing_mm
    shared = {"series": generate_uid(), "frame": generate_uid(), "study": generate_uid()}
    made = []
    for k in range(geometry.shape[2]):
        one = Dataset()
        one.SOPClassUID = KINDS[modality]
        one.SOPInstanceUID = generate_uid()
        one.SeriesInstanceUID = shared["series"]
        one.StudyInstanceUID = shared["study"]
        one.FrameOfReferenceUID = shared["frame"]
        one.Modality = modality
        one.PatientName = "CANARY^TEST"
        one.PatientID = "CANARY-ID"
        one.SeriesNumber = 4
        one.InstanceNumber = k + 1
        one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        one.ImagePositionPatient = [f"{x:.9g}" for x in lps[:3, 2] * k + lps[:3, 3]]
        cosines = np.concatenate([lps[:3, 0] / spacing[0], lps[:3, 1] / spacing[1]])
        one.ImageOrientationPatient = [f"{x:.9g}" for x in cosines]
        one.PixelSpacing = [f"{spacing[1]:.9g}", f"{spacing[0]:.9g}"]
        one.Columns, one.Rows = geometry.shape[:2]
        one.SamplesPerPixel = 1
        one.PhotometricInterpretation = "MONOCHROME2"
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation = 15, 1
        one.RescaleSlope, one.RescaleIntercept = "1", "0"
        one.PixelData = np.ascontiguousarray(stored[:, :, k].T, "<i2").tobytes()
        for name, value in tags.items():
            setattr(one, name, value)
        made.append(one)
    return made


def example(modality: str = "CT", **tags: object) -> list[Dataset]:
    """The slices of one small oblique series."""
    return slices(GRID, STORED, modality, **tags)


def enhanced(geometry: Geometry, stored: NDArray[np.int16], order: Sequence[int]) -> Dataset:
    """One enhanced MR object; frame f holds slice order[f], with a slope of f + 1."""
    classic = slices(geometry, stored, "MR")
    one = classic[0]
    one.SOPClassUID = EnhancedMRImageStorage
    one.NumberOfFrames = len(classic)
    one.PixelData = b"".join(classic[k].PixelData for k in order)
    measures, plane = Dataset(), Dataset()
    measures.PixelSpacing = one.PixelSpacing
    plane.ImageOrientationPatient = one.ImageOrientationPatient
    shared = Dataset()
    shared.PixelMeasuresSequence = Items([measures])
    shared.PlaneOrientationSequence = Items([plane])
    one.SharedFunctionalGroupsSequence = Items([shared])
    one.PerFrameFunctionalGroupsSequence = Items(
        [_frame_group(classic[k], slope=f + 1) for f, k in enumerate(order)]
    )
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(one, name)
    return one


def _frame_group(classic: Dataset, slope: int) -> Dataset:
    place, values, group = Dataset(), Dataset(), Dataset()
    place.ImagePositionPatient = classic.ImagePositionPatient
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = str(slope), "0", "US"
    group.PlanePositionSequence = Items([place])
    group.PixelValueTransformationSequence = Items([values])
    return group


def write(
    folder: Path, datasets: Sequence[Dataset], name: Callable[[int], str] = "file{}".format
) -> Path:
    """Write each dataset under a name made from its place in the list."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, dataset in enumerate(datasets):
        if not hasattr(dataset, "file_meta"):
            dataset.file_meta = FileMetaDataset()
            dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(folder / name(place), enforce_file_format=True)
    return folder
