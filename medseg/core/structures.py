"""Kinds of things that are delineated, and how other systems call them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from medseg.core.instances import Kind

Laterality = Literal["left", "right", "none"]


@dataclass(frozen=True)
class Code:
    """A concept of a coding scheme.

    Attributes:
        value: The code.
        scheme: Its scheme in DICOM's words, such as SCT for SNOMED CT.
        meaning: What it says to a person.
    """

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Structure:
    """A kind of thing.

    Attributes:
        title: Its name in a report.
        kind: Lesion or organ.
        code: What it is; of paired organs without the side.
        laterality: The side that it is on by its nature; `none` where it is on both or on neither.
        usual_ml: Volumes of a whole one from and to which nobody need wonder; None where not known.
    """

    title: str
    kind: Kind
    code: Code
    laterality: Laterality = "none"
    usual_ml: tuple[float, float] | None = None


def mirrored(name: str, structures: Mapping[str, Structure]) -> str:
    """What a structure is where left and right are exchanged: its pair, or itself without one."""
    pairs = {"left": "right", "right": "left"}
    side = structures[name].laterality
    if side == "none":
        return name
    return name.replace(side, pairs[side])
