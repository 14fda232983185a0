"""Settings of both trainers with their types and ranges; without torch, so that wrong ones are refused quickly."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from omegaconf import DictConfig, OmegaConf

from seg_anl.losses.declarations import declarations
from seg_anl.records import UserError, nearest_names
from seg_anl.records.ranges import (
    Count,
    FractionBelowOne,
    Interval,
    NonNegative,
    Positive,
    Seed,
    WholeNumber,
    complaint,
)

LOGGERS = ("tensorboard", "wandb", "mlflow", "trackio")  # packages, and extras that install them

Precision = Literal["fp32", "bf16", "fp16"]
Folds = Annotated[int, Interval(least=2, most=1000, whole=True)]
Workers = Annotated[int, Interval(least=0, most=512, whole=True)]


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """Settings of the training loop, described in ``configs/segmentation.yaml``."""

    epochs: Count
    precision: Precision = "fp32"
    channels_last: bool = False
    compile: bool = False
    graph: bool = False
    checkpoint_every: Count = 1
    progress: bool = True
    logger: Any = "tensorboard"


@dataclass(frozen=True, kw_only=True)
class RunSettings(LoopSettings):
    """The top level of a trainer's configuration; :func:`checked_records` checks ``record``."""

    task: str
    preset: str
    seed: Seed
    batch_size: Count
    drop_last: bool = True
    record: Any = ()
    run_root: Any = "runs"
    run_dir: Any = None
    device: Any = "auto"
    workers: Workers = 1
    folds: Folds | None = None
    fold: WholeNumber | None = None

    def __post_init__(self) -> None:
        for name in listed(self.logger):
            if name not in LOGGERS:
                raise UserError(f"logger={name}: {nearest_names(name, LOGGERS)}")
            if importlib.util.find_spec(name) is None:
                raise UserError(f"logger={name} needs another package: pip install 'seg-anl[{name}]'")
        if self.fold is not None and self.fold >= (self.folds or 0):
            expected = "needs folds" if self.folds is None else f"must be from 0 to {self.folds - 1}"
            raise UserError(f"fold={self.fold} {expected}, the number of parts of the training set")

    def batch_sizes(self, count: int, world_size: int) -> list[int]:
        """The number of samples in each step of an epoch over ``count`` images, over all processes."""
        size = self.batch_size
        if size > count:
            raise UserError(f"batch_size must be from 1 to {count}, the number of training images; got {size}")
        full, rest = divmod(count, size)
        sizes = [size] * full + [rest] * (rest > 0 and not self.drop_last)
        for each in {size, sizes[-1]}:
            if each % world_size:
                what = f"batch_size={size}" if each == size else f"the last batch, of {rest} images (see drop_last),"
                raise UserError(f"{what} cannot be shared by {world_size} processes")
        return sizes


@dataclass(frozen=True, kw_only=True)
class DivisionSettings:
    """The settings in the ``data`` group of both trainers that :mod:`.division` uses."""

    tuning: FractionBelowOne = 0.0
    groups_file: Any = None
    exclude_file: Any = None
    weights_file: Any = None


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """When to evaluate, in epochs.

    Attributes:
        last_k: the headline is the mean over these last epochs.
        test_every: epochs between evaluations on the test images; the last ``last_k`` epochs are always evaluated.
        train_every: epochs between evaluations on the training images; 0 for never, else the last epoch is one of them.
    """

    last_k: Count
    test_every: Count = 1
    train_every: WholeNumber = 1

    def test_is_due(self, epoch: int, epochs: int) -> bool:
        """Whether the test images are evaluated after ``epoch`` (from 0) of ``epochs``."""
        return (epoch + 1) % self.test_every == 0 or epoch >= epochs - self.last_k

    def train_is_due(self, epoch: int, epochs: int) -> bool:
        """Whether the training images are evaluated after ``epoch`` (from 0) of ``epochs``."""
        return self.train_every > 0 and ((epoch + 1) % self.train_every == 0 or epoch + 1 == epochs)


