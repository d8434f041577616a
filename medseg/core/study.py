"""A study as medseg sees it: series with a role, and no patient."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from medseg.core.volume import Volume

KEY_LENGTH = 16
"""Hexadecimal digits of a pseudonym: among a million patients of a site, two get the same one with
a chance of 1 in 37 million."""


def pseudonym(secret: bytes, kind: str, value: str) -> str:
    """Name a study or a patient so that no one traces it back without the secret.

    HMAC-SHA256 (RFC 2104). A plain hash would not do: patient numbers are few enough to hash them
    all.

    Args:
        secret: The site's.
        kind: Of what it is the name, such as `study`: the same value of another kind has another.
        value: Study Instance UID, or Patient ID with its issuer.

    Returns:
        `KEY_LENGTH` hexadecimal digits.
    """
    return hmac.digest(secret, f"medseg/{kind}/{value}".encode(), "sha256").hex()[:KEY_LENGTH]


@dataclass(frozen=True)
class QualityFlag:
    """A doubt that does not stop a run and is printed on the report.

    Attributes:
        code: Stable name for machines, lower case with dashes, such as `touches-edge`.
        message: One sentence for the reader: what is doubtful and what it means for the numbers.
    """

    code: str
    message: str


@dataclass(frozen=True)
class SliceReference:
    """Where a slice of a volume came from.

    Attributes:
        sop_instance_uid: DICOM SOP Instance UID of the slice's file.
        instance_number: The image number that a PACS shows, or None where the file has none.
    """

    sop_instance_uid: str
    instance_number: int | None


@dataclass(frozen=True, eq=False)
class Series:
    """One series that was accepted, with its voxels.

    Attributes:
        number: Its number in the study as `inspect` counts, from 1.
        modality: DICOM modality, such as PT; None for NIfTI, which states none.
        volume: The acquired grid.
        digest: SHA-256 of what it was read from: over the bytes of a NIfTI file, or over the
            SHA-256 of each DICOM file in the order of the slices.
        slices: One for each k of the volume; empty for NIfTI.
        flags: Doubts about this series.
        pacs_number: The number that a PACS shows (DICOM Series Number); None where it states none.

    Raises:
        ValueError: There are slices, and not one for each k.
    """

    number: int
    modality: str | None
    volume: Volume
    digest: str
    slices: tuple[SliceReference, ...] = ()
    flags: tuple[QualityFlag, ...] = ()
    pacs_number: int | None = None

    def __post_init__(self) -> None:
        if self.slices and len(self.slices) != self.volume.geometry.shape[2]:
            raise ValueError(
                f"{len(self.slices)} slices for {self.volume.geometry.shape[2]} planes"
            )


@dataclass(frozen=True)
class Candidate:
    """A series that was considered for a role.

    Attributes:
        number: Its number in the study.
        modality: DICOM modality; None for NIfTI.
        rank: 1 is the best; equal ranks are equally good; None where it cannot be taken.
        reason: Why it ranks there, as a clause without a path or a text of the file's own.
    """

    number: int
    modality: str | None
    rank: int | None
    reason: str


@dataclass(frozen=True, eq=False)
class Study:
    """The series that a protocol works on.

    Attributes:
        series: Role in the protocol (`pet`, `ct`, ...) to series.
        choice: One sentence for each role: why this series, for `run.json`.
        candidates: For each role everything that was considered, best first.
        keyed_name: Pseudonym of the study, keyed by the site's secret; None without one.
        patient_key: Pseudonym of the patient; None without a site secret or a patient ID.
    """

    series: Mapping[str, Series]
    choice: Mapping[str, str]
    candidates: Mapping[str, tuple[Candidate, ...]] = field(default_factory=dict)
    keyed_name: str | None = None
    patient_key: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "candidates", MappingProxyType(dict(self.candidates)))
        object.__setattr__(self, "series", MappingProxyType(dict(self.series)))
        object.__setattr__(self, "choice", MappingProxyType(dict(self.choice)))

    @property
    def flags(self) -> tuple[QualityFlag, ...]:
        """The doubts about all its series."""
        return tuple(flag for series in self.series.values() for flag in series.flags)

    @property
    def study_key(self) -> str:
        """The pseudonym; without one a name that the same images always get, at every site."""
        if self.keyed_name is not None:
            return self.keyed_name
        digests = sorted(one.digest for one in self.series.values())
        return hashlib.sha256("/".join(digests).encode()).hexdigest()[:KEY_LENGTH]
