"""Turning a grid towards R, A and S, and cutting instances out of it."""

import numpy as np
import pytest
from hypothesis import given

from medseg.core.volume import IntensityUnit, Volume
from medseg.measure.region import Region, regions, turn_towards_ras
from tests.strategies import geometries, instance_maps


@given(geometries())
def test_a_turned_grid_runs_towards_r_a_and_s(geometry):
    turned = turn_towards_ras(geometry).geometry
    assert turned.axis_codes == ("R", "A", "S")
    assert turned.axial_axis == 2


@given(geometries())
def test_a_voxel_keeps_its_place_and_its_value_when_the_grid_is_turned(geometry):
    turn = turn_towards_ras(geometry)
    indices = np.moveaxis(np.indices(geometry.shape), 0, -1)
    positions = geometry.to_world(indices)
    turned = np.stack([turn.view(positions[..., world]) for world in range(3)], axis=-1)
    expected = turn.geometry.to_world(np.moveaxis(np.indices(turn.geometry.shape), 0, -1))
    np.testing.assert_allclose(turned, expected, atol=1e-9)


@given(geometries())
def test_a_turned_slice_is_found_again_in_storage(geometry):
    turn = turn_towards_ras(geometry)
    along = turn.order[2]
    for axial in range(turn.geometry.shape[2]):
        inside = turn.geometry.to_world(np.array((1, 2, axial)))
        assert geometry.to_index(inside)[along] == pytest.approx(turn.stored_slice(axial))


def _regions(instances):
    data = np.arange(instances.labels.size, dtype=np.float32).reshape(instances.labels.shape)
    volume = Volume(data, instances.geometry, IntensityUnit.HU)
    turn = turn_towards_ras(instances.geometry)
    return data, list(regions(instances, volume, turn))


@given(instance_maps())
def test_a_region_holds_the_voxels_of_its_instance_and_no_others(instances):
    data, found = _regions(instances)
    assert [region.instance for region in found] == list(instances.instances)
    for region in found:
        expected = data[instances.labels == region.instance.label]
        assert sorted(region.values) == sorted(expected)
        assert region.mask.sum() == region.voxel_count == expected.size
        for axis in range(3):
            layers = region.mask.any(axis=tuple({0, 1, 2} - {axis}))
            assert layers[0]
            assert layers[-1]


@given(instance_maps())
def test_volume_and_centroid_are_those_of_the_voxel_centres(instances):
    _, found = _regions(instances)
    for region in found:
        indices = np.argwhere(instances.labels == region.instance.label)
        centres = instances.geometry.to_world(indices)
        assert region.volume_mm3 == pytest.approx(
            len(indices) * abs(np.linalg.det(instances.geometry.affine[:3, :3]))
        )
        np.testing.assert_allclose(region.centroid_mm, centres.mean(axis=0), atol=1e-8)


@given(instance_maps())
def test_touching_the_edge_means_a_voxel_on_the_first_or_last_index(instances):
    _, found = _regions(instances)
    inner = np.zeros(instances.labels.shape, bool)
    inner[1:-1, 1:-1, 1:-1] = True
    for region in found:
        mask = instances.labels == region.instance.label
        assert region.touches_edge == bool((mask & ~inner).any())


def test_a_region_is_frozen():
    with pytest.raises(AttributeError):
        Region.__new__(Region).touches_edge = True
