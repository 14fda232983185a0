"""Labels by people: CIFAR-10N and CIFAR-100N, from the user's own copy of the published files (CC BY-NC 4.0)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_anl.records import UserError, nearest_names
from seg_anl.records.array_files import read_array
from seg_anl.records.foreign_files import check_regular

from .label_kind import Noisy, label_noise
from .label_report import checked_labels, with_report

# The published keys; all papers spell "worse" as "worst".
HUMAN_LABELS = {
    "aggregate": "aggre_label",
    "random1": "random_label1",
    "random2": "random_label2",
    "random3": "random_label3",
    "worst": "worse_label",
    "noisy": "noisy_label",
}
_CLEAN = ("clean_label", "y_train")


@label_noise("human", meaning="labels by people: CIFAR-10N, CIFAR-100N", needs="human", options={"labels"})
def human(labels: NDArray[Any], human_labels: NDArray[Any], num_classes: int) -> Noisy:
    """Labels (N,) given by people, sample by sample.

    Reference: Wei et al., Learning with Noisy Labels Revisited: A Study Using Real-World Human Annotations, ICLR 2022.
    """
    return with_report(labels, human_labels, num_classes)


def read_human_labels(path: Path, which: str, clean: NDArray[Any], num_classes: int) -> NDArray[Any]:
    """Read one set of human labels (N,), whose file must hold the same clean labels.

    Args:
        path: ``CIFAR-10_human.pt`` or ``CIFAR-100_human.pt`` (torch unpickles only their NumPy arrays), or an ``.npz``
            with the same names, where the clean labels may be called ``y_train``.
        which: a name of :data:`HUMAN_LABELS`; ``"noisy"`` is CIFAR-100N's.
        clean: (N,) clean labels of the samples, in order.
        num_classes: K.
    """
    if which not in HUMAN_LABELS:
        raise UserError(f"no human labels {which!r}; {nearest_names(which, HUMAN_LABELS)}")
    key = HUMAN_LABELS[which]
    if path.suffix.lower() == ".npz":
        theirs = read_array(path, *_CLEAN)
        chosen = read_array(path, key)
    else:
        arrays = _read_pt(path)
        for name in (_CLEAN[0], key):
            if name not in arrays:
                raise UserError(f"{path}: no labels {name}; it holds {', '.join(arrays) or 'nothing'}")
        theirs, chosen = arrays[_CLEAN[0]], arrays[key]
    try:
        checked_labels(chosen, num_classes, f"{path}: {key}")
    except ValueError as error:
        raise UserError(str(error)) from error
    if theirs.shape != clean.shape or chosen.shape != clean.shape:
        shapes = f"clean labels of shape {theirs.shape} and {key} of shape {chosen.shape}"
        raise UserError(f"{path}: holds {shapes}, the source's labels have {clean.shape}")
    different = int(np.count_nonzero(theirs != clean))
    if different:
        raise UserError(
            f"{path}: its clean labels differ from the source's in {different} of {len(clean)} places: "
            "another data set, or another order of the samples"
        )
    return chosen


def _read_pt(path: Path) -> dict[str, NDArray[Any]]:
    import torch

    check_regular(path)
    try:
        with torch.serialization.safe_globals(_numpy_types()):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(loaded, dict):
            arrays = (np.ndarray, list, torch.Tensor)
            return {str(name): np.asarray(value) for name, value in loaded.items() if isinstance(value, arrays)}
    except Exception as error:  # damaged bytes make the unpickler raise anything
        found = str(error).rpartition("WeightsUnpickler error: ")[2]  # torch's own advice comes before it
        reason = next(iter(found.strip().splitlines()), "")[:160]
        raise UserError(f"{path}: not a whole file of integer arrays: {type(error).__name__}: {reason}") from error
    raise UserError(f"{path}: expected a dictionary of labels, found {type(loaded).__name__}")


def _numpy_types() -> list[Any]:
    """The parts of a pickled integer array, under the module names of NumPy 1 and 2."""
    import _codecs

    rebuild = np.empty(0).__reduce__()[0]
    integers = [type(np.dtype(name)) for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32")]
    rebuilt = [(rebuild, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]
    return [*rebuilt, np.ndarray, np.dtype, *integers, _codecs.encode]
