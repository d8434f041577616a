"""Which scene comes next: drawn by chance from cases, bodies and tumours."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medseg.model.networks.context import coarse, margin
from medseg.model.normalise import normalise
from medseg.training.datasets import Case, Lesion
from medseg.training.physiology import ORGANS
from medseg.training.sample import Sample, sample_of_instances
from medseg.training.settings import TrainingSettings
from medseg.training.synthesis import (
    POINT_SPREAD_MM,
    Scene,
    Tumour,
    add,
    around,
    beside,
    cut_out,
    view,
)

TISSUE_SUV = 0.3
"""Above it a voxel is the patient's and not air."""

HOT_SUV = 2.5
"""Above it physiological uptake is taken for a lesion by a threshold (the usual absolute one)."""

HOLLOW_SHARE = 0.3
"""Share of the cases whose lesions are given a cold core."""

FAINT_SHARE = 0.3
"""Share of the cases whose lesions are made fainter."""

KIND_SHARES = (0.3, 0.5, 0.2)
"""Of the views of bodies: around lesions, around normal uptake that is hot, and anywhere."""

REAL_SHARE = 0.4
"""Share of the views of bodies that are of real ones, where there are any."""

ENDING_SHARE = 0.2
"""Share of the views of bodies in which the scan ends."""

WHOLE_SHARE = 0.35
"""Share of the tumours added to bodies that keep about their size, and their cold core."""

TUMOUR_RADIUS_MM = (6.0, 30.0)
"""Pasted tumours are scaled to be in it: from what a PET resolves up to small real ones."""


@dataclass(frozen=True, eq=False)
class Sources:
    """Everything that scenes are made of; train only.

    Attributes:
        cases: Images around tumours; none in a run that learns from phantoms alone.
        bodies: Real whole bodies.
        phantoms: Whole bodies made by arithmetic.
    """

    cases: tuple[Case, ...]
    bodies: tuple[Case, ...]
    phantoms: tuple[Case, ...] = ()

    @cached_property
    def tumours(self) -> tuple[Case, ...]:
        """Whose tumours are cut out: the cases', or those of bodies where there are none."""
        return self.cases or tuple(body for body in self.phantoms if body.lesions)


def sample(sources: Sources, settings: TrainingSettings, rng: np.random.Generator) -> Sample:
    """One crop to learn from."""
    scene = disturb(with_surroundings(draw(sources, settings, rng), settings), rng)
    made = sample_of_instances(
        normalise(scene.image[None], settings.input),
        scene.labels,
        settings.input.spacing_mm,
        [placed.centre_mm for placed in scene.placed],
        [placed.radius_mm for placed in scene.placed],
        least_sigma_mm=settings.pet_lesions.heatmap_sigma_mm,
    )
    organs = settings.network.structures[1:]
    codes = np.zeros(settings.crop, np.uint8) if scene.organs is None else scene.organs
    masks = [codes == ORGANS.index(name) + 1 for name in organs]
    return replace(
        made,
        mask=np.concatenate([made.mask, np.array(masks, np.float32).reshape(-1, *settings.crop)]),
        known=np.array([True, *(name in scene.outlined for name in organs)]),
        context=None if scene.context is None else normalise(scene.context[None], settings.input),
    )


def draw(sources: Sources, settings: TrainingSettings, rng: np.random.Generator) -> Scene:
    """One scene: of a case, of a body, or synthetic."""
    kind = rng.random()
    if kind < settings.pet_lesions.touching_share:
        return touching(sources, settings, rng)
    somewhere = kind < settings.pet_lesions.touching_share + settings.pet_lesions.background_share
    if not sources.cases or (somewhere and (sources.bodies or sources.phantoms)):
        scene = body_view(draw_body(sources, rng), settings, rng)
        for _ in range(int(rng.integers(0, 3))):
            scene = _add_somewhere(scene, draw_tumour(sources.tumours, settings, rng), rng)
        return scene
    return case_view(sources, settings, rng)


