from dataclasses import replace

import numpy as np

from medseg.config import MeasureSettings
from medseg.core.geometry import Geometry
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
    (flag,) = doubts(rows)
    assert flag.code == "touches-edge"
    assert flag.message.startswith("Lesions 1, 3 reach the edge")
    assert doubts(rows[:1])[0].message.startswith("Lesion 1 reaches the edge")
    assert doubts(rows[1:2]) == ()
    assert doubts([replace(row, kind="organ") for row in rows]) == ()
