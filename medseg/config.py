"""Every setting of medseg, on one page: closed (unknown keys are refused), frozen and explained."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from medseg.core.structures import Structure
from medseg.core.volume import IntensityUnit
from medseg.errors import SettingsError

Length = Annotated[float, Field(gt=0)]
Spacing = tuple[Length, Length, Length]
"""Distance in mm between neighbours along R, A and S."""


class Settings(BaseModel):
    """A group of settings: frozen, and unknown keys and infinite numbers are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


class Role(Settings):
    """Which series may play a part in a protocol."""

    modality: str
    """DICOM modality, such as PT or CT. A NIfTI file states none and is asked to by the user."""

    unit: IntensityUnit
    """The unit that the model and the measurements need. A DICOM series in another is refused; a
    NIfTI file states none, is taken to be in this one, and is flagged."""

    required: bool = True
    """Whether a study without such a series is refused."""

    excluded_image_types: tuple[str, ...] = ("MIP", "MINIP", "PROJECTION IMAGE", "SCREEN SAVE")
    """Words of DICOM's image type of series that are never taken: their values are no measurements
    of a place (maximum intensity projections) or no measurements at all."""

    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY")
    """Words of DICOM's image type of the series to prefer; one that lacks them was derived from
    another (reformatted, filtered, subtracted)."""

    plane: Literal["axial", "coronal", "sagittal"] | None = None
    """The plane of slices to prefer, told by the geometry. None: any."""

    min_coverage_mm: float = Field(default=0, ge=0)
    """A series that covers less from head to foot is not taken."""

    max_slice_spacing_mm: float | None = Field(default=None, gt=0)
    """A series with slices further apart is not taken. It is the distance between slices, not
    DICOM's slice thickness, that geometry rests on."""

    slice_spacing_mm: float | None = Field(default=None, gt=0)
    """The slice spacing to prefer; None prefers the smallest."""

    contrast: Literal["with", "without"] | None = None
    """Whether to prefer a series with a contrast agent named, or without. None: either."""

    weighting: Literal["t1", "t2", "flair"] | None = None
    """What an MR series must show, told by its echo and inversion times; one whose times say
    nothing comes last."""

    body_parts: tuple[str, ...] = ()
    """DICOM's Body Part Examined to prefer. It is often wrong, so it never excludes."""

    kernel: Literal["soft", "sharp"] | None = "soft"
    """For CT, the reconstruction to prefer, told by the look of its noise. None: either."""


class ReadingLimits(Settings):
    """How far the reading of a source that nobody vouches for may go, in a process of its own."""

    memory_mib: int = Field(default=1024, ge=512)
    """Address space for a small source. The program takes 230 MiB, 370 with eight decoders."""

    memory_per_byte: float = Field(default=32, ge=0)
    """Address space beyond it for each byte on disk. A CT voxel packed ten times by JPEG 2000 takes
    0.2 bytes and becomes 4 to 6; a 512 x 512 x 1000 CT stored plainly may take 17 GiB, and is held
    by `most_memory_mib`."""

    most_memory_mib: int = Field(default=8192, ge=512)
    """Address space at most: the 2**29 voxels of `core.volume.MAX_VOXELS` as stored (8 bytes) and
    as float32, and the program."""

    seconds: float = Field(default=8, gt=0)
    """Processor time for one file's header or one small series; a whole body takes under 3 s."""

    seconds_per_mib: float = Field(default=2, ge=0)
    """Processor time beyond it for each MiB on disk. A slice of 512 x 512 packed ten times by JPEG
    2000 is 50 kB and decodes in 0.05 to 0.1 s."""

    most_seconds: float = Field(default=900, gt=0)
    """Processor time at most; 1000 slices of JPEG 2000 take some 100 s."""

    waiting: float = Field(default=8, ge=1)
    """Wall time as a multiple of the processor time: what a busy machine or a slow disk may add."""

    def memory_bytes(self, stored_bytes: int) -> int:
        """Address space for a source of that size."""
        most = self.most_memory_mib * 2**20
        return min(most, int(self.memory_mib * 2**20 + self.memory_per_byte * stored_bytes))

    def cpu_seconds(self, stored_bytes: int) -> float:
        """Processor time for a step that reads so much."""
        return min(self.most_seconds, self.seconds + self.seconds_per_mib * stored_bytes / 2**20)


