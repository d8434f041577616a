from dataclasses import replace

import numpy as np

from medseg.config import MeasureSettings
from medseg.core.geometry import Geometry
from medseg.core.measurements import Measurement
from medseg.core.structures import Code, Structure
from medseg.core.volume import IntensityUnit, Volume
from medseg.measure.doubts import doubts
from medseg.measure.measure import measure
from tests.strategies import instance_map


def test_lesions_that_the_edge_cuts_are_named_and_others_are_not() -> None:
    labels = np.zeros((9, 12, 7), np.uint16)
    labels[0, 3:5, 2:4] = 1
    labels[3:5, 3:5, 2:4] = 2
    labels[6:8, 10:12, 4] = 3
    grid = Geometry(
        labels.shape, np.array([[0, 2.0, 0, 5], [-3, 0, 0, 7], [0, 0, 4, 1], [0, 0, 0, 1]])
    )
    volume = Volume(np.ones(labels.shape, np.float32), grid, IntensityUnit.SUV)
    rows = measure(instance_map(labels, grid), volume, MeasureSettings())
    (flag,) = doubts(rows, {})
    assert flag.code == "touches-edge"
    assert flag.message.startswith("Lesions 1, 3 reach the edge")
    assert doubts(rows[:1], {})[0].message.startswith("Lesion 1 reaches the edge")
    assert doubts(rows[1:2], {}) == ()


STRUCTURES = {
    "mandible": Structure(
        "Mandible", "organ", Code("91609006", "SCT", "Mandible"), usual_ml=(30, 110)
    ),
    "spinal_cord": Structure("Spinal cord", "organ", Code("2748008", "SCT", "Spinal cord")),
}


def organ(name: str, volume_ml: float, *, touches_edge: bool = False) -> Measurement:
    """A row of an organ; the rest of its numbers does not matter here."""
    labels = np.zeros((9, 12, 7), np.uint16)
    labels[3:5, 3:5, 2:4] = 1
    grid = Geometry(
        labels.shape, np.array([[0, 2.0, 0, 5], [-3, 0, 0, 7], [0, 0, 4, 1], [0, 0, 0, 1]])
    )
    volume = Volume(np.ones(labels.shape, np.float32), grid, IntensityUnit.HU)
    (row,) = measure(instance_map(labels, grid), volume, MeasureSettings())
    return replace(
        row,
        kind="organ",
        structure=name,
        volume_mm3=1000 * volume_ml,
        touches_edge=touches_edge,
    )


def test_organs_that_the_edge_cuts_are_named_by_their_titles():
    rows = [organ("mandible", 60), organ("spinal_cord", 20, touches_edge=True)]
    (flag,) = doubts(rows, STRUCTURES)
    assert flag.code == "organ-touches-edge"
    assert "Spinal cord" in flag.message
    assert "Mandible" not in flag.message


def test_an_organ_of_an_unusual_volume_is_told_unless_the_edge_cut_it():
    def codes(row):
        return [flag.code for flag in doubts([row], STRUCTURES)]

    assert codes(organ("mandible", 60)) == []
    assert codes(organ("mandible", 3)) == ["organ-implausible"]
    assert codes(organ("mandible", 300)) == ["organ-implausible"]
    assert codes(organ("mandible", 3, touches_edge=True)) == ["organ-touches-edge"]
    assert codes(organ("spinal_cord", 3)) == []
    assert codes(organ("pancreas", 3)) == []
    (flag,) = doubts([organ("mandible", 3)], STRUCTURES)
    assert "Mandible (3.0 mL, usually 30 to 110)" in flag.message
