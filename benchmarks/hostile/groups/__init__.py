"""The cases, one module per kind of input."""

from __future__ import annotations

import random
from collections.abc import Iterator

from ..case import Case
from . import checkpoints, configurations, labels, masks, photos, plans, reports, results, run_files, settings, systems

_KINDS = (configurations, checkpoints, run_files, photos, masks, labels, reports, results, settings, systems, plans)


def cases(seed: int) -> Iterator[Case]:
    """All cases; ``seed`` is for the mutations."""
    for kind in _KINDS:
        yield from kind.cases(random.Random(f"{seed} {kind.__name__.rpartition('.')[2]}"))