USUAL_LIMITS = ReadingLimits()


class SegmentSettings(Settings):
    """How a volume becomes instances."""

    model: str = Field(pattern=r"^([a-z][a-z0-9-]*|.*\.ya?ml)$")
    """Model card, which pins the weights by digest: the name of one in configs/models/, or the path
    of a .yaml of the user's, from the protocol's folder on (docs/own-models.md)."""

    foreground_threshold: float = Field(default=0.5, gt=0, lt=1)
    """A voxel belongs to a structure from this probability on. 0.5 is where Dice + cross-entropy
    training puts the boundary."""

    tile_overlap: float = Field(default=0.25, ge=0, lt=1)
    """Share of a sliding-window tile that its neighbour covers too."""

    min_peak: float = Field(default=0.5, ge=0, le=1)
    """A component of the foreground whose highest probability stays below it is no instance; nor is
    a proposal with a lower score."""

    certain_from: float = Field(default=0.8, gt=0, lt=1)
    """A model is sure of a voxel from this probability on; of every voxel of the foreground where
    `foreground_threshold` is no lower."""

    min_certain_share: float = Field(default=0, ge=0, le=1)
    """A component of the foreground is no instance if the model is sure of a smaller share of its
    voxels, its cold core aside (docs/decisions/0022). Proposals are not asked."""

    smooth_mm: float = Field(default=0, ge=0)
    """Standard deviation of the Gaussian that outlines of lesions are smoothed by, at most a fifth
    of a lesion's radius (docs/decisions/0022). Proposals and masks are not smoothed."""

    cold_below: float | None = None
    """Intensity of the model's first role, in the protocol's unit, below which there is no signal.
    A component of the foreground is no instance if more than half of the voxels that the model is
    sure of are so cold (docs/decisions/0022). Proposals are not asked. None asks nothing."""

    core_sides: int = Field(default=5, ge=5, le=7)
    """What a lesion hides from that many of the six sides is its cold core, and part of it: experts
    outline necrosis with the tumour. 6 is closed all round, 5 leaves a gap to one side, 7 fills
    nothing. In the crevice between two balls that touch, 5 fills about a hundredth of them."""

    peak_prominence: float = Field(default=0.2, ge=0, le=1)
    """Two peaks of the prediction in one component are two instances only if the saddle between
    them lies at least this much below the lower one. For models that say no offsets."""

    vote_prominence: float = Field(default=0.05, ge=0, le=1)
    """The same for models that say offsets, of heatmap and votes together. Chosen on training
    tumours put side by side; none that lay alone was split (docs/decisions/0012)."""

    doubt_prominence: float | None = Field(default=None, gt=0)
    """Each part that heatmap or votes make is split again between two places if the logit of the
    heatmap falls between them by at least so much, the cut is narrow, and either part has 8 voxels
    (docs/decisions/0020). None splits nothing so; nor is a model asked that has no heatmap."""

    organ_part_share: float = Field(default=0.2, gt=0, le=1)
    """A part of an organ that is smaller than this share of the organ's largest part is another
    thing that looks alike, and is left out."""


class MaskSettings(Settings):
    """A peer's mask that takes the place of a model."""

    path: Path
    """NIfTI, DICOM SEG or RTSTRUCT."""

    labels: tuple[int, ...] = ()
    """Values, segment numbers or region numbers that are lesions; empty takes all but 0."""

    instances: Literal["auto", "labels", "components"] = "auto"
    """What one lesion is: each value (labels), each part of a mask (components), or parts where it
    has one value alone and values elsewhere (auto)."""


class MeasureSettings(Settings):
    """What is measured beyond the fixed columns."""

    suv_peak_volume_mm3: float = Field(default=1000, gt=0)
    """Volume of the ball of SUVpeak. 1 cm3 by PERCIST 1.0 (Wahl et al. 2009)."""


