"""Place runs in a figure: which panel and which line, and which runs share both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from seg_anl.records import UserError, is_number
from seg_anl.records.recipes import flat
from seg_anl.reporting.names import PENALTY_NAMES, data_name, loss_name, loss_titles, noise_order, number
from seg_anl.reporting.run_directories import Run
from seg_anl.reporting.run_settings import differing, flat_settings

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


class Spot(NamedTuple):
    """Where a run is drawn: its line, and the column and row of its panel. Column None: by data set and noise."""

    column: Place | None
    line: Place = ONE
    row: Place = ONE


Placing = Callable[[Run], Spot | None]
"""The spot of a run in a figure; None for a run that is not part of it."""


def place_runs(runs: Sequence[Run], placing: Placing) -> pd.DataFrame:
    """Place runs: one row per run and panel, with the run, its path, and its column, row and line as categories.

    Data sets and noises are columns or, if columns are used for something else, rows. A run of :data:`EVERY` column is
    repeated for each column of its row.

    Raises:
        UserError: if two runs of a line differ in more than the seed, or are duplicates.
    """
    spots = [(run, spot) for run in runs if (spot := placing(run))]
    has_several = len({condition(run) for run, _ in spots}) > 1
    rows = [(run, run.path, *_with_condition(spot, condition(run), has_several)) for run, spot in spots]
    frame = pd.DataFrame(rows, columns=["run", "path", "column", "line", "row"])
    order = {name: dict.fromkeys(place.text for place in sorted({*frame[name]})) for name in CELL}
    frame[CELL] = frame[CELL].map(lambda place: place.text)
    shared = frame["column"] == EVERY.text
    if shared.any():
        columns = frame.loc[~shared, PANEL].drop_duplicates()
        frame = pd.concat([frame[shared].drop(columns="column").merge(columns, on="row"), frame[~shared]])
    for (_, column, line), some in frame.groupby(CELL):
        check_seeds([*some["run"]], f"the line {line!r}" if line else f"the panel {column!r}")
    for name, labels in order.items():
        frame[name] = pd.Categorical(frame[name], [*labels]).remove_unused_categories()
    return frame.reset_index(drop=True)


def _with_condition(spot: Spot, run_condition: Place, has_several: bool) -> Spot:
    """The spot with the run's data set and noise as its column or, if there are several, as part of its row."""
    if spot.column is None:
        return spot._replace(column=run_condition)
    if not has_several:
        return spot
    text = "\n".join(filter(None, (run_condition.text, spot.row.text)))
    return spot._replace(row=Place((run_condition.order, spot.row.order), text))


def check_seeds(runs: Sequence[Run], target: str) -> None:
    """Raise a UserError if two runs differ in more than the seed, or are duplicates."""
    seeds: dict[Any, Run] = {}
    for run in runs:
        settings, others = flat_settings(run.config), flat_settings(runs[0].config)
        if names := differing([others, settings]):
            raise UserError(
                f"{runs[0].path} and {run.path} would share {target} but differ in {names[0]} ({others.get(names[0])}, "
                f"{settings.get(names[0])}): give runs that differ only in the seed"
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
    return str(run.config["loss"].get("name"))


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
    value = flat(run.config).get(name)
    return float(value) if is_number(value) else 0.0


def amount(run: Run, name: str) -> Place:
    """The value of a setting, such as ``α = 0.1``."""
    return Place(setting(run, name), f"{SYMBOLS[name]} = {number(setting(run, name))}")


def penalties(run: Run) -> dict[str, float]:
    """The active regularizers of the network's weights, by the name of their setting below ``optim``."""
    return {name: setting(run, f"optim.{name}") for name in PENALTY_NAMES if setting(run, f"optim.{name}") > 0}


def _parts(run: Run) -> dict[str, float]:
    """The parts of ``active_passive`` with nonzero weights, or the loss itself."""
    if loss_of(run) != "active_passive":
        return {loss_of(run): 1.0}
    parts: dict[str, float] = {}
    for role, weight in (("active", "loss.alpha"), ("passive", "loss.beta")):
        part = str(run.config["loss"].get(role))
        parts[part] = parts.get(part, 0.0) + setting(run, weight)
    return {part: weight for part, weight in parts.items() if weight > 0}


def of_losses(names: str, spot: Placing, needs: str = "") -> Placing:
    """Apply ``spot`` only to runs of these losses that have a numeric setting ``needs``."""

    def place(run: Run) -> Spot | None:
        matches = loss_of(run) in names.split() and (not needs or is_number(flat(run.config).get(needs)))
        return spot(run) if matches else None

    return place


def by_method(run: Run) -> Spot:
    """One column per method."""
    return Spot(method(run))


def by_condition(run: Run) -> Spot:
    """One row per method."""
    return Spot(None, row=method(run))


def normalized(run: Run) -> Spot | None:
    """One column per loss, with its original and normalized form as lines."""
    for i, pair in enumerate(NORMALIZED.items()):
        if loss_of(run) in pair:
            form = pair.index(loss_of(run))
            titles = " / ".join(loss_name({"name": name}) for name in pair)
            return Spot(Place(i, titles), Place(form, ("not normalized", "normalized")[form]))
    return None


def scaled(run: Run) -> Spot | None:
    """One column per loss of Ma et al., Fig. 3, and one line per scale."""
    (name, weight), *more = [*_parts(run).items()] or [("", 0.0)]
    column = Place((*SCALED, name).index(name), loss_name({"name": name}))
    return Spot(column, Place(weight, f"× {number(weight)}")) if name in SCALED and not more else None


def combination(run: Run) -> Spot | None:
    """One line per combination of losses: active and passive (Ma et al.), two active or two passive."""
    kind = "APL" if loss_of(run) in ACTIVE_PASSIVE else ALIKE.get(frozenset(_parts(run)))
    order = (kind != "APL", kind, loss(run).order)
    return Spot(None, Place(order, f"{loss(run).text} ({kind})")) if kind else None


def regularizers(name: str) -> Placing:
    """One column per regularizer of a loss, one line per strength.

    The loss without a regularizer is drawn in all columns, and so is ANL-CE for comparison with another loss.
    """

    def spot(run: Run) -> Spot | None:
        (penalty, strength), *more = [*penalties(run).items()] or [("", 0.0)]
        if name != "anl_ce" and loss_of(run) == "anl_ce":
            return Spot(EVERY, Place(-2, method(run).text))
        if more or loss_of(run) != name:
            return None
        if not penalty:
            return Spot(EVERY, Place(-1, "no regularizer"))
        column = Place([*PENALTY_NAMES].index(penalty), PENALTY_NAMES[penalty])
        return Spot(column, Place(strength, f"δ = {number(strength)}"))

    return spot


def sharpened(name: str, *, norm: bool) -> Placing:
    """One line per value of a setting of CE+SR, with the norm or without it (lambda = 0)."""

    def spot(run: Run) -> Spot | None:
        return Spot(None, amount(run, name)) if (setting(run, "loss.lam") != 0) == norm else None

    return of_losses("ce_sr", spot, needs=name)
