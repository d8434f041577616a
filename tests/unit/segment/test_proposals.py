"""Proposals become instances that do not overlap."""

import numpy as np
import pytest

from medseg.core.geometry import Geometry
from medseg.core.prediction import Proposal
from medseg.segment.proposals import adopt
from tests.unit.segment.bodies import SETTINGS

GRID = Geometry((9, 10, 12), np.diag((2.0, 3.0, 4.0, 1.0)))


def propose(score: float, *ranges: tuple[int, int], structure: str = "lesion") -> Proposal:
    a, b, c = (slice(*r) for r in ranges)
    mask = np.ones((a.stop - a.start, b.stop - b.start, c.stop - c.start), bool)
    return Proposal(score, structure, (a, b, c), mask, GRID)


def test_the_surer_proposal_keeps_what_two_claim():
    unsure = propose(0.6, (1, 5), (2, 6), (1, 7), structure="bone lesion")
    sure = propose(0.9, (1, 5), (2, 6), (5, 10))
    separated = adopt((unsure, sure), GRID, SETTINGS)
    assert separated.structures == ("lesion", "bone lesion")
    assert set(separated.labels[1:5, 2:6, 5:10].flat) == {1}
    assert set(separated.labels[1:5, 2:6, 1:5].flat) == {2}
    assert np.count_nonzero(separated.labels) == 4 * 4 * 9


def test_another_view_of_the_same_lesion_is_dropped():
    sure = propose(0.9, (1, 5), (2, 6), (1, 7))
    again = propose(0.8, (1, 5), (2, 6), (3, 9))  # four of its six planes are taken
    separated = adopt((again, sure), GRID, SETTINGS)
    assert separated.structures == ("lesion",)
    assert not separated.labels[:, :, 7:].any()


def test_an_unsure_proposal_is_no_instance():
    assert adopt((propose(0.4, (1, 3), (2, 4), (1, 4)),), GRID, SETTINGS).structures == ()


def test_no_proposals_are_an_empty_map_on_the_grid():
    separated = adopt((), GRID, SETTINGS)
    assert separated.labels.shape == GRID.shape
    assert separated.structures == ()


def test_a_proposal_on_another_grid_is_refused():
    elsewhere = Geometry(GRID.shape, np.diag((2.0, 3.0, 4.5, 1.0)))
    with pytest.raises(ValueError, match="another grid"):
        adopt((propose(0.9, (1, 3), (2, 4), (1, 4)),), elsewhere, SETTINGS)