class ReportSettings(Settings):
    """What the report shows and how."""

    language: str = Field(default="en", pattern="^[a-zA-Z]{2,3}(-[a-zA-Z0-9]{2,8})*$")
    """Language attribute of the page, by BCP 47."""

    pseudonymised: bool = True
    """Whether the report names patient and study by their pseudonyms alone. False adds what the
    source states of them (name, number, birth date, sex, study) to `report.html` and `report.pdf`,
    and to nothing else."""

    size_limit_mm3: float = Field(default=0, ge=0)
    """Lesions below it are listed apart and not counted; nothing is deleted."""

    measurable_mm: float | None = Field(default=10, gt=0)
    """Longest diameter from which on a lesion counts as measurable; where slices lie more than 5 mm
    apart, at least twice their distance. 10 mm by RECIST 1.1 (Eisenhauer et al. 2009, 3.1.1); None
    where such a limit has no meaning, and the report says nothing of it."""

    window: tuple[float, float] | None
    """Intensities at the two ends of the grey scale, in the unit of the main role. The higher one
    is white, and black for PET, which is read dark where it is hot. None, for MR, whose unit is
    arbitrary: from 0 to what 0.2 % of the voxels above 0 exceed."""

    @model_validator(mode="after")
    def _is_a_window(self) -> "ReportSettings":
        if self.window is not None and not self.window[0] < self.window[1]:
            raise ValueError(f"a window from {self.window[0]:g} up to {self.window[1]:g} is empty")
        return self


class ExportSettings(Settings):
    """What leaves a run beside the report and the tables."""

    organ_segmentation: Literal["binary", "labelmap"] = "binary"
    """How organs.dcm holds its organs. `labelmap` takes a hundredth of the space, and is of 2024:
    few viewers read it yet."""


class Protocol(Settings):
    """How one kind of study is delineated: what a user chooses with `--protocol`."""

    name: str
    """Its file's name in configs/protocols/."""

    title: str
    """Headline of the report."""

    description: str
    """What it is for, in one sentence for `medseg protocols`."""

    chosen_for: tuple[str, ...] = ()
    """Words of DICOM's Body Part Examined, one of which the main series must state for this
    protocol to be chosen without being named: a model of the neck has nothing to say of a knee.
    Without any, it is chosen for every part."""

    experimental: bool = False
    """Whether it is used where it is asked for alone, never chosen unasked."""

    roles: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")], Role]
    """Role to rule; the first is the main one, on whose acquired grid everything is delineated."""

    reading: ReadingLimits = USUAL_LIMITS
    segment: SegmentSettings
    measure: MeasureSettings = MeasureSettings()
    report: ReportSettings
    export: ExportSettings = ExportSettings()

    @property
    def main_role(self) -> str:
        """The role on whose acquired grid everything is delineated."""
        return next(iter(self.roles))

    @model_validator(mode="after")
    def _has_a_main_role(self) -> "Protocol":
        if not self.roles or not self.roles[self.main_role].required:
            raise ValueError("the first role is the main one and must be required")
        return self


class JudgeSettings(Settings):
    """A second network that sees the whole study at once and speaks against normal uptake."""

    factor: int = Field(default=3, gt=1)
    """Voxels of the model's grid to one of what it sees, along each axis."""

    channels: tuple[int, ...] = (12, 24, 48, 64)
    """Feature channels at each level, finest first."""

    least_extent_mm: float = Field(default=500, ge=0)
    """Of the study along S, for it to be asked: a part of the body does not show where it lies."""

    taken_off: float = Field(default=0, ge=0)
    """Taken off the logits of a study that it was asked of. Tiles learnt where a lesion ends on
    crops that end near it; in a whole body they count more of what lies around it."""


Knots = Annotated[int, Field(ge=2)]
"""Of a map along one axis: its two ends at least."""