def with_surroundings(scene: Scene, settings: TrainingSettings) -> Scene:
    """The scene with all that was added to it in its coarse surroundings too."""
    context = settings.input.context
    if scene.context is None or context is None:
        return scene
    surroundings = scene.context.copy()
    inside = coarse(scene.image[None], context.factor)[0]
    before = margin(context, settings.crop)
    surroundings[tuple(slice(m, m + n) for m, n in zip(before, inside.shape, strict=True))] = inside
    return replace(scene, context=surroundings)


def seen(case: Case, settings: TrainingSettings, to_source: NDArray[np.float64]) -> Scene:
    """A case through a placement, with its surroundings where the network wants them."""
    spacing, context = settings.input.spacing_mm, settings.input.context
    scene = view(case, settings.crop, spacing, to_source)
    if context is None:
        return scene
    return replace(scene, context=around(case, context, settings.crop, spacing, to_source))


def case_view(sources: Sources, settings: TrainingSettings, rng: np.random.Generator) -> Scene:
    """A case with its lesion near the middle, and air where its image ends.

    Nothing is painted into the air, and the lesion lies where the cases of `val` have it: experts
    outline tissue of hardly any uptake too, which only the whole picture gives away. With lesions
    anywhere in the crop, and other bodies around a third of the cases, Dice on the training cases
    themselves was 0.68 after 1,000 steps.
    """
    case = sources.cases[int(rng.integers(len(sources.cases)))]
    lesion = case.lesions[int(rng.integers(len(case.lesions)))]
    places = np.argwhere(case.labels == lesion.label)
    centre = case.geometry.to_world(places.mean(axis=0))
    to_source = placement(centre, settings, rng, spread=0.05)
    scene = seen(case, settings, to_source)
    if rng.random() < HOLLOW_SHARE:
        scene = hollow(scene, settings, rng)
    return fainter(scene, rng) if rng.random() < FAINT_SHARE else scene


def hollow(scene: Scene, settings: TrainingSettings, rng: np.random.Generator) -> Scene:
    """The same lesions with a cold core: necrosis takes up nothing and is outlined with the rest.

    The core begins at 20 to 60 % of the greatest depth, nearer to one side than to the other, and
    takes up a twentieth to a half of what surrounds the lesion.
    """
    inside = scene.labels > 0
    around = ndimage.binary_dilation(inside, iterations=3) & ~inside & (scene.image > TISSUE_SUV)
    if not inside.any() or not around.any():
        return scene
    depth = ndimage.distance_transform_edt(inside, sampling=settings.input.spacing_mm)
    drift = ndimage.gaussian_filter(rng.normal(size=depth.shape), 5)
    drift *= rng.uniform(0, 0.3) * depth.max() / max(float(np.abs(drift).max()), 1e-6)
    core = (depth + drift) > rng.uniform(0.2, 0.6) * depth.max()
    soft = ndimage.gaussian_filter((core & inside).astype(np.float32), 0.7)
    cold = np.float32(np.median(scene.image[around]) * rng.uniform(0.05, 0.5))
    return replace(scene, image=(scene.image * (1 - soft) + cold * soft).astype(np.float32))


def fainter(scene: Scene, rng: np.random.Generator) -> Scene:
    """The same lesions with less uptake above what surrounds them, down to a tenth.

    Four in 40 sarcomas of the set are hardly hotter than muscle; they were the ones missed.
    """
    inside = scene.labels > 0
    around = ndimage.binary_dilation(inside, iterations=3) & ~inside & (scene.image > TISSUE_SUV)
    if not inside.any() or not around.any():
        return scene
    level = np.float32(np.median(scene.image[around]))
    soft = ndimage.gaussian_filter(inside.astype(np.float32), 0.7)
    kept = 1 - soft * np.float32(rng.uniform(0.3, 0.9))
    excess = np.maximum(scene.image - level, 0)
    return replace(scene, image=(scene.image - excess * (1 - kept)).astype(np.float32))


