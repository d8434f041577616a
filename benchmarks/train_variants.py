"""The same crops, as many steps, from random weights: each loss term and each family by itself.

Every variant learns lesions on PET from the same draws of chance (train, STS_001, 15 phantoms; no
judge) and is scored on the five cases of `val` and on pairs of val tumours that touch, in crops of
phantoms that no run learns from. Panoptic quality is by `panoptica-iou50`; a variant's own
foreground in connected components stands beside it. Each variant is one run, so a difference of a
hundredth is chance.

Run: .venv/bin/python benchmarks/train_variants.py [--steps N] [--only NAME ...] [--out FOLDER]
A variant takes some 8 minutes of one core; with --out, what is cut off goes on where it was.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from medseg.config import load, load_protocol
from medseg.core.geometry import Geometry
from medseg.training.bodies import phantom_case
from medseg.training.confluence import touching_pair
from medseg.training.datasets import Case, make_case
from medseg.training.fit import averaged, run
from medseg.training.pet_lesions import UNSEEN_PHANTOMS, read
from medseg.training.sampling import Sources
from medseg.training.scores import score_cases, score_instances
from medseg.training.settings import TrainingSettings

PAIRS = 30

PROPOSING = {"centre_heatmap": False, "offsets": False}

VARIANTS: Mapping[str, tuple[dict[str, object], dict[str, object]]] = {
    "Dice + CE": ({"instance": 0}, {}),
    "+ CC-DiceCE": ({"instance": 1}, {}),
    "+ CC-DiceCE, focal": ({"instance": 1, "focal_exponent": 2}, {}),
    "+ CC-DiceCE, no Dice": ({"instance": 1, "dice": 0}, {}),
    "regions": ({"instance": 1}, {"family": "regions", **PROPOSING}),
    "queries": ({"instance": 1}, {"family": "queries", **PROPOSING}),
}
"""Name to what differs: of `losses`, and of `network`. The first four are `centre-offset`."""


def settings_of(name: str, steps: int) -> TrainingSettings:
    """The run of a variant: `pet-lesions` with fewer phantoms and steps, and no judge."""
    losses, network = VARIANTS[name]
    base = load(TrainingSettings, "pet-lesions", "training").model_dump()
    base["task"] |= {"varied_phantoms": 10, "plain_phantoms": 5}
    base["losses"] |= losses
    base["network"] |= {"judge": None, **network}
    return TrainingSettings(**base | {"steps": steps, "checkpoint_steps": max(1, steps // 4)})


def touching_pairs(val: tuple[Case, ...], settings: TrainingSettings) -> list[Case]:
    """Crops with two tumours of `val` that touch, in phantoms."""
    phantoms = tuple(phantom_case(seed) for seed in UNSEEN_PHANTOMS)
    sources = Sources(val, (), phantoms)
    geometry = Geometry(settings.crop, np.diag([*settings.input.spacing_mm, 1.0]))
    made = []
    for seed in range(PAIRS):
        scene = touching_pair(sources, settings, np.random.default_rng((130_363, seed)))
        made.append(make_case(f"pair {seed}", scene.image, scene.labels, geometry))
    return made


def main() -> None:
    """Train and score every variant that was asked for; a row each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    segment = load_protocol("pet-lesions").segment
    print(f"torch {torch.__version__}, one thread, {chosen.steps} steps of 3 crops")
    print(f"{'variant':24} s/step  Dice of val  PQ of pairs  (components)  found of {2 * PAIRS}")
    with tempfile.TemporaryDirectory() as there:
        for name in chosen.only:
            settings = settings_of(name, chosen.steps)
            task = read(settings)
            start = time.perf_counter()
            state = run(settings, task, (chosen.out or Path(there)) / name.replace(" ", "-"))
            seconds = (time.perf_counter() - start) / chosen.steps
            model = averaged(state, settings)
            val = score_cases(model, task.val, segment)
            pairs = score_instances(model, touching_pairs(task.val, settings), segment)
            print(
                f"{name:24} {seconds:6.2f}  {val['mean_dice']:11.3f}  {pairs['pq']:11.3f}  "
                f"({pairs['pq_of_connected_components']:10.3f})  {pairs['lesions_found']}",
                flush=True,
            )


if __name__ == "__main__":
    main()
