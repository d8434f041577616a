"""The flow trains what the library trains, and goes on where it was cut off."""

from pathlib import Path

import yaml

from medseg.config import plain
from medseg.core.geometry import Geometry
from medseg.core.volume import IntensityUnit, Volume
from medseg.formats import nifti
from medseg.training import checkpoint
from medseg.training.fit import train
from pipelines.train_model import train_model
from tests.unit.training.conftest import ball_case, tiny_settings


def write_run(folder: Path) -> Path:
    """A run of a few seconds on two balls."""
    geometry = Geometry((30, 26, 40), [[4.0, 0, 0, 3], [0, 5, 0, -8], [0, 0, -3, 60], [0, 0, 0, 1]])
    for part in ("train", "val"):
        case = ball_case(part, geometry, geometry.to_world([15, 13, 20]), 18)
        (folder / "data" / part).mkdir(parents=True)
        volume = Volume(case.image, geometry, IntensityUnit.SUV)
        nifti.write_volume(folder / "data" / part / f"{part}_pet_suv.nii.gz", volume)
        nifti.write_labels(folder / "data" / part / f"{part}_lesions.nii.gz", case.labels, geometry)
    settings = tiny_settings().model_copy(update={"data": folder / "data"})
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(dict(plain(settings))), encoding="utf-8")
    return path


def test_the_flow_trains_what_the_command_trains(prefect_server: Path, tmp_path: Path) -> None:
    settings = write_run(tmp_path)
    by_flow = train_model(settings, tmp_path / "flow")
    by_command = train(settings, tmp_path / "command")
    assert by_flow == tmp_path / "flow" / "tiny"
    for name in (checkpoint.FILE, "metrics.json", "curve.svg"):
        assert (by_flow / name).read_bytes() == (by_command / name).read_bytes()
