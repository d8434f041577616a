import numpy as np
import pytest

from medseg.training.datasets import make_case
from medseg.training.sampling import body_view, disturb, fainter, hollow, placement, solid
from medseg.training.synthesis import Scene, Tumour, view


@pytest.fixture
def scene(case, settings) -> Scene:
    """The ball of 18 mm with SUV 6 in tissue of 0.8, off-centre on an anisotropic grid."""
    to_source = np.eye(4)
    to_source[:3, 3] = case.lesions[0].centre_mm - (52, 47, 45)
    return view(case, settings.crop, settings.input.spacing_mm, to_source)


def far_outside(scene: Scene):
    return (scene.image > 0.3) & (scene.image < 0.81) & (scene.labels == 0)


def test_a_fainter_lesion_stays_between_its_own_uptake_and_its_surroundings(scene):
    inside = scene.labels > 0
    for seed in range(5):
        faint = fainter(scene, np.random.default_rng(seed))
        assert (faint.image <= scene.image + 1e-6).all()
        assert 0.8 < faint.image[inside].mean() < 0.9 * scene.image[inside].mean()
        assert faint.image[inside].min() >= 0.75
        np.testing.assert_array_equal(faint.labels, scene.labels)
        np.testing.assert_allclose(
            faint.image[far_outside(scene)], scene.image[far_outside(scene)], atol=1e-3
        )


def test_a_hollow_lesion_has_a_cold_core_and_a_hot_rim_and_is_outlined_whole(scene, settings):
    inside = scene.labels > 0
    for seed in range(5):
        cored = hollow(scene, settings, np.random.default_rng(seed))
        assert cored.image[inside].min() < 1
        assert cored.image[inside].max() > 2
        assert cored.image[inside].mean() < scene.image[inside].mean()
        np.testing.assert_array_equal(cored.labels, scene.labels)


def test_a_solid_tumour_has_no_cold_core_and_no_more_uptake_than_before():
    excess = np.zeros((11, 13, 12), np.float32)
    mask = np.zeros(excess.shape, bool)
    mask[2:9, 3:10, 2:10] = True
    excess[mask] = 8
    excess[4:7, 5:8, 4:8] = 0
    filled = solid(Tumour(excess, mask, (5.0, 5.0, 4.0)), np.random.default_rng(2))
    assert filled.excess[4:7, 5:8, 4:8].min() > 3
    assert filled.excess.max() <= 8
    np.testing.assert_array_equal(filled.mask, mask)


def test_bodies_are_drawn_around_their_lesions_too(case, settings, oblique):
    """A third of the time, so that lesions of phantoms are learnt from."""
    spread = np.zeros(oblique.shape, np.uint16)
    spread[3:5, 3:5, 3:6] = 1
    body = make_case("body", case.image, spread, oblique)
    small = settings.model_copy(update={"crop": (8, 8, 8)})
    seen = [bool(body_view(body, small, np.random.default_rng(seed)).placed) for seed in range(60)]
    assert 10 < sum(seen) < 50


def test_a_scene_without_a_lesion_stays_as_it_is(scene, settings):
    empty = Scene(scene.image, scene.labels * 0, scene.spacing_mm, ())
    assert fainter(empty, np.random.default_rng(0)) is empty
    assert hollow(empty, settings, np.random.default_rng(0)) is empty


def test_a_placement_puts_the_position_near_the_middle_and_keeps_head_and_feet(settings):
    position = np.array([30.0, -40.0, 500.0])
    size = np.array(settings.crop) * settings.input.spacing_mm
    mirrored = 0
    for seed in range(20):
        to_source = placement(position, settings, np.random.default_rng(seed), spread=0.1)
        here = np.linalg.solve(to_source, [*position, 1])[:3] / size
        assert (np.abs(here - 0.5) <= 0.1 + 1e-9).all()
        linear = to_source[:3, :3]
        assert 0.7 <= abs(np.linalg.det(linear)) ** (1 / 3) <= 1.4
        assert linear[2, 2] > 0
        assert linear[1, 1] > 0
        mirrored += np.linalg.det(linear) < 0
    assert 2 < mirrored < 18


def test_a_disturbed_image_stays_uptake_and_close_to_what_it_was(scene):
    for seed in range(5):
        image = disturb(scene, np.random.default_rng(seed)).image
        assert image.dtype == np.float32
        assert image.min() >= 0
        assert np.corrcoef(image.ravel(), scene.image.ravel())[0, 1] > 0.9
