"""nnU-Net plans."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from ..base import PLAN
from ..case import Case, no_file, writes

GROUP = "plans"
FILE = "preprocessed/Dataset501_X/nnUNetPlans.json"
ENVIRONMENT = {"nnUNet_preprocessed": "preprocessed"}
TEXTS = ["", "[]", "{}", "null", "[" * 10**5, '{"configurations": 1}', '{"configurations": {"2d": {}}}']
GOOD = {"patch_size": [64, 64], "architecture": {"arch_kwargs": {"strides": [[1, 1], [2, 2]]}}}


def cases(rng: random.Random) -> Iterator[Case]:
    texts = [
        *TEXTS,
        *(_plans(**GOOD, inherits_from=value) for value in ("2d", 1, ["x"])),
        *(_plans(patch_size=value) for value in (None, 1, "x", [1, 2, 3])),
    ]
    for text in texts:
        yield Case(GROUP, text[:60], PLAN, writes(FILE, text.encode()), ENVIRONMENT)
    yield from no_file(GROUP, PLAN, FILE, environment=ENVIRONMENT)


def _plans(**configuration: Any) -> str:
    return json.dumps({"configurations": {"2d": configuration}})
