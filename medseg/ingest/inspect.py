"""Everything that lies at a path: what is accepted, with its numbers, and what is not, and why.

It is read in this process. `guard.inspect` does the same in a process of its own, which is what a
file that nobody vouches for needs.
"""

from pathlib import Path

import numpy as np

from medseg.errors import InputError
from medseg.ingest.accept import AcceptedSeries, accept, read_volume
from medseg.ingest.discover import FoundSeries, discover
from medseg.ingest.inspection import InspectedSeries, Inspection, refused


def inspect(source: Path) -> Inspection:
    """Look at everything in a file or a folder, voxels included.

    Raises:
        SourceNotFoundError: There is nothing at the path. Whatever is wrong with what is there
            becomes a line of the answer.
    """
    found = discover(source)
    return Inspection(tuple(inspect_series(one) for one in found.series), found.ignored)


def inspect_series(found: FoundSeries) -> InspectedSeries:
    """Look at one series, voxels included; what is wrong with it becomes its line."""
    try:
        return _measured(accept(found))
    except InputError as error:
        return refused(found.number, found.modality, error)


def _measured(accepted: AcceptedSeries) -> InspectedSeries:
    """The line of a series that is ok; its voxels are let go when it is written."""
    volume = read_volume(accepted)
    geometry = accepted.geometry
    return InspectedSeries(
        accepted.number,
        accepted.modality,
        "ok",
        shape=geometry.shape,
        spacing_mm=geometry.spacing_mm,
        affine_ras=tuple(tuple(float(number) for number in row) for row in geometry.affine),
        minimum=float(volume.data.min()),
        maximum=float(volume.data.max()),
        mean=float(volume.data.mean(dtype=np.float64)),
        unit=accepted.unit.value,
        slices=geometry.shape[2],
        flags=accepted.flags,
    )
