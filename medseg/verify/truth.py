"""What every export must say: the label maps, counted again, and the table that rests on them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.core.instances import InstanceMap
from medseg.core.measurements import Measurement
from medseg.core.study import SliceReference
from medseg.core.volume import Volume

ROUNDING = 1e-6
"""Relative: numbers that were computed in another order differ in their last bits."""

ROUNDING_MM = 1e-3
"""Of a place: a tenth of the last digit that a DICOM header of a scanner has."""


class MismatchError(Exception):
    """An export says something else than was measured; its text names no patient."""


def expect(right: object, what: str) -> None:
    """Go on if it is right.

    Raises:
        MismatchError: It is not; `what` says what is wrong.
    """
    if not right:
        raise MismatchError(what)


def near(one: float, other: float, within: float = ROUNDING) -> bool:
    """Whether two numbers are equal but for a relative difference."""
    return abs(one - other) <= within * max(abs(one), abs(other), 1.0)


def same_place(one: object, other: object, within_mm: float = ROUNDING_MM) -> bool:
    """Whether positions, one or many, lie no further apart than allowed along any axis."""
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return a.shape == b.shape and bool(np.abs(a - b).max(initial=0) <= within_mm)


@dataclass(frozen=True, eq=False)
class Truth:
    """What a run found.

    Attributes:
        lesions, organs: The maps, on the acquired grid of the volume.
        volume: What was measured on.
        slices: Where its slices came from; empty for NIfTI.
        rows: The table, lesions first.
    """

    lesions: InstanceMap
    organs: InstanceMap
    volume: Volume
    slices: tuple[SliceReference, ...]
    rows: tuple[Measurement, ...]

    def rows_of(self, labelled: InstanceMap) -> Mapping[int, Measurement]:
        """The rows of a map by label."""
        kind = "lesion" if labelled is self.lesions else "organ"
        return {row.instance: row for row in self.rows if row.kind == kind}


def check_rows(truth: Truth) -> None:
    """Hold the table against the voxels.

    Raises:
        MismatchError: They do not belong together.
    """
    maps = (truth.lesions, truth.organs)
    expected = [(one.kind, one.label) for labelled in maps for one in labelled.instances]
    found = [(row.kind, row.instance) for row in truth.rows]
    expect(found == expected, "it does not hold one row for each instance, in order")
    uids = [row.tracking_uid for row in truth.rows]
    expect(len(set(uids)) == len(uids), "a tracking UID occurs twice")
    for labelled in maps:
        rows = truth.rows_of(labelled)
        boxes = ndimage.find_objects(labelled.labels)
        for one in labelled.instances:
            row = rows[one.label]
            same = (row.structure, row.tracking_uid, row.organ, row.confidence)
            expect(
                same == (one.structure, one.tracking_uid, one.organ, one.confidence),
                f"{one.kind} {one.label} is another instance",
            )
            box = boxes[one.label - 1]
            start = [part.start for part in box]
            places = np.argwhere(labelled.labels[box] == one.label) + start
            _check_row(row, places, truth)


def _check_row(row: Measurement, places: NDArray[np.intp], truth: Truth) -> None:
    """Hold the numbers of one row against the voxels of its label."""
    name = f"{row.kind} {row.instance}"
    geometry = truth.volume.geometry
    volume_mm3 = len(places) * geometry.voxel_volume_mm3
    expect(row.voxel_count == len(places), f"the voxel count of {name} is wrong")
    expect(near(row.volume_mm3, volume_mm3), f"the volume of {name} is wrong")
    centroid = (row.centroid_r_mm, row.centroid_a_mm, row.centroid_s_mm)
    middle = geometry.to_world(places.mean(axis=0))
    expect(same_place(centroid, middle), f"the centroid of {name} is wrong")
    values = truth.volume.data[tuple(places.T)].astype(np.float64)
    expect(near(row.intensity_mean, values.mean()), f"the mean intensity of {name} is wrong")
    expect(near(row.intensity_max, values.max()), f"the maximum of {name} is wrong")
    expect(row.intensity_unit == truth.volume.unit.value, f"the unit of {name} is wrong")
    _check_axes(row, name, places, truth)


def _check_axes(row: Measurement, name: str, places: NDArray[np.intp], truth: Truth) -> None:
    """Hold the axes of one row against the box of its voxels, and against each other."""
    geometry = truth.volume.geometry
    axes = (
        (row.longest_axial_diameter_mm, row.longest_axial_diameter_ends_mm),
        (row.short_axis_mm, row.short_axis_ends_mm),
        (row.max_diameter_3d_mm, row.max_diameter_3d_ends_mm),
    )
    for length, ends in axes:
        drawn = float(np.linalg.norm(np.subtract(*ends)))
        expect(near(length, drawn), f"a diameter of {name} is not as long as its ends are apart")
        indices = geometry.to_index(np.array(ends))
        inside = (indices >= places.min(axis=0) - 0.51) & (indices <= places.max(axis=0) + 0.51)
        expect(inside.all(), f"a diameter of {name} leaves its voxels")
    ordered = row.short_axis_mm <= row.longest_axial_diameter_mm <= row.max_diameter_3d_mm
    expect(ordered or near(axes[0][0], axes[2][0]), f"the axes of {name} are swapped")
    if row.slice_sop_instance_uid is not None:
        k = geometry.to_index(np.array(row.longest_axial_diameter_ends_mm))[:, 2]
        expect(same_place(k, np.rint(k)), f"the axis of {name} lies between slices")
        named = (row.slice_sop_instance_uid, row.slice_instance_number)
        source = truth.slices[round(float(k[0]))]
        expect(
            named == (source.sop_instance_uid, source.instance_number),
            f"the slice of {name} is another one",
        )
