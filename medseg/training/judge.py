"""Training of the judge: whole bodies seen from afar, with tumours added, lesion against normal.

It is a training of its own, of minutes: the judge shares no weights with what sees the tiles.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional

from medseg.config import Spacing
from medseg.core.geometry import Geometry
from medseg.core.prediction import Progress, silent
from medseg.formats.itk import resample
from medseg.model.networks.judge import Judge, coarse_spacing, from_afar
from medseg.model.normalise import normalise
from medseg.training.checkpoint import update_average
from medseg.training.datasets import Case
from medseg.training.fit import in_bfloat16
from medseg.training.sampling import HOT_SUV, TISSUE_SUV, Sources, draw_body, draw_tumour
from medseg.training.settings import TrainingSettings
from medseg.training.synthesis import Shape, Tumour, grid

SHAPE: Shape = (40, 32, 80)
"""Coarse voxels that are seen at once: a trunk with its arms, from the skull to the thighs."""

WARM_SUV = 1.3
"""Above it, blurred, normal uptake is learnt to be normal; below, the tiles call nothing lesion."""

LEARNING_RATE = 4e-3
NORMAL_WEIGHT = 1.5
"""Of normal uptake beside lesions, each taken as a mean over its voxels."""

EMA = 0.98


@dataclass(frozen=True, eq=False)
class View:
    """One body from afar.

    Attributes:
        data: (1, I, J, K) float32, normalised.
        lesion: (I, J, K) where a lesion is.
        normal: (I, J, K) where something warm is that is none, away from lesions.
    """

    data: NDArray[np.float32]
    lesion: NDArray[np.bool_]
    normal: NDArray[np.bool_]


def fit_judge(
    settings: TrainingSettings, sources: Sources, steps: int, progress: Progress = silent
) -> dict[str, Tensor]:
    """Train a judge for the network of a run.

    Args:
        settings: Of the run; its network has a judge.
        sources: What views are made of.
        steps: Each of two views.
        progress: Told `judge` and the share of the steps that is done.

    Returns:
        The running mean of its weights.

    Raises:
        ValueError: The network has no judge.
    """
    judge_settings = settings.network.judge
    if judge_settings is None:
        raise ValueError("the network has no judge")
    torch.manual_seed(settings.seed)
    judge = Judge(judge_settings, settings.input)
    judge.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # torch's stub
    optimiser = torch.optim.AdamW(judge.parameters(), LEARNING_RATE, weight_decay=1e-4)
    average = {name: tensor.clone() for name, tensor in judge.state_dict().items()}
    faster = in_bfloat16(settings, torch.device("cpu"))
    for step in range(steps):
        rate = min(1, (step + 1) / 20) * (0.01 + 0.99 * (1 + np.cos(np.pi * step / steps)) / 2)
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * rate
        optimiser.zero_grad()
        for number in range(2):
            rng = np.random.default_rng((settings.seed, step, number))
            view = draw_view(sources, settings, rng)
            with torch.autocast("cpu", torch.bfloat16, enabled=faster):
                loss = judge_loss(judge, view) / 2
            loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(judge.parameters(), 5.0)
        optimiser.step()
        update_average(average, judge.state_dict(), step + 1, EMA)
        progress("judge", (step + 1) / steps)
    return average


def judge_loss(judge: Judge, view: View) -> Tensor:
    """Cross-entropy, the mean over lesions and the mean over normal uptake; 0 without either."""
    x = torch.from_numpy(judge.shown(view.data))[None].to(memory_format=torch.channels_last_3d)
    said = judge(x)[0, 0].float()
    total: Tensor = said.sum() * 0
    if view.lesion.any():
        total = total + functional.softplus(-said[torch.from_numpy(view.lesion)]).mean()
    if view.normal.any():
        wrong = functional.softplus(said[torch.from_numpy(view.normal)]).mean()
        total = total + NORMAL_WEIGHT * wrong
    return total


def draw_view(sources: Sources, settings: TrainingSettings, rng: np.random.Generator) -> View:
    """A body, turned, scaled, mirrored or not, cut somewhere or not, with one to four tumours."""
    judge = settings.network.judge
    if judge is None:
        raise ValueError("the network has no judge")
    spacing = coarse_spacing(judge, settings.input.spacing_mm)
    body = draw_body(sources, rng)
    target = _target(body, spacing, rng)
    image, source = body.coarse
    x = resample(image, source, target, interpolation="linear", outside=0)
    lesion, near = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    if body.lesions:
        around, wide = (
            resample(
                array.astype(np.float32), body.geometry, target, interpolation="linear", outside=0
            )
            for array in body.softened
        )
        lesion, near = around > 27 * 0.25, wide > 0.05
    if rng.random() < 0.4:
        gone = int(rng.integers(8, 30))
        end = slice(None, gone) if rng.random() < 0.5 else slice(-gone, None)
        for array in (x, lesion, near):
            array[:, :, end] = 0
    for _ in range(int(rng.integers(1, 5))):
        tumour = draw_tumour(sources.tumours, settings, rng)
        _add(x, lesion, near, _tumour_from_afar(tumour, judge.factor, rng), rng)
    x = x * np.float32(np.exp(rng.normal(0, 0.15)))
    noise = ndimage.gaussian_filter(rng.standard_normal(SHAPE, dtype=np.float32), 0.7)
    x = np.clip(x + noise * np.sqrt(np.abs(x)) * rng.uniform(0, 0.08), 0, None).astype(np.float32)
    normal = (x > WARM_SUV) & ~lesion & ~near
    return View(normalise(x[None], settings.input), lesion, normal)


def _target(body: Case, spacing: Spacing, rng: np.random.Generator) -> Geometry:
    """Where the view lies: over the body, or shifted along it."""
    turned = Rotation.from_euler("xyz", rng.uniform(-10, 10, 3), degrees=True).as_matrix()
    mirror = np.diag([rng.choice((-1.0, 1.0)), 1.0, 1.0])
    size = np.exp(rng.uniform(np.log(0.8), np.log(1.25)) + rng.normal(0, 0.06, 3))
    to_source = np.eye(4)
    to_source[:3, :3] = turned @ mirror * size
    low, high = body.geometry.corners_mm.min(axis=0), body.geometry.corners_mm.max(axis=0)
    middle = (low + high) / 2
    if rng.random() < 0.5:
        middle[2] += rng.uniform(-0.3, 0.3) * (high - low)[2]
    to_source[:3, 3] = middle - to_source[:3, :3] @ (np.array(SHAPE) * spacing / 2)
    return grid(SHAPE, spacing, to_source)


def _tumour_from_afar(
    tumour: Tumour, factor: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Uptake, place and wider place of a tumour on coarse voxels that begin anywhere."""
    around = [(6, 6)] * 3
    (excess,) = from_afar(np.pad(tumour.excess, around)[None], tumour.spacing_mm)
    soft = ndimage.uniform_filter(np.pad(tumour.mask, around).astype(np.float32), 3)
    wide = ndimage.maximum_filter(soft, 5) > 0.02
    few = tuple(slice(int(rng.integers(factor)), None, factor) for _ in range(3))
    return excess[few], soft[few] >= 0.25, wide[few]


def _add(
    x: NDArray[np.float32],
    lesion: NDArray[np.bool_],
    near: NDArray[np.bool_],
    tumour: tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]],
    rng: np.random.Generator,
) -> None:
    """Add a tumour to quiet tissue, in place; nothing where there is none."""
    excess, mask, wide = tumour
    quiet = np.flatnonzero((x > TISSUE_SUV) & (x < HOT_SUV))
    if not len(quiet):
        return
    begin = np.array(np.unravel_index(rng.choice(quiet), x.shape)) - np.array(mask.shape) // 2
    low, high = np.maximum(begin, 0), np.minimum(begin + mask.shape, x.shape)
    if (high <= low).any():
        return
    here = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    there = tuple(slice(a - c, b - c) for a, b, c in zip(low, high, begin, strict=True))
    x[here] += excess[there]
    lesion[here] |= mask[there]
    near[here] |= wide[there]
