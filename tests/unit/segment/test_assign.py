import numpy as np

from medseg.core.geometry import Geometry
from medseg.core.instances import Instance, InstanceMap
from medseg.segment.assign import assign

GRID = Geometry((14, 11, 9), np.array([[0, 2.0, 0, 5], [-3, 0, 0, 7], [0, 0, 4, 1], [0, 0, 0, 1]]))
ORGANS = {2: "liver", 5: "kidney_right"}


def maps(lesions, organs) -> tuple[InstanceMap, InstanceMap]:
    def rows(labels, kind):
        found = np.unique(labels[labels > 0]).tolist()
        return tuple(
            Instance(n, kind, ORGANS[n] if kind == "organ" else "lesion", f"2.25.{n}")
            for n in found
        )

    return (
        InstanceMap(lesions, GRID, rows(lesions, "lesion")),
        InstanceMap(organs, GRID, rows(organs, "organ")),
    )


def test_a_lesion_lies_in_the_organ_that_holds_most_of_it_or_surrounds_it():
    organs = np.zeros(GRID.shape, np.uint16)
    organs[1:7, 1:9, 1:8] = 2
    organs[8:13, 1:9, 1:8] = 5
    lesions = np.zeros(GRID.shape, np.uint16)
    lesions[2:4, 2:4, 2:4] = 1  # in the liver
    lesions[6:9, 2:5, 2:4] = 2  # a third in each, and a third in neither
    lesions[9:11, 5:7, 3:5] = 3  # a hole that the model left in the kidney
    organs[9:11, 5:7, 3:5] = 0
    lesions[13:, 9:, 8:] = 4  # in a corner, far from both
    found = assign(*maps(lesions, organs))
    assert [row.organ for row in found.instances] == ["liver", None, "kidney_right", None]
    np.testing.assert_array_equal(found.labels, lesions)


def test_without_organs_no_lesion_is_said_to_lie_in_one():
    lesions = np.zeros(GRID.shape, np.uint16)
    lesions[2:4, 2:4, 2:4] = 1
    found, organs = maps(lesions, np.zeros_like(lesions))
    assert assign(found, organs) is found
