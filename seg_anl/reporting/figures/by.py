"""What tells the panels and lines of a figure apart: where each run stands along an axis."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from seg_anl.records import is_number
from seg_anl.records.recipes import flat
from seg_anl.reporting.names import PENALTY_NAMES, data_name, loss_name, loss_titles, noise_order, number
from seg_anl.reporting.run_directories import Run

# What each loss is called when normalized: the panels of Ma et al., Figs. 1 and 2.
NORMALIZED = {"ce": "nce", "focal": "nfl", "mae": "nmae", "rce": "nrce", "gce": "ngce"}
SCALED = ("nce", "nfl", "mae", "rce")
ACTIVE_PASSIVE = ("nce_mae", "nce_rce", "nfl_mae", "nfl_rce")
ALIKE = {"AAL": {"nce", "nfl"}, "PPL": {"mae", "rce"}}  # pairs of two active or two passive losses


class Place(NamedTuple):
    """Where a run stands along an axis: by what it is sorted, and the text for the reader."""

    order: Any
    text: str


Axis = Callable[[Run], Place | None]
"""The place of a run; None for a run that has none in this figure."""


def split(runs: Iterable[Run], axis: Axis) -> dict[Place, list[Run]]:
    """The runs at each place of an axis, in its order."""
    parts: dict[Place, list[Run]] = {}
    for run in runs:
        if place := axis(run):
            parts.setdefault(place, []).append(run)
    return dict(sorted(parts.items()))


def name_of_loss(run: Run) -> str:
    """A run's loss as settings name it."""
    return str(run.config["loss"].get("name"))


def setting(run: Run, name: str) -> float:
    """A setting that is a number, by its dotted name; 0 where it is not set."""
    value = flat(run.config).get(name)
    return float(value) if is_number(value) else 0.0


def penalties(run: Run) -> dict[str, float]:
    """Which regularizers of the network's weights are on: setting below ``optim`` to its strength."""
    return {name: setting(run, f"optim.{name}") for name in PENALTY_NAMES if setting(run, f"optim.{name}") > 0}


def everything(_: Run) -> Place:
    """One place for all."""
    return Place(0, "")


def only(losses: str, axis: Axis) -> Axis:
    """``axis`` for runs of these losses; no place for others."""
    return lambda run: axis(run) if name_of_loss(run) in losses.split() else None


def amount(name: str, symbol: str) -> Axis:
    """The value of a setting that is a number, as ``α = 0.1``."""

    def place(run: Run) -> Place | None:
        value = flat(run.config).get(name)
        return Place(float(value), f"{symbol} = {number(value)}") if is_number(value) else None

    return place


def condition(run: Run) -> Place:
    """Data set and noise."""
    text = f"{data_name(run.config, short=True)}, {run.noise_name}"
    return Place((run.data_name, noise_order(run.config)), _plain(text))


def loss(run: Run) -> Place:
    """The loss by its name alone, whatever its parameters."""
    name = name_of_loss(run)
    return Place([*loss_titles(), name].index(name), loss_name(run.config["loss"]))


def method(run: Run) -> Place:
    """Loss and training method; for active negative losses the regularizer too, which is part of their definition."""
    order, text = float(loss(run).order), run.method_name
    if name_of_loss(run) == "active_negative" or loss(run).text.startswith("ANL"):
        used = " and ".join(PENALTY_NAMES[penalty] for penalty in penalties(run))
        text += f" (w/ {used})" if used else ""
        order += 0.1 * ("weight_decay" not in penalties(run))  # with L2 first, as the papers have it
    return Place(order, _plain(text))


def _plain(text: str) -> str:
    """A name in which matplotlib sees no formula."""
    return " ".join(text.split()).replace("$", r"\$")


def normalized_pair(run: Run) -> Place | None:
    """A loss and its normalized form stand together."""
    for i, pair in enumerate(NORMALIZED.items()):
        if name_of_loss(run) in pair:
            return Place(i, " / ".join(loss_name({"name": name}) for name in pair))
    return None


def normalization(run: Run) -> Place:
    """Whether the loss is a normalized one."""
    return Place(1, "normalized") if name_of_loss(run) in NORMALIZED.values() else Place(0, "not normalized")


def _parts(run: Run) -> dict[str, float]:
    """The losses that ``active_passive`` adds up, with their weights, those of weight 0 left out; else the loss."""
    if name_of_loss(run) != "active_passive":
        return {name_of_loss(run): 1.0}
    weights = {"active": "loss.alpha", "passive": "loss.beta"}
    parts = {str(run.config["loss"].get(role)): setting(run, weight) for role, weight in weights.items()}
    return {part: weight for part, weight in parts.items() if weight > 0}


def scaled_loss(run: Run) -> Place | None:
    """A loss of Ma et al., Fig. 3, as it is, or the one part of a pair that has a weight."""
    (name, *more) = _parts(run) or [""]
    return Place(SCALED.index(name), loss_name({"name": name})) if name in SCALED and not more else None


def scale(run: Run) -> Place | None:
    """How much that loss is scaled."""
    (weight,) = _parts(run).values() if scaled_loss(run) else (None,)
    return None if weight is None else Place(weight, f"× {number(weight)}")


def combination(run: Run) -> Place | None:
    """Active + passive losses (Ma et al.), and pairs of two active or two passive ones."""
    if name_of_loss(run) in ACTIVE_PASSIVE:
        return Place(ACTIVE_PASSIVE.index(name_of_loss(run)), f"{loss(run).text} (APL)")
    for i, (kind, pair) in enumerate(ALIKE.items()):
        if _parts(run).keys() == pair:
            return Place(len(ACTIVE_PASSIVE) + i, f"{loss(run).text} ({kind})")
    return None


def penalty(run: Run) -> Place | None:
    """Which one regularizer of the weights is on."""
    (name, *more) = penalties(run) or [""]
    return Place([*PENALTY_NAMES].index(name), PENALTY_NAMES[name]) if name and not more else None


def strength(run: Run) -> Place | None:
    """Delta, the strength of the one regularizer that is on."""
    (delta,) = penalties(run).values() if penalty(run) else (None,)
    return None if delta is None else Place(delta, f"δ = {number(delta)}")


def unregularized(run: Run) -> Place | None:
    """The reference line of a loss without any regularizer."""
    return None if penalties(run) else Place(-1, "no regularizer")


def beside_apl(run: Run) -> Place | None:
    """The reference lines of NCE+RCE: ANL-CE, and the loss without any regularizer."""
    return Place(-2, method(run).text) if name_of_loss(run) == "anl_ce" else only("nce_rce", unregularized)(run)


def sharpened(axis: Axis, *, norm: bool) -> Axis:
    """CE+SR with the norm, or without it (lambda 0)."""
    return only("ce_sr", lambda run: axis(run) if (setting(run, "loss.lam") != 0) == norm else None)
