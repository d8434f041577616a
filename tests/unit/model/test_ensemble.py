"""Laws of networks side by side."""

import pytest
import torch
from pydantic import ValidationError

from medseg.config import InputSettings, JudgeSettings, NetworkSettings
from medseg.model.networks.build import build
from medseg.model.networks.ensemble import Ensemble

SEEN = InputSettings(roles=("pet",), spacing_mm=(5, 5, 4), clip=((0, 25),), tile=(8, 16, 8))


def settings(**changed):
    return NetworkSettings(
        **{"channels": (4, 8), "structures": ("lesion",), "members": 3, **changed}
    )


@pytest.mark.parametrize("family", ["centre-offset", "crop-unet"])
def test_what_is_said_is_the_mean_of_all_members(family):
    torch.manual_seed(0)
    made = settings(family=family, offsets=family == "centre-offset")
    network = build(made, SEEN).eval()
    x = torch.rand(2, 1, 8, 16, 8)
    with torch.inference_mode():
        said = [member(x) for member in network.members]
        assert len(said) == 3
        assert not torch.equal(said[0], said[1])
        torch.testing.assert_close(network(x), sum(said) / 3)


def test_each_member_learns_from_crops_of_its_own():
    network = build(settings(), SEEN).train()
    x = torch.rand(4, 1, 8, 16, 8)
    said = network(x)
    first, second, third = network.members
    assert said.shape == (4, 5, 8, 16, 8)
    torch.testing.assert_close(said, torch.cat([first(x[:2]), second(x[2:3]), third(x[3:])]))
    said[2].sum().backward()
    learns = [any(p.grad.any() for p in member.parameters()) for member in network.members]
    assert learns == [False, True, False]


def test_members_share_one_judge():
    judge = JudgeSettings(channels=(4, 8))
    network = build(settings(judge=judge), SEEN)
    assert isinstance(network, Ensemble)
    assert network.judge is not None
    assert all(member.judge is None for member in network.members)


def test_one_member_is_no_ensemble():
    assert not isinstance(build(settings(members=1), SEEN), Ensemble)


@pytest.mark.parametrize("family", ["regions", "queries"])
def test_proposals_have_no_mean(family):
    with pytest.raises(ValidationError, match=f"{family} have no members"):
        settings(family=family, centre_heatmap=False, offsets=False)
