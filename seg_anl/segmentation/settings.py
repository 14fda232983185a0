"""The settings of ``seg-anl-train`` with their types and ranges, free of torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

from omegaconf import DictConfig

from data_prep.mask_noise import MaskNoiseSettings
from seg_anl.engine.method_settings import CoTeaching, MethodSettings, Plain, method_settings
from seg_anl.engine.settings import (
    DivisionSettings,
    EvaluationSettings,
    OptimSettings,
    RunSettings,
    check_loss,
    checked_records,
    listed,
    plain,
    top_level,
)
from seg_anl.records import UserError
from seg_anl.records.ranges import (
    Count,
    Fraction,
    Interval,
    NonNegative,
    Number,
    OpenFraction,
    Positive,
    checked,
    complaint,
)

RECORDS = ("dynamics", "masks", "predictions")
MOST_FILTERS = {2: 512, 3: 320}  # of the coarsest stages, by dimensions

Classes = Annotated[int, Interval(least=2, most=255, whole=True)]  # in one byte, where 255 marks unlabeled pixels
Pixels = Annotated[int, Interval(least=8, most=8192, whole=True)]


@dataclass(frozen=True, kw_only=True)
class ItemSettings(DivisionSettings):
    """The settings of the ``data`` group that select images, whatever their dimensions."""

    test_share: OpenFraction = 0.2
    exclude: Any = ()
    limit: Count | None = None


@dataclass(frozen=True, kw_only=True)
class DataSettings(ItemSettings):
    """The ``data`` group, see ``configs/data/folder.yaml``."""

    name: Literal["embedded", "folder", "isic2017"]
    size: Pixels | tuple[Pixels, Pixels]
    classes: Classes = 2
    root: Any = None
    images: Any = None
    masks: Any = None
    test_images: Any = None
    test_masks: Any = None
    threshold: Number | None = None
    soft: Any = None
    raters: Any = None
    ignore: Annotated[int, Interval(least=0, most=65535, whole=True)] | None = None

    def __post_init__(self) -> None:
        if self.raters is not None and len(listed(self.raters)) < 2:
            raise UserError(f"data.raters must be a list of 2 or more folders or null, got {self.raters!r}")
        if self.raters is not None and self.soft is not None:
            raise UserError("data.soft and data.raters do not go together: one of them is learned from")
        if self.ignore is not None and (self.raters is not None or self.soft is not None):
            raise UserError("data.ignore is a value of masks: it goes neither with data.soft nor with data.raters")

    @property
    def pairing(self) -> dict[str, Any]:
        """The arguments of :func:`data_prep.layouts.find_pairs`."""
        names = ("name", "root", "images", "masks", "test_images", "test_masks", "test_share", "groups_file", "limit")
        return {**{name: getattr(self, name) for name in names}, "exclude": listed(self.exclude)}

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of images in training."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size


@dataclass(frozen=True, kw_only=True)
class DynUNetSettings:
    """The ``model`` group of an nnU-Net-like network, see ``configs/model``."""

    name: str
    base_filters: Count = 32
    max_filters: Count | None = None
    stages: Count | None = None
    deep_supervision: bool = False

    def filters(self, stages: int, dimensions: int) -> list[int]:
        """Channels of each stage."""
        most = self.max_filters or MOST_FILTERS[dimensions]
        return [min(self.base_filters * 2**i, most) for i in range(stages)]


@dataclass(frozen=True, kw_only=True)
class AugmentationSettings:
    """The ``augmentation`` group, see ``configs/augmentation/pictures.yaml``.

    Reference: Ye et al., Active Negative Loss, Section VI-B; gamma acts on intensities in [0, 1].
    """

    flip: Fraction = 0.5
    gamma: tuple[Positive, Positive] = (0.7, 1.5)
    gamma_probability: Fraction = 0.3

    def __post_init__(self) -> None:
        if self.gamma[0] > self.gamma[1]:
            raise UserError(f"augmentation.gamma must be two numbers, the lower one first; got {list(self.gamma)}")


Data = TypeVar("Data", bound=ItemSettings)
Augmentation = TypeVar("Augmentation")
Evaluation = TypeVar("Evaluation", bound=EvaluationSettings)


@dataclass(frozen=True)
class Adele(MethodSettings):
    """ADELE: see ``configs/method/adele.yaml``, :mod:`seg_anl.segmentation.adele`."""

    scales: tuple[Positive, ...]
    consistency: NonNegative
    certain: OpenFraction
    slowdown: OpenFraction
    confidence: OpenFraction
    every: Count | None


@dataclass(frozen=True)
class ConfidentSmoothing(MethodSettings):
    """CLSLSR: how much is smoothed is the loss's ``epsilon``."""

    only_loss: ClassVar[str | None] = "slsr"


@dataclass(frozen=True)
class Dast(MethodSettings):
    """DAST: see ``configs/method/dast.yaml``, :mod:`seg_anl.segmentation.dast`."""

    trusted_file: Any
    consistency: NonNegative
    supplement: NonNegative
    gradual_epochs: Count
    recent: Count
    share: OpenFraction
    sharpness: NonNegative

    def __post_init__(self) -> None:
        if self.trusted_file is None:
            raise UserError("method=dast needs method.trusted_file=FILE, training images with right masks, one a line")