@dataclass(frozen=True)
class OptimSettings:
    """The ``optim`` group, described in ``configs/optim/sgd.yaml``."""

    name: Literal["adam", "adamw", "sgd"]
    lr: Positive
    weight_decay: NonNegative = 0.0
    momentum: FractionBelowOne = 0.9
    nesterov: bool = False
    schedule: Literal["constant", "exponential", "cosine", "polynomial", "step", "milestones"] = "constant"
    gamma: Positive = 1.0
    step_size: Count = 1
    milestones: tuple[Count, ...] = ()
    eta_min: NonNegative = 0.0
    clip_norm: Positive | None = None
    l1: NonNegative = 0.0
    jacobian: NonNegative = 0.0
    loss_lr: Positive = 1e-3

    def __post_init__(self) -> None:
        if self.nesterov and self.name == "sgd" and self.momentum == 0:
            raise UserError("optim.nesterov=true needs optim.momentum > 0")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise UserError(f"optim.milestones must be a list of rising epochs > 0, got {list(self.milestones)}")


def plain(config: DictConfig, *, omit: Collection[str] = ()) -> dict[str, Any]:
    """The resolved settings of a group as plain values, except those in ``omit``."""
    settings = OmegaConf.to_container(config, resolve=True)
    assert isinstance(settings, dict)
    return {str(name): value for name, value in settings.items() if name not in omit}


GROUPS = ("data", "noise", "loss", "model", "optim", "method", "augmentation", "evaluation")


def top_level(config: DictConfig) -> dict[str, Any]:
    """The settings outside any group."""
    return plain(config, omit=GROUPS)


def check_loss(config: DictConfig) -> None:
    """Refuse a loss's own parameter out of its declared range; the loss checks the rest once it is built.

    Raises:
        UserError: naming the loss and the parameter.
    """
    declaration = declarations().get(str(config.name))
    if declaration is None:
        raise UserError(f"loss.name={config.name}: {nearest_names(str(config.name), declarations())}")
    for name, value in plain(config).items():
        annotation = declaration.annotations.get(name)
        if annotation is not None and (wrong := complaint(name, annotation, value)):
            raise UserError(f"loss {declaration.name!r}: {wrong}")


def of_each_run(config: DictConfig) -> list[DictConfig]:
    """The configurations of all runs: ``seed`` may be a list, and ``folds`` without ``fold`` means all folds."""
    choices: list[dict[str, Any]] = [{}]
    if config.get("fold") is None and complaint("folds", Folds, config.get("folds")) is None:
        choices = [{"fold": fold} for fold in range(config.folds)]
    if OmegaConf.is_list(config.seed):
        seeds = list(config.seed)
        if not seeds or len(set(map(str, seeds))) < len(seeds):
            raise UserError(f"seed must be a whole number or a list of different ones, got {seeds}")
        choices = [{**choice, "seed": seed} for choice in choices for seed in seeds]
    if len(choices) > 1 and config.run_dir is not None:
        raise UserError("run_dir is the folder of one run: set run_root for several seeds or folds")
    configs = [config.copy() for _ in choices]
    for one, choice in zip(configs, choices, strict=True):
        one.update(choice)
    return configs


def listed(value: Any) -> tuple[str, ...]:
    """The names in a setting that may be null, one name, or a list."""
    if value is None:
        return ()
    return tuple(map(str, value)) if isinstance(value, (list, tuple)) else (str(value),)


def checked_records(value: Any, known: Collection[str], *, fold: int | None = None) -> frozenset[str]:
    """The names in the setting ``record``; predictions are for runs without a ``fold``."""
    if fold is not None and "predictions" in listed(value):
        raise UserError("record=predictions is for runs without a fold; a fold predicts its held-out items anyway")
    for name in listed(value):
        if name not in known:
            raise UserError(f"record={name}: {nearest_names(name, known)}")
    return frozenset(listed(value))
