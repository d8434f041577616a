"""What a run says of itself and of what it found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from medseg.core.measurements import Measurement, Point
from medseg.core.study import Candidate, QualityFlag

NOT_FOR_DIAGNOSTIC_USE = "Not for diagnostic use"
"""Stands on every report."""

COUNTING_RULES: Mapping[str, str] = MappingProxyType(
    {
        "cc26-peaks": (
            "Voxels of the prediction that touch by a face, an edge or a corner belong to one "
            "lesion, unless the prediction has separate peaks in them (faint ones only where they "
            "meet in a narrow cut): then each peak is a lesion of its own. What "
            "the model is not sure enough of, or what lies where there is no signal, is left out. "
            "Outlines are smoothed by as much as the settings say (smooth_mm)."
        ),
        "cc26-necks": (
            "Voxels of the mask that touch by a face, an edge or a corner belong to one lesion, "
            "unless it has a neck there: then the parts on either side are lesions of their own."
        ),
        "peer-labels": "Each value of the label map that was given is one lesion.",
    }
)
"""Name of a rule by which lesions are told apart to what it says to a reader of the report."""


@dataclass(frozen=True)
class RunRecord:
    """What it takes to make the same numbers again; `run.json`. It holds no patient identifier.

    Attributes:
        versions: Package to version, medseg and Python among them.
        settings: The protocol as it was used, as plain values.
        models: Model card to the SHA-256 of its weights; none where a mask was given.
        mask: Kind of the mask that was given in place of a model to the SHA-256 of its file.
        inputs: Role to the SHA-256 of the series' stored bytes.
        choice: Role to the sentence that says why this series.
        identity: SHA-256 of inputs, models and settings: equal identity, equal labels.
        counting_rule: The rule under which lesions were counted.
        flags: Every doubt about this run.
        timings_seconds: Stage to wall-clock time. With the peak memory, all that two runs of the
            same study differ in.
        peak_memory_mib: Largest resident set of the process up to the end of the report.
        candidates: Role to every series that was considered, best first, with the reason.
        study_key: Pseudonym of the study.
        patient_key: Pseudonym of the patient; None without a site secret or a patient ID.
        cards: Name of a model of the user's to its card, as plain values: medseg does not hold it.
    """

    versions: Mapping[str, str]
    settings: Mapping[str, object]
    models: Mapping[str, str]
    inputs: Mapping[str, str]
    choice: Mapping[str, str]
    identity: str
    counting_rule: str
    flags: tuple[QualityFlag, ...]
    timings_seconds: Mapping[str, float]
    peak_memory_mib: float
    candidates: Mapping[str, tuple[Candidate, ...]] = field(default_factory=dict)
    study_key: str = ""
    patient_key: str | None = None
    mask: Mapping[str, str] = field(default_factory=dict)
    cards: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """A picture of a lesion in one plane.

    Attributes:
        plane: axial, coronal or sagittal.
        svg: A self-contained SVG element, with orientation letters, scale bar and outline.
        description: What it shows, for those who cannot see it.
    """

    plane: str
    svg: str
    description: str


@dataclass(frozen=True)
class Finding:
    """What the report says of one instance.

    Attributes:
        measurement: Its numbers.
        pictures: Its key images.
        below_size_limit: It is smaller than the protocol's limit: listed, not counted.
    """

    measurement: Measurement
    pictures: tuple[Picture, ...]
    below_size_limit: bool


@dataclass(frozen=True, eq=False)
class SliceStack:
    """A coarse copy of image and labels for the page's viewer, along the world's axes.

    Attributes:
        voxels: (left, back, feet) uint8; a value's intensity is `levels[value]`.
        lesions, organs: uint16 labels on the same grid.
        levels: (256,) ascending intensities.
        origin_mm: RAS+ of the first voxel's centre.
        spacing_mm: Distance of neighbours towards left, back and feet.
        places_mm: Label of each lesion to a RAS+ point inside it.
        window: Intensities at the two ends of the grey scale.
        unit: As a reader says it.
        inverted: Whether high is black.
    """

    voxels: NDArray[np.uint8]
    lesions: NDArray[np.uint16]
    organs: NDArray[np.uint16]
    levels: NDArray[np.float64]
    origin_mm: Point
    spacing_mm: Point
    places_mm: Mapping[int, Point]
    window: tuple[float, float]
    unit: str
    inverted: bool


@dataclass(frozen=True)
class Report:
    """Everything that the report page shows.

    Attributes:
        title: The protocol's title.
        study_key: Pseudonymous name of the study.
        series: Lines that describe the series used, such as `PET: 128 x 128 x 267, 5.3 mm`.
        lesions: Lesions, largest first or as numbered.
        organs: Organs.
        flags: Doubts, on top of the page.
        overview: Pictures with all lesions, such as a maximum intensity projection.
        size_limit_mm3: Lesions below it are listed and not counted.
        method: Sentences that say how to read the pictures and the numbers.
        language: Language attribute of the page.
        run: How the numbers were made. Its times and peak memory are not shown: they alone differ
            between two runs of one study.
        slices: What the page's viewer shows.
        series_number: The number of the main series in the PACS; None where it states none.
        measurable_mm: The longest axial diameter from which on a lesion is measurable; None where
            the protocol has no such limit.
        titles: Structure to its name in a report.
        identification: Who the patient is and which study this, each with its heading; empty where
            the report is pseudonymised.
    """

    title: str
    study_key: str
    series: tuple[str, ...]
    lesions: tuple[Finding, ...]
    organs: tuple[Finding, ...]
    flags: tuple[QualityFlag, ...]
    overview: tuple[Picture, ...]
    size_limit_mm3: float
    method: tuple[str, ...]
    language: str
    run: RunRecord
    slices: SliceStack
    series_number: int | None
    measurable_mm: float | None
    titles: Mapping[str, str]
    identification: tuple[tuple[str, str], ...] = field(default=(), repr=False)
