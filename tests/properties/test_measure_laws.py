"""What must hold of the measurements of any instances on any grid, and what a peer says of them."""

import dataclasses

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st

from medseg.config import MeasureSettings
from medseg.core.geometry import Geometry
from medseg.core.instances import InstanceMap
from medseg.core.volume import IntensityUnit, Volume
from medseg.measure.measure import measure
from tests.strategies import instance_maps

SETTINGS = MeasureSettings()


@st.composite
def _cases(draw):
    """Instances and a noisy SUV volume on the same oblique grid."""
    instances = draw(instance_maps())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    data = rng.gamma(2, 3, instances.labels.shape).astype(np.float32)
    return instances, Volume(data, instances.geometry, IntensityUnit.SUV)


def _stored_otherwise(instances, volume, order, flips):
    """The same patient in a file whose axes are stored in another order and direction."""
    geometry = instances.geometry
    affine = geometry.affine[:, [*order, 3]].copy()
    steps = tuple(slice(None, None, -1 if flip else None) for flip in flips)
    last = np.array([geometry.shape[axis] - 1 for axis in order])
    affine[:3, 3] += affine[:3, :3] @ (last * flips)
    affine[:3, :3] = affine[:3, :3] * np.where(flips, -1, 1)
    grid = Geometry(tuple(geometry.shape[axis] for axis in order), affine)
    labels = instances.labels.transpose(order)[steps]
    data = volume.data.transpose(order)[steps]
    return InstanceMap(labels, grid, instances.instances), Volume(data, grid, volume.unit)


@given(_cases(), st.permutations((0, 1, 2)), st.tuples(*[st.booleans()] * 3))
def test_storing_the_axes_otherwise_changes_no_measurement(case, order, flips):
    stored = measure(*case, SETTINGS)
    otherwise = measure(*_stored_otherwise(*case, order, np.array(flips)), SETTINGS)
    for one, other in zip(stored, otherwise, strict=True):
        for field in dataclasses.fields(one):
            expected, found = getattr(one, field.name), getattr(other, field.name)
            if field.name.endswith("_ends_mm"):
                np.testing.assert_allclose(found, expected, atol=1e-8)
            elif isinstance(expected, float):
                assert found == pytest.approx(expected, rel=1e-9, abs=1e-8), field.name
            else:
                assert found == expected, field.name


@given(_cases())
def test_the_acceptance_bounds_of_the_longest_axial_diameter_hold(case):
    """At least the disc of equal area (isodiametric inequality), at most the box's diagonal."""
    instances, volume = case
    axis = instances.geometry.axial_axis
    spacing = np.delete(instances.geometry.spacing_mm, axis)
    for found in measure(instances, volume, SETTINGS):
        mask = np.moveaxis(instances.labels == found.instance, axis, 0)
        area = mask.sum(axis=(1, 2)).max() * spacing.prod()
        extent = np.ptp(np.argwhere(mask)[:, 1:], axis=0) + 1
        assert found.longest_axial_diameter_mm >= 2 * np.sqrt(area / np.pi)
        assert found.longest_axial_diameter_mm <= np.linalg.norm(extent * spacing) * (1 + 1e-12)
        assert 0 < found.short_axis_mm <= found.longest_axial_diameter_mm
        assert found.longest_axial_diameter_mm <= found.max_diameter_3d_mm


@given(_cases())
def test_both_axial_diameters_lie_in_one_axial_slice_of_the_stored_grid(case):
    instances, volume = case
    axis = instances.geometry.axial_axis
    for found in measure(instances, volume, SETTINGS):
        ends = np.array([*found.longest_axial_diameter_ends_mm, *found.short_axis_ends_mm])
        slices = instances.geometry.to_index(ends)[:, axis]
        np.testing.assert_allclose(slices, round(slices[0]), atol=1e-9)
        held = np.take(instances.labels == found.instance, round(slices[0]), axis)
        assert held.any()


@given(_cases(), st.floats(0.5, 3))
def test_a_larger_patient_has_larger_numbers_of_the_right_power(case, factor):
    instances, volume = case
    affine = instances.geometry.affine.copy()
    affine[:3] *= factor
    grid = Geometry(instances.geometry.shape, affine)
    small = measure(instances, volume, SETTINGS)
    large = measure(
        InstanceMap(instances.labels, grid, instances.instances),
        Volume(volume.data, grid, volume.unit),
        MeasureSettings(suv_peak_volume_mm3=1000 * factor**3),
    )
    for one, other in zip(small, large, strict=True):
        for name in ("longest_axial_diameter_mm", "short_axis_mm", "max_diameter_3d_mm"):
            assert getattr(other, name) == pytest.approx(factor * getattr(one, name), rel=1e-7)
        assert other.surface_area_mm2 == pytest.approx(factor**2 * one.surface_area_mm2)
        assert other.volume_mm3 == pytest.approx(factor**3 * one.volume_mm3)
        assert other.total_lesion_glycolysis == pytest.approx(
            factor**3 * one.total_lesion_glycolysis
        )
        assert other.sphericity == pytest.approx(one.sphericity)
        assert other.suv_peak == pytest.approx(one.suv_peak, rel=0.02)


@given(_cases())
def test_an_instance_is_measured_alike_alone_and_among_others(case):
    instances, volume = case
    for found in measure(instances, volume, SETTINGS):
        row = next(row for row in instances.instances if row.label == found.instance)
        labels = np.where(instances.labels == found.instance, found.instance, 0).astype(np.uint16)
        alone = InstanceMap(labels, instances.geometry, (row,))
        assert measure(alone, volume, SETTINGS) == (found,)


def _in_itk(array, geometry):
    """An array on its grid in ITK's convention: (k, j, i), LPS."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    lps = np.diag((-1, -1, 1)) @ geometry.affine[:3]
    image.SetSpacing(geometry.spacing_mm)
    image.SetDirection((lps[:, :3] / geometry.spacing_mm).ravel())
    image.SetOrigin(lps[:, 3])
    return image


@given(_cases())
def test_simpleitk_finds_the_same_volume_centroid_and_intensities(case):
    """ITK joins the centres of boundary voxels (Feret); boxes add up to one voxel diagonal."""
    instances, volume = case
    labels = _in_itk(instances.labels, instances.geometry)
    shapes = SimpleITK.LabelShapeStatisticsImageFilter()
    shapes.ComputeFeretDiameterOn()
    shapes.Execute(labels)
    values = SimpleITK.LabelStatisticsImageFilter()
    values.Execute(_in_itk(volume.data, volume.geometry), labels)
    diagonal = np.linalg.norm(instances.geometry.spacing_mm)
    for found in measure(instances, volume, SETTINGS):
        label, n = found.instance, found.voxel_count
        assert shapes.GetNumberOfPixels(label) == n
        assert shapes.GetPhysicalSize(label) == pytest.approx(found.volume_mm3)
        r, a, s = np.array(shapes.GetCentroid(label)) * (-1, -1, 1)
        assert (found.centroid_r_mm, found.centroid_a_mm, found.centroid_s_mm) == pytest.approx(
            (r, a, s), abs=1e-6
        )
        feret = shapes.GetFeretDiameter(label)
        assert feret < found.max_diameter_3d_mm <= feret + diagonal + 1e-9
        assert values.GetMean(label) == pytest.approx(found.intensity_mean)
        assert values.GetMinimum(label) == found.intensity_min
        assert values.GetMaximum(label) == found.intensity_max
        variance = found.intensity_std**2 * n / max(n - 1, 1)  # ITK divides by N - 1
        assert values.GetVariance(label) == pytest.approx(variance, rel=1e-4, abs=1e-6)
