"""The bundle of organs on CTs that it never learnt from, through the whole line."""

from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medseg import run_folder, stages
from medseg.config import load_card, load_protocol
from medseg.core.geometry import Geometry
from medseg.formats import nifti
from medseg.formats.itk import resample
from medseg.formats.tables import read_json

pytestmark = [pytest.mark.realdata, pytest.mark.slow]

LABELS = dict(enumerate(load_card("head-neck-organs").network.structures, start=1))

FLOORS = {
    "brainstem": 0.74,
    "spinal_cord": 0.70,
    "parotid_right": 0.78,
    "parotid_left": 0.78,
    "mandible": 0.83,
    "larynx": 0.60,
}
"""Least mean Dice over the cases here."""

CASES = ("pt_202", "pt_207", "pt_208")


@dataclass(frozen=True, eq=False)
class Found:
    """What the line made of one image."""

    labels: np.ndarray
    geometry: Geometry
    structures: dict[str, int]


def run_line(image: Path, out: Path) -> Found:
    stages.delineate(image, out, load_protocol("head-neck-organs"))
    labels, geometry = nifti.read_labels(out / run_folder.ORGANS)
    rows = read_json(out / run_folder.TABLE_JSON)
    assert {row.kind for row in rows} == {"organ"}
    return Found(labels, geometry, {row.structure: row.instance for row in rows})


@pytest.fixture(scope="module")
def val(shared_data) -> Path:
    return shared_data / "head_neck_organs" / "val"


@pytest.fixture(scope="module")
def found(val, tmp_path_factory) -> dict[str, Found]:
    folder = tmp_path_factory.mktemp("organs")
    return {name: run_line(val / f"{name}_ct.nii.gz", folder / name) for name in CASES}


def dice(one, other) -> float:
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def test_every_organ_is_outlined_as_well_as_the_card_promises(val, found):
    scores: dict[str, list[float]] = {}
    for name, run in found.items():
        reference, _ = nifti.read_labels(val / f"{name}_organs.nii.gz")
        for label, structure in LABELS.items():
            if (reference == label).any():
                predicted = run.labels == run.structures.get(structure, 65_535)
                scores.setdefault(structure, []).append(dice(predicted, reference == label))
    means = {structure: float(np.mean(values)) for structure, values in scores.items()}
    assert {name for name, floor in FLOORS.items() if means[name] < floor} == set(), means


def test_right_is_right_and_left_is_left(found):
    for run in found.values():
        at = {
            side: run.geometry.to_world(
                np.argwhere(run.labels == run.structures[f"parotid_{side}"]).mean(axis=0)
            )
            for side in ("right", "left")
        }
        assert at["right"][0] - at["left"][0] > 60


def test_the_same_patient_on_a_grid_stored_otherwise_has_the_same_organs(val, found, tmp_path):
    """Axes in another order, and two of them reversed."""
    volume = nifti.read(val / "pt_208_ct.nii.gz")
    order = (2, 0, 1)
    affine = volume.geometry.affine[:, [*order, 3]].copy()
    data = np.flip(volume.data.transpose(order), (0, 2))
    for axis in (0, 2):
        affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
        affine[:3, axis] *= -1
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(data), affine), tmp_path / "a.nii.gz")
    other = run_line(tmp_path / "a.nii.gz", tmp_path / "run")
    back = np.flip(other.labels, (0, 2)).transpose(np.argsort(order))
    assert other.structures == found["pt_208"].structures
    assert (back != found["pt_208"].labels).mean() < 1e-4


def test_on_an_oblique_grid_the_organs_lie_where_they_lie_in_the_patient(val, found, tmp_path):
    volume = nifti.read(val / "pt_208_ct.nii.gz")
    grid = oblique(volume.geometry)
    turned = resample(volume.data, volume.geometry, grid, interpolation="linear", outside=-1024)
    nibabel.save(nibabel.Nifti1Image(turned, grid.affine), tmp_path / "a.nii.gz")
    other = run_line(tmp_path / "a.nii.gz", tmp_path / "run")
    straight = found["pt_208"]
    for structure in ("parotid_right", "parotid_left", "brainstem"):
        here, there = (
            run.geometry.to_world(np.argwhere(run.labels == run.structures[structure])).mean(axis=0)
            for run in (straight, other)
        )
        assert np.linalg.norm(here - there) < 6, structure


def oblique(geometry: Geometry) -> Geometry:
    """The same place on a grid turned by 12 degrees about S and 7 about R."""
    s, r = np.radians((12, 7))
    about_s = np.array([[np.cos(s), -np.sin(s), 0], [np.sin(s), np.cos(s), 0], [0, 0, 1]])
    about_r = np.array([[1, 0, 0], [0, np.cos(r), -np.sin(r)], [0, np.sin(r), np.cos(r)]])
    middle = geometry.to_world((np.array(geometry.shape) - 1) / 2)
    shape = tuple(n + 10 for n in geometry.shape)
    affine = geometry.affine.copy()
    affine[:3, :3] = about_s @ about_r @ geometry.affine[:3, :3]
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Geometry(shape, affine)
