"""scikit-learn's handwritten digits: real, small, and part of the installation."""

from __future__ import annotations

import numpy as np
import torch
from omegaconf import DictConfig

from .selection import drawn
from .split import Found, Split

TEST_IMAGES_OF_A_CLASS = 36
_SPLIT_SEED = 0


def digits(data: DictConfig) -> Found:
    """1437 training and 360 test images of 8 x 8 gray pixels, ten classes.

    The set has no published split: 36 images of each class, drawn once and for all, are the test set. The 17 gray
    levels of the original are spread over 0 to 255.

    Reference: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998
    (the original's test set).
    """
    from sklearn.datasets import load_digits  # imported late: it takes a second

    loaded = load_digits()
    images = np.round(loaded.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = loaded.target.astype(np.int64)
    test = drawn(labels, np.full(10, TEST_IMAGES_OF_A_CLASS), _SPLIT_SEED)
    train = np.setdiff1d(np.arange(len(labels)), test)
    whole = Split(torch.from_numpy(images), labels)
    return Found(
        whole.subset(train),
        {"test": whole.subset(test)},
        tuple(str(digit) for digit in range(10)),
        labels_are_clean=True,
        remark="scikit-learn's digits",
    )
