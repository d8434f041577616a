"""The tournament: its cases, its entries, its choice and its picture."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import cc3d
import numpy as np
import pytest

from medseg import config
from medseg.bench.cases import BenchDataError, find_cases, read_reference, read_volumes
from medseg.bench.choose import Limits, Standing, choose, standings
from medseg.bench.compete import COMPONENTS, Entry, run_model, ways
from medseg.bench.plot import draw
from medseg.bench.tournament import Tournament
from medseg.core.geometry import Geometry
from medseg.core.instances import InstanceMap
from medseg.core.prediction import VoxelPrediction
from medseg.core.volume import IntensityUnit, Volume
from medseg.evaluate.scores import evaluate
from medseg.formats import nifti
from medseg.phantom.body import small_phantom
from medseg.score_text import bench_text
from medseg.segment.separate import separate
from tests.regression.scenes import scene
from tests.strategies import instance_map
from tests.unit.segment.bodies import SETTINGS, ball, heatmap, picture

SEEDS = (1, 2, 3, 4, 5)


def entry(processing: str, seconds: float, mib: float, *, joined: bool) -> Entry:
    """Scores of the scenes, as they are or with every touching pair joined."""
    found = []
    for seed in SEEDS:
        prediction, reference = scene(seed)
        if joined:
            whole = cc3d.connected_components(prediction.labels > 0, connectivity=26)
            prediction = instance_map(whole.astype(np.uint16), reference.geometry)
        found.append(evaluate(prediction, reference))
    return Entry("a-model", processing, tuple(found), (seconds,) * len(SEEDS), mib)


@pytest.fixture(scope="module")
def table() -> tuple[Standing, ...]:
    truth = [scene(seed)[1] for seed in SEEDS]
    perfect = tuple(evaluate(one, one) for one in truth)
    return standings(
        [
            entry(COMPONENTS, 1.0, 500, joined=True),
            entry("peaks", 2.0, 500, joined=False),
            Entry("a-model", "offsets", perfect, (9.0,) * len(SEEDS), 900.0),
        ]
    )


def test_the_best_pq_comes_first_and_gains_over_components_on_the_same_cases(
    table: tuple[Standing, ...],
) -> None:
    assert table[0].entry.processing == "offsets"
    assert table[0].pq.value == 1
    by_name = {one.entry.processing: one for one in table}
    assert by_name[COMPONENTS].gain is None
    for processing in ("peaks", "offsets"):
        gain = by_name[processing].gain
        assert gain is not None
        expected = by_name[processing].pq.value - by_name[COMPONENTS].pq.value
        assert gain.value == pytest.approx(expected)
        assert gain.low <= gain.value <= gain.high


def test_limits_decide_and_the_reason_names_what_would_be_better(
    table: tuple[Standing, ...],
) -> None:
    best, why = choose(table, Limits())
    assert best is table[0]
    assert "a-model offsets has the highest PQ, 1.000" in why
    best, why = choose(table, Limits(seconds=5))
    assert best is table[1]
    assert "a-model offsets would be better and does not stay within the limits" in why
    best, _ = choose(table, Limits(memory_mib=600))
    assert best is table[1]
    best, why = choose(table, Limits(seconds=0.5, memory_mib=600))
    assert best is None
    assert "No entry stays within 0.5 s a case and 600 MiB" in why


def test_components_is_told_when_nothing_beats_it(table: tuple[Standing, ...]) -> None:
    by_name = {one.entry.processing: one for one in table}
    _, why = choose([by_name[COMPONENTS]], Limits())
    assert "No way to split beats connected components" in why


def test_the_picture_has_a_point_for_each_entry_where_its_numbers_are(
    table: tuple[Standing, ...],
) -> None:
    chosen, why = choose(table, Limits(seconds=5))
    svg = ElementTree.fromstring(draw(table, chosen, Limits(seconds=5)))  # noqa: S314  our own
    circles = [node for node in svg.iter() if node.tag.endswith("circle")]
    points = [node for node in circles if node.get("r") == "5"]
    assert len(points) == len(table)
    heights = sorted(float(node.get("cy", "nan")) for node in points)
    assert heights == pytest.approx(sorted(400 - one.pq.value * 350 for one in table), abs=0.1)
    assert sum(node.get("fill") == "none" for node in circles) == 1
    words = " ".join(node.text or "" for node in svg.iter())
    assert f"{chosen.name} (chosen)" in words if chosen else False
    text = bench_text(Tournament(5, table, Limits(seconds=5), chosen, why).plain())
    assert text.splitlines()[2].startswith("a-model offsets")
    assert why in text


def test_components_are_never_split_and_the_other_ways_use_what_there_is() -> None:
    affine = np.array([[0, 2.4, 0, 9], [-2.0, 0, 0, 4], [0, 0, 3.1, 5], [0, 0, 0, 1.0]])
    geometry = Geometry((40, 28, 22), affine)
    middle = geometry.to_world(np.array((19.5, 13.5, 10.5)))
    bodies = [
        ball(tuple(middle - np.array((0, 13, 0))), 13),
        ball(tuple(middle + np.array((0, 12, 0))), 12),
    ]
    probability = picture(geometry, bodies).data[None]
    said = VoxelPrediction(probability, ("lesion",), geometry, heatmap(geometry, bodies))
    found = {
        name: len(separate(prediction, settings).structures)
        for name, (prediction, settings) in ways(said, SETTINGS).items()
    }
    assert found == {COMPONENTS: 1, "necks": 2, "peaks": 2}
    bare = replace(said, centre_heatmap=None)
    assert list(ways(bare, SETTINGS)) == [COMPONENTS, "necks"]


def write_case(folder: Path, name: str, image: str) -> tuple[Volume, InstanceMap]:
    phantom = small_phantom()
    nifti.write_volume(folder / f"{name}_{image}.nii.gz", phantom.pet)
    nifti.write_labels(
        folder / f"{name}_lesions.nii.gz", phantom.lesions.labels, phantom.lesions.geometry
    )
    return phantom.pet, phantom.lesions


def test_cases_are_found_by_name_and_their_images_by_role(tmp_path: Path) -> None:
    pet, lesions = write_case(tmp_path, "A_1", "pet_suv")
    (case,) = find_cases(tmp_path)
    assert (case.name, list(case.images)) == ("A_1", ["pet_suv"])
    volumes = read_volumes(case, config.load_card("pet-lesions"))
    assert volumes["pet"].unit is IntensityUnit.SUV
    np.testing.assert_array_equal(volumes["pet"].data, pet.data)
    found = read_reference(case, volumes["pet"])
    np.testing.assert_array_equal(found.labels, lesions.labels)
    nifti.write_volume(tmp_path / "A_1_pet_late.nii.gz", pet)
    with pytest.raises(BenchDataError, match="2 images"):
        read_volumes(find_cases(tmp_path)[0], config.load_card("pet-lesions"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BenchDataError, match="no labelled cases"):
        find_cases(tmp_path / "empty")


@pytest.mark.slow
def test_a_model_competes_in_every_way_that_it_allows(tmp_path: Path) -> None:
    write_case(tmp_path, "A", "pet")
    entries = run_model("pet-lesions", find_cases(tmp_path))
    assert [one.processing for one in entries][:2] == [COMPONENTS, "necks"]
    assert "peaks" in [one.processing for one in entries]
    assert all(len(one.scores) == 1 and one.seconds[0] > 0 for one in entries)
    assert len({one.scores[0].dice for one in entries}) == 1  # the same foreground
    assert entries[0].scores[0].candidates is not None  # the card is calibrated
    plain = standings(entries)[0].plain()
    assert plain["expected_calibration_error"] is not None
