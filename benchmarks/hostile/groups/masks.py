"""Masks as input of seg-anl-noise, -prep, -audit and -train."""

from __future__ import annotations

import random
from collections.abc import Iterator

from ..base import AUDIT, NOISE_MASKS, PREP, TRAIN_ON_FOLDER
from ..case import Case, damaged, no_file, replaces
from ..odd_pictures import ODD

GROUP = "mask"
MASK = "set/masks/m1.png"
ARGUMENTS = """
    --alpha=nan --alpha=-1 --beta=1e300 --kinds=x --seed=-1 --seed=1e99 --workers=0 --workers=100000 --size=999999
""".split()
NAMES = ["x/../../../OUTSIDE", "..", "/tmp", "", "x" * 300, "a\0b"]


def cases(rng: random.Random) -> Iterator[Case]:
    for words in (NOISE_MASKS, PREP, AUDIT, TRAIN_ON_FOLDER):
        for case in (
            *damaged(GROUP, words, MASK, 4 if words == TRAIN_ON_FOLDER else 12, rng),
            *no_file(GROUP, words, MASK),
            *(Case(GROUP, f"{MASK} {name}", words, replaces(MASK, make)) for name, make in ODD.items()),
        ):
            yield Case(GROUP, f"{' '.join(words[:2])} {case.name}", words, case.prepare)
    for word in ARGUMENTS:
        yield Case(GROUP, word, [*NOISE_MASKS, word])
    for name in NAMES:
        yield Case(GROUP, f"a name like {name[:20]!r}", [*PREP, "--name", name])
