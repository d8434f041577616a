"""The backbone's grids, and that what it says of a voxel comes from its surroundings alone."""

import pytest
import torch
from torch import nn

from medseg.config import InputSettings, NetworkSettings
from medseg.model.networks.build import build
from medseg.model.networks.pyramid import CropNorm, Pyramid, VoxelNorm, kernel, spacings

THICK = (0.8, 0.9, 3.0)
SETTINGS = NetworkSettings(channels=(3, 4, 5, 6), structures=("lesion",))


def seen(spacing_mm: tuple[float, float, float]) -> InputSettings:
    return InputSettings(
        roles=("pet", "ct"), spacing_mm=spacing_mm, clip=((0, 20), (-1, 1)), tile=(8, 8, 8)
    )


def test_thick_slices_are_merged_only_when_the_plane_is_as_coarse():
    assert SETTINGS.strides(THICK) == ((2, 2, 1), (2, 2, 2), (2, 2, 2))
    assert SETTINGS.step(THICK) == (8, 8, 4)
    assert SETTINGS.strides((5, 5, 4)) == ((2, 2, 2),) * 3
    grids = spacings(THICK, SETTINGS.strides(THICK))
    assert grids[1] == pytest.approx((1.6, 1.8, 3.0))
    assert [kernel(grid) for grid in grids] == [(3, 3, 1), (3, 3, 3), (3, 3, 3), (3, 3, 3)]


def test_every_level_has_features_on_its_own_grid():
    network = Pyramid(2, (3, 4, 5, 6), THICK, SETTINGS.strides(THICK))
    shapes = [tuple(features.shape) for features in network(torch.rand(2, 2, 16, 8, 12))]
    assert shapes == [(2, 3, 16, 8, 12), (2, 4, 8, 4, 12), (2, 5, 4, 2, 6), (2, 6, 2, 1, 3)]


def test_what_is_said_of_a_voxel_does_not_depend_on_what_is_far_away():
    torch.manual_seed(3)
    settings = NetworkSettings(channels=(3, 4), structures=("lesion",))
    network = build(settings, seen((5, 4, 3))).eval()
    crop = torch.rand(1, 2, 40, 12, 16)
    other = crop.clone()
    other[:, :, 24:] *= 50
    with torch.inference_mode():
        one, changed = network(crop), network(other)
        alone = network(crop[:, :, :20])
    torch.testing.assert_close(one[:, :, :10], changed[:, :, :10], rtol=0, atol=0)
    torch.testing.assert_close(one[:, :, :10], alone[:, :, :10], rtol=1e-4, atol=1e-5)
    assert (one[:, :, 24:] - changed[:, :, 24:]).abs().max() > 0.01


@pytest.mark.parametrize("family", ["centre-offset", "regions", "queries"])
def test_with_crop_norm_every_crop_is_normalised_by_itself_in_every_family(family):
    settings = NetworkSettings(
        family=family,
        norm="crop",
        channels=(3, 4, 5),
        structures=("lesion",),
        centre_heatmap=False,
        offsets=False,
    )
    torch.manual_seed(3)
    backbone = build(settings, seen((5, 4, 3))).backbone.eval()
    crops = torch.rand(2, 2, 8, 12, 16)
    louder = torch.cat([crops[:1], 5 * crops[1:]])
    with torch.inference_mode():
        one, other = backbone(crops)[0], backbone(louder)[0]
        shifted = backbone(torch.cat([crops[:1, :, :4], 9 + crops[:1, :, 4:]], dim=2))[0]
    torch.testing.assert_close(one[0], other[0], rtol=0, atol=1e-5)
    assert (one[0, :, 0] - shifted[0, :, 0]).abs().max() > 1e-3, "what is far away counts"


def test_crop_norm_is_torchs_instance_norm_in_the_fast_layout():
    torch.manual_seed(5)
    crops = (torch.rand(3, 4, 5, 7, 6) * 9).to(memory_format=torch.channels_last_3d)
    mine, theirs = CropNorm(4), nn.InstanceNorm3d(4, affine=True)
    with torch.no_grad():
        for norm in (mine, theirs):
            norm.weight.copy_(torch.tensor([1.0, 2, 3, 4]))
            norm.bias.copy_(torch.tensor([0.0, -1, 1, 2]))
    torch.testing.assert_close(mine(crops), theirs(crops), rtol=1e-4, atol=1e-5)
    assert mine(crops).is_contiguous(memory_format=torch.channels_last_3d)


def test_voxels_are_normalised_over_their_channels_and_keep_the_fast_layout():
    torch.manual_seed(5)
    crops = torch.rand(2, 4, 8, 6, 4).to(memory_format=torch.channels_last_3d)
    normed = VoxelNorm(4)(crops)
    assert normed.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(normed.mean(dim=1), torch.zeros(2, 8, 6, 4), rtol=0, atol=1e-5)
    variance = crops.var(1, keepdim=True, correction=0)
    expected = (crops - crops.mean(1, keepdim=True)) / torch.sqrt(variance + 1e-5)
    torch.testing.assert_close(normed, expected, rtol=1e-4, atol=1e-5)


def test_structures_then_heatmap_then_offsets_in_mm():
    network = build(SETTINGS, seen(THICK)).eval()
    with torch.inference_mode():
        assert network(torch.rand(1, 2, 16, 8, 8)).shape == (1, SETTINGS.outputs, 16, 8, 8)
        network.offsets.weight.zero_()
        network.offsets.bias.copy_(torch.tensor([1.0, -2, 0.5]))
        said = network(torch.rand(1, 2, 16, 8, 8))
    torch.testing.assert_close(said[0, -3:, 3, 4, 5], torch.tensor([10.0, -20, 5]))
    assert SETTINGS.outputs == 5


def test_heads_that_are_not_asked_for_are_not_there():
    organs = SETTINGS.model_copy(update={"centre_heatmap": False, "offsets": False})
    with torch.inference_mode():
        assert build(organs, seen((5, 4, 3)))(torch.rand(1, 2, 8, 16, 8)).shape[1] == 1
    with pytest.raises(ValueError, match="centre_heatmap"):
        NetworkSettings(channels=(3, 4), structures=("a",), centre_heatmap=False)


def test_with_voxel_norm_how_bright_an_even_place_is_makes_a_difference():
    torch.manual_seed(3)
    settings = NetworkSettings(channels=(3, 4), structures=("lesion",))
    network = build(settings, seen((5, 4, 3))).eval()
    with torch.inference_mode():
        dark, bright = (network(torch.full((1, 2, 12, 8, 16), grey)) for grey in (0.4, 0.8))
    assert (dark - bright)[0, 0, 6, 4, 8].abs() > 1e-5  # 1e-7 without a bias
