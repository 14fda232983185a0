"""Randomness that depends only on a seed and an item's id, not on file order, worker count or machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path, PurePath

import numpy as np

MASK_SUFFIX = "_segmentation"  # of the official ISIC masks
_DOUBLE_SUFFIXES = (".nii.gz",)


def item_id(path: Path, root: Path) -> str:
    """The id of a file: its POSIX path below ``root``, without suffix and ``_segmentation``.

    >>> item_id(Path("/data/masks/a/ISIC_01_segmentation.png"), Path("/data/masks"))
    'a/ISIC_01'
    >>> item_id(Path("/data/case.1.nii.gz"), Path("/data"))
    'case.1'
    """
    relative: PurePath = path.relative_to(root)
    name = relative.name
    for suffix in (*_DOUBLE_SUFFIXES, relative.suffix):
        if suffix and name.lower().endswith(suffix.lower()):
            name = name[: -len(suffix)]
            break
    name = name.removesuffix(MASK_SUFFIX)
    return relative.with_name(name).as_posix()


def item_hash(seed: int, item: str, purpose: str = "") -> int:
    """A 128-bit BLAKE2b hash of the arguments; ``purpose`` separates different uses of a seed."""
    text = f"{seed}\0{purpose}\0{item}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")


def item_generator(seed: int, item: str, purpose: str = "") -> np.random.Generator:
    """NumPy's PCG64 generator seeded with :func:`item_hash`."""
    return np.random.Generator(np.random.PCG64(item_hash(seed, item, purpose)))


def chosen_items(items: Iterable[str], share: float, seed: int, purpose: str = "choice") -> set[str]:
    """Exactly ``round(share * N)`` items, those with the smallest hashes, so a larger ``share`` adds items.

    ``round`` is Python's, which rounds halves to the even number. The order of ``items`` does not matter.
    """
    ranked = _ranked(items, seed, purpose)
    return set(ranked[: round(share * len(ranked))])


def fold_items(items: Iterable[str], fold: int, folds: int, seed: int) -> set[str]:
    """Fold ``fold`` (from 0) of ``folds`` folds, whose sizes differ by one at most; item order does not matter."""
    return set(_ranked(items, seed, "fold")[fold::folds])


def _ranked(items: Iterable[str], seed: int, purpose: str) -> list[str]:
    return sorted(set(items), key=lambda item: (item_hash(seed, item, purpose), item))
