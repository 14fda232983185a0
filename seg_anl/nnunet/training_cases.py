"""Weights of training cases, from a table, and of classes, from their frequency."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_anl.records import UserError
from seg_anl.records.item_files import read_weights


def weights_of_cases(table: Path, annotations: Path, file_ending: str) -> dict[str, float]:
    """The weight of each case of a data set; cases that are not in the table have weight 1.

    Args:
        table: CSV with the columns item and weight; an item is a case's name, with or without ``file_ending``.
        annotations: nnU-Net's folder of the data set's label files.

    Raises:
        UserError: for an unreadable table, an unknown or repeated case, or a negative weight.
    """
    files = [path.name for path in annotations.glob(f"*{file_ending}")]
    cases = [file.removesuffix(file_ending) for file in files]
    weights = read_weights(table, [*cases, *files])
    duplicate = next((case for case in cases if {case, f"{case}{file_ending}"} <= weights.keys()), None)
    if duplicate is not None:
        raise UserError(f"{table}: {duplicate} is listed twice, with and without {file_ending}")
    return {case: weights.get(case, weights.get(f"{case}{file_ending}", 1.0)) for case in cases}


def label_counts(dataset: Any, label_manager: Any) -> NDArray[np.int64]:
    """Number of pixels of each class or region in nnU-Net's preprocessed labels, excluding unlabeled pixels.

    Pixels that nnU-Net masks outside the image content (-1) count as background, as in training.
    """
    classes = label_manager.foreground_regions if label_manager.has_regions else [0, *label_manager.foreground_labels]
    counts = np.zeros(len(classes), np.int64)
    for case in dataset.identifiers:
        values, occurrences = np.unique(np.asarray(dataset.load_case(case)[1][0]), return_counts=True)
        values = np.maximum(values, 0)
        counts += [int(occurrences[np.isin(values, np.atleast_1d(labels))].sum()) for labels in classes]
    return counts


def inverse_frequency(counts: NDArray[np.int64]) -> list[float]:
    """Class weights w_k = sum_j n_j / (K n_k) over the K classes that occur; absent classes get 0.

    Each class then has the same total weight, and the overall weight is the same as without class weights.

    >>> inverse_frequency(np.array([90, 10, 0]))
    [0.5555555555555556, 5.0, 0.0]
    """
    occurring = int(np.count_nonzero(counts))
    return [float(counts.sum() / (occurring * count)) if count else 0.0 for count in counts]
