"""What panoptica says of the scenes that `tests/regression/test_evaluate_peers.py` scores.

panoptica pins older numpy and rich than the lock, and works with the newer ones. It and what it
imports are installed without their pins:

    pip install --no-deps panoptica==2.1.7 "pandas<3" "plotly<6" tqdm
    python -m benchmarks.evaluate_peers
"""

import json

from panoptica import InputType, Metric, NaiveThresholdMatching, Panoptica_Evaluator

from tests.regression.scenes import SEEDS, scene


def main() -> None:
    """Print one JSON object: seed to panoptica's numbers."""
    evaluator = Panoptica_Evaluator(
        expected_input=InputType.UNMATCHED_INSTANCE,
        instance_matcher=NaiveThresholdMatching(),
        instance_metrics=[Metric.IOU, Metric.DSC],
        global_metrics=[Metric.DSC],
    )
    found = {}
    for seed in SEEDS:
        prediction, reference = scene(seed)
        result = evaluator.evaluate(prediction.labels.copy(), reference.labels.copy())["ungrouped"]
        names = ("tp", "fp", "fn", "pq", "rq", "sq", "sq_dsc", "global_bin_dsc")
        found[seed] = {name: float(getattr(result, name)) for name in names}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
