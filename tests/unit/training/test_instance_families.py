"""Both instance families learn one crop by heart, and their losses are what they say."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from monai.data.box_utils import box_iou

from medseg.config import InputSettings, NetworkSettings, SegmentSettings
from medseg.core.geometry import Geometry
from medseg.core.prediction import ModelInput
from medseg.errors import ModelError
from medseg.model.load import model_of
from medseg.model.networks.build import build
from medseg.model.networks.queries import Answer, mask_logits
from medseg.model.networks.regions import by_anchor, clip
from medseg.segment.proposals import adopt
from medseg.training.fit import begin, run, unpublished_card
from medseg.training.objectives import objective
from medseg.training.pet_lesions import PetLesions
from medseg.training.query_loss import assign, dice_costs
from medseg.training.region_loss import boxes_of, owners, structures_of
from medseg.training.sample import Batch, sample_of_instances, stack
from medseg.training.sampling import Sources
from medseg.training.settings import TrainingSettings

SPACING = (5.0, 4.0, 3.0)
SHAPE = (16, 24, 32)
FAMILIES = ("regions", "queries")
CPU = torch.device("cpu")


@pytest.fixture
def truth() -> np.ndarray:
    """Two balls of different size that touch, and one apart."""
    places = np.moveaxis(np.indices(SHAPE), 0, -1) * SPACING
    labels = np.zeros(SHAPE, np.int32)
    balls = [((30, 30, 34), 16), ((57, 33, 36), 12), ((40, 68, 68), 13)]
    for number, (centre, radius) in enumerate(balls, start=1):
        labels[np.linalg.norm(places - centre, axis=-1) <= radius] = number
    return labels


def batch_of(labels: np.ndarray) -> Batch:
    noise = np.random.default_rng(0).normal(0, 0.02, SHAPE)
    image = (np.where(labels > 0, 0.7, 0.1) + noise).astype(np.float32)
    centres = [np.zeros(3)] * int(labels.max())
    radii = [10.0] * len(centres)
    sample = sample_of_instances(image[None], labels, SPACING, centres, radii, least_sigma_mm=4)
    return stack([sample], CPU)


def settings_of(settings: TrainingSettings, family: str) -> TrainingSettings:
    network = NetworkSettings(
        family=family,
        channels=(8, 16, 24),
        structures=("lesion",),
        centre_heatmap=False,
        offsets=False,
    )
    seen = InputSettings(roles=("pet",), spacing_mm=SPACING, clip=((0, 1),), tile=SHAPE)
    return settings.model_copy(update={"network": network, "input": seen, "crop": SHAPE})


@pytest.mark.slow
@pytest.mark.parametrize(("family", "steps", "least"), [("regions", 160, 0.93), ("queries", 90, 1)])
def test_one_crop_is_learnt_by_heart_and_its_instances_come_back(
    settings, truth, family, steps, least
):
    settings, batch = settings_of(settings, family), batch_of(truth)
    torch.manual_seed(1)
    network = build(settings.network, settings.input)
    optimiser = torch.optim.AdamW(network.parameters())
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * (1 - step / steps) + 1e-5
        optimiser.zero_grad()
        objective(network, network(batch.data), batch, settings).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5)
        optimiser.step()
    model = model_of(unpublished_card(settings), network, 0)
    geometry = Geometry(SHAPE, np.diag((*SPACING, 1.0)))
    proposals = model.predict(ModelInput(batch.data[0].numpy(), geometry))
    found = adopt(proposals, geometry, SegmentSettings(model="none"))
    assert len(found.structures) == 3
    for label in (1, 2, 3):
        mask = truth == label
        other = found.labels == np.bincount(found.labels[mask]).argmax()
        assert (mask & other).sum() >= least * (mask | other).sum()


def test_every_instance_has_an_anchor_that_learns_of_it(settings, truth):
    settings, batch = settings_of(settings, "regions"), batch_of(truth)
    stage = build(settings.network, settings.input)(batch.data)
    boxes = boxes_of(batch.labels[0])
    owner = owners(stage, boxes)
    assert set(owner.tolist()) == {-1, 0, 1, 2}
    # The first ball's best anchors overlap it alike, and none lies above their mean and deviation.
    overlaps = box_iou(boxes, stage.anchors)[0]
    assert set(overlaps[owner == 0].tolist()) == {overlaps.max().item()}
    assert owners(stage, boxes[:0]).max() == -1
    # Of two boxes that are nearly one, the second overlaps every candidate less.
    twins = torch.stack([boxes[1], boxes[1] + torch.tensor([0, 0, 0, 0.1, 0, 0])])
    assert set(owners(stage, twins).tolist()) == {-1, 0, 1}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_of_each_family_resumes_bit_for_bit(settings, case, family, tmp_path):
    settings = settings_of(settings, family).model_copy(update={"steps": 2, "checkpoint_steps": 1})
    task = PetLesions(settings, Sources((case,), ()), (dataclasses.replace(case, name="val"),))
    whole = run(settings, task, tmp_path / "whole")

    def stop(_stage: str, share: float) -> None:
        if share == 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run(settings, task, tmp_path / "parts", stop)
    parts = run(settings, task, tmp_path / "parts")
    assert parts.history == whole.history
    for name, tensor in whole.average.items():
        assert torch.equal(tensor, parts.average[name]), name


@pytest.mark.parametrize("family", FAMILIES)
def test_a_crop_without_instances_has_a_loss_too(settings, truth, family):
    settings = settings_of(settings, family)
    torch.manual_seed(1)
    network = build(settings.network, settings.input)
    batch = batch_of(truth * 0)
    value = objective(network, network(batch.data), batch, settings)
    value.backward()
    assert 0 < value.item() < 20
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_an_output_of_no_family_is_a_bug(settings, truth):
    with pytest.raises(TypeError, match="no known family"):
        objective(torch.nn.Identity(), object(), batch_of(truth), settings)


def test_a_box_holds_its_instance_from_edge_to_edge(truth):
    boxes = boxes_of(torch.from_numpy(truth))
    for label, box in enumerate(boxes.tolist(), start=1):
        places = np.argwhere(truth == label)
        assert box == [*places.min(axis=0), *(places.max(axis=0) + 1)]
    assert boxes_of(torch.zeros(SHAPE, dtype=torch.int32)).shape == (0, 6)


def test_an_instance_is_of_the_structure_that_most_of_it_is_of(truth):
    mask = torch.zeros(2, *SHAPE)
    mask[0][torch.from_numpy(truth == 1)] = 1
    mask[1][torch.from_numpy(truth > 1)] = 1
    assert structures_of(torch.from_numpy(truth), mask).tolist() == [0, 1, 1]


def test_queries_go_to_the_instances_that_cost_least_together():
    rng = torch.Generator().manual_seed(5)
    voxels = torch.randn(6, 3, 4, 5, generator=rng)
    answer = Answer(torch.randn(4, 1, generator=rng), torch.randn(4, 6, generator=rng))
    masks = (torch.rand(3, 60, generator=rng) < 0.3).float()
    queries, instances = assign(answer, voxels, masks, torch.zeros(3, dtype=torch.long))
    said = mask_logits(answer.queries[None], voxels[None])[0].flatten(1)

    def cost(query: int, instance: int) -> float:
        crossed = torch.nn.functional.binary_cross_entropy_with_logits(said[query], masks[instance])
        dice = dice_costs(said[query : query + 1].sigmoid(), masks[instance][None], paired=True)
        return float(2 * (crossed + dice[0]) - answer.classes[query, 0].sigmoid())

    best = min(
        itertools.permutations(range(4), 3),
        key=lambda order: sum(cost(q, n) for n, q in enumerate(order)),
    )
    assert {(int(n), int(q)) for q, n in zip(queries, instances, strict=True)} == set(
        enumerate(best)
    )


def test_anchors_and_what_is_said_of_them_come_in_one_order(settings):
    settings = settings_of(settings, "regions")
    network = build(settings.network, settings.input)
    with torch.inference_mode():
        stage = network(torch.rand(1, 1, *SHAPE))
    assert len(stage.anchors) == stage.objectness.shape[1] == stage.deltas.shape[1]
    # The anchors of a place follow each other, and K runs fastest, as in what heads say.
    said = torch.arange(8 * 12 * 16).view(1, 1, 8, 12, 16).float()
    order = by_anchor(torch.cat([said, said + 0.5], dim=1), 1).flatten()
    middles = (stage.anchors[: len(order), :3] + stage.anchors[: len(order), 3:]) / 2
    place = torch.div(middles, 2, rounding_mode="floor")
    index = (place[:, 0] * 12 + place[:, 1]) * 16 + place[:, 2]
    torch.testing.assert_close(order.floor(), index)


def test_boxes_are_cut_to_the_image_and_stay_a_voxel_long():
    boxes = torch.tensor([[-3.0, 2, 4, 5, 50, 9], [2.0, 3, 40, 2.2, 5, 60]])
    cut = clip(boxes, (8, 10, 12))
    assert cut[0].tolist() == [0, 2, 4, 5, 10, 9]
    assert cut[1].tolist() == [2, 3, 11, 3, 5, 12]


def test_a_run_of_another_family_gives_its_backbone_and_nothing_else(settings):
    dense = settings_of(settings, "queries")
    dense = dense.model_copy(
        update={"network": NetworkSettings(channels=(8, 16, 24), structures=("lesion",))}
    )
    given = begin(dense).average
    begun = begin(settings_of(settings, "regions").model_copy(update={"seed": 3}), given).average
    alone = begin(settings_of(settings, "regions").model_copy(update={"seed": 3})).average
    for name, tensor in begun.items():
        assert torch.equal(tensor, (given if name.startswith("backbone.") else alone)[name]), name
    smaller = settings_of(settings, "regions")
    network = smaller.network.model_copy(update={"channels": (8, 16)})
    with pytest.raises(ModelError, match="backbone does not fit"):
        begin(smaller.model_copy(update={"network": network}), given)
