"""The lesions of the phantom: known shapes, known uptake, some side by side."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from medseg.phantom.anatomy import Patient, Triple
from medseg.phantom.shapes import Ellipsoid, Points


@dataclass(frozen=True, eq=False)
class Texture:
    """Smooth unevenness of a lesion's uptake, the same on every grid.

    Attributes:
        waves: (N, 3) wave vectors, radians per mm.
        phases: (N,) radians.
        depth: Share by which the coldest part stays below the hottest, 0 to 1.
    """

    waves: NDArray[np.float64]
    phases: NDArray[np.float64]
    depth: float

    def factor(self, points: Points) -> NDArray[np.float32]:
        """Share of the full uptake at each point, 1 - depth to 1."""
        total = np.zeros((1, 1, 1), np.float32)
        for wave, phase in zip(self.waves, self.phases, strict=True):
            angle = sum(np.float32(w) * p for w, p in zip(wave, points, strict=True))
            total = total + np.cos(angle + np.float32(phase))
        evenness: NDArray[np.float32] = 0.5 + 0.5 * np.tanh(total / np.sqrt(len(self.waves)))
        return np.float32(1 - self.depth) + np.float32(self.depth) * evenness


@dataclass(frozen=True, eq=False)
class Lesion:
    """One lesion.

    Attributes:
        lobes: Its shape is their union.
        suv: Uptake of its hottest tissue before the blurring of the scanner, g/mL.
        texture: How uneven the uptake is.
        organ: The organ it lies in, a label of the body or the name of a region.
        core: Dead tissue inside, without uptake; None where all of it lives.
    """

    lobes: tuple[Ellipsoid, ...]
    suv: float
    texture: Texture
    organ: str
    core: Ellipsoid | None = None


LESION_HU = 42.0
"""Density of a lesion: that of soft tissue."""

CORE_SHARE = 0.2
"""Uptake of dead tissue as a share of the lesion's."""


def draw_lesions(patient: Patient, rng: np.random.Generator) -> list[Lesion]:
    """Eight to ten lesions, among them a touching pair and a touching triple.

    A large sarcoma of a thigh, three touching nodes in the other groin, two touching nodes in the
    mediastinum, a lesion in the liver and one in a lung; often another in a lung and one in the
    buttock or the shoulder.
    """
    side = int(rng.choice((-1, 1)))
    lesions = [_sarcoma(patient, rng, side)]
    lesions += _triple(patient, rng, -side)
    lesions += _pair(patient, rng)
    lesions.append(_ball(patient, rng, ((92, 8, 300), 18.0), (9, 15), "liver"))
    lesions.append(_ball(patient, rng, ((88, -20, 462), 22.0), (4.5, 9), "lung_right"))
    if rng.random() < 0.6:
        lesions.append(_ball(patient, rng, ((-88, -28, 488), 16.0), (4.5, 8), "lung_left"))
    if rng.random() < 0.6:
        place = (-side * 96.0, -66.0, 42.0) if rng.random() < 0.5 else (side * 158.0, -4.0, 566.0)
        lesions.append(_ball(patient, rng, (place, 4.0), (9, 14), "muscle"))
    return lesions


def _texture(rng: np.random.Generator, depth: float, size_mm: float) -> Texture:
    waves = rng.normal(0, 2 * np.pi / max(size_mm, 12.0), (6, 3))
    return Texture(waves, rng.uniform(0, 2 * np.pi, 6), depth)


def _turn(rng: np.random.Generator) -> NDArray[np.float64]:
    turn: NDArray[np.float64] = Rotation.from_euler(
        "xyz", rng.uniform(-40, 40, 3), degrees=True
    ).as_matrix()
    return turn


def _uptake(rng: np.random.Generator) -> float:
    """SUV of 4 to 15, low values more often."""
    return float(4 + 11 * rng.beta(1.6, 2.2))


def _ball(
    patient: Patient,
    rng: np.random.Generator,
    place: tuple[Triple, float],
    radius_mm: tuple[float, float],
    organ: str,
) -> Lesion:
    """A nearly round lesion within so many mm of a place of the reference body."""
    centre = patient.place(place[0]) + rng.uniform(-0.577, 0.577, 3) * place[1]
    radius = float(rng.uniform(*radius_mm))
    lobe = Ellipsoid(centre, radius * rng.uniform(0.85, 1.15, 3), _turn(rng))
    return Lesion((lobe,), _uptake(rng), _texture(rng, 0.25, radius), organ)


def _sarcoma(patient: Patient, rng: np.random.Generator, side: int) -> Lesion:
    """A lobulated mass in the medial thigh, often dead in the middle."""
    centre = patient.place((side * 70.0, 12.0, -92.0)) + rng.uniform(-6, 6, 3)
    size = float(rng.uniform(17, 24))
    lobes = []
    for direction in (*np.eye(3), *(-np.eye(3))):
        offset = direction * size * rng.uniform(0.15, 0.4, 3) * (1, 1, 1.5)
        semi = size * rng.uniform(0.75, 1.05, 3) * (1, 1, 1.3)
        lobes.append(Ellipsoid(centre + offset, semi, _turn(rng)))
    core = Ellipsoid(centre, size * rng.uniform(0.35, 0.6, 3), _turn(rng))
    alive = rng.random() < 0.35
    suv = float(rng.uniform(6, 15))
    return Lesion(tuple(lobes), suv, _texture(rng, 0.45, size), "thigh", None if alive else core)


def _triple(patient: Patient, rng: np.random.Generator, side: int) -> list[Lesion]:
    """Three nodes in the groin, in a row that bends: each touches the next."""
    place = patient.place((side * 84.0, 58.0, -58.0)) + rng.uniform(-4, 4, 3)
    radii = rng.uniform(9, 12, 3)
    step = Rotation.from_euler("y", side * rng.uniform(15, 40), degrees=True).as_matrix()[:, 2]
    bend = Rotation.from_euler("xy", (rng.uniform(15, 35), 0), degrees=True).as_matrix()
    first = place - step * 0.85 * (radii[0] + radii[1])
    third = place + bend @ step * 0.85 * (radii[1] + radii[2])
    return [
        Lesion(
            (Ellipsoid(centre, radius * rng.uniform(0.95, 1.05, 3), _turn(rng)),),
            float(rng.uniform(6, 12)),
            _texture(rng, 0.15, radius),
            "groin",
        )
        for centre, radius in zip((first, place, third), radii, strict=True)
    ]


def _pair(patient: Patient, rng: np.random.Generator) -> list[Lesion]:
    """Two nodes beside the trachea that touch."""
    place = patient.place((24, -4, 500)) + rng.uniform(-4, 4, 3)
    radii = rng.uniform(8.5, 12, 2)
    towards = rng.normal(0, 1, 3) * (0.5, 0.5, 1)
    towards /= np.linalg.norm(towards)
    half = towards * 0.43 * radii.sum()
    return [
        Lesion(
            (Ellipsoid(centre, radius * rng.uniform(0.95, 1.05, 3), _turn(rng)),),
            float(rng.uniform(5, 11)),
            _texture(rng, 0.15, radius),
            "mediastinum",
        )
        for centre, radius in zip((place - half, place + half), radii, strict=True)
    ]
