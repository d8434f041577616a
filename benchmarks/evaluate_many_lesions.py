"""Processor seconds to score 20, 200 and 2,000 lesions in one volume under every rule.

Run: .venv/bin/python -m benchmarks.evaluate_many_lesions
"""

import time

import numpy as np

from benchmarks.separate_many_lesions import predict
from medseg.config import SegmentSettings
from medseg.evaluate.scores import evaluate
from medseg.segment.separate import separate
from tests.strategies import instance_map


def main() -> None:
    """Print one line for each number of lesions."""
    for lesions in (20, 200, 2000):
        prediction = predict(lesions)
        found = separate(prediction, SegmentSettings(model="none"))
        reference = instance_map(found.labels.astype(np.uint16), found.geometry)
        moved = instance_map(np.roll(reference.labels, 1, axis=0), found.geometry)
        begin = time.process_time()
        scores = evaluate(moved, reference)
        seconds = time.process_time() - begin
        print(f"{lesions}: {seconds:.2f} s, {len(scores.matches)} pairs")


if __name__ == "__main__":
    main()