class HeadSettings(Settings):
    """What a network says of each voxel."""

    structures: tuple[str, ...] = Field(min_length=1)
    """Foreground outputs, in order."""

    centre_heatmap: bool = True
    """Whether it has a head for the centres of instances."""

    offsets: bool = True
    """Whether it has a head for the way from a voxel to the centre of its instance, in mm."""

    @property
    def logits(self) -> int:
        """Outputs that a sigmoid makes probabilities: structures, then the heatmap."""
        return len(self.structures) + int(self.centre_heatmap)

    @property
    def outputs(self) -> int:
        """Outputs of a voxel: the logits, then the three offsets."""
        return self.logits + 3 * int(self.offsets)

    @model_validator(mode="after")
    def _offsets_have_a_heatmap(self) -> "HeadSettings":
        if self.offsets and not self.centre_heatmap:
            raise ValueError("offsets are of no use without a centre_heatmap")
        return self


class NetworkSettings(HeadSettings):
    """Kind and size of a network of ours; with weights and spacing, all it takes to build it."""

    family: Literal["centre-offset", "regions", "queries", "crop-unet", "voxel-features"] = (
        "centre-offset"
    )
    """How instances are told apart. `centre-offset`: foreground, centre heatmap and the way to the
    centre of every voxel. `regions`: boxes are proposed, then class, box and mask of each.
    `queries`: a mask transformer, each of whose queries finds one instance. `crop-unet`: the first
    pet-lesions bundle, whose tiles are normalised each by itself. `voxel-features`: the foreground
    alone, by a perceptron on computed features of each voxel of a brain, for a handful of patients.
    """

    channels: tuple[int, ...] = Field(min_length=2)
    """Feature channels at each level, finest first; of `voxel-features` the hidden layers' widths.
    """

    norm: Literal["voxel", "crop"] = "voxel"
    """What features are normalised over. `voxel`: the channels of each voxel, so that tiles of any
    size agree. `crop`: each channel over the tile, which learns several times as fast and needs
    tiles of the size that was learnt from."""

    head_levels: int = Field(default=1, ge=1, le=2)
    """Levels that speak at the end: the finest alone, or the next coarser one too, which has more
    channels and sees farther."""

    prior: tuple[Knots, Knots, Knots] | None = None
    """Of `voxel-features`: knots along R, A and S of a map of where lesions are wont to lie, which
    is laid over a brain by the mean and the spread of its voxels. It is computed from the masks of
    the training, not learnt, and wants `input.brain_only`."""

    members: int = Field(default=1, ge=1, le=16)
    """Of `voxel-features`: perceptrons side by side, each of which learns from voxels of its own;
    what they say is averaged."""

    judge: JudgeSettings | None = None
    """The second network that speaks against normal uptake in the first structure; None without."""

    def strides(self, spacing_mm: Spacing) -> tuple[tuple[int, int, int], ...]:
        """By how much each level is coarser than the one before it, along R, A and S.

        An axis is halved unless its voxels are at least twice as long as the shortest already, so
        that thick slices are not merged before the plane is as coarse (Isensee et al. 2021,
        doi 10.1038/s41592-020-01008-z).
        """
        if self.family == "voxel-features":
            return ()
        spacing = list(spacing_mm)
        found: list[tuple[int, int, int]] = []
        for _ in self.channels[1:]:
            i, j, k = (2 if mm < 2 * min(spacing) else 1 for mm in spacing)
            found.append((i, j, k))
            spacing = [mm * n for mm, n in zip(spacing, (i, j, k), strict=True)]
        return tuple(found)

    def step(self, spacing_mm: Spacing) -> tuple[int, int, int]:
        """Fine voxels to a coarse one along R, A and S; a tile is a multiple of them."""
        strides = ((1, 1, 1), *self.strides(spacing_mm))
        i, j, k = (math.prod(axis) for axis in zip(*strides, strict=True))
        return (i, j, k)

    @model_validator(mode="after")
    def _heads_go_together(self) -> "NetworkSettings":
        if self.centre_heatmap and self.family in ("regions", "queries", "voxel-features"):
            raise ValueError(f"{self.family} have no centre_heatmap and no offsets; say false")
        if (self.prior is not None) != (self.family == "voxel-features"):
            raise ValueError("voxel-features need a prior, and no other family takes one")
        if self.members > 1 and self.family != "voxel-features":
            raise ValueError(f"{self.family} have no members; only voxel-features do")
        if self.judge is not None and self.family != "centre-offset":
            raise ValueError(f"{self.family} have no judge; only centre-offset does")
        if self.judge is not None and not self.structures[0].endswith("lesion"):
            raise ValueError("a judge speaks of lesions, which must be the first structure")
        return self


