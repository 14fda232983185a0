"""What tells the panels, rows and lines of a figure apart: each run's place along an axis, read from its settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from seg_anl.records import is_number
from seg_anl.reporting.names import PENALTY_NAMES, loss_name, loss_order, noise_order, number, short_data_name
from seg_anl.reporting.runs import Run


class Place(NamedTuple):
    """Where a run stands along an axis: by what it is sorted, and what the reader is told."""

    order: Any
    text: str


Axis = Callable[[Run], Place | None]
"""The place of a run; None for a run that has none in this figure."""


def setting(run: Run, name: str, default: Any = None) -> Any:
    """A setting of a run's configuration by its dotted name."""
    value: Any = run.config
    for key in name.split("."):
        if not isinstance(value, dict) or key not in value:
            return default
        value = value[key]
    return value


def amount(run: Run, name: str) -> float:
    """A setting that is a number; 0 where it is not set."""
    value = setting(run, name)
    return float(value) if is_number(value) else 0.0


def by_amount(name: str, symbol: str) -> Axis:
    """The axis of a numeric setting, in rising order."""

    def place(run: Run) -> Place | None:
        value = setting(run, name)
        if not is_number(value):
            return None
        return Place(float(value), f"{symbol} = {number(value)}")

    return place


def penalties(run: Run) -> dict[str, float]:
    """Which regularizers of the network's weights are on: setting below ``optim`` to its strength."""
    return {name: amount(run, f"optim.{name}") for name in PENALTY_NAMES if amount(run, f"optim.{name}") > 0}


def by_loss(run: Run) -> Place:
    """The loss by its name alone, whatever its parameters."""
    loss = setting(run, "loss", {})
    return Place(loss_order(loss), loss_name(loss))


def by_method(run: Run) -> Place:
    """Loss and training method; for active negative losses the regularizer too, which is part of their definition."""
    order, text = by_loss(run).order, run.method_name
    if str(setting(run, "loss.name")).startswith(("anl_", "active_negative")):
        used = " and ".join(PENALTY_NAMES[penalty] for penalty in penalties(run))
        text += f" (w/ {used})" if used else ""
        order += 0.1 * ("weight_decay" not in penalties(run))  # with L2 first, as the papers have it
    return Place(order, text)


def by_condition(run: Run) -> Place:
    """Data set and noise."""
    return Place((run.data_name, noise_order(run.config)), f"{short_data_name(run.config)}, {run.noise_name}")
