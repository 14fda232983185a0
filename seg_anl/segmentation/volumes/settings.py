"""The settings of ``seg-anl-train`` with ``data=nnunet``, ``data=decathlon`` or ``data=volumes``, free of torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from omegaconf import DictConfig

from seg_anl.engine.method_settings import Plain
from seg_anl.engine.settings import EvaluationSettings, plain
from seg_anl.records import UserError
from seg_anl.records.ranges import Count, Fraction, Interval, NonNegative, Number, Positive, checked

from ..settings import DynUNetSettings, ItemSettings, Settings, settings_of

DATA_NAMES = ("nnunet", "decathlon", "volumes")
RECORDS = ("predictions",)
MOST_LABEL = 65535  # what predicted masks can hold
_UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12}

Label = Annotated[int, Interval(least=0, most=MOST_LABEL, whole=True)]
Angle = Annotated[float, Interval(least=0, most=180)]


@dataclass(frozen=True, kw_only=True)
class VolumeDataSettings(ItemSettings):
    """The ``data`` group, see ``configs/data/nnunet.yaml`` and ``volumes.yaml``."""

    name: Literal["nnunet", "decathlon", "volumes"]
    root: Any
    labels: tuple[Label, ...] = (0, 1)
    ignore: Label | None = None
    spacing: tuple[Positive, ...] | Literal["median"] | None = "median"
    patch: tuple[Count, ...] | None = None
    patches: Count = 1
    foreground: Fraction = 0.33
    intensity: Literal["zscore", "percentile", "window"] = "zscore"
    window: tuple[Number, Number] | None = None
    memory: Any = "8GB"
    cache: Any = None

    def __post_init__(self) -> None:
        if (self.intensity == "window") != (self.window is not None):
            raise UserError("data.intensity=window needs data.window=[LOW,HIGH], and data.window data.intensity=window")
        if self.window is not None and self.window[0] >= self.window[1]:
            raise UserError(f"data.window must be two numbers, the lower one first; got {list(self.window)}")
        if self.labels[:1] != (0,) or len({*self.labels, self.ignore}) <= len(self.labels) or len(self.labels) < 2:
            raise UserError(
                f"data.labels must be different values, 0 (background) first and without data.ignore; "
                f"got {list(self.labels)} and {self.ignore}"
            )
        self.budget  # noqa: B018 - refuses a bad size

    @property
    def budget(self) -> int:
        """``memory`` in bytes."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([MGT]B)", str(self.memory).upper())
        if found is None:
            raise UserError(f"data.memory must be a size such as 500MB or 8GB, got {self.memory!r}")
        return int(float(found[1]) * _UNITS[found[2]])


@dataclass(frozen=True, kw_only=True)
class PlannedSettings(DynUNetSettings):
    """The ``model`` group of a planned DynUNet, see :mod:`.planning`."""

    deep_supervision: bool = True


@dataclass(frozen=True, kw_only=True)
class VolumeAugmentationSettings:
    """The ``augmentation`` group, see ``configs/augmentation/nnunet.yaml``."""

    mirror: Fraction = 0.0
    rotation: Angle = 30.0
    rotation_probability: Fraction = 0.0
    scaling: tuple[Positive, Positive] = (0.7, 1.4)
    scaling_probability: Fraction = 0.0
    noise_variance: NonNegative = 0.1
    noise_probability: Fraction = 0.0
    blur: tuple[Positive, Positive] = (0.5, 1.0)
    blur_probability: Fraction = 0.0
    brightness: tuple[Positive, Positive] = (0.75, 1.25)
    brightness_probability: Fraction = 0.0
    contrast: tuple[Positive, Positive] = (0.75, 1.25)
    contrast_probability: Fraction = 0.0
    low_resolution: tuple[Positive, Positive] = (0.5, 1.0)
    low_resolution_probability: Fraction = 0.0
    gamma: tuple[Positive, Positive] = (0.7, 1.5)
    gamma_probability: Fraction = 0.0
    inverted_gamma_probability: Fraction = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, tuple) and value[0] > value[1]:
                raise UserError(f"augmentation.{name} must be two numbers, the lower one first; got {list(value)}")


@dataclass(frozen=True, kw_only=True)
class VolumeEvaluationSettings(EvaluationSettings):
    """``surface`` adds HD95 and the normalized surface Dice at ``tolerance`` mm."""

    train_every: Count = 5
    surface: bool = False
    tolerance: Positive = 1.0


VolumeSettings = Settings[VolumeDataSettings, VolumeAugmentationSettings, VolumeEvaluationSettings]


def is_of_volumes(config: DictConfig) -> bool:
    """Whether the configuration is for volumes."""
    return config.get("data", {}).get("name") in DATA_NAMES


def read_volume_settings(config: DictConfig) -> VolumeSettings:
    """The checked settings of a configuration with one seed."""
    if "size" in config.data:
        raise UserError("data.size is for data of images, as is preset=small; for volumes set data.patch")
    if config.channels_last:
        raise UserError("channels_last=true is for data of images, not of volumes")
    model = plain(config.model)
    if model.get("name") == "nnunet":
        checked(PlannedSettings, model, "model")
    elif model.get("name") != "monai":
        raise UserError(
            f"model.name={model.get('name')} is for data of images; for volumes take model=nnunet or model=monai"
        )
    return settings_of(
        config, VolumeDataSettings, VolumeAugmentationSettings, VolumeEvaluationSettings, RECORDS, {"plain": Plain}
    )
