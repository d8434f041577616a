"""Small phantoms with stored numbers: a change of one is a change of what medseg reports.

The numbers were printed by medseg when this file was written, after the laws in
tests/properties/test_measure_*.py held. A change belongs in CHANGELOG.md, with the old and the new
number. The ellipsoid's true volume is 4/3 pi 16 x 11 x 8 = 5898 mm3.
"""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medseg.config import MeasureSettings
from medseg.core.geometry import Geometry
from medseg.core.measurements import Measurement
from medseg.core.volume import IntensityUnit, Volume
from medseg.measure.measure import measure
from tests.strategies import instance_map


def phantom() -> tuple[Measurement, ...]:
    """An oblique ellipsoid, an L and a line of voxels, in SUV that rises towards R, A and S."""
    affine = np.eye(4)
    rotation = Rotation.from_euler("xyz", (14, -9, 21), degrees=True).as_matrix()
    affine[:3, :3] = rotation * (-2.1, 2.6, 3.3)
    affine[:3, 3] = (35, -48, 210)
    geometry = Geometry((30, 26, 22), affine)
    positions = geometry.to_world(np.moveaxis(np.indices(geometry.shape), 0, -1))
    tilted = Rotation.from_euler("zyx", (40, 25, -30), degrees=True).as_matrix()
    middle = geometry.to_world(np.array((18.3, 14.2, 10.6)))
    labels = np.zeros(geometry.shape, np.uint16)
    inside = np.linalg.norm((positions - middle) @ tilted / (16, 11, 8), axis=-1) <= 1
    labels[inside] = 1
    labels[2:9, 3, 4] = 2
    labels[2, 3:8, 4:6] = 2
    labels[5, 20, 0:9] = 3
    data = 4 + (positions - middle) @ (0.03, 0.05, 0.02)
    data[inside] += 6 * np.exp(-(((positions - middle) / 12) ** 2).sum(axis=-1))[inside]
    volume = Volume(data.astype(np.float32), geometry, IntensityUnit.SUV)
    return measure(instance_map(labels, geometry), volume, MeasureSettings())


def numbers(measurement: Measurement) -> dict[str, float]:
    """The numbers of a measurement, by name."""
    return {
        name: value
        for name, value in dataclasses.asdict(measurement).items()
        if isinstance(value, (int, float))
    }


STORED: tuple[dict[str, float], ...] = (
    {
        "instance": 1,
        "voxel_count": 329,
        "volume_mm3": 5927.922,
        "centroid_r_mm": -16.4464178,
        "centroid_a_mm": -38.476319,
        "centroid_s_mm": 246.348984,
        "longest_axial_diameter_mm": 25.4701786,
        "short_axis_mm": 21.0056152,
        "max_diameter_3d_mm": 34.6236913,
        "surface_area_mm2": 1849.50979,
        "sphericity": 0.839505607,
        "intensity_mean": 7.42455226,
        "intensity_std": 1.15576848,
        "intensity_min": 4.6318531,
        "intensity_max": 9.91589642,
        "intensity_median": 7.41174936,
        "intensity_p10": 5.88838434,
        "intensity_p90": 9.04455128,
        "touches_edge": False,
        "suv_peak": 9.00317241,
        "total_lesion_glycolysis": 44.0121667,
    },
    {
        "instance": 2,
        "voxel_count": 16,
        "volume_mm3": 288.288,
        "centroid_r_mm": 23.5701409,
        "centroid_a_mm": -44.5907366,
        "centroid_s_mm": 225.190643,
        "longest_axial_diameter_mm": 19.6237101,
        "short_axis_mm": 11.3692827,
        "max_diameter_3d_mm": 20.7038644,
        "surface_area_mm2": 286.766132,
        "sphericity": 0.536477807,
        "intensity_mean": 4.47291026,
        "intensity_std": 0.311139114,
        "intensity_min": 3.86880207,
        "intensity_max": 4.88550472,
        "intensity_median": 4.53481841,
        "intensity_p10": 4.02154279,
        "intensity_p90": 4.83045077,
        "touches_edge": False,
        "suv_peak": 4.88028003,
        "total_lesion_glycolysis": 1.28948635,
    },
    {
        "instance": 3,
        "voxel_count": 9,
        "volume_mm3": 162.162,
        "centroid_r_mm": 4.67315662,
        "centroid_a_mm": -9.01692042,
        "centroid_s_mm": 233.432714,
        "longest_axial_diameter_mm": 3.34215499,
        "short_axis_mm": 2.69943288,
        "max_diameter_3d_mm": 29.8874556,
        "surface_area_mm2": 188.772404,
        "sphericity": 0.455906565,
        "intensity_mean": 5.84953303,
        "intensity_std": 0.0298582234,
        "intensity_min": 5.80327702,
        "intensity_max": 5.89578915,
        "intensity_median": 5.84953308,
        "intensity_p10": 5.81252804,
        "intensity_p90": 5.88653812,
        "touches_edge": True,
        "suv_peak": 5.89578919,
        "total_lesion_glycolysis": 0.948571975,
    },
)


def test_the_phantoms_measure_what_they_measured_before():
    for found, stored in zip(phantom(), STORED, strict=True):
        assert numbers(found) == pytest.approx(stored, rel=1e-6)
