"""Cases that the confidence of PET lesions is fitted on; no run learns from any of them."""

from collections.abc import Iterator

import numpy as np

from medseg.config import SegmentSettings, load_protocol
from medseg.core.geometry import Geometry
from medseg.core.prediction import VoxelModel
from medseg.core.volume import IntensityUnit, Volume
from medseg.training.bodies import phantom_case
from medseg.training.calibrate import Described, describe_case
from medseg.training.confluence import touching_pair
from medseg.training.datasets import Case, make_case, read_cases
from medseg.training.sampling import Sources
from medseg.training.settings import TrainingSettings

PHANTOMS = (0, *range(101, 111))
"""Seeds that no run may learn from: whole bodies, where hot organs are mistaken for lesions."""

PAIRS = 20
"""Synthetic pairs of touching tumours of `val`."""

NAMED = (
    "{val} patients of pet_lesions/val (real, crops around a tumour), {phantoms} unseen phantoms "
    "(synthetic whole bodies) and {pairs} touching pairs of val tumours in phantoms (synthetic); "
    "each pair and phantom is held out like a patient"
)


def describe_pet(settings: TrainingSettings, model: VoxelModel) -> tuple[list[Described], str]:
    """The predicted lesions of every case, and what the cases are.

    Raises:
        InputError: The data cannot be read.
    """
    segment = load_protocol("pet-lesions").segment
    val = read_cases(settings.data / "val")
    found = [_describe(case, model, segment) for case in val]
    bodies = []
    for seed in PHANTOMS:
        bodies.append(phantom_case(seed))
        found.append(_describe(bodies[-1], model, segment))
    sources = Sources(val, (), tuple(bodies[:3]))
    found += [_describe(pair, model, segment) for pair in _pairs(sources, settings)]
    return found, NAMED.format(val=len(val), phantoms=len(PHANTOMS), pairs=PAIRS)


def _pairs(sources: Sources, settings: TrainingSettings) -> Iterator[Case]:
    for seed in range(PAIRS):
        scene = touching_pair(sources, settings, np.random.default_rng((104_729, seed)))
        geometry = Geometry(settings.crop, np.diag([*scene.spacing_mm, 1.0]))
        yield make_case(f"pair {seed}", scene.image, scene.labels, geometry)


def _describe(case: Case, model: VoxelModel, segment: SegmentSettings) -> Described:
    volume = Volume(case.image, case.geometry, IntensityUnit.SUV)
    volumes = dict.fromkeys(model.roles, volume)
    return describe_case(case.name, model, volumes, case.labels, segment)
