"""Other files of a run that is resumed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from ..base import CLASSIFY, SUMMARY
from ..case import Case, damaged, no_file, replaces, writes

GROUP = "files of a run"
FILES = "config.yaml summary.json metrics.csv inputs.json environment.json noise/manifest.json noise/labels.npy".split()
CONTENTS = [
    *(b"", b"null", b"[]", b"[1]", b"{}", b'{"a": 1e999}', b'"x"', b"[" * 10**5, b"\xff\xfe", b"1" + b"0" * 5000),
    *(b'{"status": "finished"}', b'{"status": "finished", "k": 1, "epochs": 1, "metrics": {"a": 1}}'),
]


def cases(rng: random.Random) -> Iterator[Case]:
    for name in FILES:
        for content in CONTENTS[:: 1 if name == "summary.json" else 2]:
            yield Case(GROUP, f"{name} {content[:20]!r}", CLASSIFY, writes(f"cls/{name}", content))
        yield from no_file(GROUP, CLASSIFY, f"cls/{name}")
        yield from damaged(GROUP, CLASSIFY, f"cls/{name}", 4, rng)
    for name in ("tb", "checkpoints", "noise", "records"):
        yield Case(GROUP, f"{name} is a file", CLASSIFY, writes(f"cls/{name}", b"x", SUMMARY))
    yield Case(GROUP, ".lock is a folder", CLASSIFY, replaces("cls/.lock", Path.mkdir, SUMMARY))
    yield Case(GROUP, "what a killed run left", CLASSIFY, writes("cls/.partial-x.json", b"half", SUMMARY))
