import errno
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.core.geometry import Geometry
from medseg.core.instances import InstanceMap
from medseg.core.study import QualityFlag, Series, SliceReference, Study
from medseg.core.volume import IntensityUnit, Volume
from medseg.formats import handover
from tests.strategies import geometries, instance_map, instance_maps


@given(original=instance_maps())
def test_an_instance_map_is_handed_on_unchanged(
    tmp_path_factory: pytest.TempPathFactory, original: InstanceMap
) -> None:
    path = tmp_path_factory.mktemp("handover") / "lesions"
    handover.write_instances(path, original)
    again = handover.read_instances(path)
    assert np.array_equal(again.labels, original.labels)
    assert again.instances == original.instances
    assert np.array_equal(again.geometry.affine, original.geometry.affine)


@given(geometry=geometries(), seed=st.integers(0, 2**16))
def test_a_study_is_handed_on_unchanged(
    tmp_path_factory: pytest.TempPathFactory, geometry: Geometry, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("handover")
    shape = geometry.shape
    data = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    series = Series(
        number=3,
        modality="PT",
        volume=Volume(data, geometry, IntensityUnit.SUV),
        digest="ab" * 32,
        slices=tuple(SliceReference(f"1.2.{k}", k or None) for k in range(shape[2])),
        flags=(QualityFlag("uneven-spacing", "A doubt."),),
    )
    handover.write_study(folder, Study({"pet": series}, {"pet": "the only one"}))
    again = handover.read_study(folder)
    assert dict(again.choice) == {"pet": "the only one"}
    found = again.series["pet"]
    assert np.array_equal(found.volume.data, data)
    assert np.array_equal(found.volume.geometry.affine, geometry.affine)
    assert (found.number, found.modality, found.digest) == (3, "PT", "ab" * 32)
    assert found.volume.unit is IntensityUnit.SUV
    assert (found.slices, found.flags) == (series.slices, series.flags)


def test_a_full_disk_says_so(tmp_path: Path) -> None:
    """`/dev/full` takes nothing; numpy's error for that has no number."""
    (tmp_path / "lesions.npy").symlink_to("/dev/full")
    labels = np.ones((40, 50, 60), np.uint16)
    geometry = Geometry(labels.shape, np.diag([2.0, 3.0, 4.0, 1.0]))
    with pytest.raises(OSError, match="not written whole") as caught:
        handover.write_instances(tmp_path / "lesions", instance_map(labels, geometry))
    assert caught.value.errno == errno.ENOSPC
