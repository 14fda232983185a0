"""Read files that name training items: lists of items to leave out, tables of weights. Unknown ids are refused."""

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
    rows = read_table(path, "item", "weight")
    try:
        weights = {row["item"]: float(row["weight"]) for row in rows}
    except ValueError as error:
        raise UserError(f"{path}: damaged: a weight is not a number ({error})") from error
    if len(weights) < len(rows):
        ((item, count),) = Counter(row["item"] for row in rows).most_common(1)
        raise UserError(f"{path}: {item} is listed {count} times")
    refuse_unknown(weights, known, path)
    for item, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise UserError(f"{path}: the weight of {item} must be a number >= 0, got {weight}")
    return weights


def refuse_unknown(items: Collection[str], known: Collection[str], path: Path) -> None:
    """Raise a UserError if one of ``items``, listed in ``path``, is not ``known``."""
    unknown = sorted(set(items) - set(known))
    if unknown:
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        hint = nearest_names(unknown[0], known)[:200]
        raise UserError(f"{path}: no training item {unknown[0]!r}{more}; {hint}")
