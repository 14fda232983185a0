"""Class labels as input of seg-anl-noise."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..base import NOISE_LABELS
from ..case import Canary, Case, damaged, no_file, replaces

GROUP = "labels"
FILE = "labels.npy"
ARRAYS: dict[str, Any] = {
    "complex": np.zeros(9, complex),
    "text": np.array(["a", "b"]),
    "object": np.array([Canary()], object),
    "empty": np.zeros(0, int),
    "negative": np.array([-1, 0, 1]),
    "nan": np.array([0, np.nan]),
    "huge": np.array([0, 2**62]),
    "scalar": np.array(1),
    "3-d": np.zeros((2, 2, 2)),
}


def cases(rng: random.Random) -> Iterator[Case]:
    for name, array in ARRAYS.items():
        yield Case(GROUP, name, NOISE_LABELS, replaces(FILE, partial(save_array, array)))
    yield from damaged(GROUP, NOISE_LABELS, FILE, 12, rng)
    yield from no_file(GROUP, NOISE_LABELS, FILE)


def save_array(array: Any, path: Path) -> None:
    np.save(path, array)
