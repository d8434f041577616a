"""Every setting of medseg, on one page: closed (unknown keys are refused), frozen and explained."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medseg.core.structures import Structure
from medseg.core.volume import IntensityUnit
from medseg.errors import SettingsError

Spacing = tuple[float, float, float]
"""Distance in mm between neighbours along R, A and S."""


class Settings(BaseModel):
    """A group of settings: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


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

    model: str = Field(pattern="^[a-z][a-z0-9-]*$")
    """Model card in configs/models/, which pins the weights by digest."""

    foreground_threshold: float = Field(default=0.5, gt=0, lt=1)
    """A voxel belongs to a structure from this probability on. 0.5 is where Dice + cross-entropy
    training puts the boundary."""

    tile_overlap: float = Field(default=0.25, ge=0, lt=1)
    """Share of a sliding-window tile that its neighbour covers too."""

    min_peak: float = Field(default=0.5, ge=0, le=1)
    """A component of the foreground whose highest probability stays below it is no instance."""

    core_sides: int = Field(default=5, ge=5, le=7)
    """What a lesion hides from that many of the six sides is its cold core, and part of it: experts
    outline necrosis with the tumour. 6 is closed all round, 5 leaves a gap to one side, 7 fills
    nothing. In the crevice between two balls that touch, 5 fills about a hundredth of them."""

    peak_prominence: float = Field(default=0.2, ge=0, le=1)
    """Two peaks of the prediction in one component are two instances only if the saddle between
    them lies at least this much below the lower one."""


class MeasureSettings(Settings):
    """What is measured beyond the fixed columns."""

    suv_peak_volume_mm3: float = Field(default=1000, gt=0)
    """Volume of the ball of SUVpeak. 1 cm3 by PERCIST 1.0 (Wahl et al. 2009)."""


class ReportSettings(Settings):
    """What the report shows and how."""

    language: str = Field(default="en", pattern="^[a-zA-Z]{2,3}(-[a-zA-Z0-9]{2,8})*$")
    """Language attribute of the page, by BCP 47."""

    size_limit_mm3: float = Field(default=0, ge=0)
    """Lesions below it are listed apart and not counted; nothing is deleted."""

    window: tuple[float, float]
    """Intensities at the two ends of the grey scale, in the unit of the main role. The higher one
    is white, and black for PET, which is read dark where it is hot."""

    @model_validator(mode="after")
    def _is_a_window(self) -> "ReportSettings":
        if not self.window[0] < self.window[1]:
            raise ValueError(f"a window from {self.window[0]:g} up to {self.window[1]:g} is empty")
        return self


class Protocol(Settings):
    """How one kind of study is delineated: what a user chooses with `--protocol`."""

    name: str
    """Its file's name in configs/protocols/."""

    title: str
    """Headline of the report."""

    description: str
    """What it is for, in one sentence for `medseg protocols`."""

    roles: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")], Role]
    """Role to rule; the first is the main one, on whose acquired grid everything is delineated."""

    reading: ReadingLimits = USUAL_LIMITS
    segment: SegmentSettings
    measure: MeasureSettings = MeasureSettings()
    report: ReportSettings

    @property
    def main_role(self) -> str:
        """The role on whose acquired grid everything is delineated."""
        return next(iter(self.roles))

    @model_validator(mode="after")
    def _has_a_main_role(self) -> "Protocol":
        if not self.roles or not self.roles[self.main_role].required:
            raise ValueError("the first role is the main one and must be required")
        return self


class NetworkSettings(Settings):
    """Size of the network; with the weights, all it takes to build it."""

    channels: tuple[int, ...]
    """Feature channels at each level, finest first."""

    structures: tuple[str, ...]
    """Foreground outputs, in order."""

    centre_heatmap: bool = True
    """Whether it has a head for the centres of instances."""


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

    @model_validator(mode="after")
    def _one_clip_for_each_role(self) -> "InputSettings":
        if len(self.clip) != len(self.roles):
            raise ValueError(f"{len(self.clip)} clip ranges for {len(self.roles)} roles")
        return self


class ModelCard(Settings):
    """What a model is, where it comes from, and how far to trust it; configs/models/*.yaml."""

    name: str
    title: str
    weights: str
    """File name of the safetensors beside the card."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Digest of the weights, checked before they are opened."""

    input: InputSettings
    network: NetworkSettings
    data: str
    """What it was trained on, and how cases were split."""

    attribution: tuple[str, ...]
    """Sources of the data, to be cited."""

    licence: str
    training: str
    """The config that trains it again, and what that took."""

    scores: dict[str, dict[str, float]]
    """Data set to named score."""

    limits: tuple[str, ...]
    """What it is known to get wrong."""


class CardText(Settings):
    """What a model card says in words; its scores are measured, never written by hand."""

    title: str
    data: str
    """What the model was trained on, and how cases were split."""

    attribution: tuple[str, ...]
    """Sources of the data, to be cited."""

    licence: str
    training: str
    """The config that trains it again, and what that took."""

    limits: tuple[str, ...]
    """What it is known to get wrong."""


class Structures(Settings):
    """Every structure that has a title and a code; `configs/structures.yaml`."""

    structures: dict[str, Structure]
    """Name, as a model card says it, to what it is."""


