"""Which runs a figure is drawn from, and what tells its panels, rows and lines apart.

Runs that share a line may differ in their seed alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from seg_anl.records import UserError, is_number
from seg_anl.records.recipes import flat
from seg_anl.reporting.names import PENALTY_NAMES, loss_name, loss_order, noise_order, number, short_data_name
from seg_anl.reporting.run_directories import FINISHED, Run
from seg_anl.reporting.run_settings import flat_settings

NAMED = 3  # runs that one note names before it only counts


class Place(NamedTuple):
    """Where a run stands along an axis: by what it is sorted, and the text for the reader."""

    order: Any
    text: str


Axis = Callable[[Run], Place | None]
"""The place of a run; None for a run that has none in this figure."""


def select(runs: Iterable[Run], reason_against: Callable[[Run], str | None], needs: str) -> tuple[list[Run], list[str]]:
    """The runs that ``reason_against`` has nothing against, by path, and a line for each reason to leave others out.

    Raises:
        UserError: when none remains; it names the first run, what it lacks, and what the figure ``needs``.
    """
    kept: list[Run] = []
    refused: dict[str, list[str]] = {}
    for run in sorted(runs, key=lambda run: run.path):
        reason = f"is {run.status}: {run.reason}" if run.status != FINISHED else reason_against(run)
        if reason is None:
            kept.append(run)
        else:
            refused.setdefault(reason, []).append(run.path)
    if not kept:
        given = sum(map(len, refused.values()))
        first = next((f"{paths[0]} {reason}" for reason, paths in refused.items()), "no run was given")
        more = f" (and {given - 1} more)" if given > 1 else ""
        raise UserError(f"nothing to draw: {first}{more}; needed: {needs}")
    notes = []
    for reason, paths in refused.items():
        more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
        notes.append(f"left out: {', '.join(paths[:NAMED])}{more}: {reason}")
    return kept, notes


def split_by(runs: Iterable[Run], axis: Axis) -> dict[Place, list[Run]]:
    """The runs at each place of an axis, in its order."""
    parts: dict[Place, list[Run]] = {}
    for run in runs:
        place = axis(run)
        if place is not None:
            parts.setdefault(place, []).append(run)
    return dict(sorted(parts.items()))


def seeds_of_one_setting(runs: Sequence[Run], what: str) -> list[Run]:
    """``runs`` by seed, after checking that they may be averaged.

    Raises:
        UserError: when two of them differ in more than the seed, or are the same run twice; it names both.
    """
    first, settings = runs[0], flat_settings(runs[0].config)
    by_seed: dict[Any, Run] = {}
    for run in runs:
        other = flat_settings(run.config)
        for name in sorted(settings.keys() | other.keys()):
            if settings.get(name) != other.get(name):
                raise UserError(
                    f"{first.path} and {run.path} would share {what} but differ in {name} "
                    f"({settings.get(name)}, {other.get(name)}): give runs that differ there in the seed alone"
                )
        twin = by_seed.setdefault(run.seed, run)
        if twin is not run:
            raise UserError(f"{twin.path} and {run.path} are the same settings and seed twice: give one of them")
    return [by_seed[seed] for seed in sorted(by_seed, key=str)]


def seeds_text(counts: Iterable[int], one: str = "line", spread: str = "bands") -> str:
    """What a caption says of seeds: how many runs stand behind a line, and what the band is."""
    found = sorted(set(counts))
    if found == [1]:
        return f"One run for each {one}."
    count = str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"
    return f"Mean over {count} seeds; {spread} from the lowest to the highest seed."


def loss_of(run: Run) -> str:
    """The name of a run's loss among the settings."""
    return str(run.config["loss"].get("name"))


def setting(run: Run, name: str) -> Any:
    """A setting of a run's configuration by its dotted name; None where it is not set."""
    return flat(run.config).get(name)


def amount(run: Run, name: str) -> float:
    """A setting that is a number; 0 where it is not set."""
    value = setting(run, name)
    return float(value) if is_number(value) else 0.0


def penalties(run: Run) -> dict[str, float]:
    """Which regularizers of the network's weights are on: setting below ``optim`` to its strength."""
    return {name: amount(run, f"optim.{name}") for name in PENALTY_NAMES if amount(run, f"optim.{name}") > 0}


def by_amount(name: str, symbol: str) -> Axis:
    """The value of a setting that is a number, as ``α = 0.1``."""

    def place(run: Run) -> Place | None:
        value = setting(run, name)
        return Place(float(value), f"{symbol} = {number(value)}") if is_number(value) else None

    return place


def by_loss(run: Run) -> Place:
    """The loss by its name alone, whatever its parameters."""
    return Place(loss_order(run.config["loss"]), loss_name(run.config["loss"]))


def by_method(run: Run) -> Place:
    """Loss and training method; for active negative losses the regularizer too, which is part of their definition."""
    order, text = float(by_loss(run).order), run.method_name
    if loss_of(run) == "active_negative" or by_loss(run).text.startswith("ANL"):
        used = " and ".join(PENALTY_NAMES[penalty] for penalty in penalties(run))
        text += f" (w/ {used})" if used else ""
        order += 0.1 * ("weight_decay" not in penalties(run))  # with L2 first, as the papers have it
    return Place(order, _plain(text))


def by_condition(run: Run) -> Place:
    """Data set and noise."""
    return Place((run.data_name, noise_order(run.config)), _plain(f"{short_data_name(run.config)}, {run.noise_name}"))


def _plain(text: str) -> str:
    """A name in which matplotlib sees no formula."""
    return " ".join(text.split()).replace("$", r"\$")
