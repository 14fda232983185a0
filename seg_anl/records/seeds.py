"""Randomness that depends only on a seed and an item's id, not on file order, worker count or machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
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


def chosen_items(
    items: Iterable[str], share: float, seed: int, purpose: str = "choice", groups: Mapping[str, str] | None = None
) -> set[str]:
    """Exactly ``round(share * N)`` items, those with the smallest hashes, so a larger ``share`` adds items.

    ``round`` is Python's, which rounds halves to the even number. The order of ``items`` does not matter. With
    ``groups``, the group of each item, whole groups are chosen until there are at least that many items.
    """
    ranked = _ranked(items, seed, purpose, groups)
    count, chosen = round(share * sum(map(len, ranked))), set[str]()
    for group in ranked:
        if len(chosen) >= count:
            break
        chosen.update(group)
    return chosen


def fold_items(
    items: Iterable[str], fold: int, folds: int, seed: int, groups: Mapping[str, str] | None = None
) -> set[str]:
    """Fold ``fold`` (from 0) of ``folds`` folds; item order does not matter.

    The sizes of the folds differ by one at most. With ``groups``, the group of each item, no group is in two folds:
    from the largest group to the smallest, each joins the fold with the fewest items.
    """
    parts: list[list[str]] = [[] for _ in range(folds)]
    for group in sorted(_ranked(items, seed, "fold", groups), key=len, reverse=True):
        min(parts, key=len).extend(group)
    return set(parts[fold])


def _ranked(items: Iterable[str], seed: int, purpose: str, groups: Mapping[str, str] | None) -> list[list[str]]:
    """The groups of items, or every item alone, in the order of the hashes of their names."""
    members: dict[str, list[str]] = {}
    for item in set(items):
        members.setdefault(groups[item] if groups else item, []).append(item)
    return [members[name] for name in sorted(members, key=lambda name: (item_hash(seed, name, purpose), name))]
