import numpy as np
import pytest
from scipy import ndimage

from medseg.phantom.anatomy import draw_patient, normal_body
from medseg.phantom.variety import SPACING_MM, make_body


@pytest.fixture(scope="module")
def bodies():
    return [make_body(seed) for seed in range(5)]


def test_the_same_seed_gives_the_same_body_and_another_one_another(bodies):
    again = make_body(1)
    np.testing.assert_array_equal(again.pet, bodies[1].pet)
    assert bodies[0].pet.shape != bodies[1].pet.shape


def test_a_healthy_body_is_the_same_without_its_lesions(bodies):
    number = next(n for n, body in enumerate(bodies) if body.lesions.any())
    ill, healthy = bodies[number], make_body(number, healthy=True)
    assert not healthy.lesions.any()
    far = ndimage.distance_transform_edt(ill.lesions == 0, ill.geometry.spacing_mm) > 30
    np.testing.assert_allclose(healthy.pet[far], ill.pet[far], atol=1e-4)
    inside = ill.lesions > 0
    assert healthy.pet[inside].mean() < 0.7 * ill.pet[inside].mean()
    for organ, mask in ill.organs.items():
        np.testing.assert_array_equal(healthy.organs[organ], mask)


def test_bodies_differ_in_their_field_of_view_and_in_the_uptake_of_each_organ(bodies):
    assert len({body.pet.shape[2] for body in bodies}) == len(bodies)
    for organ in ("heart", "urinary_bladder"):
        levels = [
            float(np.median(body.pet[body.organs[organ]]))
            for body in bodies
            if body.organs[organ].any()
        ]
        assert max(levels) > 1.5 * min(levels)


def test_organs_lie_where_their_uptake_is_after_bending(bodies):
    """A bladder is hotter than what surrounds it, so a shift of its label would show."""
    for body in bodies:
        bladder = body.organs["urinary_bladder"]
        if bladder.sum() > 100:
            others = (body.pet > 0.1) & ~bladder
            assert np.median(body.pet[bladder]) > 2.5 * np.median(body.pet[others])


def test_uptake_is_never_negative_and_noise_is_there(bodies):
    for body in bodies:
        assert body.pet.min() >= 0
        assert body.pet.dtype == np.float32
        assert body.geometry.spacing_mm == pytest.approx(SPACING_MM)


def test_lowered_arms_lie_beside_the_body():
    def reach(arms):
        patient = draw_patient(np.random.default_rng(0))
        tissues = normal_body(patient, np.random.default_rng(1), arms)
        tops = [t.shape.bounds_mm[1][2] for t in tissues if t.shape.bounds_mm[1][0] > 190]
        return max(tops)

    assert reach("raised") > 800
    assert reach("lowered") < 600