Voxels = Annotated[int, Field(ge=1)]
"""Of a box along one axis."""


class ExportedSettings(HeadSettings):
    """A network of the user's, exported with its weights as TorchScript or ONNX."""

    family: Literal["exported"]

    activation: Literal["sigmoid", "softmax"]
    """What makes its outputs for structures probabilities; it is not in the network, whose outputs
    are logits. `softmax`: a channel for the background comes before those of the structures."""

    tile_step: tuple[Voxels, Voxels, Voxels]
    """Voxels to one of its coarsest level along R, A and S; `input.tile` is a multiple of them."""

    centre_heatmap: bool = False
    """Whether a channel with the logit of the centres of instances follows the structures."""

    offsets: bool = False
    """Whether three channels with the way to the centre of a voxel's instance follow, in mm along
    R, A and S."""

    @property
    def channels_out(self) -> int:
        """Channels that the network gives, that of a background included."""
        return self.outputs + int(self.activation == "softmax")

    def step(self, _spacing_mm: Spacing) -> tuple[int, int, int]:
        """Fine voxels to a coarse one along R, A and S; a tile is a multiple of them."""
        return self.tile_step


class ContextSettings(Settings):
    """What the network sees of the study around a tile."""

    factor: int = Field(gt=1)
    """Voxels of the model's grid to one of the coarse one, along each axis."""

    tile: tuple[int, int, int]
    """Coarse voxels along R, A and S, with the tile in their middle."""

    channels: tuple[int, int, int]
    """Feature channels of the coarse network, finest level first."""


class InputSettings(Settings):
    """What the network sees."""

    roles: tuple[str, ...]
    """Roles that become its channels, in order."""

    spacing_mm: Spacing
    """Its grid."""

    clip: tuple[tuple[float, float], ...]
    """For each channel the intensities that are clipped to, then mapped to 0..1."""

    exponent: float = Field(default=1, gt=0)
    """Power that the values in 0..1 are raised to; below 1 it spreads low intensities apart, as a
    PET needs, where 0.5 and 1 SUV matter as much as 10 and 20."""

    tile: tuple[int, int, int]
    """Voxels of a sliding-window tile along R, A and S."""

    empty_below: float = Field(default=0, ge=0, le=1)
    """A tile in which no voxel of the first channel, as normalised, reaches this is air: nothing is
    predicted there. A network that normalises each tile would make structures of its noise."""

    mirrored: bool = False
    """Whether the mirror image is predicted too, and the mean taken: a little better where crops
    were mirrored in training, in twice the time. Structures of one side change names with it."""

    whole_tiles: bool = False
    """Whether a study smaller than a tile is put in the middle of one, as crops were learnt from,
    rather than predicted in a smaller one; for a network that normalises over the tile."""

    brain_only: bool = False
    """Whether a study is an MR of a brain without its skull, which has no unit: each channel is
    divided by its tissue's intensity (`model.normalise`), once for the whole study, and `clip` says
    multiples of it. A study that does not look so is flagged."""

    context: ContextSettings | None = None
    """The study around each tile, seen coarsely; None where a tile has to do."""

    @model_validator(mode="after")
    def _surroundings_need_whole_tiles(self) -> "InputSettings":
        if self.context is not None and not self.whole_tiles:
            raise ValueError("a context needs whole_tiles: it surrounds a tile of one size")
        return self

    @model_validator(mode="after")
    def _one_range_for_each_role(self) -> "InputSettings":
        if len(self.clip) != len(self.roles):
            raise ValueError(f"{len(self.clip)} clip ranges for {len(self.roles)} roles")
        if any(low >= high for low, high in self.clip):
            raise ValueError("a clip range goes from a lower to a higher intensity")
        return self


CONFIDENCE_FEATURES = ("peak_logit", "mean_logit", "log_volume", "centre")
"""What the confidence of a lesion rests on; `segment.confidence.describe` says what each is."""


