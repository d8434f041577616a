"""A lesion belongs to the tile that owns its centre: it is found once, and whole."""

import dataclasses

import numpy as np
import pytest
from scipy.ndimage import find_objects, label

from medseg.config import InputSettings, NetworkSettings
from medseg.core.geometry import Geometry
from medseg.core.prediction import ModelInput
from medseg.model.networks.candidate import Candidate
from medseg.model.propose import ProposingModel

SHAPE = (51, 38, 70)
SPACING = (5.0, 4.0, 3.0)


class Threshold:
    """Every component of what is hot in a tile, as an instance; sure of all of them."""

    def propose(self, x):
        found, _ = label(x[0, 0].numpy() > 0.5)
        return [
            Candidate(0.9, 0, tuple(s.start for s in box), found[box] == n)
            for n, box in enumerate(find_objects(found), start=1)
        ]


@pytest.fixture
def model(card) -> ProposingModel:
    network = NetworkSettings(
        family="queries",
        channels=(3, 4, 5),
        structures=("lesion",),
        centre_heatmap=False,
        offsets=False,
    )
    seen = InputSettings(roles=("pet",), spacing_mm=SPACING, clip=((0, 20),), tile=(16, 20, 24))
    return ProposingModel(
        card.model_copy(update={"network": network, "input": seen}), Threshold(), 0.25
    )


@pytest.fixture
def scene() -> tuple[ModelInput, np.ndarray]:
    """Balls all over the grid, one in every corner of it, none touching another."""
    rng = np.random.default_rng(2)
    labels = np.zeros(SHAPE, np.int32)
    grid = np.moveaxis(np.indices(SHAPE), 0, -1)
    for centre in [(0, 0, 0), (50, 37, 69), *(tuple(rng.integers(0, SHAPE)) for _ in range(60))]:
        near = np.linalg.norm(grid - centre, axis=-1)
        if not labels[near <= 5.5].any():
            labels[near <= 3] = labels.max() + 1
    data = np.where(labels > 0, 15, 1).astype(np.float32)[None]
    return ModelInput(data, Geometry(SHAPE, np.diag((*SPACING, 1.0)))), labels


@pytest.fixture
def centred(model) -> ProposingModel:
    """The same, which puts a study that is smaller than its tiles in the middle."""
    seen = model.card.input.model_copy(update={"whole_tiles": True})
    return dataclasses.replace(model, card=model.card.model_copy(update={"input": seen}))


@pytest.mark.parametrize("kind", ["model", "centred"])
def test_every_lesion_is_found_once_and_whole_wherever_tiles_end(kind, scene, request):
    model = request.getfixturevalue(kind)
    study, labels = scene
    proposals = model.predict(study)
    assert labels.max() > 20
    assert len(proposals) == labels.max()
    for proposal in proposals:
        numbers = np.unique(labels[proposal.box][proposal.mask])
        assert len(numbers) == 1
        assert proposal.mask.sum() == (labels == numbers[0]).sum()
        assert proposal.structure == "lesion"


def test_progress_rises_to_one_and_air_is_not_looked_at(model, scene):
    study, _ = scene
    told: list[float] = []
    settings = model.card.input.model_copy(update={"empty_below": 0.9})
    cold = dataclasses.replace(model, card=model.card.model_copy(update={"input": settings}))
    assert cold.predict(study, lambda _, share: told.append(share)) == ()
    assert told == sorted(told)
    assert told[-1] == 1
    assert len(told) > 20


def test_a_study_smaller_than_a_tile_is_one_tile(model):
    data = np.ones((1, 5, 7, 9), np.float32)
    data[0, 1:4, 2:5, 3:9] = 15
    study = ModelInput(data, Geometry((5, 7, 9), np.diag((*SPACING, 1.0))))
    (proposal,) = model.predict(study)
    assert proposal.box == (slice(1, 4), slice(2, 5), slice(3, 9))


def test_a_small_study_lies_in_the_middle_of_a_tile_where_crops_did(centred):
    data = np.ones((1, 5, 7, 9), np.float32)
    data[0, 1:4, 2:5, 3:9] = 15
    study = ModelInput(data, Geometry((5, 7, 9), np.diag((*SPACING, 1.0))))
    seen = []

    class Watched(Threshold):
        def propose(self, x):
            seen.append(x[0, 0].numpy())
            # It reaches into the padding on every side; that part of it is cut off.
            wide = np.ones((7, 9, 11), bool)
            return [*super().propose(x), Candidate(0.8, 0, (4, 5, 6), wide)]

    found, wide = dataclasses.replace(centred, network=Watched()).predict(study)
    (tile,) = seen
    assert find_objects((tile > 0.5).astype(int)) == [(slice(6, 9), slice(8, 11), slice(10, 16))]
    assert found.box == (slice(1, 4), slice(2, 5), slice(3, 9))
    assert wide.box == (slice(0, 5), slice(0, 7), slice(0, 9))
    assert wide.mask.shape == (5, 7, 9)


def test_what_lies_in_the_padding_alone_is_no_proposal(model):
    class Beyond:
        def propose(self, _):
            return [Candidate(0.9, 0, (6, 8, 10), np.ones((2, 2, 2), bool))]

    study = ModelInput(np.ones((1, 5, 7, 9), np.float32), Geometry((5, 7, 9), np.eye(4)))
    assert dataclasses.replace(model, network=Beyond()).predict(study) == ()
