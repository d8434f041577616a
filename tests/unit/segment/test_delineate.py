"""The whole act, with a threshold for a model."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.special import expit

from medseg.core.geometry import Geometry
from medseg.core.instances import tracking_uid
from medseg.core.prediction import ModelInput, Progress, Proposal, VoxelPrediction, silent
from medseg.core.volume import Volume
from medseg.errors import ModelError
from medseg.segment.delineate import delineate, is_lesion
from tests.unit.segment.bodies import (
    SETTINGS,
    Ellipsoid,
    Threshold,
    ball,
    picture,
    positions,
)
from tests.unit.segment.test_confidence import calibration

GRID = Geometry(
    (30, 26, 22),
    np.array(
        [[-2.4, 0.6, 0.3, 40.0], [0.5, 2.9, -0.8, -50.0], [0.4, 0.7, 3.8, 10.0], [0, 0, 0, 1.0]]
    ),
)
MIDDLE = GRID.to_world(np.array((14.5, 12.5, 10.5)))
BODIES = (
    ball(tuple(MIDDLE - np.array((12, 0, 0))), 12),
    ball(tuple(MIDDLE + np.array((9, 1, 2))), 9),
)


def test_touching_lesions_are_delineated_apart_on_the_acquired_grid():
    stages: list[tuple[str, float]] = []
    found = delineate(
        {"pet": picture(GRID, list(BODIES))},
        Threshold((3.0, 3.0, 3.0), BODIES),
        SETTINGS,
        identity="a digest",
        progress=lambda stage, share: stages.append((stage, share)),
    )
    assert found.lesions.geometry is GRID
    assert [instance.label for instance in found.lesions.instances] == [1, 2]
    assert {(i.kind, i.structure) for i in found.lesions.instances} == {("lesion", "lesion")}
    assert found.lesions.instances[1].tracking_uid == tracking_uid("a digest", "lesion", 2)
    assert found.organs.instances == ()
    assert found.flags == ()
    sizes = np.bincount(found.lesions.labels.ravel())[1:] * GRID.voxel_volume_mm3
    assert sizes[0] == pytest.approx(BODIES[0].volume_mm3, rel=0.1)
    assert sizes[1] == pytest.approx(BODIES[1].volume_mm3, rel=0.1)
    assert list(dict.fromkeys(stage for stage, _ in stages)) == [
        "prepare",
        "predict",
        "separate",
        "restore",
    ]
    for stage in ("prepare", "predict", "separate", "restore"):
        assert [share for name, share in stages if name == stage] == [0, 1]


@dataclass(frozen=True)
class OfTheSecond(Threshold):
    """Its probability is the intensity of its second role."""

    roles: tuple[str, ...] = ("ct", "pet")

    def predict(self, study: ModelInput, progress: Progress = silent) -> VoxelPrediction:
        progress("predict", 1)
        return VoxelPrediction(study.data[1:], ("lesion",), study.geometry)


def test_what_is_cold_on_the_first_role_and_what_is_unsure_are_left_out_and_said():
    apart = tuple(ball(tuple(MIDDLE + np.array((off, 0, 0))), 9) for off in (-17, 17))
    pet, ct = picture(GRID, list(apart)), picture(GRID, list(apart[:1]))
    model = OfTheSecond((3.0, 3.0, 3.0))

    def found(**settings):
        chosen = SETTINGS.model_copy(update=settings)
        return delineate({"ct": ct, "pet": pet}, model, chosen, identity="x")

    assert len(found().lesions.instances) == 2
    assert found().flags == ()
    warm = found(cold_below=0.3, certain_from=0.6)
    (left,) = warm.lesions.instances
    r = positions(GRID)[..., 0]
    assert r[warm.lesions.labels == left.label].mean() == pytest.approx(MIDDLE[0] - 17, abs=1)
    assert [flag.code for flag in warm.flags] == ["places-left-out"]
    none = found(min_certain_share=0.99)
    assert none.lesions.instances == ()
    assert none.flags[0].message.startswith("2 possible lesions")


def test_the_confidence_of_a_lesion_is_its_own():
    # By volume alone, so that the numbers of the labels and of the components can be told apart.
    card = calibration((0.0, 0.0, 2.0, 0.0), -8.0)
    for bodies in (BODIES, (ball(tuple(MIDDLE - np.array((12, 0, 0))), 7), BODIES[1])):
        found = delineate(
            {"pet": picture(GRID, list(bodies))},
            Threshold((3.0, 3.0, 3.0), bodies),
            SETTINGS,
            identity="x",
            calibration=card,
        ).lesions
        sizes = np.bincount(found.labels.ravel())[1:] * GRID.voxel_volume_mm3
        expected = expit(2 * np.log10(sizes) - 8)
        assert [i.confidence for i in found.instances] == pytest.approx(expected, abs=0.03)
        assert abs(expected[0] - expected[1]) > 0.1
    bare = delineate(
        {"pet": picture(GRID, list(BODIES))},
        Threshold((3.0, 3.0, 3.0), BODIES),
        SETTINGS,
        identity="x",
    )
    assert [i.confidence for i in bare.lesions.instances] == [None, None]


def test_nothing_on_the_volume_is_no_lesion():
    found = delineate(
        {"pet": picture(GRID, [ball((900, 0, 0), 5)])},
        Threshold((3.0, 3.0, 3.0)),
        SETTINGS,
        identity="x",
    )
    assert found.lesions.instances == ()
    assert not found.lesions.labels.any()


def test_a_coarse_model_and_a_short_second_series_are_told():
    @dataclass(frozen=True)
    class Two(Threshold):
        roles: tuple[str, ...] = ("pet", "ct")

    ct = Geometry((30, 26, 12), GRID.affine)
    volumes = {"pet": picture(GRID, list(BODIES)), "ct": picture(ct, list(BODIES))}
    found = delineate(volumes, Two((3.0, 3.0, 8.5), BODIES), SETTINGS, identity="x")
    assert [flag.code for flag in found.flags] == ["coarse-model-grid", "partly-covered"]
    assert "3.0 × 3.0 × 8.5" in found.flags[0].message
    assert "ct" in found.flags[1].message
    assert "%" in found.flags[1].message


def test_a_role_without_a_volume_is_our_bug():
    with pytest.raises(ValueError, match="pet"):
        delineate({}, Threshold((3.0, 3.0, 3.0)), SETTINGS, identity="x")


def test_a_model_that_proposes_goes_the_same_way():
    @dataclass(frozen=True)
    class Proposer(Threshold):
        def predict(  # type: ignore[override]
            self, study: ModelInput, progress: Progress = silent
        ) -> tuple[Proposal, ...]:
            progress("predict", 1)
            i, j, k = np.rint(study.geometry.to_index(MIDDLE)).astype(int)
            box = (slice(i - 3, i + 2), slice(j - 2, j + 5), slice(k - 2, k + 4))
            mask = np.ones((5, 7, 6), bool)
            return (Proposal(0.8, "lesion", box, mask, study.geometry),)

    volumes = {"pet": picture(GRID, list(BODIES))}
    found = delineate(volumes, Proposer((3.0, 3.0, 3.0)), SETTINGS, identity="x")
    assert len(found.lesions.instances) == 1
    volume = np.count_nonzero(found.lesions.labels) * GRID.voxel_volume_mm3
    assert volume == pytest.approx(5 * 7 * 6 * 27, rel=0.1)


@dataclass(frozen=True)
class Torso(Threshold):
    """A model of kidneys, a liver and lesions that knows where each is."""

    names: tuple[str, ...] = ("kidney_left", "lesion", "liver", "kidney_right")

    def predict(self, study: ModelInput, progress: Progress = silent) -> VoxelPrediction:
        progress("predict", 1)
        near = [picture(study.geometry, [body]).data for body in ANATOMY]
        return VoxelPrediction(
            np.stack([near[ORDER.index(name)] for name in self.names]), self.names, study.geometry
        )


ORDER = ("kidney_left", "lesion", "liver", "kidney_right")
ANATOMY = (
    ball(tuple(MIDDLE + np.array((-24, -5, -4))), 10),
    ball(tuple(MIDDLE + np.array((22, 6, 12))), 5),
    Ellipsoid(tuple(MIDDLE + np.array((16, 8, 12))), (18, 12, 14)),
    ball(tuple(MIDDLE + np.array((24, -14, -12))), 9),
)


def stored_otherwise(volume: Volume, order: tuple[int, int, int], flip: tuple[bool, ...]) -> Volume:
    """The same picture of the same patient with its axes permuted and reversed."""
    affine = volume.geometry.affine[:, [*order, 3]].copy()
    data = volume.data.transpose(order)
    for axis, reverse in enumerate(flip):
        if reverse:
            data = np.flip(data, axis)
            affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
            affine[:3, axis] *= -1
    return Volume(np.ascontiguousarray(data), Geometry(data.shape, affine), volume.unit)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("flip", [(False, False, False), (True, False, False), (False, True, True)])
def test_each_organ_is_one_instance_on_its_side_however_the_grid_is_stored(order, flip):
    volume = stored_otherwise(picture(GRID, list(ANATOMY)), order, flip)
    found = delineate({"pet": volume}, Torso((3.0, 3.0, 3.0)), SETTINGS, identity="x")
    rows = [(row.label, row.kind, row.structure) for row in found.organs.instances]
    assert rows == [
        (1, "organ", "kidney_left"),
        (2, "organ", "liver"),
        (3, "organ", "kidney_right"),
    ]
    for label, body in ((1, ANATOMY[0]), (2, ANATOMY[2]), (3, ANATOMY[3])):
        places = np.argwhere(found.organs.labels == label)
        centre = volume.geometry.to_world(places.mean(axis=0))
        np.testing.assert_allclose(centre, body.centre, atol=1.5)
        volume_mm3 = len(places) * volume.geometry.voxel_volume_mm3
        assert volume_mm3 == pytest.approx(body.volume_mm3, rel=0.12)
    (lesion,) = found.lesions.instances
    assert lesion.organ == "liver"
    assert found.organs.instances[0].tracking_uid == tracking_uid("x", "organ", 1)
    assert found.flags == ()


def test_organs_alone_leave_no_lesion_and_what_is_not_there_is_told():
    far = Torso((3.0, 3.0, 3.0), names=("kidney_left", "kidney_right"))
    half = picture(GRID, list(ANATOMY))
    grid = GRID.crop((slice(16, 30), slice(0, 26), slice(0, 22)))
    found = delineate(
        {"pet": Volume(half.data[16:].copy(), grid, half.unit)}, far, SETTINGS, identity="x"
    )
    assert found.lesions.instances == ()
    assert [row.structure for row in found.organs.instances] == ["kidney_left"]
    assert [flag.code for flag in found.flags] == ["organ-not-found"]
    assert "kidney right" in found.flags[0].message


def test_an_organ_that_is_proposed_one_by_one_is_refused():
    @dataclass(frozen=True)
    class Proposer(Threshold):
        def predict(  # type: ignore[override]
            self, study: ModelInput, progress: Progress = silent
        ) -> tuple[Proposal, ...]:
            progress("predict", 1)
            box = (slice(3, 5), slice(3, 6), slice(2, 5))
            return (Proposal(0.8, "liver", box, np.ones((2, 3, 3), bool), study.geometry),)

    with pytest.raises(ModelError, match="liver"):
        delineate(
            {"pet": picture(GRID, list(BODIES))}, Proposer((3.0, 3.0, 3.0)), SETTINGS, identity="x"
        )


def test_lesions_are_told_by_their_name():
    assert is_lesion("lesion")
    assert is_lesion("liver lesion")
    assert is_lesion("bone_lesion")
    assert not is_lesion("liver")
    assert not is_lesion("lesionless liver")
    assert not is_lesion("")
