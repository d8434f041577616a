"""Measurements and pictures to a report."""

from collections.abc import Collection, Sequence

from medseg.config import Protocol, load_structures
from medseg.core.geometry import Geometry
from medseg.core.instances import InstanceMap
from medseg.core.measurements import Measurement
from medseg.core.report import Finding, Report, RunRecord
from medseg.core.study import Series, Study
from medseg.core.volume import IntensityUnit
from medseg.report.figures import lesion_pictures
from medseg.report.overview import overview
from medseg.report.scene import Scene, scene
from medseg.report.slices import slice_stack

THIN_SLICES_MM = 5.0
"""How far apart slices may lie for the plain limit of a measurable lesion (RECIST 1.1, 3.1.1)."""


def build_report(
    protocol: Protocol,
    study: Study,
    lesions: InstanceMap,
    organs: InstanceMap,
    measurements: Sequence[Measurement],
    run: RunRecord,
) -> Report:
    """Everything that the report page shows.

    Args:
        protocol: Title, window, size limit and language.
        study: The series; the main one is shown in the pictures.
        lesions: On the acquired grid of the main series.
        organs: On the same grid.
        measurements: One for each instance of the two maps.
        run: How the numbers were made.

    Raises:
        ValueError: Maps, measurements and main series do not belong together.
    """
    of_lesions = _rows(measurements, lesions, "lesion")
    of_organs = _rows(measurements, organs, "organ")
    settings = protocol.report
    main = study.series[protocol.main_role]
    shown = scene(main.volume, lesions, of_lesions, settings.window)
    organ_scene = scene(main.volume, organs, of_organs, settings.window)
    measurable_mm = _measurable_mm(settings.measurable_mm, main.volume.geometry)
    below = {row.instance for row in of_lesions if row.volume_mm3 < settings.size_limit_mm3}
    return Report(
        title=protocol.title,
        study_key=study.study_key,
        series=tuple(_line(role, series) for role, series in study.series.items()),
        lesions=tuple(
            Finding(row, key_images, row.instance in below)
            for row, key_images in zip(of_lesions, lesion_pictures(shown), strict=True)
        ),
        organs=tuple(Finding(row, (), below_size_limit=False) for row in of_organs),
        flags=tuple(dict.fromkeys(run.flags)),
        overview=overview(shown, below, organ_scene),
        size_limit_mm3=settings.size_limit_mm3,
        method=(
            *_method(protocol, shown, below, measurable_mm),
            *(["In the overview, organs have dashed blue outlines."] if of_organs else ()),
        ),
        language=settings.language,
        run=run,
        slices=slice_stack(shown, organs),
        series_number=main.pacs_number,
        measurable_mm=measurable_mm,
        titles={name: one.title for name, one in load_structures().items()},
    )


def _measurable_mm(limit_mm: float | None, geometry: Geometry) -> float | None:
    """The least longest diameter of a measurable lesion at this distance between slices."""
    apart_mm = geometry.spacing_mm[geometry.axial_axis]
    if limit_mm is None or apart_mm <= THIN_SLICES_MM:
        return limit_mm
    return max(limit_mm, 2 * apart_mm)


def _rows(
    measurements: Sequence[Measurement], instances: InstanceMap, kind: str
) -> list[Measurement]:
    """The measurements of a map's instances, in the order of their labels."""
    rows = sorted((m for m in measurements if m.kind == kind), key=lambda row: row.instance)
    measured = [(row.instance, row.tracking_uid) for row in rows]
    labelled = [(row.label, row.tracking_uid) for row in instances.instances]
    if measured != labelled:
        raise ValueError(f"{len(measured)} measurements for {len(labelled)} instances of a {kind}")
    return rows


def _line(role: str, series: Series) -> str:
    geometry = series.volume.geometry
    size = " × ".join(str(n) for n in geometry.shape)
    spacing = " × ".join(f"{step:.2f}" for step in geometry.spacing_mm)
    modality = f", {series.modality}" if series.modality else ""
    unit = "arbitrary unit" if series.volume.unit is IntensityUnit.ARBITRARY else series.volume.unit
    number = "" if series.pacs_number is None else f" (number {series.pacs_number} in the PACS)"
    return (
        f"{role}: series {series.number}{number}{modality}, {size} voxels of {spacing} mm, {unit}"
    )


def _method(
    protocol: Protocol, shown: Scene, below: Collection[int], measurable_mm: float | None
) -> tuple[str, ...]:
    """How to read the pictures and the numbers."""
    sentences = [
        "Pictures are in radiological convention: the patient's right is on the left of axial and "
        "coronal pictures, anterior on the left of sagittal ones. " + shown.scale.sentence,
        "The outline follows the edges of the voxels that were counted. A picture's own lesion has "
        "a solid orange outline; its neighbours have dashed blue ones with their numbers. Axial "
        "pictures lie in the slice of the longest diameter, the others run through the centroid.",
        "Volume is the number of voxels times the volume of a voxel. A cold core that a lesion "
        f"hides from at least {protocol.segment.core_sides} of six sides is part of it.",
        "The longest axial diameter (RECIST 1.1) is the greatest distance inside one axial slice, "
        "drawn solid; the short axis is the greatest distance across it in the same slice, drawn "
        "dashed. The 3D diameter is the greatest distance between any two points of the lesion.",
        "Positions are centroids in mm from the origin of the scanner's coordinates towards right "
        "(R) or left (L), anterior (A) or posterior (P), superior (S) or inferior (I); the origin "
        "is not the patient's midline.",
    ]
    if measurable_mm is not None:
        sentences.append(
            f"A lesion is measurable from a longest diameter of {measurable_mm:.1f} mm: "
            f"{protocol.report.measurable_mm:g} mm, or twice the distance between slices that lie "
            "more than 5 mm apart (RECIST 1.1, 3.1.1). The limit of its own for lymph nodes, 15 mm "
            "across, is not applied."
        )
    if below:
        sentences.append("In the overview, lesions below the size limit have a dashed outline.")
    if shown.volume.unit is IntensityUnit.SUV:
        peak_ml = protocol.measure.suv_peak_volume_mm3 / 1000
        sentences.append(
            "SUV is by body weight. SUVpeak is the highest mean in a ball of "
            f"{peak_ml:g} mL centred in the lesion (PERCIST 1.0). TLG, total lesion glycolysis, is "
            "SUVmean times volume."
        )
    return tuple(sentences)
