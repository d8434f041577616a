"""Synthetic whole bodies with every lesion known, to score on: never drawn from in training.

No real set here labels lesions that touch, so whether they are parted is scored on real tumours put
side by side in a body. Each set says in its name that it is synthetic, and its tumours and bodies
are of patients and seeds that a model must not have learnt from.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medseg.core.geometry import Geometry
from medseg.training.datasets import Case, make_case
from medseg.training.sampling import (
    HOT_SUV,
    TISSUE_SUV,
    Sources,
    body_view,
    corner_somewhere,
    draw_body,
    draw_tumour,
    small_tumour,
)
from medseg.training.settings import TrainingSettings
from medseg.training.synthesis import Scene, Tumour, add, beside, cut_out, view

GAP_MM = 15.0
"""Least distance between two groups; no blur joins them across it."""

WITHIN = 0.9
"""Least share of a tumour that must lie in tissue."""

TRIES = 300


def touching_body(
    body: Case, tumours: Sequence[Case], settings: TrainingSettings, seed: int, groups: int
) -> Case:
    """A body with groups of two or three tumours that touch, each with its own label.

    Raises:
        ValueError: A group fits nowhere.
    """
    rng = np.random.default_rng((11, seed))
    scene = bare(body, settings)
    for _ in range(groups):
        count = int(rng.integers(2, 4))
        scene = _with_group(scene, tumours, settings, rng, count)
    return as_case(f"{body.name}, tumours that touch", scene)


def separate_body(
    body: Case, tumours: Sequence[Case], settings: TrainingSettings, seed: int, count: int
) -> Case:
    """A body with tumours that lie apart, each with its own label.

    Raises:
        ValueError: One fits nowhere.
    """
    rng = np.random.default_rng((12, seed))
    scene = bare(body, settings)
    for _ in range(count):
        scene = _with_group(scene, tumours, settings, rng, 1)
    return as_case(f"{body.name}, tumours apart", scene)


def sarcoma_body(body: Case, tumour: Case, settings: TrainingSettings, seed: int) -> Case:
    """A body with one whole tumour of its own size, uptake and cold core, mirrored or not.

    Raises:
        ValueError: It fits nowhere.
    """
    rng = np.random.default_rng((13, seed))
    scene = bare(body, settings)
    mirror = np.diag([rng.choice((-1.0, 1.0)), 1.0, 1.0])
    spacing = settings.input.spacing_mm
    whole = cut_out(tumour, tumour.lesions[0], spacing, mirror, 1.0)
    grown = _placed(scene, [whole], rng, 0.7)
    if len(grown.placed) == len(scene.placed):
        raise ValueError(f"no place for the tumour of {tumour.name}")
    return as_case(f"{body.name}, tumour of {tumour.name}", grown)


def touching_pair(sources: Sources, training: TrainingSettings, rng: np.random.Generator) -> Scene:
    """Two tumours that touch, whole, somewhere in a body where no other lesion is.

    Raises:
        ValueError: The scene is too small for two tumours.
    """
    for _ in range(1000):
        scene = body_view(draw_body(sources, rng), training, rng)
        if scene.placed or scene.labels.any():
            continue
        first, second = (draw_tumour(sources.cases, training, rng) for _ in range(2))
        offset = beside(first, second, rng.normal(size=3))
        if offset is None:
            continue
        corner = corner_somewhere(scene, first, rng)
        scene = add(scene, first, corner)
        scene = add(scene, second, [c + o for c, o in zip(corner, offset, strict=True)])
        sizes = np.bincount(scene.labels.ravel(), minlength=3)[1:].tolist()
        if sizes == [int(first.mask.sum()), int(second.mask.sum())]:
            return scene
    raise ValueError(f"two tumours do not fit into {training.crop}")


def bare(body: Case, settings: TrainingSettings) -> Scene:
    """A whole body on the model's grid, as it is, with its own lesions for labels."""
    spacing = settings.input.spacing_mm
    low, high = body.geometry.corners_mm.min(axis=0), body.geometry.corners_mm.max(axis=0)
    i, j, k = (int(n) + 1 for n in np.ceil((high - low) / spacing))
    to_source = np.eye(4)
    to_source[:3, 3] = low
    return view(body, (i, j, k), spacing, to_source)


def as_case(name: str, scene: Scene) -> Case:
    """A scene as a case of its own, with its first voxel at the origin."""
    i, j, k = scene.image.shape
    geometry = Geometry((i, j, k), np.diag([*scene.spacing_mm, 1.0]))
    return make_case(name, scene.image, scene.labels, geometry)


def _with_group(
    scene: Scene,
    cases: Sequence[Case],
    settings: TrainingSettings,
    rng: np.random.Generator,
    count: int,
) -> Scene:
    """So many tumours more, each touching the one before it, somewhere in the body."""
    for _ in range(TRIES):
        group = [_draw(cases, settings, rng) for _ in range(count)]
        before = len(scene.placed)
        grown = _placed(scene, group, rng, WITHIN)
        if len(grown.placed) == before + count:
            return grown
    raise ValueError(f"no place for {count} tumours")


def _draw(cases: Sequence[Case], settings: TrainingSettings, rng: np.random.Generator) -> Tumour:
    case = cases[int(rng.integers(len(cases)))]
    rotation = Rotation.random(rng=rng).as_matrix()
    return small_tumour(case, case.lesions[0], settings, rotation, rng)


def _placed(
    scene: Scene, group: Sequence[Tumour], rng: np.random.Generator, within: float
) -> Scene:
    """The scene with a group of tumours in quiet tissue, or the same scene if they did not fit."""
    spacing = np.array(scene.spacing_mm)
    tissue = scene.image > TISSUE_SUV
    taken = ndimage.distance_transform_edt(scene.labels == 0, sampling=spacing) < GAP_MM
    quiet = np.flatnonzero(tissue & ~taken & (scene.image < HOT_SUV))
    for _ in range(TRIES if len(quiet) else 0):
        place = np.array(np.unravel_index(rng.choice(quiet), tissue.shape))
        corner = place - np.array(group[0].mask.shape) // 2
        corners = [corner]
        for first, second in pairwise(group):
            offset = beside(first, second, rng.normal(size=3))
            if offset is None:
                break
            corners.append(corners[-1] + np.array(offset))
        if len(corners) == len(group) and _fits(group, corners, tissue, taken, within):
            grown = replace(scene)
            for tumour, at in zip(group, corners, strict=True):
                grown = add(grown, tumour, at.tolist())
            return grown
    return scene


def _fits(
    group: Sequence[Tumour],
    corners: Sequence[NDArray[np.int_]],
    tissue: NDArray[np.bool_],
    taken: NDArray[np.bool_],
    within: float,
) -> bool:
    """Whether all voxels of a group lie in the scene, apart from one another and from others."""
    places = [np.argwhere(t.mask) + c for t, c in zip(group, corners, strict=True)]
    every = np.concatenate(places)
    if (every < 0).any() or (every >= tissue.shape).any():
        return False
    at = tuple(every.T)
    alone = len(np.unique(every, axis=0)) == len(every)
    return alone and not taken[at].any() and bool(tissue[at].mean() >= within)
