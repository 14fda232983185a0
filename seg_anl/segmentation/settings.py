"""The settings of ``seg-anl-train`` with their kinds and ranges, free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from omegaconf import DictConfig

from data_prep.mask_noise import MaskNoiseSettings
from seg_anl.engine.settings import OptimSettings, RunSettings, checked_records, listed, plain, top_level
from seg_anl.records import UserError
from seg_anl.records.ranges import (
    Count,
    Fraction,
    FractionBelowOne,
    Interval,
    NonNegative,
    Number,
    OpenFraction,
    Positive,
    checked,
)

RECORDS = ("dynamics", "masks", "predictions")

Classes = Annotated[int, Interval(least=2, most=255, whole=True)]  # masks hold them in one byte, where 255 is free
Pixels = Annotated[int, Interval(least=8, most=8192, whole=True)]


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The ``data`` group.

    Attributes:
        root, images, masks, test_images, test_masks: folders.
        size: ``(height, width)`` in pixels that images are resized to; one number for both.
        classes: background among them.
        threshold: gray value above which a pixel of a mask is foreground, or None.
        ignore: value of the masks that is no annotation: such pixels count in no loss and no score.
        exclude_file: lists training items that are left out after noise has been made, one a line.
        weights_file: CSV table of training items and their weights in the loss; the others weigh 1.
        test_share: of a folder without test images, held out for testing.
        exclude: training images to leave out, by item.
        limit: number of training images to use, or None for all.
        tuning: share of the (noisy) training set held out for tuning.
    """

    name: Literal["embedded", "folder", "isic2017"]
    size: Pixels | tuple[Pixels, Pixels]
    classes: Classes = 2
    root: Any = None
    images: Any = None
    masks: Any = None
    test_images: Any = None
    test_masks: Any = None
    test_share: OpenFraction = 0.2
    exclude: Any = ()
    limit: Count | None = None
    tuning: FractionBelowOne = 0.0
    threshold: Number | None = None
    ignore: Annotated[int, Interval(least=0, most=65535, whole=True)] | None = None
    exclude_file: Any = None
    weights_file: Any = None

    @property
    def pairing(self) -> dict[str, Any]:
        """What :func:`data_prep.pairing.find_pairs` takes."""
        names = ("name", "root", "images", "masks", "test_images", "test_masks", "test_share", "limit")
        return {**{name: getattr(self, name) for name in names}, "exclude": listed(self.exclude)}

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of images in training."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size


@dataclass(frozen=True, kw_only=True)
class DynUNetSettings:
    """The ``model`` group of an nnU-Net-like network.

    Attributes:
        base_filters, max_filters: of the first stage, doubled from stage to stage up to the latter.
        stages: resolutions, or None: until the smallest feature map is 4 pixels wide, at most 7.
        deep_supervision: heads at several resolutions.
    """

    name: str
    base_filters: Count
    max_filters: Count
    stages: Count | None = None
    deep_supervision: bool = False


@dataclass(frozen=True, kw_only=True)
class AugmentationSettings:
    """Random mirroring along both axes and random gamma.

    Attributes:
        flip: probability of mirroring, for each axis by itself.
        gamma: range of the exponent; drawn below and above 1 with equal probability where the range holds 1.
        gamma_probability: probability that an image is changed by it.

    Reference: Ye et al., Active Negative Loss, Section VI-B; gamma acts on intensities in [0, 1].
    """

    flip: Fraction = 0.5
    gamma: tuple[Positive, Positive] = (0.7, 1.5)
    gamma_probability: Fraction = 0.3

    def __post_init__(self) -> None:
        if self.gamma[0] > self.gamma[1]:
            raise UserError(f"augmentation.gamma must be two numbers, the lower one first; got {list(self.gamma)}")


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """The headline is the mean over the ``last_k`` epochs; training images are evaluated every ``train_every``."""

    last_k: Count = 10
    train_every: Count = 1


@dataclass(frozen=True, kw_only=True)
class CriterionSettings:
    """What the ``loss`` group holds beside the loss: the weight of MONAI's Dice loss."""

    dice_weight: NonNegative = 0.0


@dataclass(frozen=True)
class Settings:
    """All groups but ``loss`` and ``model``, which are checked by those who build from them."""

    run: RunSettings
    optim: OptimSettings
    data: DataSettings
    noise: MaskNoiseSettings
    augmentation: AugmentationSettings
    evaluation: EvaluationSettings
    criterion: CriterionSettings
    records: frozenset[str]


def read_settings(config: DictConfig) -> Settings:
    """The checked settings of a configuration with one seed.

    Raises:
        UserError: naming the setting that is unknown or out of range.
    """
    run, data = checked(RunSettings, top_level(config)), data_settings(config)
    noise = checked(MaskNoiseSettings, plain(config.noise), "noise")
    if data.ignore is not None and (noise.alpha or plain(config.loss).get("dice_weight")):
        raise UserError("data.ignore needs noise.alpha=0 and loss.dice_weight=0: neither knows unlabeled pixels")
    return Settings(
        run=run,
        optim=checked(OptimSettings, plain(config.optim), "optim"),
        data=data,
        noise=noise,
        augmentation=checked(AugmentationSettings, plain(config.augmentation), "augmentation"),
        evaluation=checked(EvaluationSettings, plain(config.evaluation), "evaluation"),
        criterion=criterion_settings(config, data.weights_file),
        records=checked_records(run.record, RECORDS, fold=run.fold),
    )


def criterion_settings(config: DictConfig, weights_file: object) -> CriterionSettings:
    """What the ``loss`` group holds beside the loss.

    Raises:
        UserError: naming the setting that is out of range, or does not go with weights.
    """
    own = {name: value for name, value in plain(config.loss).items() if name == "dice_weight"}
    if weights_file is not None and own.get("dice_weight"):
        raise UserError("data.weights_file needs loss.dice_weight=0: the Dice term knows no weights")
    return checked(CriterionSettings, own, "loss")


def data_settings(config: DictConfig) -> DataSettings:
    """The checked ``data`` group.

    Raises:
        UserError: naming the setting that is unknown or out of range.
    """
    return checked(DataSettings, plain(config.data), "data")
