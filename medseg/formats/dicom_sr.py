"""The door to DICOM Structured Reports: TID 1500 with two groups for every lesion.

The TID 1411 group points to the lesion's segment in `segmentation.dcm` and holds volume, long and
short axis, and intensities where their unit is known. No coordinates are allowed in it, so that a
TID 1501 group with the same tracking UID holds both axes with their ends, on the slice that they
were measured in: a viewer draws them from there.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as SrCode
from pydicom.uid import Comprehensive3DSRStorage

from medseg.core.geometry import Geometry
from medseg.core.measurements import Measurement, Segment
from medseg.core.structures import Code
from medseg.core.volume import IntensityUnit
from medseg.formats.dicom_attributes import derived_uid
from medseg.formats.dicom_objects import (
    MAKER,
    SIDES,
    ObjectKind,
    ObjectRun,
    ascii_only,
    new_object,
    source_moment,
    write_object,
)
from medseg.formats.dicom_seg import ALTERED_STRUCTURE, LESIONS, tracking_id
from medseg.formats.dicom_values import quiet

MEASUREMENTS = ObjectKind(
    "measurements", Comprehensive3DSRStorage, "SR", 9003, "medseg measurements"
)

Line = hd.sr.CoordinatesForMeasurement | hd.sr.CoordinatesForMeasurement3D
"""The two ends of a diameter."""

INTENSITIES = {
    IntensityUnit.SUV.value: (
        SrCode("126401", "DCM", "SUVbw"),
        SrCode("g/ml{SUVbw}", "UCUM", "Standardized Uptake Value body weight"),
    ),
    IntensityUnit.HU.value: (
        SrCode("112031", "DCM", "Attenuation Coefficient"),
        SrCode("[hnsf'U]", "UCUM", "Hounsfield unit"),
    ),
}
"""Unit of the intensities to the quantity and its unit; others have no code that fits."""

DERIVATIONS = {
    "intensity_mean": codes.SCT.Mean,
    "intensity_min": codes.SCT.Minimum,
    "intensity_max": codes.SCT.Maximum,
    "intensity_std": codes.SCT.StandardDeviation,
    "suv_peak": codes.DCM.PeakValueWithinROI,
}
"""Column to how the value came about (PS3.16 CID 7464)."""

LPS = np.array([-1.0, -1.0, 1.0])


def write_measurements(
    path: Path,
    lesions: Sequence[Measurement],
    geometry: Geometry,
    segmentation_uid: str,
    run: ObjectRun,
) -> None:
    """Write the measurements of the lesions as a Comprehensive 3D SR, unverified.

    Args:
        path: The file to write.
        lesions: At least one, in the order of the segments of `segmentation.dcm`.
        geometry: The grid that they were measured on.
        segmentation_uid: SOP Instance UID of `segmentation.dcm`.
        run: Its source has one slice for each k of the geometry.
    """
    groups: list[
        hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations
        | hd.sr.MeasurementsAndQualitativeEvaluations
    ] = []
    for number, row in enumerate(lesions, start=1):
        groups.append(_group(number, row, segmentation_uid, run))
        groups.append(_axes_group(row, geometry, run))
    observer = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=derived_uid(MAKER), name=MAKER, manufacturer_name=MAKER, model_name=MAKER
        ),
    )
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    rows = json.dumps([asdict(row) for row in lesions], sort_keys=True)
    digest = hashlib.sha256(rows.encode()).hexdigest()
    base = new_object(run, MEASUREMENTS, segmentation_uid, digest)
    with quiet():
        made = Dataset()
        made.update(_document(report, segmentation_uid, base, run))
    made.update(base)
    del made.ContributingEquipmentSequence  # highdicom's own, with the time of day
    made.ContentDate, made.ContentTime = source_moment(run.source)
    write_object(path, made)


def _document(
    report: hd.sr.MeasurementReport, segmentation_uid: str, base: Dataset, run: ObjectRun
) -> hd.sr.Comprehensive3DSR:
    """The document; highdicom asks for its evidence as datasets, of which it reads the UIDs."""
    uids = dict.fromkeys(one.sop_instance_uid for one in run.source.slices)
    series = run.source.value("SeriesInstanceUID")
    image = run.source.value("SOPClassUID")
    evidence = [_evidence(image, uid, series, run) for uid in uids]
    seg_series = derived_uid("series", LESIONS.name, run.identity, series)
    evidence.append(_evidence(LESIONS.sop_class, segmentation_uid, seg_series, run))
    return hd.sr.Comprehensive3DSR(
        evidence=evidence,
        content=report[0],
        series_instance_uid=base.SeriesInstanceUID,
        series_number=MEASUREMENTS.series_number,
        sop_instance_uid=base.SOPInstanceUID,
        instance_number=1,
        manufacturer=MAKER,
        is_complete=True,
    )


def _evidence(sop_class: str, uid: str, series: str, run: ObjectRun) -> Dataset:
    one = Dataset()
    one.SOPClassUID, one.SOPInstanceUID = sop_class, uid
    one.SeriesInstanceUID = series
    one.StudyInstanceUID = run.source.value("StudyInstanceUID")
    for name in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"):
        setattr(one, name, "")
    one.StudyID = one.StudyDate = one.StudyTime = ""
    return one


def _group(
    number: int, row: Measurement, segmentation_uid: str, run: ObjectRun
) -> hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    """Everything about one lesion."""
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=LESIONS.sop_class,
            sop_instance_uid=segmentation_uid,
            segment_number=number,
            source_series=hd.sr.SourceSeriesForSegmentation(run.source.value("SeriesInstanceUID")),
        ),
        measurements=[_volume(row), *_axes(row), *_intensities(row)],
        **_about(row, run),
    )


def _axes_group(
    row: Measurement, geometry: Geometry, run: ObjectRun
) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    """Both axes of one lesion with their ends."""
    ends = (row.longest_axial_diameter_ends_mm, row.short_axis_ends_mm)
    lines = [_line(one, row, geometry, run) for one in ends]
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        measurements=_axes(row, *lines), **_about(row, run)
    )


def _about(row: Measurement, run: ObjectRun) -> dict[str, Any]:
    """What both groups of a lesion say of it, as highdicom's arguments."""
    region, side = run.region(row.organ)
    laterality = None if side == "none" else _sr(SIDES[side])
    return {
        "tracking_identifier": hd.sr.TrackingIdentifier(row.tracking_uid, tracking_id(row)),
        "finding_category": _sr(ALTERED_STRUCTURE),
        "finding_type": _sr(run.structure(row.structure).code),
        "finding_sites": [hd.sr.FindingSite(_sr(region), laterality)],
        "algorithm_id": hd.sr.AlgorithmIdentification(
            name=ascii_only(run.algorithm, 64), version=run.identity[:16]
        ),
    }


