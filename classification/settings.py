"""The settings of ``seg-anl-classify`` with their kinds and ranges, free of torch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar

from omegaconf import DictConfig

from seg_anl.engine.method_settings import CoTeaching, MethodSettings, Plain, method_settings
from seg_anl.engine.settings import OptimSettings, RunSettings, checked_records, plain, top_level
from seg_anl.records import UserError
from seg_anl.records.ranges import Count, Fraction, FractionBelowOne, Interval, NonNegative, WholeNumber, checked
from seg_anl.records.recipes import load_recipe

from .datasets import DataSelection, reader_settings
from .noise import noise_settings

RECORDS = ("dynamics", "features", "gradients", "predictions", "probabilities")
MOST_HUE = 0.5  # half a turn of the color circle

Degrees = Annotated[float, Interval(least=0, most=180)]
Strength = Annotated[float, Interval(least=0, most=100)]
Percentile = Annotated[float, Interval(above=0, most=100)]


@dataclass(frozen=True, kw_only=True)
class ClassificationRunSettings(RunSettings):
    """The top level of the configuration; ``configs/classification.yaml`` says what each setting does."""

    published_model: Any = None
    record_every: Count = 10
    runs_per_device: Count = 1


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """Epochs of the headline's mean, epochs between evaluations on the training set (0: never), and batch size."""

    last_k: Count = 1
    train_every: WholeNumber = 1
    batch_size: Count = 512


@dataclass(frozen=True)
class Augmentation:
    """The ``augmentation`` group: what is drawn for a training image, and how images in files are cut.

    ``configs/classification.yaml`` says what each setting does.

    Images in memory: random crop, flip, rotation. Images in files: ``resize``, random (or central) crop of ``crop``
    pixels after ``crop_padding``; or, with ``crop_scale``, a random resized crop of the whole image instead of these.
    Then flip, rotation and color jitter.
    """

    crop_padding: WholeNumber = 0
    flip: Fraction = 0.0
    rotation: Degrees = 0.0
    resize: Count | tuple[Count, Count] | None = 256
    crop: Count | None = 224
    random_crop: bool = True
    crop_scale: tuple[Fraction, Fraction] | None = None
    jitter: tuple[Strength, Strength, Strength, Strength] = (0.0, 0.0, 0.0, 0.0)

    IN_FILES: ClassVar = ("resize", "crop", "random_crop", "crop_scale", "jitter")

    def __post_init__(self) -> None:
        smallest = min(self.resize) if isinstance(self.resize, tuple) else self.resize
        if None not in (smallest, self.crop) and self.crop > smallest:  # type: ignore[operator]
            raise UserError(f"augmentation.crop={self.crop} is more than augmentation.resize={self.resize} leaves")
        if self.jitter[3] > MOST_HUE:
            raise UserError(
                f"augmentation.jitter: the last number, for the hue, is at most {MOST_HUE}; got {self.jitter[3]}"
            )
        if self.crop_scale is None:
            return
        if self.crop is None or not 0 < self.crop_scale[0] <= self.crop_scale[1]:
            raise UserError(
                f"augmentation.crop_scale={list(self.crop_scale)} must be a lowest and a highest share of the area, "
                "and needs augmentation.crop"
            )
        if not self.random_crop:
            raise UserError("augmentation.crop_scale is of a random crop: it does not go with random_crop=false")

    def size_in_files(self) -> tuple[int, int]:
        """Rows and columns of images in files, as the network gets them.

        Raises:
            UserError: where they differ from image to image.
        """
        if self.crop is not None:
            return self.crop, self.crop
        if isinstance(self.resize, tuple):
            return self.resize
        raise UserError("images of one size are needed: set augmentation.crop, or augmentation.resize=[ROWS,COLUMNS]")

    def check_in_memory(self, data_name: str, side: int) -> None:
        """Refuse what does nothing to images in memory, and crops that leave nothing of their shorter ``side``.

        Raises:
            UserError: naming the setting.
        """
        if self.crop_padding >= side:
            raise UserError(f"augmentation.crop_padding={self.crop_padding} leaves nothing of {side} pixels")
        for field in fields(self):
            if field.name in self.IN_FILES and getattr(self, field.name) != field.default:
                raise UserError(
                    f"augmentation.{field.name} is for images in files; those of data={data_name} lie in memory and "
                    "take crop_padding, flip and rotation"
                )


@dataclass(frozen=True)
class DimensionalityDriven(MethodSettings):
    """D2L: the epochs without a turning point, and those that one is measured against."""

    init_epochs: WholeNumber
    window: Annotated[int, Interval(least=2, whole=True)]
    only_loss: ClassVar[str | None] = "ce"


@dataclass(frozen=True)
class ForwardEstimated(MethodSettings):
    """Forward correction: percentile of the most typical sample of a class; 97 leaves outliers out."""

    percentile: Percentile
    only_loss: ClassVar[str | None] = "ce"


@dataclass(frozen=True)
class EarlyLearning(MethodSettings):
    """ELR: weight of the regularization (lambda), and momentum of the remembered predictions."""

    strength: NonNegative
    momentum: FractionBelowOne


METHODS: dict[str, type[MethodSettings]] = {
    "co_teaching": CoTeaching,
    "d2l": DimensionalityDriven,
    "elr": EarlyLearning,
    "forward": ForwardEstimated,
    "plain": Plain,
}


@dataclass(frozen=True)
class Settings:
    """The groups of the configuration; ``loss``, ``model`` and most of ``noise`` are checked when they are built."""

    run: ClassificationRunSettings
    optim: OptimSettings
    evaluation: EvaluationSettings
    augmentation: Augmentation
    method: MethodSettings
    data: DataSelection
    records: frozenset[str]


def read_settings(config: DictConfig) -> Settings:
    """The checked settings of a configuration with one seed.

    Raises:
        UserError: naming the setting that is unknown or out of range.
    """
    _check_preset(config)
    run = checked(ClassificationRunSettings, top_level(config))
    noise_settings(config.noise)
    _, _, selection = reader_settings(config.data)
    method = method_settings(plain(config.method), str(config.loss.name), METHODS)
    if run.runs_per_device > 1 and (run.fold is not None or selection.weights_file is not None):
        raise UserError("runs_per_device > 1 goes neither with folds nor with data.weights_file: use runs_per_device=1")
    if isinstance(method, EarlyLearning) and run.runs_per_device > 1:
        raise UserError("method=elr remembers each sample, which runs_per_device > 1 cannot: use runs_per_device=1")
    if isinstance(method, (CoTeaching, EarlyLearning)) and selection.weights_file is not None:
        raise UserError(f"data.weights_file does not go with method={config.method.name}, which weighs samples itself")
    if isinstance(method, CoTeaching) and method.unit != "sample":
        raise UserError(f"method.unit={method.unit} is for masks: a picture has one label, use method.unit=sample")
    return Settings(
        run=run,
        optim=checked(OptimSettings, plain(config.optim), "optim"),
        evaluation=checked(EvaluationSettings, plain(config.evaluation), "evaluation"),
        augmentation=checked(Augmentation, plain(config.augmentation), "augmentation"),
        method=method,
        data=selection,
        records=checked_records(run.record, RECORDS, fold=run.fold),
    )


def _check_preset(config: DictConfig) -> None:
    """Refuse a paper's preset that says nothing of the data set: it would change nothing, silently."""
    recipe = load_recipe(str(config.preset))
    if recipe.task != config.task:
        raise UserError(f"preset={config.preset} is not a preset of seg-anl-classify")
    if recipe.name != "default":  # which leaves a data set that it does not name to classification.yaml
        recipe.settings(str(config.data.name))
