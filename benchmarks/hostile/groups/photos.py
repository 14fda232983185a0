"""Photos as input of seg-anl-predict."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

from PIL import Image

from ..base import PREDICT
from ..case import Case, damaged, no_file, replaces
from ..odd_pictures import ODD

GROUP = "photo"
NAMES = ("x" * 250 + ".png", "ü.png", "a\nb.png", "-.png", "%s.png", os.fsdecode(b"\xff.png"))


def cases(rng: random.Random) -> Iterator[Case]:
    for name in ("a.png", "b.jpg", "c.tif"):
        yield from damaged(GROUP, PREDICT, f"photos/{name}", 12, rng)
        yield from no_file(GROUP, PREDICT, f"photos/{name}")
    for name, make in ODD.items():
        yield Case(GROUP, name, PREDICT, replaces("photos/odd.png", make))
    gray = Image.new("L", (40, 30), 99)
    for name in NAMES:
        yield Case(GROUP, repr(name), PREDICT, replaces(f"photos/{name}", lambda path: gray.save(path, "PNG")))
