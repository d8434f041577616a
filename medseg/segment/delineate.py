"""From the volumes of a study to its instances: prepare, predict, separate, restore, assign."""

from collections.abc import Mapping, Sequence

import numpy as np

from medseg.config import Calibration, SegmentSettings
from medseg.core.geometry import Geometry
from medseg.core.instances import Delineation, Instance, InstanceMap, tracking_uid
from medseg.core.prediction import Progress, VoxelModel, VoxelPrediction, silent
from medseg.core.study import QualityFlag
from medseg.core.volume import Volume
from medseg.errors import ModelError
from medseg.segment.assign import assign
from medseg.segment.clean import cold_on
from medseg.segment.confidence import sure_of
from medseg.segment.dense import find_lesions
from medseg.segment.organs import organs_on
from medseg.segment.prepare import axial_coverage, prepare
from medseg.segment.proposals import adopt
from medseg.segment.restore import restore
from medseg.segment.separate import Separated

COARSE_FROM = 2.0
"""Ratio of the model's spacing to the acquired one from which a reader is told."""

COVERED_FROM = 0.98
"""Share of the main series along S below which a reader is told that another one is shorter."""


def delineate(
    volumes: Mapping[str, Volume],
    model: VoxelModel,
    settings: SegmentSettings,
    *,
    identity: str,
    calibration: Calibration | None = None,
    progress: Progress = silent,
) -> Delineation:
    """Every instance of a study, on the acquired grid of the model's first role.

    Args:
        volumes: Role to volume.
        model: What predicts.
        settings: The protocol's section on segmentation.
        identity: Digest of what determines the labels, for tracking UIDs.
        calibration: How sure the model is of a lesion; None leaves the confidence empty.
        progress: Told of the stages `prepare`, `predict`, `separate` and `restore`.

    Returns:
        The lesions, numbered as `restore` says, each with the organ that it lies in; and the
        organs, label n for the n-th organ of the model.

    Raises:
        ValueError: A role of the model has no volume.
        GeometryMismatchError: The volumes do not lie in the same place.
        ModelError: The model proposes something else than lesions one by one, or predicts too many
            of them.
    """
    progress("prepare", 0)
    study = prepare(volumes, model.roles, model.spacing_mm)
    grid = study.geometry
    acquired = volumes[model.roles[0]].geometry
    progress("prepare", 1)
    prediction = model.predict(study, progress)
    cold = cold_on(study.data[0], settings)
    del study
    progress("separate", 0)
    organs = InstanceMap(np.zeros(acquired.shape, np.uint16), acquired, ())
    flags: tuple[QualityFlag, ...] = ()
    separated: Separated | None
    sure: tuple[float | None, ...]
    if isinstance(prediction, VoxelPrediction):
        organs, flags = _organs(prediction, acquired, settings, identity)
        flags = (*prediction.flags, *flags)
        lesions = prediction.of(list(filter(is_lesion, prediction.structures)))
        separated = None
        if lesions:
            separated, left_out = find_lesions(lesions, settings, cold)
            flags = (*flags, *left_out)
        sure = sure_of(separated, prediction.centre_heatmap, calibration) if separated else ()
        del lesions
    else:
        separated = adopt(prediction, grid, settings)
        sure = sure_of(separated, None, calibration)
        _check_lesions(separated.structures)
    del prediction, cold
    progress("separate", 1)
    progress("restore", 0)
    found = InstanceMap(np.zeros(acquired.shape, np.uint16), acquired, ())
    if separated is not None:
        found, doubts = _lesions(separated, sure, acquired, identity)
        flags = (*flags, *doubts)
    progress("restore", 1)
    return Delineation(
        organs=organs,
        lesions=assign(found, organs),
        flags=(*_doubts(volumes, model), *flags),
    )


def _organs(
    prediction: VoxelPrediction, acquired: Geometry, settings: SegmentSettings, identity: str
) -> tuple[InstanceMap, tuple[QualityFlag, ...]]:
    """The organs that a prediction knows, and the doubts about them."""
    known = prediction.of([name for name in prediction.structures if not is_lesion(name)])
    if known is None:
        return InstanceMap(np.zeros(acquired.shape, np.uint16), acquired, ()), ()
    labels, flags = organs_on(known, acquired, settings)
    rows = tuple(
        Instance(
            label, "organ", known.structures[label - 1], tracking_uid(identity, "organ", label)
        )
        for label in np.unique(labels[labels > 0]).tolist()
    )
    return InstanceMap(labels, acquired, rows), flags


def _lesions(
    separated: Separated, sure: Sequence[float | None], acquired: Geometry, identity: str
) -> tuple[InstanceMap, tuple[QualityFlag, ...]]:
    """Separated lesions on the acquired grid, and the doubts about them."""
    labels, sources, flags = restore(separated, acquired)
    rows = tuple(
        Instance(
            n,
            "lesion",
            separated.structures[source - 1],
            tracking_uid(identity, "lesion", n),
            confidence=sure[source - 1],
        )
        for n, source in enumerate(sources, start=1)
    )
    return InstanceMap(labels, acquired, rows), flags


def _check_lesions(structures: tuple[str, ...]) -> None:
    """Refuse proposals of organs: an organ is one thing, told from others voxel by voxel."""
    unknown = sorted({name for name in structures if not is_lesion(name)})
    if unknown:
        raise ModelError(
            f"The model proposes {', '.join(unknown)} one by one, and only lesions can be "
            "separated so, so nothing was delineated.",
            "Choose a model that proposes lesions, or one that predicts organs voxel by voxel.",
        )


def is_lesion(structure: str) -> bool:
    """Whether a structure is a kind of lesion: `lesion`, `liver_lesion`, `liver lesion`, ..."""
    return structure.replace("_", " ").split()[-1:] == ["lesion"]


def _doubts(volumes: Mapping[str, Volume], model: VoxelModel) -> tuple[QualityFlag, ...]:
    """What the reader has to know of how the study fits the model."""
    main = volumes[model.roles[0]].geometry
    flags: list[QualityFlag] = []
    acquired = tuple(main.spacing_mm[main.world_axes.index(world)] for world in range(3))
    if max(np.array(model.spacing_mm) / acquired) > COARSE_FROM:
        sizes = [" × ".join(f"{mm:.1f}" for mm in s) for s in (model.spacing_mm, acquired)]
        flags.append(
            QualityFlag(
                "coarse-model-grid",
                f"The model works on voxels of {sizes[0]} mm, the series has {sizes[1]} mm: "
                "outlines are interpolated, and what is smaller than the model's voxels may be "
                "missed.",
            )
        )
    for role in model.roles[1:]:
        share = axial_coverage(volumes[role].geometry, main)
        if share < COVERED_FROM:
            flags.append(
                QualityFlag(
                    "partly-covered",
                    f"The series for '{role}' covers {share:.0%} of the main one from head to "
                    "foot; beyond it the model saw the main one alone and is less reliable.",
                )
            )
    return tuple(flags)
