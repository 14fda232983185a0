"""Exact and near duplicates among the images of a dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

THUMBNAIL = 32
# Six pairs of the 2150 ISIC-2017 images lie above: copies, or one photograph with other brightness or colors. Different
# photographs reach 0.98.
NEAR = 0.99
_BLOCK = 1024


class Fingerprint(NamedTuple):
    """An image's file digest and its normalized thumbnail (zero mean, unit length)."""

    item: str
    split: str
    sha256: str
    thumbnail: NDArray[np.float32]


class Duplicate(NamedTuple):
    """A row of duplicates.csv: ``item`` shows the same picture as ``first``, which comes earlier in the dataset."""

    first: str
    first_split: str
    item: str
    split: str
    kind: str  # "exact": equal files, or "near"
    similarity: float  # correlation of the thumbnails


def fingerprint(item: str, split: str, file: Path, image: NDArray[np.uint8]) -> Fingerprint:
    """The fingerprint of an image (H, W) or (H, W, 3) that was read from ``file``."""
    gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return Fingerprint(item, split, hashlib.sha256(file.read_bytes()).hexdigest(), small / max(length, 1e-6))


def find_duplicates(prints: Sequence[Fingerprint]) -> list[Duplicate]:
    """All pairs of equal files, or whose thumbnails correlate by at least 0.99; plain images never do."""
    found = []
    thumbnails = np.array([one.thumbnail for one in prints])
    for start in range(0, len(prints), _BLOCK):
        similarity = thumbnails[start : start + _BLOCK] @ thumbnails.T
        for row, column in np.argwhere(similarity >= NEAR):
            first, second = prints[start + row], prints[column]
            if start + row < column and first.sha256 != second.sha256:
                found.append((first, second, "near", float(similarity[row, column])))
    by_digest: dict[str, Fingerprint] = {}
    for one in prints:
        if (first := by_digest.setdefault(one.sha256, one)) is not one:
            found.append((first, one, "exact", 1.0))
    found.sort(key=lambda pair: (pair[2], pair[0].item, pair[1].item))
    return [
        Duplicate(one.item, one.split, other.item, other.split, kind, round(similarity, 5))
        for one, other, kind, similarity in found
    ]
