"""The settings of ``seg-anl-classify`` with their kinds and ranges, free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from seg_anl.engine.settings import OptimSettings, RunSettings, checked_records, plain, top_level
from seg_anl.records import UserError, config_folder
from seg_anl.records.ranges import Count, FractionBelowOne, WholeNumber, checked, complaint

from .noise import check_noise_settings

RECORDS = ("features", "gradients", "probabilities")


@dataclass(frozen=True, kw_only=True)
class ClassificationRunSettings(RunSettings):
    """The top level of the configuration.

    Attributes:
        published_model: the network of ``model=published``.
        record_every: epochs between records; the last epoch is always recorded.
        runs_per_device: seeds trained side by side in one process.
    """

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
class Settings:
    """The groups that the experiment itself reads; the others are checked by those who build from them."""

    run: ClassificationRunSettings
    optim: OptimSettings
    evaluation: EvaluationSettings
    tuning: float
    records: frozenset[str]


def read_settings(config: DictConfig) -> Settings:
    """The checked settings of a configuration with one seed.

    Raises:
        UserError: naming the setting that is unknown or out of range.
    """
    wrong = complaint("data.tuning", FractionBelowOne, config.data.tuning)
    if wrong:
        raise UserError(wrong)
    check_noise_settings(config.noise)
    _check_preset(config)
    return Settings(
        run=checked(ClassificationRunSettings, top_level(config)),
        optim=checked(OptimSettings, plain(config.optim), "optim"),
        evaluation=checked(EvaluationSettings, plain(config.evaluation), "evaluation"),
        tuning=float(config.data.tuning),
        records=checked_records(plain(config).get("record"), RECORDS),
    )


def _check_preset(config: DictConfig) -> None:
    """Refuse a preset that says nothing of the data set: it would change nothing, silently."""
    recipes = config_folder() / "recipe" / str(config.preset)
    if not (recipes / f"{config.data.name}.yaml").is_file():
        known = ", ".join(sorted(path.stem for path in recipes.glob("*.yaml")))
        raise UserError(
            f"preset={config.preset} has no settings for data={config.data.name}; "
            + (f"it has them for {known}" if known else "it is not a preset of seg-anl-classify")
        )
