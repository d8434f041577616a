"""Small cases, made in an instant, on grids that show a swapped axis."""

from pathlib import Path

import numpy as np
import pytest

from medseg.config import InputSettings, NetworkSettings
from medseg.core.geometry import Geometry
from medseg.core.volume import IntensityUnit, Volume
from medseg.formats import nifti
from medseg.training.datasets import Case, make_case
from medseg.training.settings import CardText, PetLesionsTask, TrainingSettings


def ball(geometry: Geometry, centre_mm, radius_mm: float):
    """Where a ball is, by its voxel centres."""
    index = np.stack(np.indices(geometry.shape), axis=-1)
    return np.linalg.norm(geometry.to_world(index) - centre_mm, axis=-1) <= radius_mm


def ball_case(name: str, geometry: Geometry, centre_mm, radius_mm: float, suv: float = 6) -> Case:
    """A ball of uptake in quiet tissue."""
    mask = ball(geometry, centre_mm, radius_mm)
    image = np.where(mask, suv, 0.8).astype(np.float32)
    return make_case(name, image, mask.astype(np.uint16), geometry)


@pytest.fixture
def oblique() -> Geometry:
    """Left-handed, anisotropic, turned about S, off-centre."""
    turn = np.radians(20)
    affine = np.eye(4)
    affine[:3, :3] = [
        [-np.cos(turn), -np.sin(turn), 0],
        [-np.sin(turn), np.cos(turn), 0],
        [0, 0, 1],
    ] @ np.diag((4.0, 5.0, 3.0))
    affine[:3, 3] = (70, -40, -300)
    return Geometry((30, 26, 40), affine)


@pytest.fixture
def case(oblique) -> Case:
    """One ball of radius 18 mm near the middle."""
    return ball_case("one", oblique, oblique.to_world(np.array([15, 13, 20])), 18)


def tiny_settings() -> TrainingSettings:
    """A run of a few seconds."""
    return TrainingSettings(
        name="tiny",
        data=Path("nowhere"),
        task=PetLesionsTask(),
        input=InputSettings(
            roles=("pet",), spacing_mm=(6, 5, 4), clip=((0, 20),), exponent=0.5, tile=(16, 20, 24)
        ),
        network=NetworkSettings(channels=(3, 4, 5), structures=("lesion",)),
        crop=(16, 20, 24),
        seed=11,
        steps=4,
        batch=2,
        checkpoint_steps=2,
        precision="float32",
        threads=1,
        card=CardText(
            title="Tiny",
            data="A ball.",
            attribution=("Nobody",),
            licence="none",
            training="none",
            limits=("Everything",),
        ),
    )


@pytest.fixture
def settings() -> TrainingSettings:
    return tiny_settings()


@pytest.fixture
def data(case, tmp_path) -> Path:
    """A folder with one ball to learn from and one to be measured on."""
    for part in ("train", "val"):
        folder = tmp_path / "data" / part
        folder.mkdir(parents=True)
        volume = Volume(case.image, case.geometry, IntensityUnit.SUV)
        nifti.write_volume(folder / f"{part}_pet_suv.nii.gz", volume)
        nifti.write_labels(folder / f"{part}_lesions.nii.gz", case.labels, case.geometry)
    return tmp_path / "data"
