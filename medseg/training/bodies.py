"""Whole bodies to learn from: a real one, and phantoms."""

import tarfile
import tempfile
from pathlib import Path

from medseg.config import Protocol, load_protocol
from medseg.core.volume import Volume
from medseg.ingest.select import read_study
from medseg.phantom.body import make_phantom
from medseg.training.datasets import Case, TrainingDataError, make_case, transfer
from medseg.training.settings import PetLesionsTask


def read_bodies(settings: PetLesionsTask, train: tuple[Case, ...]) -> tuple[Case, ...]:
    """The whole bodies that the settings name.

    Raises:
        TrainingDataError: The whole body's case is not in `train`, or shows another image.
        InputError: The study cannot be read.
    """
    bodies = [phantom_case(seed) for seed in settings.phantom_seeds]
    if settings.whole_body is not None:
        matching = [case for case in train if case.name == settings.whole_body_case]
        if not matching:
            raise TrainingDataError(
                "The case of the whole body is not in `train`, so its patient would be in both.",
                "Name a case of `train` as whole_body_case.",
            )
        volume = read_archive(settings.whole_body, load_protocol("pet-lesions"))
        bodies.append(transfer(matching[0], volume.data, volume.geometry))
    return tuple(bodies)


def read_archive(archive: Path, protocol: Protocol) -> Volume:
    """The main volume of a study in a tar archive."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
        study = read_study(Path(folder), protocol, {})
    return study.series[protocol.main_role].volume


def phantom_case(seed: int) -> Case:
    """The body of a phantom, with its lesions."""
    phantom = make_phantom(seed)
    return make_case(
        f"phantom {seed}", phantom.pet.data, phantom.lesions.labels, phantom.pet.geometry
    )
