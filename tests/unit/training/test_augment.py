"""Where things land is asked of a phantom whose shape is a formula, on an oblique grid."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medseg.core.geometry import Geometry
from medseg.training.augment import (
    Pose,
    bend,
    draw_pose,
    draw_scanner,
    draw_view,
    look,
    thick_slices,
)
from medseg.training.settings import AugmentSettings

SHAPE, SPACING = (30, 26, 34), (4.0, 5.0, 3.0)
STILL = AugmentSettings(
    blur_share=0, thick_share=0, noise_share=0, gain=0, offset=0, cut_share=0, moved_share=0
)


@pytest.fixture
def source(oblique) -> Geometry:
    """The oblique grid, fine enough to show small errors."""
    fine = oblique.affine.copy()
    fine[:3, :3] /= 2
    return Geometry((60, 52, 80), fine)


def places(geometry: Geometry):
    return geometry.to_world(np.stack(np.indices(geometry.shape), axis=-1))


def rugby(at_mm, centre_mm, axes_mm):
    """Inside an ellipsoid along R, A and S, by its formula."""
    return (((at_mm - centre_mm) / axes_mm) ** 2).sum(axis=-1) <= 1


CROP = Geometry(SHAPE, np.diag([*SPACING, 1.0]))


def test_a_phantom_turned_about_r_a_and_s_lies_where_the_formula_puts_it(source):
    """A tilt of each sign about each axis; a swapped or reversed axis would put it elsewhere."""
    middle = source.to_world(np.array(source.shape) / 2)
    axes = (30, 16, 22)
    solid = rugby(places(source), middle, axes).astype(np.float32)
    for angles in ((35, 0, 0), (0, -25, 0), (0, 0, 40), (20, -15, 30)):
        turned = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
        here = np.array(SHAPE) * SPACING / 2
        to_source = np.eye(4)
        to_source[:3, :3] = turned
        to_source[:3, 3] = middle - turned @ here
        pose = Pose(to_source)
        seen = look([solid], [0], source, pose, (SHAPE, SPACING))[0] >= 0.5
        at = (places(CROP) - here) @ turned.T
        expected = rugby(at, 0, axes)
        overlap = 2 * (seen & expected).sum() / (seen.sum() + expected.sum())
        assert overlap > 0.95, angles
        unturned = rugby(places(CROP), here, axes)
        assert 2 * (seen & unturned).sum() / (seen.sum() + unturned.sum()) < 0.93


def test_image_and_masks_stay_together_through_everything_that_moves_them(source):
    """The image is a formula of the place, so what a voxel shows tells where it looks."""
    settings = AugmentSettings(bend_mm=8, turn_degrees=30, scale=1.3, stretch=1.1)
    at = places(source)
    middle = source.to_world(np.array(source.shape) / 2)
    solid = rugby(at, middle, (24, 14, 18)).astype(np.float32)
    channels = [*(np.moveaxis(at, -1, 0).astype(np.float32)), solid, np.ones_like(solid)]
    for seed in range(6):
        pose = draw_pose(middle, SHAPE, SPACING, settings, np.random.default_rng(seed))
        r, a, s, mask, there = look(channels, [0] * 5, source, pose, (SHAPE, SPACING))
        shown = np.stack([r, a, s], axis=-1)
        inside = there > 1 - 1e-6
        assert inside.mean() > 0.3
        surely = np.linalg.norm((shown - middle) / (24, 14, 18), axis=-1)
        assert (mask[inside & (surely < 0.85)] > 0.5).all()
        assert (mask[inside & (surely > 1.15)] < 0.5).all()
        looked = CROP.to_world(np.stack(np.indices(SHAPE), axis=-1))
        looked = looked @ pose.to_source[:3, :3].T + pose.to_source[:3, 3]
        looked = looked + np.moveaxis(pose.bend_mm, 0, -1)
        np.testing.assert_allclose(shown[inside], looked[inside], atol=0.02)


def test_left_becomes_right_only_when_the_pose_says_so(source):
    middle = source.to_world(np.array(source.shape) / 2)
    towards_r = (places(source)[..., 0] - middle[0]).astype(np.float32)
    settings = AugmentSettings(turn_degrees=10)
    both = set()
    for seed in range(8):
        pose = draw_pose(middle, SHAPE, SPACING, settings, np.random.default_rng(seed))
        seen = look([towards_r], [0], source, pose, (SHAPE, SPACING))[0]
        along_r = seen[-8:].mean() - seen[:8].mean()
        assert (along_r < 0) == pose.mirrored
        assert (np.linalg.det(pose.to_source[:3, :3]) < 0) == pose.mirrored
        both.add(pose.mirrored)
    assert both == {True, False}


def test_a_crop_that_is_not_moved_shows_its_voxels_as_they_are():
    grid = Geometry(SHAPE, np.diag([*SPACING, 1.0]))
    image = np.random.default_rng(3).normal(size=SHAPE).astype(np.float32)
    settings = STILL.model_copy(update={"shift": 0, "mirrored_share": 0})
    rng = np.random.default_rng(0)
    pose = draw_pose(np.array(SHAPE) * SPACING / 2, SHAPE, SPACING, settings, rng)
    same = look([image], [-7], grid, pose, (SHAPE, SPACING))[0]
    np.testing.assert_allclose(same, image, atol=1e-4)
    np.testing.assert_array_equal(draw_scanner(same, SPACING, settings, rng), same)
    assert draw_view(SHAPE, SPACING, settings, rng).all()


def test_beyond_the_source_there_is_what_the_caller_says(source):
    far = Pose(np.eye(4))
    image = np.full(source.shape, 40, np.float32)
    outside = look([image, image], [-1024, 0], source, far, ((8, 9, 10), SPACING))
    assert (outside[0] == -1024).all()
    assert (outside[1] == 0).all()


def test_nothing_is_bent_further_than_said_and_no_place_is_folded_onto_another():
    settings = AugmentSettings(bend_mm=16, bend_knots_mm=40)
    field = bend(SHAPE, SPACING, settings, np.random.default_rng(1))
    assert 8 < np.abs(field).max() <= 16
    jacobian = np.stack(
        [np.stack(np.gradient(component, *SPACING), axis=-1) for component in field], axis=-2
    )
    assert np.linalg.det(np.eye(3) + jacobian).min() > 0


def test_thick_slices_show_the_mean_over_their_thickness_and_keep_places():
    """A step along S becomes a ramp about as long as a slice, in the same place, and the rest stays
    as it is."""
    image = np.zeros((3, 4, 40), np.float32)
    image[..., 20:] = 100
    for phase in (0, 0.3, 0.9):
        thick = thick_slices(image, 2.5, 10, phase)
        assert thick.shape == image.shape
        assert (thick[..., :12] == 0).all()
        np.testing.assert_allclose(thick[..., 28:], 100)
        crossing = np.interp(50, thick[0, 0], np.arange(40))
        assert abs(crossing - 19.5) < 1.01
        assert np.count_nonzero((thick[0, 0] > 1) & (thick[0, 0] < 99)) >= 2
    np.testing.assert_array_equal(thick_slices(image, 2.5, 2.5, 0.4), image)


def test_a_scanner_changes_values_as_much_as_the_settings_say():
    image = np.full(SHAPE, 100, np.float32)
    noisy = STILL.model_copy(update={"noise_share": 1, "noise": 30})
    deviations = [
        draw_scanner(image, SPACING, noisy, np.random.default_rng(n)).std() for n in range(40)
    ]
    assert max(deviations) <= 30.1
    assert np.mean(deviations) == pytest.approx(15, rel=0.25)
    calibrated = STILL.model_copy(update={"gain": 0.1, "offset": 5})
    levels = [
        draw_scanner(image, SPACING, calibrated, np.random.default_rng(n)).mean()
        for n in range(300)
    ]
    assert np.std(levels) == pytest.approx(np.hypot(10, 5), rel=0.15)


def test_another_contrast_keeps_the_tissue_and_the_order_of_intensities():
    image = np.linspace(0, 2, np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    powers = []
    for seed in range(200):
        settings = STILL.model_copy(update={"gamma": 0.2})
        seen = draw_scanner(image, SPACING, settings, np.random.default_rng(seed))
        assert (np.diff(seen.ravel()) >= 0).all()
        assert np.interp(1, image.ravel(), seen.ravel()) == pytest.approx(1, abs=1e-3)
        powers.append(np.log(np.log(seen[-1, -1, -1]) / np.log(2)))
    assert np.std(powers) == pytest.approx(0.2, rel=0.15)


def test_a_coils_field_is_smooth_and_no_stronger_than_said():
    image = np.full(SHAPE, 100, np.float32)
    settings = STILL.model_copy(update={"bias": 0.3})
    seen = [draw_scanner(image, SPACING, settings, np.random.default_rng(n)) for n in range(20)]
    fields = np.log(np.array(seen) / 100)
    assert 0.1 < np.abs(fields).max() <= 0.3
    # A cubic B-spline changes by less than twice its largest knot over the distance of two knots.
    slopes = [np.abs(np.diff(fields, axis=axis + 1)).max() / SPACING[axis] for axis in range(3)]
    assert max(slopes) <= 2 * 0.3 / settings.bias_knots_mm


def test_a_shorter_scan_lacks_one_side_of_the_crop():
    settings = STILL.model_copy(update={"cut_share": 1, "cut_mm": 45})
    lacking = 0
    for seed in range(20):
        seen = draw_view(SHAPE, SPACING, settings, np.random.default_rng(seed))
        gone = np.argwhere(~seen)
        if len(gone):
            lacking += 1
            size_mm = (np.ptp(gone, axis=0) + 1) * SPACING
            whole_mm = np.array(SHAPE) * SPACING
            cut = np.flatnonzero(size_mm < whole_mm)
            assert len(cut) == 1
            assert size_mm[cut[0]] <= 45
            assert len(gone) == np.prod(np.ptp(gone, axis=0) + 1)
    assert lacking > 15


def test_the_same_seed_gives_the_same_crop(source):
    settings = AugmentSettings(bend_mm=5, blur_share=1, thick_share=1, noise_share=1, cut_share=1)
    middle = source.to_world(np.array(source.shape) / 2)
    image = np.random.default_rng(0).normal(size=source.shape).astype(np.float32)

    def crop(seed):
        rng = np.random.default_rng(seed)
        pose = draw_pose(middle, SHAPE, SPACING, settings, rng)
        seen = draw_view(SHAPE, SPACING, settings, rng)
        shown = look([image], [0], source, pose, (SHAPE, SPACING))[0]
        return draw_scanner(shown, SPACING, settings, rng) * seen

    np.testing.assert_array_equal(crop(5), crop(5))
    assert not np.array_equal(crop(5), crop(6))
