"""Run directories as input of seg-anl-report: a broken one must not prevent a report on the other."""

from __future__ import annotations

import random
from collections.abc import Iterator

from ..base import REPORT
from ..case import Case, damaged, no_file, writes

GROUP = "report"
CONTENTS = (b"", b"null", b"[1]", b"{}", b"[" * 10**5, b"\xff", b"1" + b"0" * 5000, b"epoch,split\n1e99,test\n")


def cases(rng: random.Random) -> Iterator[Case]:
    for name in ("config.yaml", "summary.json", "metrics.csv"):
        for content in CONTENTS:
            yield Case(GROUP, f"{name} {content[:20]!r}", REPORT, writes(f"cls/{name}", content))
        yield from no_file(GROUP, REPORT, f"cls/{name}")
        yield from damaged(GROUP, REPORT, f"cls/{name}", 6, rng)