class ReliabilityRow(Settings):
    """How often lesions of one range of sizes were true, and how sure the model was of them."""

    size: str
    """`all`, or the diameter of the ball of their volume."""

    lesions: int = Field(ge=0)
    confidence: float | None
    """Mean confidence, by coefficients that were fitted without the patient; None without lesions.
    """

    precision: float | None
    """Share of them that overlaps a reference lesion."""


class Calibration(Settings):
    """How the confidence of a lesion is computed, and how far it can be trusted."""

    rule: str
    """What a true lesion is."""

    cases: str
    """What it was fitted on."""

    patients: int
    weights: tuple[float, float, float, float]
    """Of each of `CONFIDENCE_FEATURES`."""

    offset: float
    reliability: tuple[ReliabilityRow, ...]
    expected_calibration_error: float
    expected_calibration_error_interval: tuple[float, float]
    """95 %, by bootstrap over patients."""


OURS = (".safetensors",)
EXPORTED = (".pt", ".ts", ".onnx")
"""Endings of files with weights: of networks that medseg builds, and of exported ones."""


def _kind_of_network(said: object) -> str:
    """Which section `network` is, before it is read."""
    family = said.get("family") if isinstance(said, Mapping) else getattr(said, "family", None)
    return "exported" if family == "exported" else "ours"


AnyNetwork = Annotated[
    Annotated[NetworkSettings, Tag("ours")] | Annotated[ExportedSettings, Tag("exported")],
    Discriminator(_kind_of_network),
]


class ModelCard(Settings):
    """What a model is, where it comes from, and how far to trust it; configs/models/*.yaml."""

    name: str = Field(pattern="^[a-z][a-z0-9-]*$", max_length=64)
    """It stands in run.json, on the report and in DICOM objects, which have room for so much."""

    title: str
    weights: str
    """File name of the weights beside the card: safetensors, or an exported network (.pt or .ts:
    TorchScript; .onnx: ONNX)."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Digest of the weights, checked before they are opened."""

    input: InputSettings
    network: AnyNetwork
    data: str
    """What it was trained on, and how cases were split."""

    attribution: tuple[str, ...]
    """Sources of the data, to be cited."""

    licence: str
    training: str
    """The config that trains it again, and what that took."""

    scores: dict[str, dict[str, float]]
    """Data set to named score."""

    calibration: Calibration | None = None
    """How sure it is of a lesion; None leaves the confidence of every lesion empty."""

    limits: tuple[str, ...]
    """What it is known to get wrong."""

    @field_validator("weights")
    @classmethod
    def _weights_lie_beside(cls, weights: str) -> str:
        if Path(weights).name != weights or "\\" in weights or "\0" in weights:
            raise ValueError("weights lie beside the card: give the file's name without a folder")
        return weights

    @model_validator(mode="after")
    def _fits_its_network(self) -> "ModelCard":
        exported = isinstance(self.network, ExportedSettings)
        endings = EXPORTED if exported else OURS
        if Path(self.weights).suffix not in endings:
            raise ValueError(
                f"weights of {self.network.family} networks end in {' or '.join(endings)}"
            )
        if isinstance(self.network, ExportedSettings):
            check_exported(self.network, self.input)
        else:
            check_features(self.network, self.input)
        return self


def check_exported(network: ExportedSettings, seen: InputSettings) -> None:
    """See that an exported network is asked for tiles of one size and nothing else.

    Raises:
        ValueError: It is asked for more.
    """
    if not seen.whole_tiles or seen.context is not None:
        raise ValueError("exported networks need whole_tiles in input, and have no context")
    if any(n % step for n, step in zip(seen.tile, network.tile_step, strict=True)):
        raise ValueError("input.tile is no multiple of network.tile_step")


