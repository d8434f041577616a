"""Nouns are frozen, and valid from birth."""

import dataclasses
import pickle

import numpy as np
import pytest

from medseg import errors
from medseg.core.geometry import Geometry
from medseg.core.instances import Delineation, Instance, InstanceMap, tracking_uid
from medseg.core.measurements import COLUMNS
from medseg.core.prediction import ModelInput, Proposal, VoxelPrediction
from medseg.core.study import Series, SliceReference
from medseg.core.volume import IntensityUnit, Volume
from medseg.errors import MedsegError
from tests.strategies import instance_map

GRID = Geometry((4, 5, 6), np.array([[0, -2.0, 0, 9], [3, 0, 0, -4], [0, 0, 4, 50], [0, 0, 0, 1]]))


def test_the_columns_are_the_contract() -> None:
    assert ", ".join(COLUMNS) == (
        "instance, kind, structure, tracking_uid, organ, confidence, voxel_count, volume_mm3, "
        "centroid_r_mm, centroid_a_mm, centroid_s_mm, longest_axial_diameter_mm, short_axis_mm, "
        "max_diameter_3d_mm, surface_area_mm2, sphericity, intensity_mean, intensity_std, "
        "intensity_min, intensity_max, intensity_median, intensity_p10, intensity_p90, "
        "intensity_unit, touches_edge, slice_instance_number, slice_sop_instance_uid, suv_peak, "
        "total_lesion_glycolysis"
    )


def test_a_volume_is_float32_on_its_grid_and_read_only() -> None:
    data = np.ones((4, 5, 6), np.float32)
    volume = Volume(data, GRID, IntensityUnit.HU)
    with pytest.raises(ValueError, match="read-only"):
        volume.data[0, 0, 0] = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        volume.unit = IntensityUnit.SUV  # type: ignore[misc]
    for wrong in (data.astype(np.float64), data.transpose(2, 1, 0).copy()):
        with pytest.raises(ValueError, match="on a grid of"):
            Volume(wrong, GRID, IntensityUnit.HU)


def test_an_instance_map_has_one_row_for_each_label() -> None:
    labels = np.zeros((4, 5, 6), np.uint16)
    labels[1, 2, 3] = 2
    row = Instance(2, "lesion", "lesion", "2.25.1")
    assert InstanceMap(labels, GRID, (row,)).instances == (row,)
    for rows in (
        (),
        (row, dataclasses.replace(row, label=3)),
        (dataclasses.replace(row, label=1),),
    ):
        with pytest.raises(ValueError, match="the array holds labels"):
            InstanceMap(labels, GRID, rows)
    with pytest.raises(ValueError, match="on a grid of"):
        InstanceMap(labels.astype(np.int32), GRID, (row,))


def test_a_delineation_keeps_organs_and_lesions_apart_on_one_grid() -> None:
    labels = np.zeros((4, 5, 6), np.uint16)
    none = InstanceMap(labels, GRID, ())
    some = labels.copy()
    some[0, 0, 0] = 1
    lesions = instance_map(some, GRID)
    assert Delineation(none, lesions).lesions is lesions
    with pytest.raises(ValueError, match="among the organs"):
        Delineation(lesions, none)
    moved = GRID.affine.copy()
    moved[0, 3] += 1
    with pytest.raises(ValueError, match="different grids"):
        Delineation(InstanceMap(labels, Geometry(GRID.shape, moved), ()), lesions)


def test_predictions_lie_on_their_grid() -> None:
    maps = np.zeros((2, 4, 5, 6), np.float32)
    VoxelPrediction(maps, ("a", "b"), GRID, maps[0], np.zeros((3, 4, 5, 6), np.float32))
    ModelInput(maps, GRID)
    with pytest.raises(ValueError, match="structures"):
        VoxelPrediction(maps, ("a",), GRID)
    with pytest.raises(ValueError, match="heatmap"):
        VoxelPrediction(maps, ("a", "b"), GRID, maps)
    with pytest.raises(ValueError, match="offsets"):
        VoxelPrediction(maps, ("a", "b"), GRID, None, maps)
    with pytest.raises(ValueError, match="float32"):
        VoxelPrediction(maps.astype(np.float64), ("a", "b"), GRID)
    with pytest.raises(ValueError, match="grid"):
        ModelInput(maps[:, 1:], GRID)
    box = (slice(0, 2), slice(1, 3), slice(2, 5))
    Proposal(0.5, "a", box, np.ones((2, 2, 3), bool), GRID)
    with pytest.raises(ValueError, match="in a box of"):
        Proposal(0.5, "a", box, np.ones((2, 3, 2), bool), GRID)
    with pytest.raises(ValueError, match="score"):
        Proposal(1.5, "a", box, np.ones((2, 2, 3), bool), GRID)


def test_a_series_has_a_reference_for_each_slice_or_none() -> None:
    volume = Volume(np.ones((4, 5, 6), np.float32), GRID, IntensityUnit.SUV)
    slices = tuple(SliceReference(f"1.2.{k}", k) for k in range(6))
    assert Series(1, "PT", volume, "ab", slices).slices == slices
    with pytest.raises(ValueError, match="6 planes"):
        Series(1, "PT", volume, "ab", slices[1:])


def test_a_tracking_uid_is_stable_valid_and_its_own() -> None:
    uids = {
        tracking_uid(identity, kind, label)  # type: ignore[arg-type]
        for identity in ("a", "b")
        for kind in ("lesion", "organ")
        for label in (1, 2, 11)
    }
    assert len(uids) == 12
    assert tracking_uid("a", "lesion", 1) == tracking_uid("a", "lesion", 1)
    for uid in uids:
        root, _, number = uid.rpartition(".")
        assert root == "2.25"
        assert len(uid) <= 64
        assert 0 < int(number) < 2**128
        assert not number.startswith("0")


def every_error() -> list[type[MedsegError]]:
    return [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, MedsegError)
    ]


@pytest.mark.parametrize("kind", every_error())
def test_errors_cross_process_borders_with_both_sentences(kind: type[MedsegError]) -> None:
    again = pickle.loads(pickle.dumps(kind("What is wrong.", "What to do.")))  # noqa: S301
    assert type(again) is kind
    assert (again.problem, again.remedy) == ("What is wrong.", "What to do.")
    assert str(again) == "What is wrong. What to do."


def test_every_error_has_the_exit_code_of_its_kind() -> None:
    codes = {
        errors.InputError: 3,
        errors.SettingsError: 4,
        errors.ModelError: 5,
        errors.ResourceError: 75,
        errors.ExportMismatchError: 1,
        errors.StudyCrashedError: 1,
    }
    for kind in every_error():
        expected = [code for base, code in codes.items() if issubclass(kind, base)]
        assert kind is MedsegError or [kind.exit_code] == expected
