"""The settings of ``seg-anl-classify`` with their types and ranges, without importing torch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar

from omegaconf import DictConfig

from seg_anl.engine.method_settings import CoTeaching, MethodSettings, Plain, method_settings
from seg_anl.engine.settings import (
    EvaluationSettings,
    OptimSettings,
    RunSettings,
    check_loss,
    checked_records,
    plain,
    top_level,
)
from seg_anl.records import UserError
from seg_anl.records.ranges import Count, Fraction, FractionBelowOne, Interval, NonNegative, WholeNumber, checked
from seg_anl.records.recipes import load_recipe

from .datasets import DataSelection, reader_settings
from .noise import noise_settings

RECORDS = ("dynamics", "features", "gradients", "predictions", "probabilities")
MAX_HUE = 0.5  # half the color circle

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
class ClassEvaluationSettings(EvaluationSettings):
    """With the batch size of the evaluation."""

    last_k: Count = 1
    batch_size: Count = 512


@dataclass(frozen=True)
class Augmentation:
    """The ``augmentation`` group: augmentation of training images, and cropping of images in files.

    ``configs/classification.yaml`` says what each setting does.

    Images in memory: random crop, flip and rotation. Images in files: ``resize``, then a random (or center) crop of
    ``crop`` pixels after ``crop_padding``; or, with ``crop_scale``, a random resized crop of the image instead. Then
    flip, rotation and color jitter.
    """

    crop_padding: WholeNumber = 0
    flip: Fraction = 0.0
    rotation: Degrees = 0.0
    resize: Count | tuple[Count, Count] | None = 256
    crop: Count | None = 224
    random_crop: bool = True
    crop_scale: tuple[Fraction, Fraction] | None = None
    jitter: tuple[Strength, Strength, Strength, Strength] = (0.0, 0.0, 0.0, 0.0)

    IN_FILES: ClassVar[tuple[str, ...]] = ("resize", "crop", "random_crop", "crop_scale", "jitter")

    def __post_init__(self) -> None:
        smallest = min(self.resize) if isinstance(self.resize, tuple) else self.resize
        if None not in (smallest, self.crop) and self.crop > smallest:  # type: ignore[operator]
            raise UserError(f"augmentation.crop={self.crop} is larger than augmentation.resize={self.resize}")
        if self.jitter[3] > MAX_HUE:
            raise UserError(
                f"augmentation.jitter: the last number, for the hue, must be at most {MAX_HUE}, got {self.jitter[3]}"
            )
        if self.crop_padding and (self.crop is None or not self.random_crop or self.crop_scale is not None):
            raise UserError(
                f"augmentation.crop_padding={self.crop_padding} is for random crops of augmentation.crop pixels; it "
                "has no effect with crop_scale, random_crop=false or without crop"
            )
        if self.crop_scale is None:
            return
        if self.crop is None or not 0 < self.crop_scale[0] <= self.crop_scale[1]:
            raise UserError(
                f"augmentation.crop_scale={list(self.crop_scale)} must be the smallest and largest share of the area, "
                "and needs augmentation.crop"
            )
        if not self.random_crop:
            raise UserError("augmentation.crop_scale is for random crops and cannot be used with random_crop=false")

    def size_in_files(self) -> tuple[int, int]:
        """Height and width of images in files after cropping.

        Raises:
            UserError: if they vary between images.
        """
        if self.crop is not None:
            return self.crop, self.crop
        if isinstance(self.resize, tuple):
            return self.resize
        raise UserError("images must have the same size: set augmentation.crop or augmentation.resize=[HEIGHT,WIDTH]")

    def check_in_memory(self, data_name: str, side: int) -> None:
        """Refuse settings without effect on images in memory, and padding not smaller than their shorter ``side``.

        Raises:
            UserError: naming the setting.
        """
        if self.crop_padding >= side:
            raise UserError(
                f"augmentation.crop_padding={self.crop_padding} must be smaller than the {side} pixels of an image"
            )
        for field in fields(self):
            if field.name in self.IN_FILES and getattr(self, field.name) != field.default:
                raise UserError(
                    f"augmentation.{field.name} is for images in files; those of data={data_name} are in memory and "
                    "support crop_padding, flip and rotation"
                )


@dataclass(frozen=True)
class DimensionalityDriven(MethodSettings):
    """D2L: initial epochs without a turning point, and the window of epochs to compare with."""

    init_epochs: WholeNumber
    window: Annotated[int, Interval(least=2, whole=True)]
    only_loss: ClassVar[str | None] = "ce"

    def check_epochs(self, epochs: int) -> None:
        """Refuse a training that ends before labels can give way to predictions."""
        needed = self.init_epochs + self.window + 2
        if epochs < needed:
            raise UserError(
                f"epochs={epochs}: method=d2l is plain cross entropy before epoch {needed} with "
                f"method.init_epochs={self.init_epochs} and method.window={self.window}; raise epochs, or lower these"
            )


@dataclass(frozen=True)
class ForwardEstimated(MethodSettings):
    """Forward correction: percentile of the most typical sample of a class; 97 excludes outliers."""

    percentile: Percentile
    only_loss: ClassVar[str | None] = "ce"


@dataclass(frozen=True)
class EarlyLearning(MethodSettings):
    """ELR: weight of the regularization (lambda), and momentum of the averaged predictions."""

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
    """The groups of the configuration; ``loss``, ``model`` and most of ``noise`` are validated when they are built."""

    run: ClassificationRunSettings
    optim: OptimSettings
    evaluation: ClassEvaluationSettings
    augmentation: Augmentation
    method: MethodSettings
    data: DataSelection
    records: frozenset[str]


def read_settings(config: DictConfig) -> Settings:
    """Validate a configuration with one seed.

    Raises:
        UserError: naming a setting that is unknown or out of range.
    """
    _check_preset(config)
    check_loss(config.loss)
    run = checked(ClassificationRunSettings, top_level(config))
    noise_settings(config.noise)
    _, _, selection = reader_settings(config.data)
    method = method_settings(plain(config.method), str(config.loss.name), METHODS)
    if isinstance(method, DimensionalityDriven):
        method.check_epochs(run.epochs)
    if run.runs_per_device > 1 and (run.fold is not None or selection.weights_file is not None):
        raise UserError("runs_per_device > 1 does not support folds or data.weights_file: use runs_per_device=1")
    if isinstance(method, EarlyLearning) and run.runs_per_device > 1:
        raise UserError("runs_per_device > 1 does not support method=elr: use runs_per_device=1")
    if isinstance(method, (CoTeaching, EarlyLearning)) and selection.weights_file is not None:
        raise UserError(f"method={config.method.name} does not support data.weights_file: it weights samples itself")
    if isinstance(method, CoTeaching) and method.unit != "sample":
        raise UserError(f"method.unit={method.unit} is for masks: use method.unit=sample for class labels")
    return Settings(
        run=run,
        optim=checked(OptimSettings, plain(config.optim), "optim"),
        evaluation=checked(ClassEvaluationSettings, plain(config.evaluation), "evaluation"),
        augmentation=checked(Augmentation, plain(config.augmentation), "augmentation"),
        method=method,
        data=selection,
        records=checked_records(run.record, RECORDS, fold=run.fold),
    )


def _check_preset(config: DictConfig) -> None:
    """Refuse a preset of another task, or one without settings for this data set, which would have no effect."""
    recipe = load_recipe(str(config.preset))
    if recipe.task != config.task:
        raise UserError(f"preset={config.preset} is not a preset of seg-anl-classify")
    if recipe.name != "default":  # the default preset falls back to classification.yaml
        recipe.settings(str(config.data.name))