def draw_body(sources: Sources, rng: np.random.Generator) -> Case:
    """A real body or a phantom: real ones are few, so each is drawn more often."""
    real = bool(sources.bodies) and (not sources.phantoms or rng.random() < REAL_SHARE)
    bodies = sources.bodies if real else sources.phantoms
    return bodies[int(rng.integers(len(bodies)))]


def body_view(body: Case, settings: TrainingSettings, rng: np.random.Generator) -> Scene:
    """A part of a whole body: around a lesion, something hot that is none, or any tissue."""
    tissue = (body.image > TISSUE_SUV) & (body.labels == 0)
    kinds = (body.labels > 0, tissue & (body.image > HOT_SUV), tissue)
    there = kinds[int(rng.choice(len(kinds), p=KIND_SHARES))]
    there = there if there.any() else tissue
    index = np.array(np.unravel_index(rng.choice(np.flatnonzero(there)), there.shape))
    to_source = placement(body.geometry.to_world(index), settings, rng)
    scene = seen(body, settings, to_source)
    return ending(scene, settings, rng) if rng.random() < ENDING_SHARE else scene


def ending(scene: Scene, settings: TrainingSettings, rng: np.random.Generator) -> Scene:
    """The same scene where the scan ends, somewhere in its middle half, above or below."""
    length = scene.image.shape[2]
    cut = int(rng.integers(length // 4, 3 * length // 4))
    gone = slice(cut, None) if rng.random() < 0.5 else slice(None, cut)
    image, labels = scene.image.copy(), scene.labels.copy()
    organs = None if scene.organs is None else scene.organs.copy()
    for array in (image, labels, organs):
        if array is not None:
            array[:, :, gone] = 0
    context = None
    if scene.context is not None and settings.input.context is not None:
        context = scene.context.copy()
        at = margin(settings.input.context, settings.crop)[2] + cut // settings.input.context.factor
        context[:, :, at if gone.stop is None else 0 : None if gone.stop is None else at] = 0
    return replace(scene, image=image, labels=labels, organs=organs, context=context)


def touching(sources: Sources, settings: TrainingSettings, rng: np.random.Generator) -> Scene:
    """Two or three tumours that touch, in a body or in the tissue around a case."""
    if sources.bodies or sources.phantoms:
        scene = body_view(draw_body(sources, rng), settings, rng)
    else:
        scene = case_view(sources, settings, rng)
    first = draw_tumour(sources.tumours, settings, rng)
    corner = corner_somewhere(scene, first, rng)
    scene = add(scene, first, corner)
    for _ in range(int(rng.integers(1, 3))):
        second = draw_tumour(sources.tumours, settings, rng)
        offset = beside(first, second, rng.normal(size=3))
        if offset is not None:
            scene = add(scene, second, [c + o for c, o in zip(corner, offset, strict=True)])
    return scene


def draw_tumour(
    cases: Sequence[Case], settings: TrainingSettings, rng: np.random.Generator
) -> Tumour:
    """A tumour of any case, turned and mirrored at will: made small, or about as it is."""
    case = cases[int(rng.integers(len(cases)))]
    lesion = case.lesions[int(rng.integers(len(case.lesions)))]
    rotation = Rotation.random(rng=rng).as_matrix() * rng.choice((-1, 1))
    if rng.random() < WHOLE_SHARE:
        scale = float(rng.uniform(0.6, 1.1))
        return cut_out(case, lesion, settings.input.spacing_mm, rotation, scale)
    return small_tumour(case, lesion, settings, rotation, rng)


def small_tumour(
    case: Case,
    lesion: Lesion,
    settings: TrainingSettings,
    rotation: NDArray[np.float64],
    rng: np.random.Generator,
) -> Tumour:
    """A tumour made smaller, without its cold core, brighter or darker."""
    radius_mm = np.exp(rng.uniform(*np.log(TUMOUR_RADIUS_MM)))
    scale = min(1.2, radius_mm / lesion.radius_mm)
    tumour = solid(cut_out(case, lesion, settings.input.spacing_mm, rotation, scale), rng)
    peak = float(tumour.excess[tumour.mask].max(initial=0.1))
    # A shrunk tumour has lost uptake to the blur; small lesions that are reported are hot enough.
    wanted = np.exp(rng.uniform(np.log(2.0), np.log(20.0)))
    gain = np.clip(wanted / max(peak, 0.1), 0.3, 3)
    return replace(tumour, excess=(tumour.excess * gain).astype(np.float32))


def solid(tumour: Tumour, rng: np.random.Generator) -> Tumour:
    """The same without the cold core that a large tumour has and a small one has not."""
    if not tumour.mask.any():
        return tumour
    floor = tumour.excess[tumour.mask].max() * rng.uniform(0.5, 1)
    filled = np.where(tumour.mask, np.maximum(tumour.excess, floor), tumour.excess)
    blur = [POINT_SPREAD_MM / step for step in tumour.spacing_mm]
    return replace(tumour, excess=ndimage.gaussian_filter(filled, blur).astype(np.float32))


def placement(
    centre_mm: NDArray[np.float64],
    settings: TrainingSettings,
    rng: np.random.Generator,
    spread: float = 0.25,
) -> NDArray[np.float64]:
    """A map from mm in the scene to a source: shifted, turned a little, scaled, mirrored or not.

    Turned up to 15 degrees, as patients lie; scaled 0.8 to 1.25, as they differ; mirrored left to
    right only, because no patient is upside down and organs to the left are as plausible mirrored.

    Args:
        centre_mm: (3,) RAS+ position in the source that comes to lie about the scene's middle.
        settings: Size of the scene.
        rng: Chance.
        spread: How far from the middle at most, as a share of the scene's size.

    Returns:
        (4, 4) affine.
    """
    size_mm = np.array(settings.crop) * settings.input.spacing_mm
    here_mm = size_mm * rng.uniform(0.5 - spread, 0.5 + spread, size=3)
    turned = Rotation.from_euler("xyz", rng.uniform(-15, 15, size=3), degrees=True).as_matrix()
    mirror = np.diag([rng.choice((-1.0, 1.0)), 1.0, 1.0])
    to_source = np.eye(4)
    size = np.exp(rng.uniform(np.log(0.8), np.log(1.25)) + rng.normal(0, 0.05, size=3))
    to_source[:3, :3] = turned @ mirror * size
    to_source[:3, 3] = centre_mm - to_source[:3, :3] @ here_mm
    return to_source


def disturb(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene as another scanner might have made it: calibration, resolution, noise."""
    scale = np.float32(np.exp(rng.normal(0, 0.15)))
    image = scene.image * scale
    if rng.random() < 0.3:
        image = ndimage.gaussian_filter(image, rng.uniform(0.3, 0.8))
    if rng.random() < 0.5:
        # Noise of an iterative reconstruction grows with the uptake and is correlated.
        noise = ndimage.gaussian_filter(rng.standard_normal(image.shape, dtype=np.float32), 0.7)
        image = image + noise / noise.std() * rng.uniform(0, 0.15) * np.sqrt(np.abs(image))
    context = None if scene.context is None else scene.context * scale
    return replace(scene, image=np.clip(image, 0, None).astype(np.float32), context=context)


def _add_somewhere(scene: Scene, tumour: Tumour, rng: np.random.Generator) -> Scene:
    return add(scene, tumour, corner_somewhere(scene, tumour, rng))


def corner_somewhere(
    scene: Scene, tumour: Tumour, rng: np.random.Generator
) -> tuple[int, int, int]:
    """Where a tumour must begin to lie around a voxel of quiet tissue, if there is any."""
    quiet = (scene.image > TISSUE_SUV) & (scene.image < HOT_SUV) & (scene.labels == 0)
    choices = np.flatnonzero(quiet)
    chosen = int(rng.choice(choices)) if len(choices) else quiet.size // 2
    index = np.array(np.unravel_index(chosen, quiet.shape)) - np.array(tumour.mask.shape) // 2
    return (int(index[0]), int(index[1]), int(index[2]))
