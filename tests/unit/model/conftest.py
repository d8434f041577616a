"""Small networks, made in an instant."""

import numpy as np
import pytest

from medseg.config import InputSettings, ModelCard, NetworkSettings
from medseg.core.geometry import Geometry
from medseg.core.prediction import ModelInput

SHAPE = (29, 18, 35)
"""Voxels of the study."""


@pytest.fixture
def study() -> ModelInput:
    """A PET and a CT of noise, a little beyond what is clipped, on the card's grid."""
    rng = np.random.default_rng(5)
    data = np.stack([rng.uniform(0, 30, SHAPE), rng.uniform(-1200, 1200, SHAPE)])
    return ModelInput(data.astype(np.float32), Geometry(SHAPE, np.diag((5, 4, 3, 1))))


@pytest.fixture
def card() -> ModelCard:
    """A card of a tiny network for two roles, on an anisotropic grid."""
    return ModelCard(
        name="tiny",
        title="Tiny",
        weights="tiny.safetensors",
        sha256="0" * 64,
        input=InputSettings(
            roles=("pet", "ct"),
            spacing_mm=(5, 4, 3),
            clip=((0, 20), (-1000, 1000)),
            tile=(12, 8, 16),
        ),
        network=NetworkSettings(channels=(3, 4, 5), structures=("lesion", "node")),
        data="none",
        attribution=(),
        licence="none",
        training="none",
        scores={},
        limits=(),
    )


@pytest.fixture
def card_of(card):
    """The card of another network."""

    def made(network: NetworkSettings, seen: InputSettings) -> ModelCard:
        return card.model_copy(update={"network": network, "input": seen})

    return made
