"""Place runs in a figure: which panel and which line, and which runs share both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from seg_anl.records import UserError, is_number
from seg_anl.reporting.names import PENALTY_NAMES, data_name, loss_name, loss_titles, noise_order, number
from seg_anl.reporting.run_directories import Run
from seg_anl.reporting.run_settings import differing

NORMALIZED = {"ce": "nce", "focal": "nfl", "mae": "nmae", "rce": "nrce", "gce": "ngce"}  # Ma et al., Figs. 1 and 2
SCALED = ("nce", "nfl", "mae", "rce")  # Ma et al., Fig. 3
ACTIVE_PASSIVE = ("nce_mae", "nce_rce", "nfl_mae", "nfl_rce")  # Ma et al., Fig. 4
ALIKE = {frozenset(("nce", "nfl")): "AAL", frozenset(("mae", "rce")): "PPL"}  # two active or two passive losses
SYMBOLS = {"loss.alpha": "α", "loss.beta": "β", "loss.lam": "λ", "loss.p": "p", "loss.tau": "τ"}

PANEL = ["row", "column"]  # columns of :func:`place_runs`
CELL = [*PANEL, "line"]


class Place(NamedTuple):
    """A row, column or line: its sort key and its label."""

    order: Any
    text: str


ONE = Place(0, "")
EVERY = Place(-1, "every column")
"""The column of a run drawn for comparison in all columns of its row."""

Placing = Callable[[Run], Place | None]
"""The row, column or line of a run; None for a run that is not part of the figure."""


def place_runs(runs: Sequence[Run], placings: Mapping[str, Placing]) -> pd.DataFrame:
    """Place runs: one row per run and panel, with the run, its path, and its column, row and line as categories.

    Data sets and noises are columns or, if ``placings`` have columns, rows. A run of :data:`EVERY` column is repeated
    for each column of its row.

    Raises:
        UserError: if two runs of a line differ in more than the seed, or are duplicates.
    """
    frame = pd.DataFrame({"run": runs, "path": [run.path for run in runs]}, dtype=object)
    for name in CELL:
        frame[name] = [placings[name](run) if name in placings else ONE for run in runs]
    conditions = [condition(run) for run in runs]
    if "column" not in placings:
        frame["column"] = conditions
    elif len({*conditions}) > 1:
        frame["row"] = [
            Place((place.order, row.order), "\n".join(filter(None, (place.text, row.text))))
            for place, row in zip(conditions, frame["row"], strict=True)
        ]
    order = {name: dict.fromkeys(place.text for place in sorted({*frame[name]})) for name in CELL}
    frame[CELL] = frame[CELL].map(lambda place: place.text)
    shared = frame["column"] == EVERY.text
    columns = frame.loc[~shared, PANEL].drop_duplicates()
    frame = pd.concat([frame[shared].drop(columns="column").merge(columns, on="row"), frame[~shared]])
    for (_, column, line), some in frame.groupby(CELL):
        check_seeds([*some["run"]], f"the line {line!r}" if line else f"the panel {column!r}")
    for name, labels in order.items():
        frame[name] = pd.Categorical(frame[name], [*labels]).remove_unused_categories()
    return frame.reset_index(drop=True)


def check_seeds(runs: Sequence[Run], target: str) -> None:
    """Raise a UserError if two runs differ in more than the seed, or are duplicates."""
    seeds: dict[Any, Run] = {}
    for run in runs:
        if names := differing([runs[0].settings, run.settings]):
            values = ", ".join(str(each.settings.get(names[0])) for each in (runs[0], run))
            raise UserError(
                f"{runs[0].path} and {run.path} would share {target} but differ in {names[0]} ({values}): give runs "
                "that differ only in the seed"
            )
        if (twin := seeds.setdefault(run.seed, run)) is not run:
            raise UserError(f"{twin.path} and {run.path} have the same settings and seed: give one of them")


def conditions_text(placed: pd.DataFrame) -> str:
    """All data sets and noises as text."""
    return "; ".join(place.text for place in sorted({condition(run) for run in placed["run"]}))


def condition(run: Run) -> Place:
    """Data set and noise of a run."""
    text = f"{data_name(run.config, short=True)}, {run.noise_name}"
    return Place((run.data_name, noise_order(run.config)), _plain(text))


def loss_of(run: Run) -> str:
    """The ``loss.name`` of a run."""
    return str(run.settings.get("loss.name"))


def loss(run: Run) -> Place:
    """The loss by name, regardless of its parameters."""
    return Place([*loss_titles(), loss_of(run)].index(loss_of(run)), loss_name(run.config["loss"]))


def method(run: Run) -> Place:
    """Loss and training method, and for active negative losses the regularizer, which is part of their definition."""
    order, text, used = float(loss(run).order), run.method_name, penalties(run)
    if loss_of(run) == "active_negative" or loss(run).text.startswith("ANL"):
        text += f" (w/ {' and '.join(PENALTY_NAMES[name] for name in used)})" if used else ""
        order += 0.1 * ("weight_decay" not in used)  # L2 first, as in the papers
    return Place(order, _plain(text))


def _plain(text: str) -> str:
    """A name without matplotlib's math mode."""
    return " ".join(text.split()).replace("$", r"\$")