class AugmentSettings(Settings):
    """How far training crops are changed by chance; the unit of values is the image's own.

    The defaults are of a CT in HU, on which patients differ as these do.
    """

    shift: float = Field(default=0.25, ge=0, le=0.5)
    """How far from the crop's middle what it is drawn around may lie, as a share of its size."""

    mirrored_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the crops that exchange left and right; structures are renamed with them."""

    moved_share: float = Field(default=1, ge=0, le=1)
    """Share of the crops that are turned, scaled and bent at all."""

    turn_degrees: float = Field(default=15, ge=0, le=180)
    """Largest angle about each of R, A and S: how patients lie."""

    scale: float = Field(default=1.2, ge=1)
    """Largest factor of size, and its inverse the smallest: how patients differ."""

    stretch: float = Field(default=1.05, ge=1)
    """The same for R, A and S apart."""

    bend_mm: float = Field(default=0, ge=0)
    """Largest displacement by a smooth bending along each of R, A and S; 0 bends nothing."""

    bend_knots_mm: float = Field(default=40, gt=0)
    """How far apart the bending's knots are: it is smooth on a smaller scale."""

    blur_share: float = Field(default=0.2, ge=0, le=1)
    blur_mm: float = Field(default=3, ge=0)
    """Largest standard deviation of the blur."""

    thick_share: float = Field(default=0.15, ge=0, le=1)
    thick_mm: float = Field(default=6, gt=0)
    """Thickest of the slices that are simulated, along S."""

    noise_share: float = Field(default=0.3, ge=0, le=1)
    noise: float = Field(default=30, ge=0)
    """Largest standard deviation of the noise."""

    gain: float = Field(default=0.03, ge=0)
    """Standard deviation of the logarithm of a factor on all values."""

    offset: float = Field(default=10, ge=0)
    """Standard deviation of a number added to all values."""

    cut_share: float = Field(default=0.15, ge=0, le=1)
    cut_mm: float = Field(default=60, ge=0)
    """How much of a crop another scan may not have covered, from one of its faces, most often
    the first or last slices."""

    @model_validator(mode="after")
    def _does_not_fold(self) -> "AugmentSettings":
        if self.bend_mm > 0.4 * self.bend_knots_mm:
            raise ValueError("bend_mm above 0.4 bend_knots_mm folds places onto each other")
        return self


class TrainingSettings(Settings):
    """One training run; configs/training/*.yaml."""

    name: str
    """Name of the bundle that it makes."""

    data: Path
    """Folder with `train` and `val`, relative to the working directory."""

    whole_body: Path | None = None
    """Archive of the DICOM study of a whole body, relative to the working directory: the source of
    true physiological uptake. Its patient is in `train`, so that its lesion is known."""

    whole_body_case: str | None = None
    """Name of the case in `train` that shows the same patient in the same coordinates."""

    phantom_seeds: tuple[int, ...] = ()
    """Phantoms that give more bodies. Seed 0 is the demo's and stays unseen."""

    input: InputSettings
    network: NetworkSettings
    crop: tuple[int, int, int]
    """Voxels of a training crop along R, A and S; a multiple of the network's coarsest step."""

    start_from: str | None = None
    """Name of the run, in a folder beside this one's, whose mean weights this one begins with;
    None begins at random."""

    seed: int = 0
    steps: int = Field(gt=0)
    batch: int = Field(default=4, gt=0)
    learning_rate: float = Field(default=2e-3, gt=0)
    """Highest rate; it rises over the first steps and falls along a cosine to 1 % of it."""

    weight_decay: float = Field(default=1e-4, ge=0)
    ema: float = Field(default=0.998, ge=0, lt=1)
    """Decay of the running mean of the weights that is shipped."""

    augment: AugmentSettings = AugmentSettings()
    """How crops are changed by chance."""

    heatmap_sigma_mm: float = Field(default=6, gt=0)
    """Least width of the Gaussian at the centre of an instance, near the width of a PET's point
    spread; a large instance's is half the radius of the ball of its volume."""

    heatmap_weight: float = Field(default=1, ge=0)
    """Weight of the heatmap's loss beside Dice + cross-entropy."""

    touching_share: float = Field(default=0.25, ge=0, le=1)
    """Share of the training crops that are synthetic: tumours pasted side by side."""

    background_share: float = Field(default=0.3, ge=0, le=1)
    """Share of the training crops drawn from whole bodies, where hot organs are no lesions."""

    checkpoint_steps: int = Field(default=250, gt=0)
    """Steps between two checkpoints, each followed by a validation."""

    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Of the forward pass in training; the weights and the prediction are float32."""

    threads: int = Field(default=2, gt=0)
    """CPU threads; part of the settings because sums depend on it in the last bit."""

    card: CardText
    """The words of the model card that `training.export` writes."""

    @model_validator(mode="after")
    def _crops_fit_the_network(self) -> "TrainingSettings":
        step = 2 ** (len(self.network.channels) - 1)
        for name, size in (("crop", self.crop), ("input.tile", self.input.tile)):
            if any(n % step for n in size):
                raise ValueError(f"{name} must be a multiple of {step} voxels along each axis")
        if self.touching_share + self.background_share > 1:
            raise ValueError("touching_share and background_share exceed 1 together")
        if (self.whole_body is None) != (self.whole_body_case is None):
            raise ValueError("whole_body and whole_body_case go together")
        return self


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
    given = Path(name)
    is_path = given.suffix in {".yaml", ".yml"}
    path = given if is_path else configs_folder() / folder / f"{name}.yaml"
    if not is_path and name not in embedded(folder):
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


def load_protocol(name: str) -> Protocol:
    """Read a protocol by name or path. Raises: SettingsError."""
    return load(Protocol, name, "protocols")


def load_card(name: str) -> ModelCard:
    """Read a model card by name or path. Raises: SettingsError."""
    return load(ModelCard, name, "models")


def load_structures() -> Mapping[str, Structure]:
    """Read the titles and codes of all structures. Raises: SettingsError."""
    return load(Structures, str(configs_folder() / "structures.yaml"), "").structures


def plain(settings: Settings) -> Mapping[str, object]:
    """Settings as plain values, for a digest or a record."""
    values: dict[str, object] = settings.model_dump(mode="json")
    return values
