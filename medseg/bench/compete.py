"""One model on every case, separated in every way that its outputs allow."""

import multiprocessing
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from medseg import config
from medseg.bench.cases import (
    CaseFiles,
    as_instances,
    find_cases,
    read_reference,
    read_volumes,
    segment_settings,
)
from medseg.config import SegmentSettings
from medseg.core.instances import InstanceMap
from medseg.core.prediction import Progress, VoxelPrediction, silent
from medseg.core.volume import Volume
from medseg.errors import SettingsError
from medseg.evaluate.scores import Scores, evaluate
from medseg.memory import own_peak_kib
from medseg.segment.clean import cold_on
from medseg.segment.confidence import sure_of
from medseg.segment.delineate import is_lesion
from medseg.segment.dense import find_lesions
from medseg.segment.prepare import prepare
from medseg.segment.proposals import adopt
from medseg.segment.restore import restore
from medseg.segment.separate import Separated

COMPONENTS = "components"
"""26-connected components of the model's foreground: the peer to beat, always there."""


@dataclass(frozen=True)
class Entry:
    """One model with one way to separate lesions, on every case.

    Attributes:
        model: Name of its card.
        processing: `components`, `necks`, `peaks`, `offsets` or `proposals`.
        scores: Of each case, in order.
        seconds: Of each case, from the volume in memory to the lesions on its grid.
        peak_memory_mib: Largest resident set of the process that ran the model in every way.
    """

    model: str
    processing: str
    scores: tuple[Scores, ...]
    seconds: tuple[float, ...]
    peak_memory_mib: float


def compete(
    folder: Path, models: Sequence[str], progress: Progress = silent
) -> tuple[tuple[CaseFiles, ...], tuple[Entry, ...]]:
    """Run every model, each in a process of its own so that its memory is its own.

    Raises:
        SettingsError: No model is named, or one knows no lesions.
        InputError: The cases are not what a model needs.
        ModelError: A bundle is at fault.
    """
    cases = find_cases(folder)
    cards = [config.load_card(name) for name in models]
    if not cards or not all(any(map(is_lesion, card.network.structures)) for card in cards):
        raise SettingsError(
            "No model is named, or one of them knows no lesions, so nothing was compared.",
            "Name models of lesions with --model; `medseg models` lists them.",
        )
    entries: list[Entry] = []
    spawn = multiprocessing.get_context("spawn")
    for done, name in enumerate(models, start=1):
        with ProcessPoolExecutor(1, mp_context=spawn) as alone:
            entries += alone.submit(run_model, name, cases).result()
        progress("bench", done / len(models))
    return cases, tuple(entries)


def run_model(name: str, cases: Sequence[CaseFiles]) -> list[Entry]:
    """One model on every case. The first case is predicted twice, so that none pays for warming up.

    Raises:
        InputError: A case is not what the model needs.
        ModelError: The bundle is at fault.
    """
    from medseg.model.load import load_model

    card = config.load_card(name)
    settings = segment_settings(card)
    model = load_model(card, settings.tile_overlap, config.card_folder(name))
    model.predict(prepare(read_volumes(cases[0], card), model.roles, model.spacing_mm))
    found: dict[str, list[tuple[Scores, float]]] = {}
    for case in cases:
        volumes = read_volumes(case, card)
        main = volumes[model.roles[0]]
        reference = read_reference(case, main)
        begin = time.perf_counter()
        study = prepare(volumes, model.roles, model.spacing_mm)
        prediction = model.predict(study)
        predicting = time.perf_counter() - begin
        if not isinstance(prediction, VoxelPrediction):
            begin = time.perf_counter()
            adopted = adopt(prediction, study.geometry, settings)
            sure = sure_of(adopted, None, card.calibration)
            seconds = predicting + time.perf_counter() - begin
            scores = _scored(adopted, sure, main, reference)
            found.setdefault("proposals", []).append((scores, seconds))
            continue
        for processing, (said, rules) in ways(prediction, settings).items():
            begin = time.perf_counter()
            separated, _ = find_lesions(said, rules, cold_on(study.data[0], rules))
            sure = sure_of(separated, prediction.centre_heatmap, card.calibration)
            seconds = predicting + time.perf_counter() - begin
            scores = _scored(separated, sure, main, reference)
            found.setdefault(processing, []).append((scores, seconds))
    peak_mib = own_peak_kib() / 1024
    return [
        Entry(
            card.name,
            processing,
            tuple(scores for scores, _ in rows),
            tuple(seconds for _, seconds in rows),
            peak_mib,
        )
        for processing, rows in found.items()
    ]


def ways(
    prediction: VoxelPrediction, settings: SegmentSettings
) -> Mapping[str, tuple[VoxelPrediction, SegmentSettings]]:
    """What `separate` is told for each way that a prediction allows; components first.

    No saddle lies a peak's whole depth below it, so with a prominence of 1 nothing is split.
    """
    lesions = prediction.of([name for name in prediction.structures if is_lesion(name)])
    if lesions is None:
        raise ValueError("a model without lesions")
    bare = replace(lesions, centre_heatmap=None, offsets_mm=None)
    found = {
        COMPONENTS: (bare, settings.model_copy(update={"peak_prominence": 1.0})),
        "necks": (bare, settings),
    }
    if lesions.centre_heatmap is not None:
        found["peaks"] = (replace(lesions, offsets_mm=None), settings)
    if lesions.offsets_mm is not None:
        found["offsets"] = (lesions, settings)
    return found


def _scored(
    separated: Separated, sure: Sequence[float | None], main: Volume, reference: InstanceMap
) -> Scores:
    labels, sources, _ = restore(separated, main.geometry)
    known = [sure[source - 1] for source in sources]
    confidence = {n: c for n, c in enumerate(known, start=1) if c is not None}
    return evaluate(as_instances(labels, main, confidence or None), reference)