def setting(run: Run, name: str) -> float:
    """A numeric setting by its dotted name; 0 if it is not set."""
    value = run.settings.get(name)
    return float(value) if is_number(value) else 0.0


def penalties(run: Run) -> dict[str, float]:
    """The active regularizers of the network's weights, by the name of their setting below ``optim``."""
    return {name: setting(run, f"optim.{name}") for name in PENALTY_NAMES if setting(run, f"optim.{name}") > 0}


def amount(name: str) -> Placing:
    """The value of a numeric setting, such as ``α = 0.1``."""

    def place(run: Run) -> Place | None:
        value = setting(run, name)
        return Place(value, f"{SYMBOLS[name]} = {number(value)}") if is_number(run.settings.get(name)) else None

    return place


def only(names: str, place: Placing, where: Callable[[Run], bool] = lambda run: True) -> Placing:
    """Apply ``place`` only to runs of these losses for which ``where`` holds."""
    return lambda run: place(run) if loss_of(run) in names.split() and where(run) else None


def together(run: Run) -> Place:
    """One column for all runs."""
    return ONE


def pair_with_normalized(run: Run) -> Place | None:
    """A loss together with its normalized form."""
    for i, pair in enumerate(NORMALIZED.items()):
        if loss_of(run) in pair:
            return Place(i, " / ".join(loss_name({"name": name}) for name in pair))
    return None


def is_normalized(run: Run) -> Place:
    """Whether a loss is the normalized one of its pair."""
    return Place(1, "normalized") if loss_of(run) in NORMALIZED.values() else Place(0, "not normalized")


def _parts(run: Run) -> dict[str, float]:
    """The parts of ``active_passive`` with nonzero weights, or the loss itself."""
    if loss_of(run) != "active_passive":
        return {loss_of(run): 1.0}
    parts: dict[str, float] = {}
    for role, weight in (("active", "loss.alpha"), ("passive", "loss.beta")):
        part = str(run.config["loss"].get(role))
        parts[part] = parts.get(part, 0.0) + setting(run, weight)
    return {part: weight for part, weight in parts.items() if weight > 0}


def scaled_loss(run: Run) -> Place | None:
    """A loss of Ma et al., Fig. 3, whatever its scale."""
    (name, *more) = _parts(run) or [""]
    return Place(SCALED.index(name), loss_name({"name": name})) if name in SCALED and not more else None


def scale(run: Run) -> Place:
    """The scale of a loss."""
    weight = sum(_parts(run).values())
    return Place(weight, f"× {number(weight)}")


def combination(run: Run) -> Place | None:
    """A combination of losses: active and passive (Ma et al.), two active or two passive."""
    kind = "APL" if loss_of(run) in ACTIVE_PASSIVE else ALIKE.get(frozenset(_parts(run)))
    return Place((kind != "APL", kind, loss(run).order), f"{loss(run).text} ({kind})") if kind else None


def regularizer(name: str) -> Placing:
    """The regularizer of a loss.

    The loss without a regularizer is drawn in all columns, and so is ANL-CE for comparison with another loss.
    """

    def place(run: Run) -> Place | None:
        used = [*penalties(run)]
        if loss_of(run) not in (name, "anl_ce") or (loss_of(run) == name and len(used) > 1):
            return None
        if loss_of(run) != name or not used:
            return EVERY
        return Place([*PENALTY_NAMES].index(used[0]), PENALTY_NAMES[used[0]])

    return place


def strength(name: str) -> Placing:
    """The strength of the regularizer of a loss; for another loss its method."""

    def place(run: Run) -> Place:
        if loss_of(run) != name:
            return Place(-2, method(run).text)
        used = sum(penalties(run).values())
        return Place(used, f"δ = {number(used)}") if used else Place(-1, "no regularizer")

    return place
