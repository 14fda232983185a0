"""Output of one command as input of another: predictions and an audit."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial

import numpy as np

from ..base import APPLY, AUDIT
from ..case import Canary, Case, damaged, no_file, replaces, writes
from .labels import save_array

GROUP = "results of a command"
PREDICTIONS = {
    "of another size": np.zeros((2, 3, 3), np.float32),
    "not finite": np.full((2, 30, 40), np.nan, np.float32),
    "objects": np.array([Canary()], object),
    "complex": np.zeros((2, 30, 40), complex),
}


def cases(rng: random.Random) -> Iterator[Case]:
    for name, array in PREDICTIONS.items():
        make = replaces("predictions/m1.npy", partial(save_array, array), "predictions/m1.png")
        yield Case(GROUP, f"predictions {name}", AUDIT, make)
    yield from no_file(GROUP, AUDIT, "predictions/m1.png")
    yield from damaged(GROUP, AUDIT, "predictions/m1.png", 6, rng)
    for file in ("audit/audit.csv", "audit/audit.json"):
        for words in (APPLY, AUDIT):
            for content in (b"", b"[" * 10**5, b"item\n../../OUTSIDE\n", b'{"items": null}', b"\xff"):
                yield Case(GROUP, f"{words[1]} {file} {content[:20]!r}", words, writes(file, content))
            yield from no_file(GROUP, words, file)
        yield from damaged(GROUP, APPLY, file, 5, rng)
