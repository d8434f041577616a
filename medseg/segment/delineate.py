"""From the volumes of a study to its instances: prepare, predict, clean, separate, restore."""

from collections.abc import Mapping

import numpy as np

from medseg.config import SegmentSettings
from medseg.core.instances import Delineation, Instance, InstanceMap, tracking_uid
from medseg.core.prediction import Progress, VoxelModel, VoxelPrediction, silent
from medseg.core.study import QualityFlag
from medseg.core.volume import Volume
from medseg.errors import ModelError
from medseg.segment.clean import fill_cores
from medseg.segment.prepare import axial_coverage, prepare
from medseg.segment.proposals import adopt
from medseg.segment.restore import restore
from medseg.segment.separate import separate

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
    progress: Progress = silent,
) -> Delineation:
    """Every instance of a study, on the acquired grid of the model's first role.

    Args:
        volumes: Role to volume.
        model: What predicts.
        settings: The protocol's section on segmentation.
        identity: Digest of what determines the labels, for tracking UIDs.
        progress: Told of the stages `prepare`, `predict`, `separate` and `restore`.

    Returns:
        The lesions, numbered as `restore` says. The map of organs is empty: lesions are the only
        structures that are separated so far.

    Raises:
        ValueError: A role of the model has no volume.
        GeometryMismatchError: The volumes do not lie in the same place.
        ModelError: The model predicts something else than lesions, or too many of them.
    """
    progress("prepare", 0)
    study = prepare(volumes, model.roles, model.spacing_mm)
    grid = study.geometry
    progress("prepare", 1)
    prediction = model.predict(study, progress)
    del study
    progress("separate", 0)
    if isinstance(prediction, VoxelPrediction):
        separated = separate(fill_cores(prediction, settings), settings)
    else:
        separated = adopt(prediction, grid, settings)
    del prediction
    progress("separate", 1)
    unknown = sorted({name for name in separated.structures if not is_lesion(name)})
    if unknown:
        raise ModelError(
            f"The model predicts {', '.join(unknown)}, and only lesions can be separated, so "
            "nothing was delineated.",
            "Choose a model of lesions in the protocol.",
        )
    progress("restore", 0)
    acquired = volumes[model.roles[0]].geometry
    labels, structures, flags = restore(separated, acquired)
    lesions = tuple(
        Instance(n, "lesion", structure, tracking_uid(identity, "lesion", n))
        for n, structure in enumerate(structures, start=1)
    )
    progress("restore", 1)
    return Delineation(
        organs=InstanceMap(np.zeros(acquired.shape, np.uint16), acquired, ()),
        lesions=InstanceMap(labels, acquired, lesions),
        flags=(*_doubts(volumes, model), *flags),
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
                "outlines are interpolated, and lesions smaller than the model's voxels may be "
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
