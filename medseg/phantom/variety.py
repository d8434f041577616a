"""Phantoms to learn from: as unlike one another as patients and scanners are.

The phantoms of `body` are for people to look at: everyone has fasted, raises the arms and lies in a
good scanner. A network that is to know normal uptake has to have seen the hot heart and the cold
one, the full bladder and the empty one, hot gut, brown fat, hot muscles, the site of the injection,
arms beside the body, legs, a head that the scan cuts off, and noise.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from medseg.core.geometry import Geometry
from medseg.phantom.anatomy import (
    Arms,
    Patient,
    Tissue,
    Triple,
    arm_axis,
    normal_body,
)
from medseg.phantom.body import blur, lesion_labels, paint, paint_lesion
from medseg.phantom.lesions import draw_lesions
from medseg.phantom.shapes import distance_on_grid

SPACING_MM = (4.7, 4.7, 3.3)
"""Of the varied phantoms: that of the whole-body PET of STS_001 (Vallieres et al. 2015)."""

LEVELS: dict[str, tuple[float, float]] = {
    "brain": (4.0, 16.0),
    "heart": (1.2, 14.0),
    "liver": (1.3, 3.4),
    "spleen": (1.0, 2.6),
    "kidney_left": (1.8, 7.0),
    "kidney_right": (1.8, 7.0),
    "urinary_bladder": (3.0, 70.0),
    "stomach": (0.8, 4.5),
    "colon": (0.6, 7.0),
    "small_bowel": (0.6, 5.0),
    "aorta": (1.0, 2.2),
    "lung_left": (0.25, 0.7),
    "lung_right": (0.25, 0.7),
}
"""Lowest and highest mean SUV of an organ that still is normal, about as published ranges have it;
gut up to what metformin does to it (Gontier et al. 2008, doi 10.1007/s00259-007-0563-6)."""


@dataclass(frozen=True, eq=False)
class Body:
    """A varied phantom: a PET and its truth, on one grid.

    Attributes:
        pet: (I, J, K) float32, SUV.
        lesions: (I, J, K) uint16 labels.
        organs: Structure to boolean (I, J, K).
        geometry: The grid.
    """

    pet: NDArray[np.float32]
    lesions: NDArray[np.uint16]
    organs: dict[str, NDArray[np.bool_]]
    geometry: Geometry


def make_body(seed: int, *, healthy: bool = False) -> Body:
    """The next patient in the next scanner; the same seed gives the same body.

    Args:
        seed: Of body, uptake, field of view, lesions and noise. Unrelated to that of
            `make_phantom`.
        healthy: Whether its lesions are left out; all else stays the same.
    """
    rng = np.random.default_rng((20, seed))
    arms: Arms = "raised" if rng.random() < 0.6 else "lowered"
    habitus = rng.uniform(0.82, 1.25)
    stretch = np.array((habitus * rng.uniform(0.95, 1.05), habitus * rng.uniform(0.9, 1.15), 1.0))
    patient = Patient(stretch * rng.uniform(0.88, 1.1))
    tissues = _levels(normal_body(patient, rng, arms), rng)
    tissues += _extras(patient, arms, rng)
    lesions = draw_lesions(patient, rng) if rng.random() < 0.7 else []
    if healthy:
        lesions = []
    geometry = _field_of_view(float(patient.stretch[2]), rng)
    uptake = np.zeros(geometry.shape, np.float32)
    for tissue in tissues:
        paint(uptake, geometry, tissue.shape, tissue.suv)
    labels = lesion_labels(lesions, geometry)
    for label, lesion in enumerate(lesions, 1):
        paint_lesion(uptake, geometry, lesion, (labels == 0) | (labels == label))
    codes, names = _organ_codes(tissues, geometry)
    uptake, labels, codes = _bent((uptake, labels, codes), geometry, rng)
    pet = _scanned(blur(uptake, geometry, rng.uniform(5.0, 9.0)), geometry, rng)
    organs = {name: codes == number for number, name in enumerate(names, 1)}
    return Body(pet, labels, organs, geometry)


def _levels(tissues: list[Tissue], rng: np.random.Generator) -> list[Tissue]:
    """The same tissues with the uptake of another patient: each organ's scaled as a whole."""
    wanted = {name: np.exp(rng.uniform(*np.log(limits))) for name, limits in LEVELS.items()}
    # Both kidneys of one patient are much alike, and a heart is as often cold as hot.
    wanted["kidney_left"] = wanted["kidney_right"] * np.exp(rng.normal(0, 0.1))
    # The first tissue of an organ is its wall or cortex; lumen and vessels follow. Of the heart the
    # hottest is the left ventricle.
    usual = {name: next(t.suv for t in tissues if t.organ == name) for name in LEVELS}
    usual["heart"] = max(t.suv for t in tissues if t.organ == "heart")
    rest = np.exp(rng.normal(0, 0.2))
    varied: list[Tissue] = []
    for tissue in tissues:
        name = tissue.organ
        if name is None:
            varied.append(replace(tissue, suv=tissue.suv * rest))
        elif name == "heart" and tissue.suv < usual["heart"]:
            varied.append(replace(tissue, suv=wanted["aorta"]))
        elif name.startswith("kidney") and tissue.suv > 8:
            varied.append(replace(tissue, suv=tissue.suv * np.exp(rng.normal(0, 0.4))))
        else:
            varied.append(replace(tissue, suv=tissue.suv * wanted[name] / usual[name]))
    return varied


