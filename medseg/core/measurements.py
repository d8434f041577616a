"""The numbers of one instance, each with its unit in its name."""

from dataclasses import dataclass, fields

from medseg.core.instances import Kind

MM3_PER_ML = 1000

Point = tuple[float, float, float]
"""A position in RAS+ mm."""

Segment = tuple[Point, Point]
"""The two ends of a diameter in RAS+ mm."""


@dataclass(frozen=True)
class Measurement:
    """What was measured on one instance.

    The fields up to `total_lesion_glycolysis` are the columns of `instances.csv`, in this order.
    Later columns are added at their end, never renamed.

    Attributes:
        instance: The instance's label.
        kind, structure, tracking_uid, organ, confidence: As in `Instance`.
        voxel_count: Voxels of the label.
        volume_mm3: Voxel count times the volume of a voxel.
        centroid_r_mm, centroid_a_mm, centroid_s_mm: Mean of the voxel centres, RAS+.
        longest_axial_diameter_mm: Longest diameter in any axial slice (RECIST 1.1).
        short_axis_mm: Longest diameter perpendicular to it in the same slice.
        max_diameter_3d_mm: Longest distance between two points of the instance.
        surface_area_mm2, sphericity: Of the mesh at half height (IBSI).
        intensity_*: Statistics of the voxels' intensities, in `intensity_unit`.
        touches_edge: The instance reaches the edge of the volume and may go on beyond it.
        slice_instance_number, slice_sop_instance_uid: DICOM slice of the longest diameter; None
            where the source is not DICOM or was not acquired in axial slices.
        suv_peak: Highest mean of a ball of 1 cm3 centred in the instance (PERCIST 1.0), g/mL.
        total_lesion_glycolysis: Mean SUV times volume in mL, g.
        *_ends_mm: The two ends of each diameter; in JSON only.
    """

    instance: int
    kind: Kind
    structure: str
    tracking_uid: str
    organ: str | None
    confidence: float | None
    voxel_count: int
    volume_mm3: float
    centroid_r_mm: float
    centroid_a_mm: float
    centroid_s_mm: float
    longest_axial_diameter_mm: float
    short_axis_mm: float
    max_diameter_3d_mm: float
    surface_area_mm2: float
    sphericity: float
    intensity_mean: float
    intensity_std: float
    intensity_min: float
    intensity_max: float
    intensity_median: float
    intensity_p10: float
    intensity_p90: float
    intensity_unit: str
    touches_edge: bool
    slice_instance_number: int | None
    slice_sop_instance_uid: str | None
    suv_peak: float | None
    total_lesion_glycolysis: float | None
    longest_axial_diameter_ends_mm: Segment
    short_axis_ends_mm: Segment
    max_diameter_3d_ends_mm: Segment


COLUMNS = tuple(f.name for f in fields(Measurement) if not f.name.endswith("_ends_mm"))
"""The columns of `instances.csv`, in order."""
