"""The verb: what it refuses, what it names, and what it leaves empty."""

import dataclasses

import numpy as np
import pytest

from medseg.config import MeasureSettings
from medseg.core.geometry import Geometry
from medseg.core.instances import Instance, InstanceMap
from medseg.core.study import SliceReference
from medseg.core.volume import IntensityUnit, Volume
from medseg.measure.measure import measure

SETTINGS = MeasureSettings()
AXIAL = np.array(
    [[-1.9, 0.3, 0.2, 40], [0.3, 2.4, -0.4, -20], [0.2, 0.3, -3.1, 90], [0, 0, 0, 1]], float
)
"""Oblique, left-handed, stored from the head to the feet."""


def _study(unit=IntensityUnit.SUV, affine=AXIAL, shape=(9, 10, 8)):
    """Two lesions; label 3 is largest in the slice k = 5, label 7 is one voxel at the edge."""
    labels = np.zeros(shape, np.uint16)
    labels[2:5, 3:5, 4] = 3
    labels[2:7, 3:8, 5] = 3
    labels[0, 8, 1] = 7
    data = np.random.default_rng(5).uniform(1, 9, shape).astype(np.float32)
    geometry = Geometry(shape, affine)
    rows = (
        Instance(3, "lesion", "lesion", "2.25.33", organ="liver", confidence=0.75),
        Instance(7, "lesion", "lesion", "2.25.77"),
    )
    return InstanceMap(labels, geometry, rows), Volume(data, geometry, unit)


def _slices(count):
    return tuple(SliceReference(f"1.2.{k}", 100 + k) for k in range(count))


def test_every_instance_has_one_row_in_the_order_of_the_labels():
    instances, volume = _study()
    first, second = measure(instances, volume, SETTINGS)
    assert (first.instance, second.instance) == (3, 7)
    assert (first.kind, first.structure, first.tracking_uid) == ("lesion", "lesion", "2.25.33")
    assert (first.organ, first.confidence) == ("liver", 0.75)
    assert (second.organ, second.confidence) == (None, None)
    assert (first.voxel_count, second.voxel_count) == (31, 1)


def test_intensities_are_those_of_the_voxels_of_the_label():
    instances, volume = _study()
    values = volume.data[instances.labels == 3].astype(float)
    found = measure(instances, volume, SETTINGS)[0]
    assert found.intensity_mean == pytest.approx(values.mean())
    assert found.intensity_std == pytest.approx(values.std())
    assert (found.intensity_min, found.intensity_max) == (values.min(), values.max())
    assert found.intensity_median == pytest.approx(np.median(values))
    assert found.intensity_p10 == pytest.approx(np.percentile(values, 10))
    assert found.intensity_p90 == pytest.approx(np.percentile(values, 90))
    assert found.intensity_unit == "SUV"


def test_total_lesion_glycolysis_is_mean_suv_times_millilitres():
    instances, volume = _study()
    found = measure(instances, volume, SETTINGS)[0]
    values = volume.data[instances.labels == 3].astype(float)
    millilitres = 31 * instances.geometry.voxel_volume_mm3 / 1000
    assert found.total_lesion_glycolysis == pytest.approx(values.mean() * millilitres)


@pytest.mark.parametrize(
    "unit", [IntensityUnit.HU, IntensityUnit.BQML, IntensityUnit.ARBITRARY], ids=str
)
def test_without_suv_there_is_no_peak_and_no_glycolysis(unit):
    instances, volume = _study(unit)
    for found in measure(instances, volume, SETTINGS):
        assert found.suv_peak is None
        assert found.total_lesion_glycolysis is None
        assert found.intensity_unit == unit.value


def test_the_volume_of_the_ball_is_a_setting():
    instances, volume = _study()
    small = measure(instances, volume, MeasureSettings(suv_peak_volume_mm3=1))[0]
    assert small.suv_peak == pytest.approx(small.intensity_max)  # the ball is within one voxel
    usual = measure(instances, volume, SETTINGS)[0]
    assert usual.suv_peak is not None
    assert usual.suv_peak < usual.intensity_max


def test_the_slice_of_the_longest_diameter_is_named():
    instances, volume = _study()
    found = measure(instances, volume, SETTINGS, _slices(8))[0]
    assert (found.slice_instance_number, found.slice_sop_instance_uid) == (105, "1.2.5")


def test_the_slice_is_the_one_in_which_the_ends_lie():
    instances, volume = _study()
    for found in measure(instances, volume, SETTINGS, _slices(8)):
        for end in (*found.longest_axial_diameter_ends_mm, *found.short_axis_ends_mm):
            k = instances.geometry.to_index(np.array(end))[2]
            assert found.slice_sop_instance_uid == f"1.2.{round(k)}"
            assert k == pytest.approx(round(k), abs=1e-9)


def test_a_series_in_another_plane_has_no_axial_slice_to_name():
    instances, volume = _study(affine=AXIAL[:, [0, 2, 1, 3]])
    found = measure(instances, volume, SETTINGS, _slices(8))[0]
    assert found.slice_instance_number is None
    assert found.slice_sop_instance_uid is None


def test_a_slice_without_a_number_is_still_named():
    instances, volume = _study()
    slices = tuple(SliceReference(f"1.2.{k}", None) for k in range(8))
    found = measure(instances, volume, SETTINGS, slices)[0]
    assert (found.slice_instance_number, found.slice_sop_instance_uid) == (None, "1.2.5")


def test_a_nifti_file_names_no_slice():
    instances, volume = _study()
    assert measure(instances, volume, SETTINGS)[0].slice_sop_instance_uid is None


def test_a_lesion_cut_by_the_edge_says_so():
    instances, volume = _study()
    first, second = measure(instances, volume, SETTINGS)
    assert not first.touches_edge
    assert second.touches_edge


def test_labels_on_another_grid_are_a_bug():
    instances, _ = _study()
    moved = AXIAL.copy()
    moved[0, 3] += 1
    _, elsewhere = _study(affine=moved)
    with pytest.raises(ValueError, match="different grids"):
        measure(instances, elsewhere, SETTINGS)


def test_slices_of_another_series_are_a_bug():
    instances, volume = _study()
    with pytest.raises(ValueError, match="9 slices for 8 planes"):
        measure(instances, volume, SETTINGS, _slices(9))


def test_no_instance_no_row():
    _, volume = _study()
    empty = InstanceMap(np.zeros(volume.geometry.shape, np.uint16), volume.geometry, ())
    assert measure(empty, volume, SETTINGS) == ()


def test_numbers_are_plain_so_that_tables_can_hold_them():
    instances, volume = _study()
    for found in measure(instances, volume, SETTINGS, _slices(8)):
        for value in dataclasses.asdict(found).values():
            flat = np.ravel(np.array(value, dtype=object)).tolist()
            assert {type(part) for part in flat} <= {str, int, float, bool, type(None)}
