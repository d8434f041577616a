"""Whole bodies to learn from: a real one, and phantoms."""

import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

from medseg.config import Protocol, load_protocol
from medseg.core.volume import Volume
from medseg.ingest.select import read_study
from medseg.phantom.body import make_phantom
from medseg.phantom.variety import make_body
from medseg.training.datasets import Case, make_case, transfer
from medseg.training.physiology import ORGANS, STS_001, codes_by_rules, codes_of_masks


def read_phantoms(varied: int, plain: int) -> tuple[Case, ...]:
    """So many varied phantoms, of seeds from 0, and of `phantom.body`, of seeds from 1.

    Of the latter's, 1 to 100 are left to learn from: scores and calibration are of others.
    """
    return (
        *(varied_case(seed) for seed in range(varied)),
        *(phantom_case(seed) for seed in range(1, plain + 1)),
    )


def read_whole_body(archive: Path, case: Case) -> Case:
    """The whole body of the patient of a case, with its organs by rules.

    Raises:
        TrainingDataError: The study shows another image than the case.
        InputError: It cannot be read.
    """
    volume = read_archive(archive, load_protocol("pet-lesions"))
    whole = transfer(case, volume.data, volume.geometry)
    codes = codes_by_rules(whole.image, whole.geometry)
    return replace(whole, organs=codes, outlined=tuple(rule.organ for rule in STS_001))


def read_archive(archive: Path, protocol: Protocol) -> Volume:
    """The main volume of a study in a tar archive."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
        study = read_study(Path(folder), protocol, {})
    return study.series[protocol.main_role].volume


def varied_case(seed: int, *, healthy: bool = False) -> Case:
    """A varied phantom, with its lesions, if it may have any, and organs."""
    body = make_body(seed, healthy=healthy)
    case = make_case(f"varied phantom {seed}", body.pet, body.lesions, body.geometry)
    return replace(case, organs=codes_of_masks(body.organs), outlined=ORGANS)


def phantom_case(seed: int) -> Case:
    """The body of a phantom, with its lesions."""
    phantom = make_phantom(seed)
    return make_case(
        f"phantom {seed}", phantom.pet.data, phantom.lesions.labels, phantom.pet.geometry
    )
