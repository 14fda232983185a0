"""last.pt damaged, with another structure, with code in it, or not a file at all."""

from __future__ import annotations

import pickle
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ..base import CLASSIFY, EXPORT, PREDICT, SUMMARY
from ..case import Canary, Case, Prepare, damaged, no_file, remove, writes

GROUP = "checkpoint"
READERS = [
    ("seg/checkpoints/last.pt", PREDICT),
    ("seg/checkpoints/last.pt", EXPORT),
    ("cls/checkpoints/last.pt", CLASSIFY),
]
ABSENT = object()
VALUES: list[Any] = [ABSENT, None, "text", [], {}, [1], {"a": None}, -1, 1e300, torch.ones(2), Canary()]
NAN = float("nan")


def cases(rng: random.Random) -> Iterator[Case]:
    for file, words in READERS:
        name = f"{words[0]} {file}"
        yield from damaged(GROUP, words, file, 15, rng, SUMMARY)
        yield from no_file(GROUP, words, file, SUMMARY)
        for part in ("schema", "epoch", "rows", "random", "model"):
            for value in VALUES[:: 1 if part in ("epoch", "rows", "model") else 2]:
                text = "absent" if value is ABSENT else str(value)[:20]
                yield Case(GROUP, f"{name} {part}={text}", words, _replaces_entry(file, part, value))
        yield Case(GROUP, f"{name} is a pickle", words, writes(file, pickle.dumps(Canary()), SUMMARY))
        yield Case(GROUP, f"{name} unfolds", words, _pads_members(file))
        yield Case(GROUP, f"{name} is not finite", words, _not_finite(file))


def _replaces_entry(file: str, part: str, value: Any) -> Prepare:
    def prepare(folder: Path) -> None:
        remove(folder / SUMMARY)
        state = torch.load(folder / file, weights_only=True)
        if value is ABSENT:
            del state[part]
        else:
            state[part] = value
        torch.save(state, folder / file)

    return prepare


def _not_finite(file: str) -> Prepare:
    def prepare(folder: Path) -> None:
        state = torch.load(folder / file, weights_only=True)
        for tensor in state["model"].values():
            if tensor.is_floating_point():
                tensor.fill_(NAN)
        torch.save(state, folder / file)

    return prepare


def _pads_members(file: str) -> Prepare:
    """Compress each member of the archive with 16 MiB of zeros appended."""

    def prepare(folder: Path) -> None:
        with zipfile.ZipFile(folder / file) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(folder / file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in parts.items():
                archive.writestr(name, content + bytes(1 << 24))

    return prepare
