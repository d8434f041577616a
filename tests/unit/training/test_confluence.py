import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from medseg.core.geometry import Geometry
from medseg.training.confluence import (
    sarcoma_body,
    separate_body,
    touching_body,
    touching_pair,
)
from medseg.training.datasets import make_case
from medseg.training.sampling import Sources

CUBE = np.ones((3, 3, 3), bool)


@pytest.fixture
def body():
    """Quiet tissue, large enough for several tumours."""
    geometry = Geometry((44, 40, 60), np.diag([-5.2, 5.0, 4.1, 1.0]))
    image = np.full(geometry.shape, 0.8, np.float32)
    return make_case("quiet", image, np.zeros(geometry.shape, np.uint16), geometry)


def neighbours(labels, label):
    near = binary_dilation(labels == label, CUBE)
    return set(np.unique(labels[near]).tolist()) - {0, label}


def test_tumours_that_touch_do_so_in_groups_and_each_is_its_own(body, case, settings):
    made = touching_body(body, (case,), settings, seed=2, groups=2)
    numbers = [lesion.label for lesion in made.lesions]
    assert 4 <= len(numbers) <= 6
    assert all(neighbours(made.labels, number) for number in numbers)
    np.testing.assert_array_equal(
        made.labels, touching_body(body, (case,), settings, seed=2, groups=2).labels
    )


def test_tumours_apart_touch_no_other(body, case, settings):
    made = separate_body(body, (case,), settings, seed=3, count=3)
    assert len(made.lesions) == 3
    assert not any(neighbours(made.labels, lesion.label) for lesion in made.lesions)
    assert all(made.image[made.labels == lesion.label].max() > 1.5 for lesion in made.lesions)


def test_a_whole_tumour_keeps_its_size(body, case, settings):
    made = sarcoma_body(body, case, settings, seed=4)
    assert made.lesions[0].radius_mm == pytest.approx(case.lesions[0].radius_mm, rel=0.05)


def test_a_tumour_without_a_place_is_never_left_out_silently(body, case, settings):
    thin = np.zeros_like(body.image)
    thin[:, :, 10:12] = body.image[:, :, 10:12]
    for nowhere in (body.image * 10, thin):
        made = make_case("no place", nowhere, body.labels, body.geometry)
        with pytest.raises(ValueError, match="no place"):
            sarcoma_body(made, case, settings, seed=4)


def test_a_pair_touches_and_each_is_whole(body, case, settings):
    large = settings.model_copy(update={"crop": (28, 32, 40)})
    scene = touching_pair(Sources((case,), (body,)), large, np.random.default_rng(3))
    assert set(np.unique(scene.labels)) == {0, 1, 2}
    assert neighbours(scene.labels, 1) == {2}


def test_a_pair_lies_where_no_lesion_of_the_body_is(body, case, settings):
    """What a body has of its own would count as a false positive of who finds it."""
    mine = np.zeros(body.geometry.shape, np.uint16)
    mine[3:8, 3:8, 3:9] = 1
    image = np.where(mine > 0, 9, body.image).astype(np.float32)
    owner = make_case("with its own", image, mine, body.geometry)
    large = settings.model_copy(update={"crop": (28, 32, 40)})
    for seed in range(6):
        scene = touching_pair(Sources((case,), (owner,)), large, np.random.default_rng(seed))
        assert set(np.unique(scene.labels)) == {0, 1, 2}
        assert len(scene.placed) == 2