def _extras(patient: Patient, arms: Arms, rng: np.random.Generator) -> list[Tissue]:
    """Normal uptake that only some patients have."""
    extra: list[Tissue] = []
    if rng.random() < 0.25:
        extra += _brown_fat(patient, rng)
    if rng.random() < 0.4:
        extra += _muscles(patient, arms, rng)
    if rng.random() < 0.5:
        extra += _gut_pieces(patient, rng)
    if rng.random() < 0.6:
        extra += _ureters(patient, rng)
    if rng.random() < 0.5:
        extra += _injection(patient, arms, rng)
    if rng.random() < 0.5:
        extra += _joints(patient, rng)
    if rng.random() < 0.4:
        extra += _glands(patient, rng)
    if rng.random() < 0.5:
        extra.append(_bladder_outlet(patient, rng))
    return extra


def _tube(
    patient: Patient, points: list[Triple], radius: float, suv: float, organ: str | None = None
) -> list[Tissue]:
    pieces = patient.tube(points, [radius] * len(points))
    return [Tissue(piece, suv, 20, organ) for piece in pieces]


def _brown_fat(patient: Patient, rng: np.random.Generator) -> list[Tissue]:
    """Above the collar bones on both sides, and along the spine."""
    suv = float(np.exp(rng.uniform(np.log(2.5), np.log(14))))
    spots: list[Tissue] = []
    for side in (-1, 1):
        path: list[Triple] = [
            (side * 45.0, -20.0, 600.0),
            (side * 70.0, -25.0, 575.0),
            (side * 105.0, -20.0, 555.0),
        ]
        spots += _tube(patient, path, float(rng.uniform(5, 11)), suv * rng.uniform(0.6, 1.2))
        if rng.random() < 0.6:
            for s in np.arange(330.0, 520.0, 32.0):
                place = (side * 26.0, -62.0, float(s))
                spots.append(Tissue(patient.ellipsoid(place, (5, 5, 5)), suv * 0.7, -90))
    return spots


def _muscles(patient: Patient, arms: Arms, rng: np.random.Generator) -> list[Tissue]:
    """Muscles that worked before the scan; mostly on both sides."""
    suv = float(np.exp(rng.uniform(np.log(1.2), np.log(7))))
    sides = (-1, 1) if rng.random() < 0.8 else (int(rng.choice((-1, 1))),)
    kind = int(rng.integers(5))
    hot: list[Tissue] = []
    for side in sides:
        paths: tuple[list[Triple], float] = (
            ([(side * 50.0, -8.0, 665.0), (side * 16.0, 38.0, 565.0)], 9.0),
            ([(side * 20.0, -62.0, 640.0), (side * 130.0, -40.0, 545.0)], 12.0),
            (arm_axis(side, arms)[1:3], 22.0),
            ([(side * 45.0, -40.0, 190.0), (side * 80.0, 25.0, 0.0)], 18.0),
            ([(side * 88.0, 30.0, -60.0), (side * 90.0, 34.0, -240.0)], 24.0),
        )[kind]
        path, radius = paths
        hot += _tube(patient, path, radius * float(rng.uniform(0.7, 1.1)), suv)
    return hot


