"""Instances and a volume to measurements."""

from collections.abc import Sequence

from medseg.config import MeasureSettings
from medseg.core.instances import InstanceMap
from medseg.core.measurements import MM3_PER_ML, Measurement
from medseg.core.study import SliceReference
from medseg.core.volume import IntensityUnit, Volume
from medseg.measure.diameters import axial_diameters, max_diameter_3d
from medseg.measure.intensity import intensities
from medseg.measure.region import Region, Turn, regions, turn_towards_ras
from medseg.measure.shape import surface
from medseg.measure.suv_peak import ball_kernel, suv_peak


def measure(
    instances: InstanceMap,
    volume: Volume,
    settings: MeasureSettings,
    slices: Sequence[SliceReference] = (),
) -> tuple[Measurement, ...]:
    """Measure every instance on the volume it was delineated on.

    The time grows with the bounding boxes of the instances, and once with the grid.

    Args:
        instances: What to measure.
        volume: Where the intensities come from, on the same grid.
        settings: What is measured beyond the fixed columns.
        slices: The DICOM slices of the volume, one for each k, or none. They are named where the
            stored slices are the axial ones; a series in another plane has no axial slice to name.

    Returns:
        One for each instance, in the order of the labels. SUVpeak and total lesion glycolysis only
        where the unit is SUV.

    Raises:
        ValueError: The grids differ, or there are slices, and not one for each k.
    """
    if not instances.geometry.matches(volume.geometry):
        raise ValueError("the labels and the volume lie on different grids")
    if slices and len(slices) != instances.geometry.shape[2]:
        raise ValueError(f"{len(slices)} slices for {instances.geometry.shape[2]} planes")
    turn = turn_towards_ras(instances.geometry)
    is_suv = volume.unit is IntensityUnit.SUV
    kernel = ball_kernel(turn.geometry, settings.suv_peak_volume_mm3) if is_suv else None
    data = turn.view(volume.data)
    rows = []
    for region in regions(instances, volume, turn):
        peak = None if kernel is None else suv_peak(region, data, kernel)
        rows.append(_measurement(region, volume.unit, peak, turn, slices))
    return tuple(rows)


def _measurement(
    region: Region,
    unit: IntensityUnit,
    peak: float | None,
    turn: Turn,
    slices: Sequence[SliceReference],
) -> Measurement:
    """All numbers of one region."""
    r, a, s = region.centroid_mm
    axial = axial_diameters(region.mask, region.geometry)
    largest = max_diameter_3d(region.mask, region.geometry)
    mesh = surface(region.mask, region.geometry)
    values = intensities(region.values)
    source = _source_slice(turn, region.box[2].start + axial.axial, slices)
    return Measurement(
        instance=region.instance.label,
        kind=region.instance.kind,
        structure=region.instance.structure,
        tracking_uid=region.instance.tracking_uid,
        organ=region.instance.organ,
        confidence=region.instance.confidence,
        voxel_count=region.voxel_count,
        volume_mm3=region.volume_mm3,
        centroid_r_mm=r,
        centroid_a_mm=a,
        centroid_s_mm=s,
        longest_axial_diameter_mm=axial.longest.length_mm,
        short_axis_mm=axial.short.length_mm,
        max_diameter_3d_mm=largest.length_mm,
        surface_area_mm2=mesh.area_mm2,
        sphericity=mesh.sphericity,
        intensity_mean=values.mean,
        intensity_std=values.std,
        intensity_min=values.minimum,
        intensity_max=values.maximum,
        intensity_median=values.median,
        intensity_p10=values.p10,
        intensity_p90=values.p90,
        intensity_unit=unit.value,
        touches_edge=region.touches_edge,
        slice_instance_number=None if source is None else source.instance_number,
        slice_sop_instance_uid=None if source is None else source.sop_instance_uid,
        suv_peak=peak,
        total_lesion_glycolysis=(
            None if peak is None else values.mean * region.volume_mm3 / MM3_PER_ML
        ),
        longest_axial_diameter_ends_mm=axial.longest.ends_mm,
        short_axis_ends_mm=axial.short.ends_mm,
        max_diameter_3d_ends_mm=largest.ends_mm,
    )


def _source_slice(
    turn: Turn, axial: int, slices: Sequence[SliceReference]
) -> SliceReference | None:
    """The DICOM slice of a slice of the turned grid; None where the slices are not axial."""
    if not slices or turn.stored.axial_axis != 2:
        return None
    return slices[turn.stored_slice(axial)]
