"""Checks of settings that both trainers have and no part of theirs checks when it is built."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from seg_anl.records import UserError


def check_whole_numbers(config: DictConfig, lowest: int, *settings: str) -> None:
    """Refuse any of ``settings`` (dotted names) that is there and not a whole number >= ``lowest``."""
    for setting in settings:
        value = OmegaConf.select(config, setting, default=lowest)
        if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
            raise UserError(f"{setting} must be a whole number >= {lowest}, got {value!r}")


def check_tuning_share(config: DictConfig) -> None:
    """Refuse a ``data.tuning`` that is not a share of the training set."""
    tuning = config.data.tuning
    if isinstance(tuning, bool) or not isinstance(tuning, (int, float)) or not 0 <= tuning < 1:
        raise UserError(f"data.tuning must be from 0 to below 1, got {tuning!r}")
