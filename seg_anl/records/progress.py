"""The bar of progress of all long work but training: on a terminal, and nothing in a file or a batch job's log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress_bar(
    items: Iterable[Item], unit: str, *, total: int | None = None, title: str | None = None, shown: bool = True
) -> tqdm[Item]:
    """The same items, counted on standard error as they pass; ``shown=False`` hides the bar on a terminal too."""
    # disable=None: off where standard error is no terminal.
    return tqdm(
        items, desc=title, total=total, unit=unit, leave=False, disable=None if shown else True, dynamic_ncols=True
    )
