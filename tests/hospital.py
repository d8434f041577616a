"""A PET/CT study as a hospital sends it, written with pydicom alone."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from scipy import ndimage

from medseg.core.geometry import Geometry
from tests import dicom_series
from tests.dicom_series import AXES, FDG, drug

FRAME = "2.25.77"
STUDY = "2.25.78"


def grid(spacing_mm: tuple[float, float, float], shape: tuple[int, int, int]) -> Geometry:
    """Oblique and right-handed."""
    directions = np.column_stack([AXES[:, 0], AXES[:, 1], np.cross(AXES[:, 0], AXES[:, 1])])
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing_mm
    affine[:3, 3] = (40, -20, 110)
    return Geometry(shape, affine)


THIN = grid((1.1, 1.3, 1.5), (44, 52, 30))
THICK = grid((1.1, 1.3, 5.0), (44, 52, 9))
PET_GRID = grid((4.1, 3.9, 3.27), (12, 14, 14))


def body(geometry: Geometry, blur: float) -> np.ndarray:
    """Soft tissue of 40 HU; its noise is smoothed for a soft kernel and white for a sharp one."""
    noise = np.random.default_rng(3).normal(0, 20, geometry.shape)
    if blur:
        noise = ndimage.gaussian_filter(noise, (blur, blur, 0)) * 4 * blur
    return np.round(40 + noise).astype(np.int16)


def ct(number: int, geometry: Geometry, blur: float, **tags: object) -> list[Dataset]:
    shared = {"SeriesNumber": number, "FrameOfReferenceUID": FRAME, "StudyInstanceUID": STUDY}
    return dicom_series.slices(geometry, body(geometry, blur), "CT", **{**shared, **tags})


def pet(number: int, **tags: object) -> list[Dataset]:
    stored = np.random.default_rng(5).integers(0, 3000, PET_GRID.shape).astype(np.int16)
    shared = {"SeriesNumber": number, "FrameOfReferenceUID": FRAME, "StudyInstanceUID": STUDY}
    dose = {"RadiopharmaceuticalInformationSequence": drug()}
    return dicom_series.slices(PET_GRID, stored, "PT", **{**FDG, **dose, **shared, **tags})


def capture(number: int) -> Dataset:
    """A rotating projection, stored as a picture."""
    one = pet(number, SOPClassUID=SecondaryCaptureImageStorage, ConversionType="WSD")[0]
    del one.ImagePositionPatient
    return one


def dose_report(number: int) -> Dataset:
    one = Dataset()
    one.SOPClassUID, one.SOPInstanceUID = ComprehensiveSRStorage, generate_uid()
    one.SeriesInstanceUID, one.StudyInstanceUID = generate_uid(), STUDY
    one.Modality, one.SeriesNumber = "SR", number
    return one


def write(folder: Path) -> Path:
    """The whole study: scout, three CT, PET with and without correction, pictures and a report."""
    scout = ct(1, THICK, 1.0, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])[:1]
    mip = pet(7, ImageType=["DERIVED", "SECONDARY", "MIP"])
    series = {
        "scout": scout,
        "thin": ct(2, THIN, 1.0),
        "thick": ct(3, THICK, 1.0),
        "lung": ct(4, THIN, 0.0, ConvolutionKernel="LUNG"),
        "ac": pet(5),
        "nac": pet(6, CorrectedImage=["DECY", "SCAT"]),
        "mip": mip,
        "picture": [capture(8)],
        "dose": [dose_report(9)],
    }
    for name, datasets in series.items():
        dicom_series.write(folder / name, datasets)
    return folder
