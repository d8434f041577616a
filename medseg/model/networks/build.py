"""From a card's description to a network with weights drawn by chance."""

import torch
from torch import nn

from medseg.config import InputSettings, NetworkSettings
from medseg.model.networks.centre_offset import CentreOffset
from medseg.model.networks.perceptron import VoxelPerceptron
from medseg.model.networks.queries import QueryNetwork
from medseg.model.networks.unet import UNet


def build(settings: NetworkSettings, seen: InputSettings) -> nn.Module:
    """The network of a family, in the memory layout that CPUs convolve fastest.

    Args:
        settings: Family and size.
        seen: Roles and spacing of its input.
    """
    network: nn.Module
    if settings.family == "crop-unet":
        network = UNet(settings, len(seen.roles))
    elif settings.family == "regions":
        # Here, because MONAI's detection costs seconds in every process that predicts.
        from medseg.model.networks.regions import RegionNetwork

        network = RegionNetwork(settings, seen)
    elif settings.family == "voxel-features":
        network = VoxelPerceptron(settings)
    elif settings.family == "queries":
        network = QueryNetwork(settings, seen)
    else:
        network = CentreOffset(settings, seen)
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload, no-any-return]  # torch's stub
