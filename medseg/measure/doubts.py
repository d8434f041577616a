"""What a reader of the numbers has to know of them."""

from collections.abc import Mapping, Sequence

from medseg.core.measurements import MM3_PER_ML, Measurement
from medseg.core.structures import Structure
from medseg.core.study import QualityFlag


def doubts(
    rows: Sequence[Measurement], structures: Mapping[str, Structure]
) -> tuple[QualityFlag, ...]:
    """The doubts about measurements: what the edge of the volume cuts, and organs of odd sizes.

    Args:
        rows: Of all instances.
        structures: Name to title and plausible volume; a name that it lacks is its own title.
    """
    lesions = [str(row.instance) for row in rows if row.kind == "lesion" and row.touches_edge]
    organs = [row for row in rows if row.kind == "organ"]
    titles = {
        row.structure: structures[row.structure].title
        if row.structure in structures
        else row.structure.replace("_", " ")
        for row in organs
    }
    cut = [titles[row.structure] for row in organs if row.touches_edge]
    odd = [
        f"{titles[row.structure]} ({row.volume_mm3 / MM3_PER_ML:.1f} mL, usually "
        f"{usual[0]:g} to {usual[1]:g})"
        for row in organs
        if (usual := _usual(row, structures)) is not None and not _is_plausible(row, usual)
    ]
    flags: list[QualityFlag] = []
    if lesions:
        which = (
            f"Lesion {lesions[0]} reaches"
            if len(lesions) == 1
            else f"Lesions {', '.join(lesions)} reach"
        )
        flags.append(
            QualityFlag(
                "touches-edge",
                f"{which} the edge of the acquired volume and may go on beyond it: the sizes given "
                "are the least they can be.",
            )
        )
    if cut:
        flags.append(
            QualityFlag(
                "organ-touches-edge",
                f"Cut by the edge of the acquired volume: {', '.join(cut)}. The sizes given are "
                "those of the part that it shows.",
            )
        )
    if odd:
        flags.append(
            QualityFlag(
                "organ-implausible",
                f"Of an unusual volume: {', '.join(odd)}. Check the outlines before using them.",
            )
        )
    return tuple(flags)


def _usual(row: Measurement, structures: Mapping[str, Structure]) -> tuple[float, float] | None:
    structure = structures.get(row.structure)
    return None if structure is None else structure.usual_ml


def _is_plausible(row: Measurement, usual_ml: tuple[float, float]) -> bool:
    """Whether the volume is usual; a part of an organ may be as small as it likes."""
    volume_ml = row.volume_mm3 / MM3_PER_ML
    return volume_ml <= usual_ml[1] and (row.touches_edge or volume_ml >= usual_ml[0])
