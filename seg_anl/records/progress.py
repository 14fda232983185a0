"""The progress bar for everything but training: on a terminal only, so log files stay clean."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress_bar(
    items: Iterable[Item], unit: str, *, total: int | None = None, title: str | None = None, shown: bool = True
) -> tqdm[Item]:
    """``items`` with a progress bar on standard error; ``shown=False`` hides it on a terminal too."""
    # disable=None: off unless standard error is a terminal
    return tqdm(
        items, desc=title, total=total, unit=unit, leave=False, disable=None if shown else True, dynamic_ncols=True
    )
