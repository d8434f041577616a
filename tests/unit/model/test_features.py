"""Features of voxels where each is known: an ellipsoid of tissue with a ventricle and one spot."""

import numpy as np
import pytest
import torch

from medseg.config import InputSettings, NetworkSettings
from medseg.core.geometry import Geometry
from medseg.core.prediction import ModelInput
from medseg.model.networks.build import build
from medseg.model.networks.features import NAMES, across, brain_features, curvatures
from medseg.model.networks.perceptron import VoxelPerceptron
from medseg.model.predict import TiledModel

SHAPE, SPACING = (61, 70, 50), (1.0, 1.2, 1.5)
MIDDLE = np.array((29.0, 35.0, 24.0))
SPOT = np.array((16, 50, 30))
PERCEPTRON = {
    "family": "voxel-features",
    "channels": (6, 5),
    "structures": ("lesion",),
    "centre_heatmap": False,
    "offsets": False,
    "prior": (3, 4, 5),
}
FLAT = torch.full((3, 4, 5), 0.25)


def far_mm(centre) -> np.ndarray:
    index = np.moveaxis(np.indices(SHAPE), 0, -1)
    return np.linalg.norm((index - centre) * SPACING, axis=-1)


@pytest.fixture(scope="module")
def brain() -> np.ndarray:
    """Tissue of 1 in a ball of 29 mm, liquor of 0.2 in one of 7 mm, a spot of 1.5 in 3 mm."""
    image = np.where(far_mm(MIDDLE) <= 29, 1, 0)
    image = np.where(far_mm(MIDDLE) <= 7, 0.2, image)
    return np.where(far_mm(SPOT) <= 3, 1.5, image).astype(np.float32)


@pytest.fixture(scope="module")
def found(brain) -> dict[str, np.ndarray]:
    return dict(zip(NAMES, brain_features(brain, FLAT, SPACING), strict=True))


def test_the_first_is_the_image_and_beyond_the_brain_all_are_0(brain, found):
    np.testing.assert_array_equal(found["intensity"], brain)
    beyond = np.ones(SHAPE, bool)
    beyond[tuple(slice(a.min(), a.max() + 1) for a in np.nonzero(brain))] = False
    assert beyond.sum() > 1000
    for feature in found.values():
        assert not feature[beyond].any()
    assert not brain_features(np.zeros(SHAPE, np.float32), FLAT, SPACING).any()


def test_liquor_does_not_darken_what_lies_beside_it(found):
    beside = (far_mm(MIDDLE) > 8) & (far_mm(MIDDLE) < 9)
    np.testing.assert_allclose(found["tissue within 3 mm"][beside], 1, atol=0.03)
    assert found["liquor within 3 mm"][beside].min() > 0.1


def test_a_spot_stands_above_its_surroundings_and_above_the_other_side(found):
    spot, other = tuple(SPOT), (int(2 * MIDDLE[0] - SPOT[0]), *SPOT[1:])
    for name in ("median above 3 mm", "1.5 above 6 mm", "above the other side within 9 mm"):
        assert found[name][spot] > 0.1
    assert found["above the other side within 3 mm"][other] < -0.1
    assert found["share of 5 mm"][spot] > 0.9
    assert abs(found["median above 3 mm"][other]) < 0.05


def test_depths_are_in_mm_whatever_the_voxels(found):
    for place in ((29, 35, 34), (29, 47, 24), (44, 35, 24)):
        depth = 29 - far_mm(MIDDLE)[place]
        assert found["depth"][place] * 30 == pytest.approx(depth, abs=1.6)
    near = far_mm(MIDDLE)[29, 47, 24] - 7
    assert found["liquor's distance"][29, 47, 24] * 15 == pytest.approx(near, abs=1.6)
    # The ventricle was opened by two voxels, which takes its corners.
    assert found["ventricle's distance"][29, 47, 24] * 30 == pytest.approx(near, abs=3)


def test_liquor_that_is_exactly_0_is_inside_the_brain(brain, found):
    nulled = np.where(far_mm(MIDDLE) <= 7, 0, brain)
    seen = dict(zip(NAMES, brain_features(nulled, FLAT, SPACING), strict=True))
    for name in ("depth", "ventricle's distance", "liquor's distance"):
        np.testing.assert_allclose(seen[name], found[name], atol=1e-6)
    assert found["ventricle's distance"][brain > 0].min() < 0.1


