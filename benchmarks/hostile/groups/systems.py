"""Full disks and stale environment variables."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from ..base import (
    AUDIT,
    CLASSIFY,
    CLASSIFY_NEW,
    EXPORT,
    NOISE_LABELS,
    NOISE_MASKS,
    PREDICT,
    PREP,
    REPORT,
    SUMMARY,
    TRAIN_NEW,
)
from ..case import Case, remove, writes

WRITING = [TRAIN_NEW, CLASSIFY_NEW, CLASSIFY, PREDICT, REPORT, NOISE_MASKS, NOISE_LABELS, PREP, AUDIT, EXPORT]
SIZES = (0, 1, 60, 300, 3000, 30_000, 200_000)
STALE = """
    WORLD_SIZE=2 WORLD_SIZE=x WORLD_SIZE=0 RANK=3 RANK=x LOCAL_RANK=x
    OMP_NUM_THREADS=abc OMP_NUM_THREADS= NUMEXPR_MAX_THREADS=1e3
""".split()
NNUNET = ["seg-anl-nnunet", "train", "501", "2d", "0", "-tr", "nnUNetTrainerRobust"]
OF_NNUNET = ["SEG_ANL_LOSS=gce ignore_index=3", "SEG_ANL_LOSS=config.yaml", "SEG_ANL_TRAIN=epochs=x"]


def cases(rng: random.Random) -> Iterator[Case]:
    for words in WRITING:
        for size in SIZES:
            name = f"{' '.join(words[:2])} {words[-1]} {size} bytes"
            yield Case("full disk", name, words, _remove_summary, largest_file=size)
    for variable in STALE:
        yield Case("environment", variable, CLASSIFY_NEW, environment=dict([variable.split("=")]))
    yield Case("environment", "RANK beyond", CLASSIFY_NEW, environment={"WORLD_SIZE": "2", "RANK": "5"})
    for variable in OF_NNUNET:
        name, _, value = variable.partition("=")
        yield Case("environment", variable, NNUNET, writes("config.yaml", b"a: &a [*a]"), environment={name: value})


def _remove_summary(folder: Path) -> None:
    remove(folder / SUMMARY)
