"""Volumes as classic DICOM image series (PET Image Storage, CT Image Storage), one file a slice.

Column c, row r and slice k of the files are voxel (i, j, k) = (c, r, k) of the volume. Writing the
same volume twice gives the same bytes: no clock, no random UID.
"""

from collections.abc import Iterator
from copy import deepcopy
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    PositronEmissionTomographyImageStorage,
)
from pydicom.valuerep import format_number_as_ds

from medseg.core.geometry import Geometry
from medseg.core.volume import IntensityUnit, Volume
from medseg.formats.dicom_attributes import SeriesAttributes, Tracer, derived_uid, suv_to_bqml

Slice = tuple[NDArray[np.float64], Dataset]
"""Stored values (I, J) of one slice, and the part of its header that other slices do not share."""

RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])
"""Factors that turn a RAS+ position or direction into DICOM's LPS."""

STORED_MAX = 32_767
"""Largest stored value of a signed 16-bit pixel."""

CT_INTERCEPT = -1024
"""HU of stored value 0."""

RIGHT_ANGLE_TOLERANCE = 1e-4
"""Largest cosine between two axes that still counts as a right angle (DICOM PS3.3 C.7.6.2.1.1)."""


BED_SLICES = 47
"""Slices that a PET bed position covers, as on common scanners."""

BED_SECONDS = 180
"""Duration of a PET bed position."""


def write_series(folder: Path, volume: Volume, series: SeriesAttributes) -> None:
    """Write a volume as files `IM0001`, `IM0002`, ... without an ending, from its last slice down.

    HU is written as CT in steps of 1 HU; SUV and Bq/mL as PET in Bq/mL, each slice in steps of its
    highest magnitude / 32767. On a left-handed grid, which DICOM slices cannot express, every voxel
    keeps its place in the patient, but a reader that stacks slices along their normal numbers them
    the other way round.

    Args:
        folder: Made where it does not exist.
        volume: The axes of its grid are at right angles.
        series: What to say of it.

    Raises:
        ValueError: The grid is sheared or has no frame of reference, the unit is arbitrary, a PET
            comes without a tracer, or a CT with values that 16 bits cannot hold.
    """
    if volume.unit is IntensityUnit.HU:
        common, slices = _ct(volume, series)
    elif volume.unit in (IntensityUnit.SUV, IntensityUnit.BQML):
        common, slices = _pet(volume, series)
    else:
        raise ValueError(f"no kind of series for intensities in {volume.unit}")
    folder.mkdir(parents=True, exist_ok=True)
    count = volume.geometry.shape[2]
    for k, (stored, own) in enumerate(slices):
        slice_ = deepcopy(common)
        slice_.update(own)
        _add_position(slice_, volume.geometry, k)
        slice_.InstanceNumber = count - k
        slice_.SOPInstanceUID = derived_uid(common.SeriesInstanceUID, str(count - k))
        slice_.PixelData = np.ascontiguousarray(stored.T.astype("<i2")).tobytes()
        slice_.file_meta = FileMetaDataset()
        slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slice_.file_meta.ImplementationClassUID = UID(derived_uid("medseg"))
        slice_.file_meta.ImplementationVersionName = "MEDSEG"
        slice_.save_as(folder / f"IM{count - k:04d}", enforce_file_format=True)


def _ct(volume: Volume, series: SeriesAttributes) -> tuple[Dataset, Iterator[Slice]]:
    """Header of a CT series and, for each slice, stored values and header."""
    stored = np.rint(volume.data.astype(np.float64)) - CT_INTERCEPT
    if np.abs(stored).max() > STORED_MAX:
        raise ValueError("HU beyond what 16 bits can hold")
    common = _header(volume.geometry, series, CTImageStorage)
    common.Modality = "CT"
    common.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    common.PatientPosition = "HFS"
    common.KVP = "120"
    common.ScanOptions = "HELICAL MODE"
    common.ConvolutionKernel = "STANDARD"
    common.RescaleIntercept = str(CT_INTERCEPT)
    common.RescaleSlope = "1"
    common.RescaleType = "HU"
    common.WindowCenter = "40"
    common.WindowWidth = "400"
    own = _times(series.started)
    return common, ((stored[..., k], own) for k in range(stored.shape[2]))