def test_a_feature_far_from_all_that_was_learnt_says_no_more_than_the_farthest():
    network = VoxelPerceptron(NetworkSettings(**PERCEPTRON)).eval()
    network.width.fill_(1e-6)
    near, far = (torch.full((1, len(NAMES), 1, 1, 1), value) for value in (1.0, 1e6))
    with torch.inference_mode():
        assert torch.equal(network(near), network(far))


def test_perceptrons_side_by_side_say_the_mean_of_their_logits():
    torch.manual_seed(3)
    network = VoxelPerceptron(NetworkSettings(**PERCEPTRON, members=3)).eval()
    x = torch.rand(1, len(NAMES), 4, 3, 2) + 0.1
    with torch.inference_mode():
        said = [member(x) for member in network.members]
        assert torch.allclose(network(x), sum(said) / 3, atol=1e-6)
        assert not torch.allclose(said[0], said[1], atol=1e-3)


def test_each_perceptron_learns_from_voxels_of_its_own():
    network = VoxelPerceptron(NetworkSettings(**PERCEPTRON, members=3)).train()
    x = torch.rand(1, len(NAMES), 6, 1, 1) + 0.1
    network(x)[0, 0, 2:4].sum().backward()  # the second third
    learns = [
        any(p.grad is not None and p.grad.any() for p in m.parameters()) for m in network.members
    ]
    assert learns == [False, True, False]


def test_curvatures_of_a_quadratic_are_its_second_derivatives():
    at = (np.indices(SHAPE) - MIDDLE[:, None, None, None]) * np.reshape(SPACING, (3, 1, 1, 1))
    bowl = 0.03 * at[0] ** 2 - 0.02 * at[1] ** 2 + 0.01 * at[2] ** 2
    inside = far_mm(MIDDLE) < 5
    values = curvatures(bowl.astype(np.float32), inside, 2 / np.array(SPACING))
    for value, expected in zip(values, (-0.04, 0.02, 0.06), strict=True):
        np.testing.assert_allclose(value[inside], 4 * expected, rtol=0.1, atol=0.005)
        assert not value[~inside].any()


def test_what_lies_across_is_what_lay_at_the_mirrored_place():
    ramp = np.broadcast_to(np.arange(21, dtype=np.float32)[:, None, None], (21, 4, 3))
    seen = across(ramp, 8.5)
    np.testing.assert_allclose(seen[0:17, 1, 1], 17 - np.arange(17), atol=1e-4)


def test_a_mirrored_brain_has_mirrored_features(brain, found):
    knots = torch.rand(3, 6, 5, generator=torch.Generator().manual_seed(1))
    knots = torch.cat([knots, knots.flip(0)])
    mirrored = brain_features(brain[::-1].copy(), knots, SPACING)
    straight = brain_features(brain, knots, SPACING)
    inside = brain > 0
    for name, one, other in zip(NAMES, mirrored, straight, strict=True):
        off = np.abs(one[::-1] - other)[inside]
        assert np.percentile(off, 99) < 0.05, name


def test_a_study_is_predicted_from_the_features_of_the_whole_whatever_the_tiles(card_of, brain):
    network = NetworkSettings(**PERCEPTRON)
    said = []
    torch.manual_seed(3)
    real = None
    for tile in ((16, 16, 16), (64, 72, 56)):
        seen = InputSettings(
            roles=("flair",), spacing_mm=SPACING, clip=((0, 3),), tile=tile, brain_only=True
        )
        if real is None:
            real = build(network, seen).eval()
            real.prior.copy_(FLAT)
        study = ModelInput(brain[None] * 80, Geometry(SHAPE, np.diag((*SPACING, 1.0))))
        said.append(TiledModel(card_of(network, seen), real, 0.25).predict(study).probabilities[0])
    np.testing.assert_allclose(said[0], said[1], atol=1e-5)
    features = torch.from_numpy(brain_features(brain, FLAT, SPACING))[None]
    with torch.inference_mode():
        expected = real(features)[0, 0].sigmoid().numpy()
    np.testing.assert_allclose(said[1][brain > 0], expected[brain > 0], atol=1e-4)
    assert expected[brain > 0].std() > 1e-4
    assert said[0][brain == 0].max() < 1e-6
