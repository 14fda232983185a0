"""Checks of settings that both trainers have and no part of theirs checks when it is built."""

from __future__ import annotations

import math
from collections.abc import Collection

from omegaconf import DictConfig, OmegaConf

from seg_anl.losses import RobustLoss, build_loss
from seg_anl.records import UserError, is_number, is_whole_number, nearest_names

LARGEST_SEED = 2**32 - 1  # NumPy's
MOST_WORKERS = 512


def check_whole_numbers(config: DictConfig, lowest: int, *settings: str, highest: float = math.inf) -> None:
    """Refuse any of ``settings`` (dotted names) that is there and not a whole number from ``lowest`` to ``highest``."""
    for setting in settings:
        value = OmegaConf.select(config, setting, default=lowest)
        if not is_whole_number(value) or not lowest <= value <= highest:
            bounds = f">= {lowest}" if highest == math.inf else f"from {lowest} to {highest}"
            raise UserError(f"{setting} must be a whole number {bounds}, got {value!r}")


def check_seeds_and_workers(config: DictConfig, fewest_workers: int) -> None:
    """Refuse a ``seed``, ``noise.seed`` or number of ``workers`` that cannot be."""
    check_whole_numbers(config, 0, "seed", "noise.seed", highest=LARGEST_SEED)
    check_whole_numbers(config, fewest_workers, "workers", highest=MOST_WORKERS)


def of_each_seed(config: DictConfig) -> list[DictConfig]:
    """The configuration of each of its runs: ``seed`` is a number or a list of numbers.

    Raises:
        UserError: for a list that is empty or names a seed twice, and for several seeds in one ``run_dir``.
    """
    if not OmegaConf.is_list(config.seed):
        return [config]
    seeds = list(config.seed)
    if not seeds or len(set(map(str, seeds))) < len(seeds):
        raise UserError(f"seed must be a whole number, or a list of different ones; got {seeds}")
    if len(seeds) > 1 and config.run_dir is not None:
        raise UserError("run_dir is the folder of one run: name run_root for several seeds")
    configs = [config.copy() for _ in seeds]
    for one, seed in zip(configs, seeds, strict=True):
        one.seed = seed
    return configs


def check_switches(config: DictConfig, *settings: str) -> None:
    """Refuse any of ``settings`` (dotted names) that is there and neither true nor false; null is for "not said"."""
    for setting in settings:
        value = OmegaConf.select(config, setting)
        if value is not None and not isinstance(value, bool):
            raise UserError(f"{setting} must be true or false, got {value!r}")


def check_tuning_share(config: DictConfig) -> None:
    """Refuse a ``data.tuning`` that is not a share of the training set."""
    tuning = config.data.tuning
    if not is_number(tuning) or not 0 <= tuning < 1:
        raise UserError(f"data.tuning must be from 0 to below 1, got {tuning!r}")


def listed(config: DictConfig, setting: str) -> list[str]:
    """What a setting names: nothing (null), one thing, or a list."""
    value = OmegaConf.select(config, setting)
    if value is None:
        return []
    return [str(each) for each in value] if OmegaConf.is_list(value) else [str(value)]


def checked_records(config: DictConfig, known: Collection[str]) -> set[str]:
    """The records that the setting ``record`` asks for: a name, or a list of names.

    Raises:
        UserError: for a name that is not ``known``.
    """
    names = listed(config, "record")
    for name in names:
        if name not in known:
            raise UserError(f"record={name}: {nearest_names(name, known)}")
    return set(names)


def loss_from_config(config: DictConfig, *others: str) -> RobustLoss:
    """The loss of a ``loss`` configuration; ``others`` are settings in it that are not the loss's.

    Raises:
        UserError: for an unknown loss or parameter (with the nearest names) or a value out of range.
    """
    settings = OmegaConf.to_container(config, resolve=True)
    assert isinstance(settings, dict)
    parameters = {str(key): value for key, value in settings.items() if key not in ("name", *others)}
    try:
        return build_loss(str(config.name), **parameters)
    except ValueError as error:
        raise UserError(str(error)) from error