def _volume(row: Measurement) -> hd.sr.Measurement:
    return hd.sr.Measurement(
        name=codes.SCT.Volume,
        value=row.volume_mm3,
        unit=codes.UCUM.CubicMillimeter,
        method=codes.DCM.SumOfSegmentedVoxelMethodForVolume,
    )


def _axes(row: Measurement, *lines: Line) -> list[hd.sr.Measurement]:
    """Long axis and short axis, with their ends where these are given."""
    axes = (
        (codes.SCT.LongAxis, row.longest_axial_diameter_mm, lines[:1]),
        (codes.SCT.ShortAxis, row.short_axis_mm, lines[1:]),
    )
    return [
        hd.sr.Measurement(
            name=name,
            value=length,
            unit=codes.UCUM.Millimeter,
            referenced_coordinates=line or None,
        )
        for name, length, line in axes
    ]


def _line(ends: Segment, row: Measurement, geometry: Geometry, run: ObjectRun) -> Line:
    """The two ends of a diameter: on the source's slice that it was measured in, else in space."""
    points = np.array(ends)
    if row.slice_sop_instance_uid is None:
        return hd.sr.CoordinatesForMeasurement3D(
            graphic_type="POLYLINE",
            graphic_data=points * LPS,
            frame_of_reference_uid=run.source.value("FrameOfReferenceUID"),
        )
    indices = geometry.to_index(points)
    place = run.source.slices[round(float(indices[0, 2]))]
    image = hd.sr.SourceImageForRegion(
        run.source.value("SOPClassUID"),
        place.sop_instance_uid,
        None if place.frame is None else [place.frame],
    )
    # The centre of the first pixel is at 0.5, 0.5 (PS3.3 C.18.6.1.1).
    return hd.sr.CoordinatesForMeasurement("POLYLINE", indices[:, :2] + 0.5, image)


def _intensities(row: Measurement) -> list[hd.sr.Measurement]:
    """Statistics of the intensities, where their unit has a code."""
    known = INTENSITIES.get(row.intensity_unit)
    values = {column: getattr(row, column) for column in DERIVATIONS}
    if known is None:
        return []
    return [
        hd.sr.Measurement(name=known[0], value=values[column], unit=known[1], derivation=derivation)
        for column, derivation in DERIVATIONS.items()
        if values[column] is not None
    ]


def _sr(code: Code) -> SrCode:
    return SrCode(code.value, code.scheme, ascii_only(code.meaning, 64))
