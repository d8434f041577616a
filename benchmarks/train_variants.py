"""Loss terms of the foreground and families of networks, each trained alike from random weights.

Every variant learns lesions on PET from the same crops (train, STS_001, 15 phantoms; no judge), at
one rate, with a heatmap and offsets where its family has them. All are separated by the same plain
settings: those of a protocol were chosen for one network. They are scored on the five cases of
`val` and on 30 pairs of val tumours that touch, in crops of phantoms that no run learns from:
how many tumours are found (any overlap), how many have an instance of their own (IoU above 0.5),
how many instances touch none, and panoptic quality by `panoptica-iou50`, with a 95 % interval by
bootstrap over the pairs; that of connected components of the variant's own foreground beside it.
Nothing tells hot organs from lesions here but the network itself, and it learns briefly: most
instances are false, and PQ is small. Each is one run, so no interval holds what another seed would
change: --seed repeats it with another.

Run: .venv/bin/python benchmarks/train_variants.py; --help says what can be chosen.
A variant takes about 5 minutes of one core; with --out, what was cut off goes on where it was.
"""

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from medseg.config import SegmentSettings, load
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

PLAIN = SegmentSettings(model="none")

PROPOSING: Mapping[str, object] = {"centre_heatmap": False, "offsets": False}

VARIANTS: Mapping[str, tuple[Mapping[str, object], Mapping[str, object]]] = {
    "dice-ce": ({"instance": 0}, {}),
    "ce": ({"instance": 0, "dice": 0}, {}),
    "dice-focal": ({"instance": 0, "focal_exponent": 2}, {}),
    "dice-ce-instance": ({"instance": 1}, {}),
    "dice-ce-instance-no-offsets": ({"instance": 1}, {"offsets": False}),
    "regions": ({"instance": 1}, {"family": "regions", **PROPOSING}),
    "queries": ({"instance": 1}, {"family": "queries", **PROPOSING}),
}
"""Name to what differs of `losses` and of `network`; the others are `centre-offset`."""


def settings_of(name: str, steps: int, seed: int) -> TrainingSettings:
    """The run of a variant: `pet-lesions` with fewer phantoms and steps, and no judge."""
    losses, network = VARIANTS[name]
    base = load(TrainingSettings, "pet-lesions", "training").model_dump()
    base["task"] |= {"varied_phantoms": 10, "plain_phantoms": 5}
    base["losses"] |= losses
    base["network"] |= {"judge": None, **network}
    changed = {"name": f"{name}-{steps}-{seed}", "steps": steps, "seed": seed}
    return TrainingSettings(**base | changed)


def touching_pairs(val: tuple[Case, ...], settings: TrainingSettings) -> list[Case]:
    """Crops with two tumours of `val` that touch, in phantoms; no other lesion is in them."""
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
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    task = read(settings_of("dice-ce", chosen.steps, chosen.seed))
    pairs = touching_pairs(task.val, task.settings)
    print(f"torch {torch.__version__}, seed {chosen.seed}: {chosen.steps} steps of 3 crops")
    print(f"{'':27}         {2 * PAIRS} touching tumours of {PAIRS} pairs")
    print(f"{'variant':27} val Dice  found  own  false  PQ                      components")
    with tempfile.TemporaryDirectory() as there:
        for name in chosen.only:
            settings = settings_of(name, chosen.steps, chosen.seed)
            one = replace(task, settings=settings)
            state = run(settings, one, (chosen.out or Path(there)) / settings.name)
            model = averaged(state, settings)
            val = score_cases(model, task.val, PLAIN)
            found = score_cases(model, pairs, PLAIN)
            told = score_instances(model, pairs, PLAIN)
            print(
                f"{name:27} {val['mean_dice']:8.3f}  {found['lesions_found']:5}  "
                f"{found['lesions_delineated_as_one']:3}  {found['false_positives']:5}  "
                f"{told['pq']:.3f} ({told['pq_low']:.3f} to {told['pq_high']:.3f})  "
                f"{told['pq_of_connected_components']:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
