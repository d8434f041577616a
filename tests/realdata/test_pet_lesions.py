"""The shipped bundle on real images that it never learnt from."""

from dataclasses import replace

import numpy as np
import pytest

from medseg.config import load_card, load_protocol
from medseg.core.volume import IntensityUnit, Volume
from medseg.formats.itk import resample
from medseg.model.load import load_model
from medseg.segment.prepare import prepare
from medseg.training.datasets import read_cases
from medseg.training.scores import score_cases

pytestmark = [pytest.mark.realdata, pytest.mark.slow]


@pytest.fixture(scope="module")
def bundle():
    settings = load_protocol("pet-lesions").segment
    return load_model(load_card(settings.model), settings.tile_overlap), settings


def foreground(model, case):
    """Its probability on the case's acquired grid."""
    volume = Volume(case.image, case.geometry, IntensityUnit.SUV)
    study = prepare({"pet": volume}, model.roles, model.spacing_mm)
    (said,) = model.predict(study).probabilities
    return resample(said, study.geometry, case.geometry, interpolation="linear", outside=0)


@pytest.fixture(scope="module")
def val(shared_data):
    return read_cases(shared_data / "pet_lesions" / "val")


def test_the_mean_dice_on_val_is_at_least_what_was_reached_and_what_the_card_says(bundle, val):
    model, settings = bundle
    scores = score_cases(model, val, settings)
    assert scores["mean_dice"] >= 0.82
    assert scores["lesions_found"] == len(val)
    stated = model.card.scores["pet_lesions/val"]["mean_dice"]
    assert scores["mean_dice"] == pytest.approx(stated, abs=0.002)


def test_other_tiles_move_an_outline_little(bundle, val):
    """Each tile is normalised by itself, so something moves; the card says so.

    The bundle's own tiles are as large as the crops that were learnt from, these larger.
    """
    model, settings = bundle
    case = val[1]
    tile = model.card.input.model_copy(update={"tile": (56, 56, 72)})
    larger = replace(model, card=model.card.model_copy(update={"input": tile}), tile_overlap=0.5)
    one = foreground(model, case) >= settings.foreground_threshold
    other = foreground(larger, case) >= settings.foreground_threshold
    assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.9


def test_a_mirrored_grid_of_the_same_patient_gives_the_same_lesion(bundle, val):
    model, _ = bundle
    case = val[0]
    geometry = case.geometry
    flip = np.diag((1.0, -1.0, 1.0, 1.0))
    flip[1, 3] = geometry.shape[1] - 1
    stored = replace(
        case,
        image=np.ascontiguousarray(case.image[:, ::-1]),
        geometry=type(geometry)(geometry.shape, geometry.affine @ flip),
    )
    np.testing.assert_allclose(
        foreground(model, stored)[:, ::-1], foreground(model, case), atol=1e-3
    )
