"""What a reader of the numbers has to know of them."""

from collections.abc import Sequence

from medseg.core.measurements import Measurement
from medseg.core.study import QualityFlag


def doubts(rows: Sequence[Measurement]) -> tuple[QualityFlag, ...]:
    """The doubts about measurements: lesions that the edge of the volume cuts are named.

    Args:
        rows: Of all instances; an organ that is cut is none, for few series hold it whole.
    """
    cut = [str(row.instance) for row in rows if row.kind == "lesion" and row.touches_edge]
    if not cut:
        return ()
    which = f"Lesion {cut[0]} reaches" if len(cut) == 1 else f"Lesions {', '.join(cut)} reach"
    return (
        QualityFlag(
            "touches-edge",
            f"{which} the edge of the acquired volume and may go on beyond it: the sizes given are "
            "the least they can be.",
        ),
    )
