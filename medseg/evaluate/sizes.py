"""Lesions by size: what is found depends on it more than on anything else."""

from dataclasses import asdict, dataclass
from math import inf, isnan, nan, pi

import numpy as np
from numpy.typing import NDArray

BIN_DIAMETERS_MM = (3.0, 5.0, 10.0, 20.0)
"""Diameters of the balls whose volumes part the size bins. 3 mm is what multiple sclerosis criteria
call a lesion (Filippi et al. 2019, doi 10.1093/brain/awz144), 10 mm what RECIST 1.1 calls
measurable; a lesion is in the bin above if it has exactly an edge's volume."""

BIN_EDGES_MM3 = tuple(d**3 * pi / 6 for d in BIN_DIAMETERS_MM)
SIZE_BINS = len(BIN_EDGES_MM3) + 1


@dataclass(frozen=True)
class Counts:
    """How many lesions were found.

    A share of nothing is not a number: recall without reference lesions, precision without
    predicted ones, F1 without either.

    Attributes:
        reference_lesions: Lesions of the reference.
        found_lesions: Those of them that the rule calls found.
        predicted_lesions: Lesions of the prediction.
        false_lesions: Those of them that the rule calls false.
    """

    reference_lesions: int
    found_lesions: int
    predicted_lesions: int
    false_lesions: int

    @property
    def recall(self) -> float:
        """Share of the reference lesions that were found."""
        return share(self.found_lesions, self.reference_lesions)

    @property
    def precision(self) -> float:
        """Share of the predicted lesions that are not false."""
        return share(self.predicted_lesions - self.false_lesions, self.predicted_lesions)

    @property
    def f1(self) -> float:
        """Harmonic mean of recall and precision; 0 if there are lesions and none is right."""
        if isnan(self.recall) and isnan(self.precision):
            return nan
        if not self.found_lesions or self.false_lesions == self.predicted_lesions:
            return 0.0
        return 2 * self.recall * self.precision / (self.recall + self.precision)

    def plain(self) -> dict[str, object]:
        """Counts and shares as plain values for JSON; not a number is None."""
        return {
            **asdict(self),
            "recall": plain_number(self.recall),
            "precision": plain_number(self.precision),
            "f1": plain_number(self.f1),
        }


@dataclass(frozen=True)
class SizeBin(Counts):
    """The same for the lesions of one range of volumes, each by its own volume.

    Attributes:
        from_mm3: Least volume.
        below_mm3: Volume that they stay below; infinite in the last bin.
    """

    from_mm3: float
    below_mm3: float


@dataclass(frozen=True, eq=False)
class Side:
    """The lesions of one map under one rule.

    Attributes:
        volumes_mm3: (N,) volume of each.
        right: (N,) boolean: found, or not false.
    """

    volumes_mm3: NDArray[np.float64]
    right: NDArray[np.bool_]


def bin_of(volumes_mm3: NDArray[np.float64]) -> NDArray[np.intp]:
    """The size bin of each volume, 0 the smallest."""
    return np.digitize(volumes_mm3, BIN_EDGES_MM3)


def bins(reference: Side, prediction: Side) -> tuple[SizeBin, ...]:
    """Count the lesions of every size bin; an empty bin is there too."""
    of_reference, of_prediction = bin_of(reference.volumes_mm3), bin_of(prediction.volumes_mm3)
    edges = zip([0.0, *BIN_EDGES_MM3], [*BIN_EDGES_MM3, inf], strict=True)
    return tuple(
        SizeBin(
            reference_lesions=int((of_reference == n).sum()),
            found_lesions=int(reference.right[of_reference == n].sum()),
            predicted_lesions=int((of_prediction == n).sum()),
            false_lesions=int((~prediction.right[of_prediction == n]).sum()),
            from_mm3=low,
            below_mm3=high,
        )
        for n, (low, high) in enumerate(edges)
    )


def share(part: float, whole: float) -> float:
    """A part of a whole; not a number where there is none."""
    return part / whole if whole else nan


def plain_number(number: float) -> float | None:
    """A number for JSON, which has none that is not finite."""
    return number if np.isfinite(number) else None
