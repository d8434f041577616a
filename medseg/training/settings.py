"""The settings of a training run: what every task shares, and one section of the task's own."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from medseg.config import InputSettings, NetworkSettings, Settings, check_features


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


class LossSettings(Settings):
    """How much each kind of error counts; 0 leaves it out."""

    structures: dict[str, float] = Field(default_factory=dict)
    """How much a structure counts beside another in Dice and cross-entropy; 1 where not named."""

    dice: float = Field(default=1, ge=0)
    """Of each structure, half over the batch and half over each crop that holds it."""

    dice_spared_voxels: float = Field(default=1e-5, gt=0)
    """Added to both parts of the fraction that is Dice over the batch. Where a batch holds none of
    a structure, so many false voxels cost a half; with hardly any, each costs as much as all."""

    cross_entropy: float = Field(default=1, ge=0)
    """Of each voxel and structure."""

    focal_exponent: float = Field(default=0, ge=0)
    """Power by which voxels that are right already count less in the cross-entropy (Lin et al.
    2017, arXiv 1708.02002); 0 is plain cross-entropy."""

    instance: float = Field(default=0, ge=0)
    """Dice + cross-entropy within the territory of each instance, each counting the same whatever
    its size (CC-DiceCE, after Jaus et al. 2024, arXiv 2410.18684)."""

    heatmap: float = Field(default=1, ge=0)
    """Of the centre heatmap: penalty-reduced focal loss (Zhou et al. 2019, arXiv 1904.07850)."""

    offset: float = Field(default=0.1, ge=0)
    """Of a mean error of 1 mm of the way to the centre, over the foreground."""


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

    gamma: float = Field(default=0, ge=0)
    """Standard deviation of the logarithm of a power that values are raised to, where the image is
    in multiples of its tissue's intensity (`input.brain_only`): contrast differs from scanner to
    scanner, 1 stays 1."""

    bias: float = Field(default=0, ge=0)
    """Largest logarithm of a factor that changes smoothly over the crop, as a coil's field does."""

    bias_knots_mm: float = Field(default=40, gt=0)
    """How far apart its knots are: it is smooth on a smaller scale."""

    cut_share: float = Field(default=0.15, ge=0, le=1)
    cut_mm: float = Field(default=60, ge=0)
    """How much of a crop another scan may not have covered, from one of its faces, most often
    the first or last slices."""

    @model_validator(mode="after")
    def _does_not_fold(self) -> "AugmentSettings":
        if self.bend_mm > 0.4 * self.bend_knots_mm:
            raise ValueError("bend_mm above 0.4 bend_knots_mm folds places onto each other")
        return self


class PetLesionsTask(Settings):
    """Lesions on PET: real crops, whole bodies and tumours added to them."""

    kind: Literal["pet-lesions"] = "pet-lesions"

    whole_body: Path | None = None
    """Archive of the DICOM study of a whole body, relative to the working directory: the source of
    true physiological uptake. Its patient is in `train`, so that its lesion is known."""

    whole_body_case: str | None = None
    """Name of the case in `train` that shows the same patient in the same coordinates."""

    real: bool = True
    """Whether real cases are learnt from; else phantoms alone, so that what is learnt can begin any
    fold."""

    judge_steps: int = Field(default=300, gt=0)
    """Steps of the judge's own training, where the network has one."""

    fold: int | None = Field(default=None, ge=0)
    """Which of `folds` parts of the cases takes the place of `val`: of all cases of `train` and
    `val` in the order of their names, every so-many-th. None leaves `val` as it is. The whole body
    of a patient who is not learnt from is not learnt from either."""

    folds: int = Field(default=5, gt=1)

    varied_phantoms: int = Field(default=0, ge=0, le=1000)
    """Phantoms (`phantom.variety`) that give more bodies: seeds from 0. Scores are of those of
    seeds from 1000 (`pet_lesions.UNSEEN_BODIES`)."""

    plain_phantoms: int = Field(default=0, ge=0, le=100)
    """Phantoms of `phantom.body`, cooler and emptier than those, that do too: seeds from 1."""

    touching_share: float = Field(default=0.25, ge=0, le=1)
    """Share of the training crops that are synthetic: tumours pasted side by side."""

    background_share: float = Field(default=0.3, ge=0, le=1)
    """Share of the training crops drawn from whole bodies, where hot organs are no lesions."""

    heatmap_sigma_mm: float = Field(default=4, gt=0)
    """Least width of the Gaussian at the centre of an instance, about a voxel; a large instance's
    is a share of its radius (`training.targets`)."""

    @model_validator(mode="after")
    def _sources_go_together(self) -> "PetLesionsTask":
        if self.touching_share + self.background_share > 1:
            raise ValueError("touching_share and background_share exceed 1 together")
        if (self.whole_body is None) != (self.whole_body_case is None):
            raise ValueError("whole_body and whole_body_case go together")
        return self


class OrgansTask(Settings):
    """Organs on CT, each patient having one of each; an organ that was not outlined is unknown."""

    kind: Literal["organs"] = "organs"

    islands_share: float = Field(default=0, ge=0, le=1)
    """Share of the crops that lack a side (`augment.cut_share`) in which organs stay visible
    there. OpenKBP keeps of a CT the region that can receive dose and every outlined organ, so that
    beyond the region an organ, with a rim or without, is all that is left."""


