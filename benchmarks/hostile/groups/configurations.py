"""config.yaml of an untrusted run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ..base import CLASSIFY, PREDICT
from ..case import VALUES, Case, Prepare, damaged, writes

GROUP = "configuration of a run"
FILE = "seg/config.yaml"
KEYS = """
    task data model loss optim seed new
    model.name model.stages model.base_filters model.max_filters model._target_ model.deep_supervision
    data.size data.classes data.name data.threshold
""".split()
NETWORKS = [("UNet", "act"), ("BasicUNet", "features"), ("SegResNet", "blocks_down"), ("own", "x")]

# Each list contains the previous one nine times: a billion values in nine lines.
LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
TEXTS = {"laughs": LAUGHS, "loop": "a: &a\n  b: *a\n", "deep": "[" * 10**5, "bell": "a: \a"}


def cases(rng: random.Random) -> Iterator[Case]:
    for key in KEYS:
        for value in rng.sample(VALUES, 9):
            yield Case(GROUP, f"{key}={str(value)[:30]}", PREDICT, _sets(key, value))
    for network, argument in NETWORKS:
        for value in VALUES[::2]:
            model = {"name": "own" if network == "own" else "monai", "network": network, argument: value}
            yield Case(GROUP, f"{network}.{argument}={str(value)[:30]}", PREDICT, _sets("model", model))
    for name, text in TEXTS.items():
        for file, words in ((FILE, PREDICT), ("cls/config.yaml", CLASSIFY)):
            yield Case(GROUP, f"{name} in {file}", words, writes(file, text.encode()))
    yield from damaged(GROUP, PREDICT, FILE, 25, rng)


def _sets(key: str, value: Any) -> Prepare:
    *groups, last = key.split(".")

    def prepare(folder: Path) -> None:
        config = yaml.safe_load((folder / FILE).read_text())
        group = config
        for name in groups:
            group = group[name]
        group[last] = value
        (folder / FILE).write_text(yaml.safe_dump(config))

    return prepare