@dataclass(frozen=True)
class TriNet(CoTeaching):
    """TriNet: Co-teaching's settings."""


METHODS: dict[str, type[MethodSettings]] = {
    "adele": Adele,
    "clslsr": ConfidentSmoothing,
    "co_teaching": CoTeaching,
    "dast": Dast,
    "plain": Plain,
    "trinet": TriNet,
}


@dataclass(frozen=True)
class Settings(Generic[Data, Augmentation, Evaluation]):
    """The checked groups (``loss`` is checked when it is built, as are networks that are no DynUNet), and the weight
    of MONAI's Dice loss.
    """

    run: RunSettings
    optim: OptimSettings
    data: Data
    noise: MaskNoiseSettings
    augmentation: Augmentation
    evaluation: Evaluation
    dice_weight: float
    records: frozenset[str]
    method: MethodSettings


ImageSettings = Settings[DataSettings, AugmentationSettings, EvaluationSettings]


def read_settings(config: DictConfig) -> ImageSettings:
    """The checked settings of a configuration with one seed."""
    settings = settings_of(config, DataSettings, AugmentationSettings, EvaluationSettings, RECORDS, METHODS)
    if settings.data.ignore is not None and (settings.noise.alpha or settings.dice_weight):
        raise UserError("data.ignore needs noise.alpha=0 and loss.dice_weight=0: neither knows unlabeled pixels")
    if config.model.get("name") == "dynunet":
        checked(DynUNetSettings, plain(config.model), "model")
    _check_replaced_masks(settings)
    _check_method(config, settings)
    return settings


def settings_of(
    config: DictConfig,
    data: type[Data],
    augmentation: type[Augmentation],
    evaluation: type[Evaluation],
    records: Collection[str],
    methods: Mapping[str, type[MethodSettings]],
) -> Settings[Data, Augmentation, Evaluation]:
    """The checked settings of images or volumes, by the dataclasses of their groups and the records they can write."""
    run, its = checked(RunSettings, top_level(config)), checked(data, plain(config.data), "data")
    check_loss(config.loss)
    dice_weight = config.loss.get("dice_weight", 0.0)
    if wrong := complaint("loss.dice_weight", NonNegative, dice_weight):
        raise UserError(wrong)
    if its.weights_file is not None and dice_weight:
        raise UserError("data.weights_file needs loss.dice_weight=0: the Dice term knows no weights")
    return Settings(
        run=run,
        optim=checked(OptimSettings, plain(config.optim), "optim"),
        data=its,
        noise=checked(MaskNoiseSettings, plain(config.noise), "noise"),
        augmentation=checked(augmentation, plain(config.augmentation), "augmentation"),
        evaluation=checked(evaluation, plain(config.evaluation), "evaluation"),
        dice_weight=dice_weight,
        records=checked_records(run.record, records, fold=run.fold),
        method=saved_method(config, methods),
    )


def saved_method(config: DictConfig, known: Mapping[str, type[MethodSettings]] = METHODS) -> MethodSettings:
    """The checked ``method`` group, which earlier versions lack."""
    if "method" not in config:
        return Plain()
    return method_settings(plain(config.method), str(config.loss.name), known)


def _check_replaced_masks(settings: ImageSettings) -> None:
    """Refuse settings that do not go with soft labels or raters."""
    data = settings.data
    if data.soft is None and data.raters is None:
        return
    setting = "data.soft" if data.raters is None else "data.raters"
    if settings.noise.alpha:
        raise UserError(f"noise.alpha={settings.noise.alpha} does not go with {setting}, which replaces the masks")
    if data.soft is not None and settings.dice_weight:
        raise UserError("data.soft needs loss.dice_weight=0: the Dice term is of masks")


def _check_method(config: DictConfig, settings: ImageSettings) -> None:
    """Refuse settings that do not go with the method."""
    method, data = settings.method, settings.data
    if isinstance(method, Plain):
        return
    name = f"method={config.method.name}"
    if settings.dice_weight:
        raise UserError(f"{name} needs loss.dice_weight=0: it takes the loss of each pixel")
    if config.model.get("deep_supervision"):
        raise UserError(f"{name} needs model.deep_supervision=false: it has several outputs of its own")
    if data.ignore is not None:
        raise UserError(f"{name} does not go with data.ignore: it wants a label for each pixel")
    if isinstance(method, Dast) and config.model.name != "dynunet":
        raise UserError(f"{name} needs model=dynunet, which it gives a second decoder; got model={config.model.name}")
    if isinstance(method, Dast) and settings.run.batch_size < 2:
        raise UserError(f"{name} needs batch_size of 2 or more: half of a batch are trusted masks")
    if isinstance(method, (CoTeaching, Dast)) and data.weights_file is not None:
        raise UserError(f"data.weights_file does not go with {name}, which weighs images itself")
    if isinstance(method, (Adele, ConfidentSmoothing, Dast)) and (data.soft is not None or data.raters is not None):
        raise UserError(f"{name} looks for wrong masks: it goes neither with data.soft nor with data.raters")


def data_settings(config: DictConfig) -> DataSettings:
    """The checked ``data`` group."""
    return checked(DataSettings, plain(config.data), "data")


def noise_name(config: DictConfig) -> str:
    """The part of a run's path that names the noise."""
    return f"alpha{config.noise.alpha:g}-beta{config.noise.beta:g}"
