import torch
from torch import nn

from medseg.config import NetworkSettings
from medseg.model.networks.unet import CropNorm, UNet


def test_it_says_one_thing_for_each_structure_and_one_for_centres_of_every_voxel():
    settings = NetworkSettings(channels=(3, 4, 5), structures=("a", "b"))
    network = UNet(settings, channels_in=2).eval()
    with torch.inference_mode():
        assert network(torch.rand(1, 2, 8, 12, 4)).shape == (1, 3, 8, 12, 4)


def test_without_a_heatmap_it_has_one_output_less():
    settings = NetworkSettings(
        channels=(3, 4), structures=("a",), centre_heatmap=False, offsets=False
    )
    with torch.inference_mode():
        assert UNet(settings, 1).eval()(torch.rand(2, 1, 4, 6, 2)).shape == (2, 1, 4, 6, 2)


def test_crops_are_normalised_as_torch_does_it_and_each_by_itself():
    rng = torch.Generator().manual_seed(1)
    crops = torch.rand(3, 4, 5, 7, 6, generator=rng) * torch.tensor([1.0, 5, 9]).view(3, 1, 1, 1, 1)
    mine, theirs = CropNorm(4), nn.InstanceNorm3d(4, affine=True)
    with torch.no_grad():
        for norm in (mine, theirs):
            norm.weight.copy_(torch.tensor([1.0, 2, 3, 4]))
            norm.bias.copy_(torch.tensor([0.0, -1, 1, 2]))
    torch.testing.assert_close(mine(crops), theirs(crops), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mine(crops)[1:2], mine(crops[1:2]))


def test_what_it_says_of_a_crop_does_not_depend_on_the_others_of_its_batch():
    torch.manual_seed(1)
    network = UNet(NetworkSettings(channels=(3, 4), structures=("a",)), 1)
    crops = torch.rand(2, 1, 8, 6, 4)
    other = torch.cat([crops[:1], 5 * crops[1:]])
    with torch.inference_mode():
        for mode in (True, False):
            network.train(mode)
            torch.testing.assert_close(network(crops)[0], network(other)[0], rtol=0, atol=1e-6)


def test_normalising_keeps_the_memory_layout_that_convolutions_are_fast_in():
    crops = torch.rand(2, 3, 8, 12, 4).to(memory_format=torch.channels_last_3d)
    assert CropNorm(3)(crops).is_contiguous(memory_format=torch.channels_last_3d)


def test_the_network_of_the_training_config_has_about_one_and_a_half_million_parameters():
    settings = NetworkSettings(channels=(8, 32, 64, 128), structures=("lesion",))
    count = sum(p.numel() for p in UNet(settings, 1).parameters())
    assert 1_300_000 < count < 1_600_000
