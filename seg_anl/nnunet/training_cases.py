"""What the training cases and their classes count: weights from a table, and from how often a class occurs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_anl.records import UserError
from seg_anl.records.item_files import read_weights


def weights_of_cases(table: Path, annotations: Path, file_ending: str) -> dict[str, float]:
    """The weight of every case of a data set; cases that the table does not name weigh 1.

    Args:
        table: CSV with the columns item and weight; an item is a case's name, with or without ``file_ending``.
        annotations: nnU-Net's folder of the data set's label files.

    Raises:
        UserError: for a table that cannot be read, names an unknown case or one twice, or holds a negative weight.
    """
    files = [path.name for path in annotations.glob(f"*{file_ending}")]
    cases = [file.removesuffix(file_ending) for file in files]
    given = read_weights(table, [*cases, *files])
    both = next((case for case in cases if {case, f"{case}{file_ending}"} <= given.keys()), None)
    if both is not None:
        raise UserError(f"{table}: {both} stands there twice, with and without {file_ending}")
    return {case: given.get(case, given.get(f"{case}{file_ending}", 1.0)) for case in cases}


def label_counts(dataset: Any, label_manager: Any) -> NDArray[np.int64]:
    """How many pixels of nnU-Net's preprocessed labels belong to each class, or region; unlabeled ones to none.

    What nnU-Net masks outside the image's content (-1) is background, as in its training.
    """
    classes = label_manager.foreground_regions if label_manager.has_regions else [0, *label_manager.foreground_labels]
    counts = np.zeros(len(classes), np.int64)
    for case in dataset.identifiers:
        values, found = np.unique(np.asarray(dataset.load_case(case)[1][0]), return_counts=True)
        values = np.maximum(values, 0)
        counts += [int(found[np.isin(values, np.atleast_1d(labels))].sum()) for labels in classes]
    return counts


def inverse_frequency(counts: NDArray[np.int64]) -> list[float]:
    """w_k = sum_j n_j / (K n_k) over the K classes that occur; a class that does not weighs 0.

    All classes together then count as much as without weights, and each as much as any other.

    >>> inverse_frequency(np.array([90, 10, 0]))
    [0.5555555555555556, 5.0, 0.0]
    """
    occurring = int(np.count_nonzero(counts))
    return [float(counts.sum() / (occurring * count)) if count else 0.0 for count in counts]
