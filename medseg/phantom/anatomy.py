"""The normal body: what lies where, how much FDG it takes up and how dense it is.

Places are given for one reference body in RAS+ mm, with the origin behind the pubis and S 0 at the
bladder, and are stretched to each patient. Uptake is that of an adult an hour after injection
(normal ranges as in Zincirkeser et al. 2007 and Wang et al. 2007); densities are those of a CT
without contrast.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from medseg.phantom.shapes import Capsule, Column, Ellipsoid, Shape, tube

Triple = tuple[float, float, float]
Arms = Literal["raised", "lowered"]


@dataclass(frozen=True, eq=False)
class Tissue:
    """One shape of the body; what is painted later replaces what is painted earlier.

    Attributes:
        shape: Where it lies.
        suv: FDG uptake, g/mL.
        hu: CT density.
        organ: The organ whose label its voxels get, or None to leave the labels as they are.
    """

    shape: Shape
    suv: float
    hu: float
    organ: str | None = None


@dataclass(frozen=True, eq=False)
class Patient:
    """How one patient differs from the reference body.

    Attributes:
        stretch: (3,) factors along R, A and S.
    """

    stretch: NDArray[np.float64]

    def place(self, point: Triple) -> NDArray[np.float64]:
        """Where a point of the reference body lies in this patient, (3,) RAS+ mm."""
        return np.array(point) * self.stretch

    def ellipsoid(
        self, centre: Triple, semi_axes: Triple, degrees: Triple = (0.0, 0.0, 0.0)
    ) -> Ellipsoid:
        """An ellipsoid, turned about R, A and S in that order."""
        turn = np.eye(3)
        if any(degrees):
            turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
        return Ellipsoid(self.place(centre), np.array(semi_axes) * self.stretch, turn)

    def tube(self, points: list[Triple], radii: list[float]) -> tuple[Capsule, ...]:
        """A bent tube; its radii follow the mean stretch."""
        size = float(self.stretch.mean())
        return tube(np.array(points) * self.stretch, np.array(radii) * size)

    def column(self, knots: list[tuple[float, float, float, float, float]]) -> Column:
        """An upright part of knots (S, centre R, centre A, half width R, half width A)."""
        r, a, s = self.stretch
        return Column(np.array(knots) * np.array([s, r, a, r, a]))


TRUNK = [
    (-45.0, 0.0, -5.0, 168.0, 98.0),
    (20.0, 0.0, 0.0, 176.0, 108.0),
    (100.0, 0.0, 0.0, 162.0, 106.0),
    (180.0, 0.0, 0.0, 150.0, 103.0),
    (280.0, 0.0, 0.0, 156.0, 110.0),
    (380.0, 0.0, 0.0, 164.0, 116.0),
    (460.0, 0.0, 0.0, 170.0, 110.0),
    (525.0, 0.0, -8.0, 172.0, 86.0),
    (556.0, 0.0, -12.0, 128.0, 68.0),
    (582.0, 0.0, -8.0, 68.0, 60.0),
    (620.0, 0.0, 0.0, 58.0, 60.0),
    (680.0, 0.0, 5.0, 58.0, 62.0),
]
"""Outline of pelvis, abdomen, chest and neck."""

FAT_MM = 13.0
"""Thickness of the fat under the skin."""


def vary(rng: np.random.Generator, value: float, spread: float = 0.12) -> float:
    """A value of this patient: log-normal about the usual one."""
    return float(value * np.exp(rng.normal(0, spread)))


def draw_patient(rng: np.random.Generator) -> Patient:
    """A patient from short to tall and from slim to stout."""
    return Patient(rng.uniform((0.93, 0.92, 0.95), (1.07, 1.1, 1.05)))


def normal_body(patient: Patient, rng: np.random.Generator, arms: Arms = "raised") -> list[Tissue]:
    """All normal tissue, in the order in which it is painted."""
    return [
        *_outline(patient, rng, arms),
        *_chest(patient, rng),
        *_abdomen(patient, rng),
        *_gut(patient, rng),
        *_skeleton(patient, rng, arms),
        *_heart(patient, rng),
        *_urinary_tract(patient, rng),
        *_head(patient, rng),
    ]


def arm_axis(side: int, arms: Arms) -> list[Triple]:
    """From the shoulder to the hand, on the right (1) or on the left (-1)."""
    if arms == "raised":
        return [
            (side * 128.0, -12.0, 522.0),
            (side * 178.0, 0.0, 600.0),
            (side * 196.0, 25.0, 720.0),
            (side * 180.0, 40.0, 860.0),
        ]
    return [
        (side * 132.0, -12.0, 520.0),
        (side * 214.0, -8.0, 430.0),
        (side * 236.0, 0.0, 250.0),
        (side * 246.0, 40.0, 20.0),
    ]


def leg(side: int) -> list[tuple[float, float, float, float, float]]:
    """Outline from the foot to the middle of the thigh, as knots of a column."""
    return [
        (-720.0, side * 84.0, 50.0, 34.0, 100.0),
        (-690.0, side * 82.0, 10.0, 34.0, 50.0),
        (-640.0, side * 82.0, -5.0, 36.0, 42.0),
        (-480.0, side * 84.0, -14.0, 52.0, 58.0),
        (-380.0, side * 86.0, 0.0, 54.0, 60.0),
        (-259.0, side * 88.0, -2.0, 70.0, 74.0),
    ]


def _outline(patient: Patient, rng: np.random.Generator, arms: Arms) -> list[Tissue]:
    """Skin, fat and muscle of trunk, legs and arms."""
    fat = vary(rng, 0.28)
    muscle = vary(rng, 0.62)
    inner = [(s, r, a, x - FAT_MM, y - FAT_MM) for s, r, a, x, y in TRUNK]
    parts = [Tissue(patient.column(TRUNK), fat, -95)]
    limbs: list[Tissue] = []
    for side in (-1, 1):
        thigh = [
            (-260.0, side * 88.0, -2.0, 70.0, 74.0),
            (-120.0, side * 90.0, 0.0, 80.0, 86.0),
            (-20.0, side * 88.0, -2.0, 87.0, 98.0),
        ]
        core = [(s, r, a, x - 10, y - 10) for s, r, a, x, y in thigh]
        below = leg(side)
        shin = [(s, r, a, x - 8, y - 8) for s, r, a, x, y in below]
        parts += [Tissue(patient.column(part), fat, -95) for part in (below, thigh)]
        limbs += [Tissue(patient.column(part), muscle, 52) for part in (shin, core)]
        reach = arm_axis(side, arms)
        parts += [Tissue(s, fat, -95) for s in patient.tube(reach, [56, 50, 42, 36])]
        limbs += [Tissue(s, muscle, 52) for s in patient.tube(reach, [46, 42, 35, 29])]
    return [*parts, Tissue(patient.column(inner), muscle, 50), *limbs]


def _chest(patient: Patient, rng: np.random.Generator) -> list[Tissue]:
    """Lungs, mediastinum and great vessels."""
    lung = vary(rng, 0.42)
    right = patient.ellipsoid((74, -6, 442), (52, 72, 116))
    left = patient.ellipsoid((-76, -8, 446), (49, 70, 112))
    blood = vary(rng, 1.5)
    return [
        Tissue(right, lung, -830, "lung_right"),
        Tissue(left, lung, -830, "lung_left"),
        Tissue(patient.ellipsoid((-2, 2, 440), (34, 56, 100)), vary(rng, 0.9), 20),
        *(Tissue(s, blood, 42) for s in patient.tube([(8, 20, 440), (6, 15, 490)], [16, 15])),
        *(
            Tissue(s, blood, 42, "aorta")
            for s in patient.tube(
                [
                    (2, 25, 430),
                    (4, 20, 485),
                    (-14, -8, 500),
                    (-20, -32, 480),
                    (-14, -28, 300),
                    (-8, -18, 120),
                ],
                [15, 14, 13, 12, 11, 9],
            )
        ),
    ]


def _abdomen(patient: Patient, rng: np.random.Generator) -> list[Tissue]:
    """Fat of the cavity, liver, spleen and stomach."""
    liver = vary(rng, 2.2, 0.15)
    wall = vary(rng, 1.7)
    return [
        Tissue(patient.ellipsoid((0, 18, 180), (122, 72, 140)), 0.35, -98),
        Tissue(patient.ellipsoid((0, 5, 40), (85, 60, 70)), 0.4, -80),
        Tissue(patient.ellipsoid((-62, 38, 296), (44, 40, 50), (0, 20, 0)), wall, 40, "stomach"),
        Tissue(patient.ellipsoid((-62, 38, 298), (35, 31, 41), (0, 20, 0)), 0.5, 5, "stomach"),
        Tissue(patient.ellipsoid((-62, 52, 312), (26, 14, 24), (0, 20, 0)), 0.3, -700, "stomach"),
        Tissue(patient.ellipsoid((12, 45, 322), (74, 36, 40), (0, -15, 0)), liver, 58, "liver"),
        Tissue(patient.ellipsoid((78, 2, 305), (66, 82, 76)), liver, 58, "liver"),
        Tissue(patient.ellipsoid((-98, -40, 300), (24, 40, 50)), vary(rng, 1.8), 50, "spleen"),
    ]


def _gut(patient: Patient, rng: np.random.Generator) -> list[Tissue]:
    """Colon as a frame, small bowel as a walk inside it; uptake patchy from loop to loop."""
    frame: list[Triple] = [
        (88, 12, 78),
        (94, 8, 150),
        (88, 26, 205),
        (40, 62, 190),
        (-30, 64, 196),
        (-84, 30, 228),
        (-98, -2, 160),
        (-92, 4, 92),
        (-52, 8, 62),
        (-12, -22, 58),
        (0, -48, 20),
    ]
    tissue: list[Tissue] = []
    activity = vary(rng, 1.3, 0.35)
    for piece in patient.tube(frame, [19, 18, 17, 15, 15, 15, 14, 13, 13, 14, 15]):
        tissue.append(Tissue(piece, vary(rng, activity, 0.35), 25, "colon"))
        if rng.random() < 0.4:
            middle = (piece.start_mm + piece.end_mm) / 2
            lumen = Capsule(
                piece.start_mm + 0.3 * (middle - piece.start_mm),
                middle,
                piece.start_radius_mm - 5,
                piece.start_radius_mm - 5,
            )
            tissue.append(Tissue(lumen, 0.4, -750, "colon"))
    here = np.array([-20.0, 35.0, 190.0])
    low, high = np.array([-62, 8, 75]), np.array([62, 66, 205])
    for _ in range(26):
        there = np.clip(here + rng.normal(0, (34, 18, 26)), low, high)
        if np.linalg.norm(there - here) > 8:
            loop = patient.tube([tuple(here), tuple(there)], [11, 11])
            tissue += [Tissue(s, vary(rng, 1.1, 0.4), 30, "small_bowel") for s in loop]
        here = there
    return tissue


def _skeleton(patient: Patient, rng: np.random.Generator, arms: Arms) -> list[Tissue]:
    """Spine with discs, ribs, pelvis, femurs and humeri."""
    marrow = vary(rng, 1.15)
    spine: list[Triple] = [(0, -66, 60), (0, -48, 130), (0, -52, 230), (0, -72, 430), (0, -38, 570)]
    pieces = patient.tube([*spine, (0, -14, 690)], [21, 22, 21, 18, 13, 10])
    bone = [Tissue(s, marrow, 230) for s in pieces]
    heights = np.array([point[2] for point in spine])
    depths = np.array([point[1] for point in spine])
    for s in np.arange(96.0, 560.0, 29.0):
        disc = patient.ellipsoid((0, float(np.interp(s, heights, depths)), s), (21, 20, 3.2))
        bone.append(Tissue(disc, 0.6, 75))
    canal = [(r, a - 27, s) for r, a, s in spine]
    bone += [Tissue(s, marrow * 0.8, 380) for s in patient.tube(canal, [13, 13, 13, 12, 11])]
    bone += [Tissue(s, 1.3, 30) for s in patient.tube(canal, [8, 8, 8, 8, 7])]
    for side in (-1, 1):
        bone += _ribs(patient, side)
        neck: list[Triple] = [(side * 88.0, 4.0, -2.0), (side * 122.0, -6.0, -42.0)]
        shaft: list[Triple] = [(side * 122.0, -6.0, -42.0), (side * 94.0, 4.0, -270.0)]
        shank: list[Triple] = [(side * 90.0, 8.0, -385.0), (side * 84.0, -6.0, -660.0)]
        pubis: list[Triple] = [(side * 8.0, 48.0, -18.0), (side * 70.0, 20.0, 8.0)]
        arm = [(side * 148.0, -8.0, 535.0), arm_axis(side, arms)[2]]
        hip = (side * 88.0, 4.0, -2.0)
        wing = patient.ellipsoid(
            (side * 92.0, -26, 82), (11, 50, 56), (0, side * 18.0, side * 28.0)
        )
        bone += [
            Tissue(wing, marrow, 420),
            Tissue(patient.ellipsoid(hip, (33, 33, 33)), 0.7, 350),
            Tissue(patient.ellipsoid(hip, (25, 25, 25)), 0.7, 300),
            *(Tissue(s, 0.7, 450) for s in patient.tube(neck, [15, 18])),
            *(Tissue(s, 0.6, 1000) for s in patient.tube(shaft, [15, 13])),
            *(Tissue(s, 0.5, 20) for s in patient.tube(shaft, [8, 7])),
            *(Tissue(s, 0.5, 900) for s in patient.tube(shank, [17, 12])),
            *(Tissue(s, 0.7, 500) for s in patient.tube(pubis, [9, 11])),
            *(Tissue(s, 0.6, 850) for s in patient.tube(arm, [17, 12])),
        ]
    bone.append(Tissue(patient.ellipsoid((0, -76, 62), (40, 16, 46), (12, 0, 0)), marrow, 300))
    return bone


def _ribs(patient: Patient, side: int) -> list[Tissue]:
    """Ten ribs of one side: each from the spine round the chest wall, falling forward."""
    ribs: list[Tissue] = []
    angles = np.linspace(0.12, 0.86, 12) * np.pi
    for level in range(10):
        s = 528.0 - 25 * level
        width = min(138.0, 98 + 9.0 * level)
        depth = min(92.0, 68 + 6.0 * level)
        points: list[Triple] = [
            (side * width * np.sin(t), -depth * np.cos(t), s - 5 - 26 * t) for t in angles
        ]
        ribs += [Tissue(p, 0.8, 380) for p in patient.tube(points, [5.5] * len(points))]
    return ribs


def _heart(patient: Patient, rng: np.random.Generator) -> list[Tissue]:
    """Right heart and atria as blood, the left ventricle as a hot or cold shell."""
    blood = vary(rng, 1.5)
    wall = float(rng.uniform(2.0, 10.0))
    lean = (35.0, -38.0, 0.0)
    return [
        Tissue(patient.ellipsoid((2, 34, 402), (40, 34, 42)), blood, 40, "heart"),
        Tissue(patient.ellipsoid((-10, 0, 418), (30, 26, 28)), blood, 40, "heart"),
        Tissue(patient.ellipsoid((-42, 34, 392), (33, 33, 43), lean), wall, 45, "heart"),
        Tissue(patient.ellipsoid((-40, 32, 396), (21, 21, 32), lean), blood, 40, "heart"),
    ]


def _urinary_tract(patient: Patient, rng: np.random.Generator) -> list[Tissue]:
    """Kidneys with hot calyces, a stretch of one ureter, and the bladder."""
    urine = float(rng.uniform(10, 40))
    tract: list[Tissue] = []
    for side, name in ((-1, "kidney_left"), (1, "kidney_right")):
        s = 232.0 - 8 * side
        kidney = patient.ellipsoid((side * 60.0, -48, s), (25, 23, 52), (0, side * -8.0, 0))
        hilum = patient.ellipsoid((side * 48.0, -42, s), (14, 12, 26))
        tract += [
            Tissue(patient.ellipsoid((side * 60.0, -46, s), (36, 33, 62)), 0.35, -100),
            Tissue(kidney, vary(rng, 3.6), 34, name),
            Tissue(hilum, 1.0, -40, name),
        ]
        for offset in (-22.0, 0.0, 20.0):
            calyx = patient.ellipsoid((side * 52.0, -44, s + offset), (6, 6, 8))
            tract.append(Tissue(calyx, urine * float(rng.uniform(0.2, 0.7)), 12, name))
    side = int(rng.choice((-1, 1)))
    low = float(rng.uniform(40, 150))
    ureter: list[Triple] = [(side * 34.0, -26, low + 45), (side * 32.0, -20, low)]
    tract += [Tissue(s, urine * 0.5, 12) for s in patient.tube(ureter, [3, 3])]
    full = float(rng.uniform(0.8, 1.25))
    bladder = patient.ellipsoid((0, 24, 8), (36 * full, 27 * full, 27 * full))
    return [*tract, Tissue(bladder, urine, 8, "urinary_bladder")]


def _head(patient: Patient, rng: np.random.Generator) -> list[Tissue]:
    """Skull, brain, face and the lymphatic ring of the throat."""
    brain = float(rng.uniform(8, 12))
    head = [
        Tissue(patient.ellipsoid((0, 28, 690), (60, 68, 66)), 0.6, 45),
        Tissue(patient.ellipsoid((0, 6, 752), (76, 96, 80)), 0.6, 40),
        Tissue(patient.ellipsoid((0, 6, 755), (71, 91, 74)), 0.8, 900),
        Tissue(patient.ellipsoid((0, 6, 755), (64, 84, 67)), brain, 36, "brain"),
        Tissue(patient.ellipsoid((0, 62, 695), (20, 28, 14)), 1.0, -600),
        Tissue(patient.ellipsoid((0, 48, 662), (26, 30, 16)), vary(rng, 1.6), 55),
        Tissue(patient.ellipsoid((0, 26, 600), (8, 8, 40)), 0.4, -900),
    ]
    for side in (-1, 1):
        jaw: list[Triple] = [(side * 54.0, 10.0, 690.0), (side * 48.0, 30, 652), (0, 84, 646)]
        white = patient.ellipsoid((side * 27.0, 8, 764), (19, 55, 34))
        nucleus = patient.ellipsoid((side * 20.0, 10, 752), (10, 19, 13))
        ventricle = patient.ellipsoid((side * 8.0, 4, 768), (5, 26, 9))
        head += [
            Tissue(white, 0.4 * brain, 30, "brain"),
            Tissue(nucleus, 1.05 * brain, 38, "brain"),
            Tissue(ventricle, 1.0, 8, "brain"),
            *(Tissue(s, 0.9, 800) for s in patient.tube(jaw, [7, 7, 8])),
            Tissue(patient.ellipsoid((side * 56.0, -2, 678), (9, 16, 20)), vary(rng, 1.7), 20),
            Tissue(patient.ellipsoid((side * 17.0, 18, 668), (7, 8, 11)), vary(rng, 2.8, 0.25), 45),
            Tissue(patient.ellipsoid((side * 33.0, 72, 722), (12, 12, 12)), vary(rng, 2.2), 10),
        ]
    return head