def _pet(volume: Volume, series: SeriesAttributes) -> tuple[Dataset, Iterator[Slice]]:
    """Header of a PET series and, for each slice, stored values and header."""
    if series.tracer is None:
        raise ValueError("a PET series needs a tracer")
    factor = suv_to_bqml(series) if volume.unit is IntensityUnit.SUV else 1.0
    activity = volume.data.astype(np.float64) * factor
    common = _header(volume.geometry, series, PositronEmissionTomographyImageStorage)
    common.Modality = "PT"
    common.ImageType = ["ORIGINAL", "PRIMARY"]
    common.PatientOrientationCodeSequence = [_code("102538003", "SCT", "recumbent")]
    common.PatientOrientationCodeSequence[0].PatientOrientationModifierCodeSequence = [
        _code("40199007", "SCT", "supine")
    ]
    common.PatientGantryRelationshipCodeSequence = [_code("102540001", "SCT", "headfirst")]
    common.SeriesType = ["WHOLE BODY", "IMAGE"]
    common.Units = "BQML"
    common.CountsSource = "EMISSION"
    common.CorrectedImage = ["DECY", "ATTN", "SCAT", "DTIM", "RAN", "NORM"]
    common.DecayCorrection = "START"
    common.RandomsCorrectionMethod = "DLYD"
    common.AttenuationCorrectionMethod = "CT"
    common.ScatterCorrectionMethod = "model-based"
    common.ReconstructionMethod = "synthetic"
    common.CollimatorType = "NONE"
    common.NumberOfSlices = activity.shape[2]
    common.RadiopharmaceuticalInformationSequence = [_radiopharmaceutical(series.tracer)]
    common.RescaleIntercept = "0"
    planes = range(activity.shape[2])
    return common, (_pet_slice(activity, k, series, series.tracer) for k in planes)


def _pet_slice(
    activity: NDArray[np.float64], k: int, series: SeriesAttributes, tracer: Tracer
) -> Slice:
    """Stored values and header of one PET slice, acquired at its bed's turn."""
    plane = activity[..., k]
    slope = float(format_number_as_ds((float(np.abs(plane).max()) or 1.0) / STORED_MAX))
    rate = np.log(2) / tracer.half_life_seconds
    since_start = k // BED_SLICES * BED_SECONDS
    mean_time = np.log(rate * BED_SECONDS / -np.expm1(-rate * BED_SECONDS)) / rate
    own = _times(series.started + timedelta(seconds=since_start))
    own.RescaleSlope = format_number_as_ds(slope)
    own.ActualFrameDuration = str(BED_SECONDS * 1000)
    own.FrameReferenceTime = format_number_as_ds(float(1000 * (since_start + mean_time)))
    own.DecayFactor = format_number_as_ds(float(np.exp(rate * (since_start + mean_time))))
    own.ScatterFractionFactor = "0"
    own.DoseCalibrationFactor = "1"
    own.ImageIndex = activity.shape[2] - k
    return np.clip(np.round(plane / slope), -STORED_MAX, STORED_MAX), own


def _radiopharmaceutical(tracer: Tracer) -> Dataset:
    """What was injected (PS3.3 C.8.9.2)."""
    drug = Dataset()
    drug.Radiopharmaceutical = "Fluorodeoxyglucose F^18^"
    drug.RadiopharmaceuticalRoute = "Intravenous route"
    drug.RadiopharmaceuticalStartTime = f"{tracer.injected:%H%M%S}"
    drug.RadiopharmaceuticalStartDateTime = f"{tracer.injected:%Y%m%d%H%M%S}"
    drug.RadionuclideTotalDose = format_number_as_ds(tracer.dose_bq)
    drug.RadionuclideHalfLife = format_number_as_ds(tracer.half_life_seconds)
    drug.RadionuclidePositronFraction = format_number_as_ds(tracer.positron_fraction)
    drug.RadionuclideCodeSequence = [_code("77004003", "SCT", "^18^Fluorine")]
    drug.RadiopharmaceuticalCodeSequence = [_code("35321007", "SCT", "Fluorodeoxyglucose F^18^")]
    return drug


