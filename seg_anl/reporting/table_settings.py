"""What the runs of a table have in common and in what they differ, so that like is compared with like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .cells import Cell, DataKey, Notice
from .settings import differing, value_text

# Named where they are the same in all runs; the full list stands in each run's config.yaml.
_COMMON = (
    "preset",
    "model.name",
    "model.patch_size",
    "epochs",
    "iterations",
    "batch_size",
    "model.batch_size",
    "optim.name",
    "optim.lr",
    "optim.schedule",
    "optim.weight_decay",
    "optim.l1",
    "precision",
    "data.size",
    "data.limit",
    "data.tuning",
    "noise.mode",
    "noise.counts",
    "evaluation.last_k",
)
# Rows of one table that differ here cannot be compared. Regularizers and rates belong to a method, as losses do.
_MUST_AGREE = ("epochs", "iterations", "data.", "model.", "evaluation.", "noise.", "batch_size", "precision")
_NAMES_THE_LOSS = "model.trainer"  # of nnU-Net: has to differ between rows; it stands among their settings
# Follows from the kind of noise, or is named in the column.
_OF_THE_NOISE = ("noise.rate", "noise.alpha", "noise.beta", "noise.kind", "noise.kinds", "noise.dataset")


class SettingsOfTable(NamedTuple):
    """Settings that all runs share (name, value); those that differ: name, and for each value the rows that have it."""

    common: tuple[tuple[str, str], ...]
    own: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    parameters: tuple[tuple[str, str], ...]


def settings_of_table(cells: Sequence[Cell]) -> SettingsOfTable:
    """The settings of a table: common ones, those in which its rows differ, and the parameters of each row's loss."""
    first = cells[0].settings
    names = differing([cell.settings for cell in cells])
    common = [(name, value_text(first[name])) for name in _COMMON if name in first and name not in names]
    told = [name for name in names if _of_loss_or_noise(name) or all(f"{name} " in cell.variant for cell in cells)]
    own = [(name, _by_value(name, cells)) for name in names if name not in told]
    return SettingsOfTable(tuple(common), tuple(own), _parameters(cells))


def unlike_rows(key: DataKey, cells: Sequence[Cell]) -> tuple[Notice, ...]:
    """A notice where rows under the same noise differ in what should be alike; variants say so themselves."""
    names: dict[str, None] = {}
    for noise in dict.fromkeys(cell.noise for cell in cells):
        some = [cell for cell in cells if cell.noise == noise]
        names.update(
            (name, None)
            for name in differing([cell.settings for cell in some])
            if name.startswith(_MUST_AGREE)
            and name != _NAMES_THE_LOSS
            and not any(f"{name} " in cell.variant for cell in some)
        )
    if not names:
        return ()
    found = "; ".join(
        f"{name} " + ", ".join(f"{value} ({rows})" for value, rows in _by_value(name, cells)) for name in names
    )
    paths = tuple(str(run.path) for cell in cells for run in cell.runs)
    return (Notice("unlike rows", paths, f"{key.data}: rows are not alike in {found}"),)


def _of_loss_or_noise(name: str) -> bool:
    return name.startswith("loss.") or name in _OF_THE_NOISE


def _by_value(name: str, cells: Sequence[Cell]) -> tuple[tuple[str, str], ...]:
    """Each value with the methods that have it; with their noises where a method has several values."""
    values: dict[str, dict[str, list[str]]] = {}
    for cell in cells:
        method = f"{cell.method}, {cell.variant}" if cell.variant else cell.method
        values.setdefault(value_text(cell.settings.get(name)), {}).setdefault(method, []).append(cell.noise)
    several = {
        method
        for method in {m for by in values.values() for m in by}
        if sum(method in by for by in values.values()) > 1
    }
    return tuple(
        (value, ", ".join(f"{m} under {'; '.join(noises)}" if m in several else m for m, noises in by.items()))
        for value, by in values.items()
    )


def _parameters(cells: Sequence[Cell]) -> tuple[tuple[str, str], ...]:
    """The loss of each method with its parameters; ``by noise`` for one that changes with the noise."""
    found: dict[str, dict[str, list[str]]] = {}
    for cell in cells:
        method = f"{cell.method}, {cell.variant}" if cell.variant else cell.method
        loss = cell.config["loss"]
        for name, value in loss.items():
            if name != "name" and not (name == "dice_weight" and not value):
                values = found.setdefault(method, {}).setdefault(name, [])
                text = value_text(value)
                values += [] if text in values else [text]
    return tuple(
        (method, ", ".join(f"{name} {values[0] if len(values) == 1 else 'by noise'}" for name, values in by.items()))
        for method, by in found.items()
    )
