"""A peer's mask as lesions."""

from pathlib import Path

import numpy as np
import pytest

from medseg.config import MaskSettings
from medseg.core.geometry import Geometry
from medseg.errors import GeometryMismatchError
from medseg.segment.mask import LABELS_RULE, NECKS_RULE, adopt_mask, onto
from tests.unit.segment.bodies import SETTINGS, ball, depths, positions

AFFINE = np.array(
    [[-2.4, 0.6, 0.3, 40.0], [0.5, 2.9, -0.8, -50.0], [0.4, 0.7, 3.8, 10.0], [0, 0, 0, 1.0]]
)
GRID = Geometry((34, 26, 22), AFFINE)
MIDDLE = GRID.to_world(np.array((16.5, 12.5, 10.5)))
AUTO = MaskSettings(path=Path("x"))


def touching() -> np.ndarray:
    """Two balls that touch, a third apart, all of value 5."""
    balls = [
        ball(tuple(MIDDLE - np.array((12, 0, 0))), 11.5),
        ball(tuple(MIDDLE + np.array((8, 0, 0))), 9),
        ball(tuple(MIDDLE + np.array((0, 24, 12))), 5),
    ]
    labels = np.zeros(GRID.shape, np.uint16)
    for one in balls:
        labels[depths(positions(GRID), [one])[..., 0] >= 0] = 5
    return labels


def test_a_mask_is_parted_where_it_has_a_neck() -> None:
    labels = touching()
    found, rule = adopt_mask(labels, GRID, chosen=AUTO, settings=SETTINGS, identity="x")
    assert rule == NECKS_RULE
    assert [row.label for row in found.lesions.instances] == [1, 2, 3]
    np.testing.assert_array_equal(found.lesions.labels > 0, labels > 0)
    sizes = np.bincount(found.lesions.labels.ravel())[1:]
    assert sizes[0] > sizes[1] > sizes[2]
    assert found.flags[0].code == "peer-mask"
    assert "one value alone" in found.flags[0].message


def test_each_value_of_a_label_map_stays_a_lesion_of_that_number() -> None:
    labels = np.zeros(GRID.shape, np.uint16)
    labels[3:9, 4:9, 2:8] = 40
    labels[9:12, 4:9, 2:8] = 7
    labels[20:23, 20:22, 15:17] = 7
    found, rule = adopt_mask(labels, GRID, chosen=AUTO, settings=SETTINGS, identity="x")
    assert rule == LABELS_RULE
    np.testing.assert_array_equal(found.lesions.labels, labels)
    assert [row.label for row in found.lesions.instances] == [7, 40]
    parts = AUTO.model_copy(update={"instances": "components"})
    found, rule = adopt_mask(labels, GRID, chosen=parts, settings=SETTINGS, identity="x")
    assert (rule, len(found.lesions.instances)) == (NECKS_RULE, 2)
    assert "user asked" in found.flags[0].message


def test_one_value_may_be_one_lesion_if_the_user_says_so() -> None:
    whole = AUTO.model_copy(update={"instances": "labels"})
    found, _ = adopt_mask(touching(), GRID, chosen=whole, settings=SETTINGS, identity="x")
    assert [row.label for row in found.lesions.instances] == [5]


def test_an_empty_mask_is_no_lesion() -> None:
    nothing = np.zeros(GRID.shape, np.uint16)
    found, _ = adopt_mask(nothing, GRID, chosen=AUTO, settings=SETTINGS, identity="x")
    assert found.lesions.instances == ()


def test_a_mask_on_a_finer_grid_is_put_onto_the_acquired_one_and_flagged() -> None:
    fine_affine = AFFINE.copy()
    fine_affine[:3, :3] /= 2
    fine = Geometry((68, 52, 44), fine_affine)
    labels = np.zeros(fine.shape, np.uint16)
    labels[10:30, 10:40, 10:30] = 300
    labels[41, 41, 41] = 9  # between the voxels of the coarse grid
    found, flag = onto(labels, fine, GRID)
    assert found.shape == GRID.shape
    assert set(np.unique(found)) == {0, 300}
    volume = np.count_nonzero(found) * GRID.voxel_volume_mm3
    assert volume == pytest.approx(20 * 30 * 20 * fine.voxel_volume_mm3, rel=0.15)
    assert flag is not None
    assert flag.code == "mask-resampled"
    assert "1 of its labels" in flag.message
    same, nothing = onto(found, GRID, GRID)
    assert same is found
    assert nothing is None


def test_a_mask_of_another_place_is_refused() -> None:
    affine = AFFINE.copy()
    affine[:3, 3] += 1000
    labels = np.ones(GRID.shape, np.uint16)
    with pytest.raises(GeometryMismatchError, match="no place in common"):
        onto(labels, Geometry(GRID.shape, affine), GRID)