def _gut_pieces(patient: Patient, rng: np.random.Generator) -> list[Tissue]:
    """Loops and stretches of gut that are much hotter than the rest."""
    pieces: list[Tissue] = []
    for _ in range(int(rng.integers(1, 6))):
        here = np.array((rng.uniform(-85, 85), rng.uniform(-5, 65), rng.uniform(60, 210)))
        path = [tuple(here)]
        for _ in range(int(rng.integers(1, 4))):
            here = here + rng.normal(0, (26, 14, 26))
            path.append(tuple(here))
        suv = float(np.exp(rng.uniform(np.log(2), np.log(10))))
        pieces += _tube(patient, path, float(rng.uniform(7, 14)), suv, "small_bowel")
    return pieces


def _ureters(patient: Patient, rng: np.random.Generator) -> list[Tissue]:
    """Drops of urine on the way from the kidneys, thin and very hot."""
    drops: list[Tissue] = []
    for side in (-1, 1):
        for _ in range(int(rng.integers(0, 4))):
            s = float(rng.uniform(25, 190))
            length = float(rng.uniform(4, 55))
            r, a = side * float(rng.uniform(26, 42)), float(rng.uniform(-34, -14))
            path: list[Triple] = [
                (r, a, s),
                (r + float(rng.normal(0, 4)), a + float(rng.normal(0, 4)), s + length),
            ]
            suv = float(np.exp(rng.uniform(np.log(6), np.log(60))))
            drops += _tube(patient, path, float(rng.uniform(2.2, 4.5)), suv)
    return drops


def _injection(patient: Patient, arms: Arms, rng: np.random.Generator) -> list[Tissue]:
    """Tracer beside the vein of one arm, at the elbow or the hand, and sometimes along the vein."""
    side = int(rng.choice((-1, 1)))
    axis = np.array(arm_axis(side, arms))
    share = float(rng.choice((rng.uniform(0.1, 0.5), rng.uniform(0.8, 1.0))))
    place = axis[2] + share * (axis[3] - axis[2]) + rng.normal(0, 10, 3)
    suv = float(np.exp(rng.uniform(np.log(4), np.log(150))))
    size = rng.uniform(3, 13, 3)
    centre: Triple = (float(place[0]), float(place[1]), float(place[2]))
    site = [Tissue(patient.ellipsoid(centre, tuple(size)), suv, 30, "injection_site")]
    if rng.random() < 0.4:
        site += _tube(patient, [centre, tuple(axis[1])], 3.0, suv * 0.2)
    return site


def _joints(patient: Patient, rng: np.random.Generator) -> list[Tissue]:
    """Worn joints, a little warm, usually on both sides."""
    suv = float(rng.uniform(1.2, 3.5))
    places: tuple[Triple, ...] = (
        (150.0, -10.0, 535.0),
        (90.0, 4.0, -2.0),
        (88.0, 10.0, -330.0),
        (86.0, 10.0, -395.0),
    )
    place = places[int(rng.integers(len(places)))]
    return [
        Tissue(
            patient.ellipsoid((side * place[0], place[1], place[2]), tuple(rng.uniform(12, 30, 3))),
            suv,
            60,
        )
        for side in (-1, 1)
        if rng.random() < 0.85
    ]


def _glands(patient: Patient, rng: np.random.Generator) -> list[Tissue]:
    """Thyroid, voice, breasts, testes or womb."""
    suv = float(np.exp(rng.uniform(np.log(1.8), np.log(7))))
    kind = int(rng.integers(5))
    if kind == 0:
        return [
            Tissue(patient.ellipsoid((side * 17.0, 34, 590), (9, 9, 20)), suv, 70)
            for side in (-1, 1)
        ]
    if kind == 1:
        return [Tissue(patient.ellipsoid((0, 40, 625), (12, 10, 6)), suv, 50)]
    if kind == 2:
        return [
            Tissue(patient.ellipsoid((side * 80.0, 105, 420), (35, 22, 35)), suv * 0.4, 10)
            for side in (-1, 1)
        ]
    if kind == 3:
        return [
            Tissue(patient.ellipsoid((side * 16.0, 72, -70), (12, 14, 18)), suv, 40)
            for side in (-1, 1)
        ]
    return [Tissue(patient.ellipsoid((0, 0, 42), (22, 26, 18)), suv, 45)]


def _bladder_outlet(patient: Patient, rng: np.random.Generator) -> Tissue:
    """Urine in the urethra or on the skin below the bladder."""
    place = (float(rng.normal(0, 6)), float(rng.uniform(0, 70)), float(rng.uniform(-70, -25)))
    size: Triple = (6.0, float(rng.uniform(6, 16)), float(rng.uniform(6, 16)))
    return Tissue(patient.ellipsoid(place, size), float(np.exp(rng.uniform(0.7, 3.2))), 10)


