import torch

from medseg.config import NetworkSettings
from medseg.model.networks.unet import build


def test_it_says_one_thing_for_each_structure_and_one_for_centres_of_every_voxel():
    settings = NetworkSettings(channels=(3, 4, 5), structures=("a", "b"))
    network = build(settings, channels_in=2).eval()
    with torch.inference_mode():
        assert network(torch.rand(1, 2, 8, 12, 4)).shape == (1, 3, 8, 12, 4)


def test_without_a_heatmap_it_has_one_output_less():
    settings = NetworkSettings(channels=(3, 4), structures=("a",), centre_heatmap=False)
    with torch.inference_mode():
        assert build(settings, 1).eval()(torch.rand(2, 1, 4, 6, 2)).shape == (2, 1, 4, 6, 2)


def test_what_it_says_of_a_voxel_does_not_depend_on_what_is_beyond_its_reach():
    """Instance normalisation would fail here: it takes means over the whole tile."""
    torch.manual_seed(1)
    network = build(NetworkSettings(channels=(3, 4), structures=("a",)), 1).eval()
    volume = torch.rand(1, 1, 48, 8, 6)
    changed = volume.clone()
    changed[:, :, 32:] = 1 - changed[:, :, 32:]
    with torch.inference_mode():
        before, after = network(volume), network(changed)
    torch.testing.assert_close(before[:, :, :16], after[:, :, :16], rtol=0, atol=1e-6)
    assert not torch.allclose(before[:, :, 32:], after[:, :, 32:])


def test_the_network_of_the_training_config_has_about_one_and_a_half_million_parameters():
    settings = NetworkSettings(channels=(8, 32, 64, 128), structures=("lesion",))
    count = sum(p.numel() for p in build(settings, 1).parameters())
    assert 1_300_000 < count < 1_600_000
