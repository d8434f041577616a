"""Scores against what other programs say of the same label maps, to 1e-6."""

import json
from pathlib import Path

import pytest

from medseg.evaluate.rules import PANOPTICA_IOU50
from medseg.evaluate.scores import evaluate
from tests.regression.scenes import SEEDS, scene

PEERS = json.loads(Path(__file__).with_name("evaluate_peers.json").read_text())["scenes"]
EXACT = {"abs": 1e-6, "rel": 0}


@pytest.mark.parametrize("seed", SEEDS)
def test_lesions_are_paired_and_scored_as_panoptica_does(seed: int) -> None:
    scores = evaluate(*scene(seed))
    assert_panoptica(scores, PEERS[str(seed)]["panoptica"])


def assert_panoptica(scores, peer) -> None:
    found = scores.under(PANOPTICA_IOU50)
    assert found.found_lesions == found.quality.pairs == peer["tp"]
    assert found.false_lesions == peer["fp"]
    assert found.reference_lesions - found.found_lesions == peer["fn"]
    assert found.f1 == pytest.approx(peer["rq"], **EXACT)
    assert found.quality.rq == pytest.approx(peer["rq"], **EXACT)
    assert found.quality.pq == pytest.approx(peer["pq"], **EXACT)
    assert scores.dice == pytest.approx(peer["global_bin_dsc"], **EXACT)
    if found.quality.pairs:
        assert found.quality.sq == pytest.approx(peer["sq"], **EXACT)
        assert found.quality.instance_dice == pytest.approx(peer["sq_dsc"], **EXACT)


@pytest.mark.parametrize("seed", SEEDS)
def test_lesion_wise_scores_are_those_of_the_brats_challenge(seed: int) -> None:
    found = evaluate(*scene(seed)).lesion_wise
    peer = PEERS[str(seed)]["brats-mets-2023"]
    assert found.found_lesions == peer["tp"]
    assert found.false_lesions == peer["fp"]
    assert found.reference_lesions - found.found_lesions == peer["fn"]
    assert found.lesion_wise_dice == pytest.approx(peer["dice"], **EXACT)
    assert found.lesion_wise_hd95_mm == pytest.approx(peer["hd95"], **EXACT)


def test_panoptica_itself_agrees_where_it_is_installed() -> None:
    panoptica = pytest.importorskip("panoptica", reason="benchmarks/evaluate_peers.py says how")
    evaluator = panoptica.Panoptica_Evaluator(
        expected_input=panoptica.InputType.UNMATCHED_INSTANCE,
        instance_matcher=panoptica.NaiveThresholdMatching(),
        instance_metrics=[panoptica.Metric.IOU, panoptica.Metric.DSC],
        global_metrics=[panoptica.Metric.DSC],
    )
    for seed in range(100, 120):
        prediction, reference = scene(seed)
        result = evaluator.evaluate(prediction.labels.copy(), reference.labels.copy())["ungrouped"]
        names = ("tp", "fp", "fn", "pq", "rq", "sq", "sq_dsc", "global_bin_dsc")
        peer = {name: float(getattr(result, name)) for name in names}
        assert peer["tp"] > 0
        assert_panoptica(evaluate(prediction, reference), peer)
