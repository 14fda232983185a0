"""What is checked of every data set before anything is trained on it."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from seg_anl.records import UserError

from .split import Found


def check_labels(found: Found) -> None:
    """Refuse labels outside ``[0, K)`` and training sets that lack a class.

    Raises:
        UserError: naming the split, the label or the class.
    """
    number = len(found.classes)
    if number < 2:
        raise UserError(
            f"{found.remark}: {'one class only' if number else 'no classes'}; there is nothing to tell apart"
        )
    for name, split in {"train": found.train, **found.tests}.items():
        if not len(split):
            raise UserError(f"{found.remark}: no images in the split {name!r}")
        lowest, highest = int(split.labels.min()), int(split.labels.max())
        if lowest < 0 or highest >= number:
            wrong = lowest if lowest < 0 else highest
            raise UserError(
                f"{found.remark}: label {wrong} in the split {name!r}; "
                f"the {number} classes of the training set are 0 to {number - 1}"
            )
    counts = np.bincount(found.train.labels, minlength=number)
    if (counts == 0).any():
        absent = np.flatnonzero(counts == 0)
        others = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
        raise UserError(
            f"{found.remark}: no training image of class {absent[0]} ({found.classes[absent[0]]}){others}; "
            f"labels must be 0 to {number - 1} without gaps"
        )


def check_sizes(found: Found) -> None:
    """Refuse images in memory that are of another size for evaluation than for training.

    Raises:
        UserError: naming both sizes.
    """
    for name, split in found.tests.items():
        if isinstance(split.images, Tensor) and isinstance(found.train.images, Tensor):
            train, other = (" x ".join(map(str, images.shape[1:])) for images in (found.train.images, split.images))
            if train != other:
                raise UserError(
                    f"{found.remark}: training images of {train} (channels, rows, columns), {name} images of {other}"
                )
