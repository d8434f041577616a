"""Score label maps on disk, ours or a peer's: one case, or a folder of cases."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import cc3d
import numpy as np

from medseg import run_folder
from medseg.core.instances import MAX_INSTANCES, InstanceMap
from medseg.core.prediction import Progress, silent
from medseg.errors import GeometryMismatchError, InputError, SourceNotFoundError
from medseg.evaluate.burden import burden
from medseg.evaluate.cohort import Cohort, Interval, summarise
from medseg.evaluate.scores import TOLERANCE_MM, Scores, evaluate
from medseg.evaluate.sizes import plain_number
from medseg.formats import nifti, tables
from medseg.label_maps import as_lesions, read_instances

Instances = Literal["auto", "labels", "components"]
"""What counts as one lesion: every label; every 26-connected component; or components where a map
holds one value alone, as a mask does, and labels elsewhere."""

ENDINGS = (".nii.gz", ".nii")


class CaseMismatchError(InputError):
    """The cases of two folders do not belong together."""


@dataclass(frozen=True)
class Options:
    """How label maps are scored.

    Attributes:
        instances: What counts as one lesion.
        tolerance_mm: Distance within which two surfaces agree.
        confidences: CSV with the confidence of each predicted lesion; None looks for an
            `instances.csv` beside the prediction.
        image: Image on the same grid, whose intensities are compared in the lesions.
    """

    instances: Instances = "auto"
    tolerance_mm: float = TOLERANCE_MM
    confidences: Path | None = None
    image: Path | None = None


USUAL = Options()


@dataclass(frozen=True)
class Scored:
    """One case.

    Attributes:
        scores: Under every rule.
        instances: For `prediction` and `reference` whether labels or components were counted.
        burden: Of all lesions of either map.
    """

    scores: Scores
    instances: Mapping[str, str]
    burden: Mapping[str, Mapping[str, float]]

    def plain(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            **self.scores.plain(),
            "instances": dict(self.instances),
            "burden": {
                side: {name: plain_number(value) for name, value in values.items()}
                for side, values in self.burden.items()
            },
        }


@dataclass(frozen=True)
class ScoredCohort:
    """Many cases.

    Attributes:
        cases: Name to scores, by name.
        cohort: Of all.
        unpaired: Predictions for which there is no reference.
    """

    cases: Mapping[str, Scored]
    cohort: Cohort
    unpaired: int

    def plain(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "cases": [{"case": name, **case.plain()} for name, case in self.cases.items()],
            "means": {name: _plain_interval(one) for name, one in self.cohort.means.items()},
            "pooled": {
                one.rule: {
                    **one.counts.plain(),
                    **{
                        name: _plain_interval(getattr(one, name))
                        for name in ("recall", "precision", "f1", "pq")
                    },
                    "by_size": [
                        {**row.plain(), "below_mm3": plain_number(row.below_mm3)}
                        for row in one.by_size
                    ],
                }
                for one in self.cohort.pooled
            },
            "froc": None if self.cohort.froc is None else asdict(self.cohort.froc),
            "predictions_without_reference": self.unpaired,
        }


def score(prediction: Path, reference: Path, options: Options = USUAL) -> Scored:
    """Score one label map, or the lesions of a run folder, against another label map.

    Raises:
        InputError: A file cannot be read, or the grids differ.
    """
    labels = prediction / run_folder.LESIONS if prediction.is_dir() else prediction
    beside = labels.parent / run_folder.TABLE_CSV
    ours = labels.name == run_folder.LESIONS and beside.is_file()
    table = options.confidences or (beside if ours else None)
    counted = "labels" if ours and options.instances == "auto" else options.instances
    predicted, how = _read(labels, counted)
    expected, how_expected = _read(reference, options.instances)
    if table is not None and how == "labels":
        predicted = _with_confidence(predicted, tables.read_confidences(table))
    volume = None
    if options.image is not None:
        volume = nifti.read(options.image)
        if not volume.geometry.matches(expected.geometry):
            raise GeometryMismatchError(
                "The image and the reference lie on different grids, so nothing was scored.",
                "Give the image that the reference was drawn on.",
            )
    return Scored(
        evaluate(predicted, expected, options.tolerance_mm),
        {"prediction": how, "reference": how_expected},
        {
            side: burden(instances, volume)
            for side, instances in (("prediction", predicted), ("reference", expected))
        },
    )


def score_folders(
    predictions: Path, references: Path, options: Options = USUAL, progress: Progress = silent
) -> ScoredCohort:
    """Score every case of a folder: each reference needs a prediction of the same name.

    A case is a NIfTI file, or a run folder for a prediction, and its name is the file's without the
    ending; a reference may end in `_lesions` beyond that.

    Raises:
        CaseMismatchError: There are no cases, or a reference has no prediction.
        InputError: A file cannot be read, or two grids differ.
    """
    found = _cases(predictions)
    expected = {name.removesuffix("_lesions"): path for name, path in _cases(references).items()}
    found = {name.removesuffix("_lesions"): path for name, path in found.items()}
    missing = sorted(set(expected) - set(found))
    if missing or not expected:
        raise CaseMismatchError(
            f"{len(missing)} of {len(expected)} references have no prediction of the same name, so "
            "a mean over the others would mislead and nothing was scored.",
            "Give every case one NIfTI file, or run folder, of the same name in both folders.",
        )
    scored: dict[str, Scored] = {}
    for name, path in sorted(expected.items()):
        scored[name] = score(found[name], path, options)
        progress("evaluate", len(scored) / len(expected))
    cohort = summarise([case.scores for case in scored.values()])
    return ScoredCohort(scored, cohort, len(set(found) - set(expected)))


def _cases(folder: Path) -> dict[str, Path]:
    """Name to NIfTI file or run folder."""
    cases: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        ending = next((e for e in ENDINGS if path.name.endswith(e)), None)
        if ending is not None and path.is_file():
            cases[path.name.removesuffix(ending)] = path
        elif (path / run_folder.LESIONS).is_file():
            cases[path.name] = path
    return cases


def _read(path: Path, instances: Instances) -> tuple[InstanceMap, str]:
    """A label map, and whether its labels or its components are lesions."""
    if not path.exists():
        raise SourceNotFoundError(
            "There is no label map at the given path, so nothing was scored.", "Check the path."
        )
    read = read_instances(path)
    values = len(read.instances)
    if instances == "labels" or (instances == "auto" and values != 1):
        return read, "labels"
    found = cc3d.connected_components(read.labels > 0, connectivity=26)
    if int(found.max(initial=0)) > MAX_INSTANCES:
        raise InputError(
            f"A map falls into more than {MAX_INSTANCES} components, so nothing was scored.",
            "Check that it is a mask of lesions.",
        )
    return as_lesions(found.astype(np.uint16), read.geometry), "components"


def _with_confidence(instances: InstanceMap, confidences: Mapping[int, float]) -> InstanceMap:
    return InstanceMap(
        instances.labels,
        instances.geometry,
        tuple(replace(row, confidence=confidences.get(row.label)) for row in instances.instances),
    )


def _plain_interval(one: Interval) -> dict[str, object]:
    return {
        "value": plain_number(one.value),
        "low": plain_number(one.low),
        "high": plain_number(one.high),
        "cases": one.cases,
    }
