"""The report of a real PET with an expert's mask."""

from pathlib import Path

import numpy as np
import pytest

from medseg.config import MeasureSettings
from medseg.core.instances import Instance, InstanceMap
from medseg.core.volume import IntensityUnit, Volume
from medseg.formats import nifti
from medseg.measure.measure import measure
from medseg.report.build import build_report
from medseg.report.html import render
from tests.unit.report.report_cases import drawn, no_organs, protocol, record, study

pytestmark = pytest.mark.realdata


@pytest.mark.parametrize("case", ["STS_002", "STS_010"])
def test_the_axial_picture_shows_the_measured_slice_of_the_experts_mask(
    shared_data: Path, case: str
) -> None:
    folder = shared_data / "pet_lesions" / "train"
    pet = nifti.read(folder / f"{case}_pet_suv.nii.gz")
    volume = Volume(pet.data, pet.geometry, IntensityUnit.SUV)
    labels, geometry = nifti.read_labels(folder / f"{case}_lesions.nii.gz")
    names = [int(n) for n in np.unique(labels) if n]
    rows = tuple(Instance(n, "lesion", "lesion", f"2.25.{n}") for n in names)
    lesions = InstanceMap(labels, geometry, rows)
    measured = measure(lesions, volume, MeasureSettings())
    report = build_report(
        protocol(), study(volume), lesions, no_organs(geometry), measured, record()
    )
    for finding in report.lesions:
        row = finding.measurement
        middle = np.mean(row.longest_axial_diameter_ends_mm, axis=0)
        axis = geometry.axial_axis
        index = round(float(geometry.to_index(middle)[axis]))
        voxels = (labels.take(index, axis=axis) == row.instance).sum()
        area_mm2 = voxels * geometry.voxel_volume_mm3 / geometry.spacing_mm[axis]
        axial = drawn(finding.pictures[0].svg)
        assert axial.area_mm2("lesion") == pytest.approx(area_mm2, rel=0.01)
        (line,) = axial.paths("longest-diameter")
        length_mm = np.linalg.norm(line[1] - line[0])
        assert length_mm == pytest.approx(row.longest_axial_diameter_mm, abs=0.02)
    assert len(render(report).encode()) < 1_000_000
