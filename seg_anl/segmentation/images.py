"""Masks under the settings of the trainer: where foreground begins, how many classes there are."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from data_prep.pictures import label_values, read_labels, two_valued
from seg_anl.records import UserError


def read_mask(
    source: Path | BinaryIO, name: str, *, classes: int = 2, threshold: float | None = None
) -> NDArray[np.uint8]:
    """A mask as class indices ``(H, W)`` uint8.

    Two classes: a mask has at most one value beside 0 (0/1, 0/255, ...), or ``threshold`` says where foreground begins.
    More classes: its values are the indices.

    Raises:
        UserError: naming the file, when it is missing or damaged or its values are not a mask's.
    """
    labels = read_labels(source, name)
    if classes == 2 and threshold is not None:
        return (labels > threshold).astype(np.uint8)
    if classes == 2:
        try:
            return two_valued(labels, name)
        except UserError as error:
            raise UserError(
                f"{error}; for a gray mask (a JPEG, say) set data.threshold=127, for several classes data.classes"
            ) from error
    found = label_values(labels)
    if found[0] < 0 or found[-1] >= classes:
        raise UserError(
            f"{name}: values from {found[0]} to {found[-1]}, expected 0 to {classes - 1} (data.classes={classes})"
        )
    return labels.astype(np.uint8)
