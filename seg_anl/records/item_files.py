"""Read files that name training items: lists of items to leave out, tables of weights and of groups."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from .errors import UserError, nearest_names
from .foreign_files import read_table, read_text


def read_items(path: Path, known: Collection[str]) -> set[str]:
    """The items in a text file, one per line, except blank lines and lines that start with ``#``."""
    lines = read_text(path).removeprefix("\ufeff").splitlines()
    found = {line.strip() for line in lines if line.strip() and not line.startswith("#")}
    refuse_unknown(found, known, path)
    return found


def read_weights(path: Path, known: Collection[str]) -> dict[str, float]:
    """The weights in a CSV table with the columns item and weight; each item may appear once."""
    try:
        weights = {item: float(weight) for item, weight in _read_column(path, "weight").items()}
    except ValueError as error:
        raise UserError(f"{path}: damaged: a weight is not a number ({error})") from error
    refuse_unknown(weights, known, path)
    for item, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise UserError(f"{path}: the weight of {item} must be a number >= 0, got {weight}")
    return weights


def read_groups(path: Path, items: Collection[str]) -> dict[str, str]:
    """The group of each of ``items``, from a CSV table with the columns item and group, which may list others, too."""
    groups = _read_column(path, "group")
    if missing := sorted(item for item in items if not groups.get(item)):
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise UserError(
            f"{path}: no group for the training item {missing[0]!r}{more}; {nearest_names(missing[0], groups)[:200]}"
        )
    return {item: groups[item] for item in items}


def _read_column(path: Path, column: str) -> dict[str, str]:
    """A column of a CSV table, by item, without spaces around cells; each item may appear once."""
    cells = [(row["item"].strip(), row[column].strip()) for row in read_table(path, "item", column)]
    values = dict(cells)
    if len(values) < len(cells):
        ((item, count),) = Counter(item for item, _ in cells).most_common(1)
        raise UserError(f"{path}: {item} is listed {count} times")
    return values


def refuse_unknown(items: Collection[str], known: Collection[str], path: Path) -> None:
    """Raise a UserError if one of ``items``, listed in ``path``, is not ``known``."""
    unknown = sorted(set(items) - set(known))
    if unknown:
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        hint = nearest_names(unknown[0], known)[:200]
        raise UserError(f"{path}: no training item {unknown[0]!r}{more}; {hint}")