def _field_of_view(stretch: float, rng: np.random.Generator) -> Geometry:
    """From the thighs or the feet to the base of the skull or over the crown, or a part alone."""
    bottom = float(rng.choice((-155.0, -260.0, -740.0), p=(0.5, 0.35, 0.15)) + rng.uniform(-40, 20))
    top = float(rng.choice((650.0, 860.0), p=(0.5, 0.5)) + rng.uniform(-30, 60))
    if rng.random() < 0.12:
        bottom = rng.uniform(-150, 350)
        top = bottom + rng.uniform(200, 400)
    low, high = bottom * stretch, top * stretch
    shape = (118, 96, max(48, int((high - low) / SPACING_MM[2])))
    affine = np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0])
    affine[:3, 3] = (
        SPACING_MM[0] * (shape[0] - 1) / 2,
        SPACING_MM[1] * (shape[1] - 1) / 2,
        low,
    )
    return Geometry(shape, affine)


def _organ_codes(
    tissues: list[Tissue], geometry: Geometry
) -> tuple[NDArray[np.uint16], tuple[str, ...]]:
    """1 + the place in the names of the organ that each voxel's centre lies in; 0 in none."""
    names = tuple(sorted({tissue.organ for tissue in tissues if tissue.organ is not None}))
    codes = np.zeros(geometry.shape, np.uint16)
    for tissue in tissues:
        found = distance_on_grid(tissue.shape, geometry)
        if found is not None and tissue.organ is not None:
            box, distance = found
            codes[box][distance < 0] = names.index(tissue.organ) + 1
    return codes, names


def _bent(
    arrays: tuple[NDArray[np.float32], NDArray[np.uint16], NDArray[np.uint16]],
    geometry: Geometry,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.uint16], NDArray[np.uint16]]:
    """The same body bent smoothly, by some 8 mm over some 80 mm: no organ is an ellipsoid."""
    coarse = tuple(max(2, n // 8) for n in geometry.shape)
    places = []
    for axis, spacing in enumerate(geometry.spacing_mm):
        field = gaussian_filter(rng.standard_normal(coarse, dtype=np.float32), 1.5)
        field *= rng.uniform(3, 11) / spacing / max(float(field.std()), 1e-6)
        at = [
            np.linspace(0, c - 1, n, dtype=np.float32)
            for c, n in zip(coarse, geometry.shape, strict=True)
        ]
        offsets = _stretched(field, at)
        shape = [1, 1, 1]
        shape[axis] = -1
        places.append(offsets + np.arange(geometry.shape[axis], dtype=np.float32).reshape(shape))
    moved = np.stack(places)
    uptake, labels, codes = arrays
    return (
        map_coordinates(uptake, moved, order=1, mode="nearest"),
        map_coordinates(labels, moved, order=0, mode="nearest"),
        map_coordinates(codes, moved, order=0, mode="nearest"),
    )


def _stretched(field: NDArray[np.float32], at: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Linear interpolation of a coarse field at the product of positions, one axis at a time."""
    for axis, positions in enumerate(at):
        low = np.minimum(positions.astype(int), field.shape[axis] - 2)
        share = (positions - low).astype(np.float32)
        shape = [1, 1, 1]
        shape[axis] = -1
        share = share.reshape(shape)
        field = field.take(low, axis) * (1 - share) + field.take(low + 1, axis) * share
    return field


def _scanned(
    blurred: NDArray[np.float32], geometry: Geometry, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Noise that grows with the counts, in beds, and towards both ends of the scan."""
    level = float(np.exp(rng.uniform(np.log(0.06), np.log(0.3))))
    grain = blur(
        rng.standard_normal(geometry.shape, dtype=np.float32), geometry, rng.uniform(6.0, 10.0)
    )
    grain *= level / grain.std()
    planes = np.arange(geometry.shape[2]) * geometry.spacing_mm[2]
    bed = rng.uniform(120, 220)
    share = np.abs((planes / bed + rng.random()) % 1 - 0.5)
    sensitivity = 1 + rng.uniform(0, 0.5) * share
    ends = np.minimum(planes, planes[::-1])
    sensitivity = sensitivity * (1 + rng.uniform(0, 2) * np.exp(-ends / 8))
    noise = grain * np.sqrt(blurred + 0.02) * sensitivity.astype(np.float32)
    activity: NDArray[np.float32] = np.maximum(blurred + noise, 0)
    return activity