class PaintedLesionsTask(Settings):
    """MS lesions on FLAIR: few real cases, and lesions painted from masks of further patients.

    A sample is voxels, each with its features, of one of a fixed number of pictures of the brains.
    Of `augment` only what a scanner does to values counts: pictures are not turned, bent or cut.
    """

    kind: Literal["painted-lesions"] = "painted-lesions"

    fold: int | None = Field(default=None, ge=0)
    """Which of the cases, in the order of their names, is held out and scored. None learns from
    all, and what is then scored was learnt from."""

    pictures: int = Field(default=14, gt=0)
    """Of each brain: itself, then others with lesions painted and as other scanners show it."""

    healed_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the painted pictures whose own lesions are made white matter first, so that a brain
    full of lesions also shows what few look like."""

    lesion_share: float = Field(default=0.15, ge=0, le=1)
    """Share of the voxels that are of lesions."""

    hard_share: float = Field(default=0.3, ge=0, le=1)
    """Share of the voxels that are bright or beside a lesion and not of it; the rest is anywhere
    else in the brain."""

    blur: float = Field(default=0.1, ge=0)
    """Standard deviation of the noise on features, in units of their own: two patients are few."""

    cortex_gain: float = Field(default=0, ge=0)
    """Largest logarithm of a factor by which cortex is brightened, here more, there less: in some
    brains it is as bright as lesions, so that brightness alone must not tell them apart."""

    place_mm: float = Field(default=4, ge=0)
    """Largest shift of a patient's lesions along each of R, A and S before they are painted."""

    place_degrees: float = Field(default=6, ge=0)
    """Largest angle about each of R, A and S by which they are turned."""

    place_scale: float = Field(default=1.2, ge=1)
    """Largest factor of their size, and its inverse the smallest."""

    @model_validator(mode="after")
    def _shares_leave_the_rest(self) -> "PaintedLesionsTask":
        if self.lesion_share + self.hard_share > 1:
            raise ValueError("lesion_share and hard_share exceed 1 together")
        return self


Task = Annotated[PetLesionsTask | OrgansTask | PaintedLesionsTask, Field(discriminator="kind")]
"""One section for each kind of task, told apart by `kind`; `training.tasks` reads each."""


class TrainingSettings(Settings):
    """One training run; configs/training/*.yaml."""

    name: str
    """Name of the bundle that it makes."""

    data: Path
    """Folder with `train` and `val`, relative to the working directory."""

    task: Task
    """What is learnt, and how samples are drawn."""

    input: InputSettings
    network: NetworkSettings
    losses: LossSettings = LossSettings()
    augment: AugmentSettings = AugmentSettings()
    """How crops are changed by chance."""

    crop: tuple[int, int, int]
    """Voxels of a training crop along R, A and S; a multiple of the network's coarsest step."""

    start_from: str | None = None
    """Name of the run, in a folder beside this one's, whose mean weights this one begins with; one
    of another family gives its backbone alone. None begins at random."""

    seed: int = 0
    steps: int = Field(gt=0)
    batch: int = Field(default=4, gt=0)
    learning_rate: float = Field(default=2e-3, gt=0)
    """Highest rate; it rises over the first steps and falls along a cosine to 1 % of it."""

    weight_decay: float = Field(default=1e-4, ge=0)
    ema: float = Field(default=0.998, ge=0, lt=1)
    """Decay of the running mean of the weights that is shipped."""

    checkpoint_steps: int = Field(default=250, gt=0)
    """Steps between two checkpoints, each followed by a validation."""

    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Of the forward pass in training; the weights and the prediction are float32."""

    threads: int = Field(default=2, gt=0)
    """CPU threads; part of the settings because sums depend on it in the last bit."""

    card: CardText
    """The words of the model card that `training.export` writes."""

    @property
    def pet_lesions(self) -> PetLesionsTask:
        """The task's section of a run on PET lesions; only that task's code asks for it."""
        if not isinstance(self.task, PetLesionsTask):
            raise TypeError(f"a run of {self.task.kind}, not of pet-lesions")
        return self.task

    @property
    def painted_lesions(self) -> PaintedLesionsTask:
        """The task's section of a run on painted lesions; only that task's code asks for it."""
        if not isinstance(self.task, PaintedLesionsTask):
            raise TypeError(f"a run of {self.task.kind}, not of painted-lesions")
        return self.task

    @model_validator(mode="after")
    def _crops_fit_the_network(self) -> "TrainingSettings":
        step = self.network.step(self.input.spacing_mm)
        for name, size in (("crop", self.crop), ("input.tile", self.input.tile)):
            if any(n % s for n, s in zip(size, step, strict=True)):
                raise ValueError(f"{name} must be a multiple of {step} voxels along R, A and S")
        return self

    @model_validator(mode="after")
    def _features_are_of_painted_brains(self) -> "TrainingSettings":
        check_features(self.network, self.input)
        if (self.network.family == "voxel-features") != (self.task.kind == "painted-lesions"):
            raise ValueError("voxel-features and painted-lesions go together")
        if self.task.kind == "painted-lesions" and self.crop[1:] != (1, 1):
            raise ValueError("a crop of painted-lesions is so many voxels by 1 by 1")
        if self.crop[0] < self.network.members:
            raise ValueError(f"{self.network.members} members want as many voxels in a crop")
        return self
