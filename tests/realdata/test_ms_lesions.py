"""The experimental bundle of MS lesions on the two patients it learnt from, by the whole line."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from medseg import run_folder, stages
from medseg.config import load_card, load_protocol
from medseg.core.geometry import Geometry
from medseg.evaluate.rules import CC26_ANY_OVERLAP
from medseg.evaluate.scores import evaluate
from medseg.formats import nifti
from medseg.formats.tables import read_json
from medseg.training.ms_lesions import IMAGE, MASK, SEPARATION, components
from medseg.training.scores import instances_of

pytestmark = [pytest.mark.realdata, pytest.mark.slow]

PATIENTS = ("patient07", "patient19")

LEARNT = {"patient07": (0.42, 0.41), "patient19": (0.88, 0.67)}
"""Least Dice and lesion F1 on what was learnt from: no evidence, but a broken line shows."""


@dataclass(frozen=True, eq=False)
class Found:
    """What the line made of one FLAIR, and what experts outlined."""

    labels: np.ndarray
    reference: np.ndarray
    geometry: Geometry
    rows: int


@pytest.fixture(scope="module")
def found(shared_data, tmp_path_factory) -> dict[str, Found]:
    cases = shared_data / "ms_flair" / "cases"
    out: Path = tmp_path_factory.mktemp("ms")
    made = {}
    for name in PATIENTS:
        stages.delineate(cases / f"{name}{IMAGE}", out / name, load_protocol("ms-lesions"))
        labels, geometry = nifti.read_labels(out / name / run_folder.LESIONS)
        reference, _ = nifti.read_labels(cases / f"{name}{MASK}")
        rows = read_json(out / name / run_folder.TABLE_JSON)
        made[name] = Found(labels, components(reference), geometry, len(rows))
    return made


def test_lesions_are_found_as_well_as_in_training_and_each_is_an_instance(found):
    for name, one in found.items():
        scores = evaluate(
            instances_of(one.labels, one.geometry), instances_of(one.reference, one.geometry)
        )
        least_dice, least_f1 = LEARNT[name]
        assert scores.dice > least_dice
        assert scores.under(CC26_ANY_OVERLAP).f1 > least_f1
        assert one.rows == one.labels.max() > 5


def test_left_and_right_are_not_exchanged(found):
    one = found["patient19"]
    mirrored = one.reference[::-1] > 0
    overlap = ((one.labels > 0) & (one.reference > 0)).sum()
    assert overlap > 1.3 * ((one.labels > 0) & mirrored).sum()


def test_the_protocol_separates_as_the_card_was_scored():
    segment = load_protocol("ms-lesions").segment
    assert segment.model_copy(update={"model": SEPARATION.model}) == SEPARATION


def test_the_card_says_what_a_patient_who_was_not_learnt_from_gets():
    scores = load_card("ms-lesions").scores
    held_out = [row for name, row in scores.items() if name.startswith("held out")]
    assert len(held_out) == len(PATIENTS)
    assert np.mean([row["lesion_f1"] for row in held_out]) >= 0.55
    assert np.mean([row["dice"] for row in held_out]) >= 0.6
    assert all("no evidence" in name for name in scores if not name.startswith("held out"))