def check_features(network: NetworkSettings, seen: InputSettings) -> None:
    """See that features have a brain to be computed on, and are asked for nothing else.

    Raises:
        ValueError: They have none, or are.
    """
    if network.family != "voxel-features":
        return
    if not seen.brain_only or len(seen.roles) != 1 or seen.clip[0][0] != 0:
        raise ValueError("voxel-features need input.brain_only, one role, and a clip from 0")
    if len(network.structures) != 1 or network.judge is not None:
        raise ValueError("voxel-features tell one structure, and have no judge")
    if seen.context is not None or seen.exponent != 1:
        raise ValueError("voxel-features have no input.context and no input.exponent")


class Structures(Settings):
    """Every structure that has a title and a code; `configs/structures.yaml`."""

    structures: dict[str, Structure]
    """Name, as a model card says it, to what it is."""


def configs_folder() -> Path:
    """Folder of the embedded defaults: beside the package in a checkout, inside it in a wheel."""
    inside = Path(__file__).parent / "configs"
    return inside if inside.is_dir() else Path(__file__).parents[1] / "configs"


S = TypeVar("S", bound=Settings)


def load(kind: type[S], name: str, folder: str) -> S:
    """Read settings from an embedded name or from a file of the user's.

    Args:
        kind: The settings to read.
        name: Name of an embedded file without its ending, or a path that ends in .yaml or .yml.
        folder: Subfolder of the embedded defaults.

    Raises:
        SettingsError: There is no such file, it is not YAML, or it does not hold such settings.
    """
    path = Path(name) if is_path(name) else configs_folder() / folder / f"{name}.yaml"
    if not is_path(name) and name not in embedded(folder):
        raise SettingsError(
            f"There is no embedded file '{name}' in {folder}.",
            f"Choose one of {', '.join(embedded(folder))}, or give the path of a .yaml file.",
        )
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise SettingsError(
            "The settings file cannot be read as YAML, so nothing was run.",
            "Check its path and its syntax; the files in configs/ are examples.",
        ) from None
    return parse(kind, values)


def parse(kind: type[S], values: object) -> S:
    """Check plain values as settings.

    Raises:
        SettingsError: The values are not such settings; names the keys at fault.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'file'}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        )
        raise SettingsError(
            f"These settings are not valid: {faults}.",
            "Correct the keys named; the files in configs/ are examples.",
        ) from None


def embedded(folder: str) -> tuple[str, ...]:
    """Names of the embedded files of a kind, sorted."""
    return tuple(sorted(path.stem for path in (configs_folder() / folder).glob("*.yaml")))


def is_path(name: str) -> bool:
    """Whether a name is the path of a file of the user's, not that of an embedded one."""
    return Path(name).suffix in {".yaml", ".yml"}


def load_protocol(name: str) -> Protocol:
    """Read a protocol by name or path; the path of its model then holds from any folder.

    Raises:
        SettingsError: There is no such file, or it is no protocol.
    """
    protocol = load(Protocol, name, "protocols")
    if not is_path(protocol.segment.model):
        return protocol
    return _with_model(protocol, str(Path(name).absolute().parent / protocol.segment.model))


def named(protocol: Protocol, card: ModelCard | None) -> Protocol:
    """The protocol as it is recorded: with its model by name, wherever the card lies.

    Args:
        protocol: Its model may be the path of a card, which is not read: it may be another by now.
        card: The one that is used; one of ours has its name already.
    """
    if card is None or not is_path(protocol.segment.model):
        return protocol
    return _with_model(protocol, card.name)


def _with_model(protocol: Protocol, model: str) -> Protocol:
    segment = protocol.segment.model_copy(update={"model": model})
    return protocol.model_copy(update={"segment": segment})


def load_card(name: str) -> ModelCard:
    """Read a model card by name or path. Raises: SettingsError."""
    return load(ModelCard, name, "models")


def card_folder(name: str) -> Path:
    """Where a card, named or given by its path, lies with its weights."""
    return Path(name).parent if is_path(name) else configs_folder() / "models"


def load_structures() -> Mapping[str, Structure]:
    """Read the titles and codes of all structures. Raises: SettingsError."""
    return load(Structures, str(configs_folder() / "structures.yaml"), "").structures


def plain(settings: Settings) -> Mapping[str, object]:
    """Settings as plain values, for a digest or a record."""
    values: dict[str, object] = settings.model_dump(mode="json")
    return values