def _header(geometry: Geometry, series: SeriesAttributes, sop_class: UID) -> Dataset:
    """What all slices of a series share, whatever its modality."""
    if geometry.frame_of_reference is None:
        raise ValueError("DICOM slices need a frame of reference")
    study, patient = series.study, series.study.patient
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.SOPClassUID = sop_class
    header.StudyInstanceUID = study.uid
    header.SeriesInstanceUID = derived_uid(study.uid, str(series.number))
    header.FrameOfReferenceUID = geometry.frame_of_reference
    header.PositionReferenceIndicator = ""
    header.PatientName = patient.name
    header.PatientID = patient.patient_id
    header.PatientBirthDate = f"{patient.birth_date:%Y%m%d}"
    header.PatientSex = patient.sex
    header.PatientWeight = format_number_as_ds(patient.weight_kg)
    header.PatientSize = format_number_as_ds(patient.size_m)
    header.BodyPartExamined = "WHOLEBODY"
    header.StudyID = study.study_id
    header.StudyDate = f"{study.started:%Y%m%d}"
    header.StudyTime = f"{study.started:%H%M%S}"
    header.StudyDescription = study.description
    header.AccessionNumber = ""
    header.ReferringPhysicianName = ""
    header.SeriesNumber = series.number
    header.SeriesDescription = series.description
    header.SeriesDate = f"{series.started:%Y%m%d}"
    header.SeriesTime = f"{series.started:%H%M%S}"
    header.AcquisitionNumber = 1
    header.Manufacturer = "medseg"
    header.ManufacturerModelName = "phantom"
    header.BurnedInAnnotation = "NO"
    header.update(_grid(geometry))
    return header


def _grid(geometry: Geometry) -> Dataset:
    """Orientation and spacing of the slices (PS3.3 C.7.6.2), and how pixels are stored."""
    columns, rows, _ = geometry.shape
    towards = geometry.affine[:3, :3] / np.array(geometry.spacing_mm)
    if np.abs(towards.T @ towards - np.eye(3)).max() > RIGHT_ANGLE_TOLERANCE:
        raise ValueError("DICOM slices cannot express a sheared grid")
    along_row, along_column, _ = towards.T * RAS_TO_LPS + 0.0  # no minus before a zero
    i_mm, j_mm, k_mm = geometry.spacing_mm
    grid = Dataset()
    grid.ImageOrientationPatient = [
        format_number_as_ds(float(c)) for c in (*along_row, *along_column)
    ]
    grid.PixelSpacing = [format_number_as_ds(j_mm), format_number_as_ds(i_mm)]
    grid.SliceThickness = format_number_as_ds(k_mm)
    grid.Rows, grid.Columns = rows, columns
    grid.SamplesPerPixel = 1
    grid.PhotometricInterpretation = "MONOCHROME2"
    grid.BitsAllocated, grid.BitsStored, grid.HighBit = 16, 16, 15
    grid.PixelRepresentation = 1
    return grid


def _add_position(slice_: Dataset, geometry: Geometry, k: int) -> None:
    """Where slice k lies: the centre of its first voxel."""
    position = geometry.to_world(np.array([0, 0, k])) * RAS_TO_LPS
    slice_.ImagePositionPatient = [format_number_as_ds(float(c)) for c in position]


def _times(moment: datetime) -> Dataset:
    """When a slice was acquired; its content is of the same moment."""
    times = Dataset()
    times.AcquisitionDate = times.ContentDate = f"{moment:%Y%m%d}"
    times.AcquisitionTime = times.ContentTime = f"{moment:%H%M%S}"
    return times


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue = value
    code.CodingSchemeDesignator = scheme
    code.CodeMeaning = meaning
    return code
