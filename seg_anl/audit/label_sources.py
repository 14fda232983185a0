"""Labels beside what a network says of them: from runs of ``seg-anl-classify``, or from a folder of two arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.array_files import read_array
from data_prep.pictures import read_image
from seg_anl.records import UserError
from seg_anl.records.predictions import FOLDER, HEADER_FILE, predicting_runs, unseen_if_any

ARRAYS = ("probabilities.npy", "labels.npy")
_SUM_TOLERANCE = 0.02  # float16 of many classes
_NAMED = 4  # items or folds that a remark names


@dataclass(frozen=True, eq=False)
class Pictures:
    """The pictures of some items: uint8 ``(N, C, H, W)`` in memory, or files; neither where nobody knows them."""

    images: NDArray[np.uint8] | None = None
    files: tuple[Path, ...] = ()

    def read(self, position: int) -> NDArray[np.uint8] | None:
        """RGB ``(H, W, 3)``, or None."""
        if self.images is not None:
            picture = np.moveaxis(self.images[position], 0, -1)
            return picture if picture.shape[-1] == 3 else picture[..., :1].repeat(3, axis=-1)
        if not self.files:
            return None
        try:
            return read_image(self.files[position], str(self.files[position]))[0]
        except UserError:  # moved since; a picture is a convenience
            return None


@dataclass(frozen=True, eq=False)
class LabelSource:
    """What is audited.

    Attributes:
        items: ids of the N samples: their positions in the whole training set, ascending.
        labels: ``(N,)`` as given.
        probabilities: ``(N, K)`` float64, rows sum to 1.
        classes: names of the K classes.
        kind: what SOURCE was taken for.
        in_sample: the network has been trained on these very labels.
        fit: ``(N,)`` mean over epochs of the probability of the given label, of a run with ``record=dynamics``.
        pictures: of the samples, by part of the source: the part, and the position in it, of each sample.
        remarks: what a person should know of it, one line each.
    """

    items: list[str]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    classes: list[str]
    kind: str
    in_sample: bool
    fit: NDArray[np.float64] | None = None
    pictures: list[tuple[Pictures, int]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def picture(self, position: int) -> NDArray[np.uint8] | None:
        """RGB ``(H, W, 3)`` of a sample, or None."""
        if not self.pictures:
            return None
        part, place = self.pictures[position]
        return part.read(place)


def open_labels(source: Path) -> LabelSource:
    """Read SOURCE: a run, a folder of fold runs, or a folder with probabilities.npy and labels.npy.

    Raises:
        UserError: for a folder that is none of these, or arrays that do not fit.
    """
    if not source.is_dir():
        raise UserError(f"{source} is not a folder")
    if all((source / name).is_file() for name in ARRAYS):
        return _of_arrays(source)
    headers = predicting_runs(source)
    if not headers:
        raise UserError(
            f"{source}: no run with predictions (folds=5, or record=predictions), and no {' and '.join(ARRAYS)}"
        )
    return _of_runs(headers)


def _of_arrays(source: Path) -> LabelSource:
    probabilities, labels = (read_array(source / name) for name in ARRAYS)
    _check(source, probabilities, labels)
    images = source / "images.npy"
    pictures: list[tuple[Pictures, int]] = []
    if images.is_file():
        array = read_array(images)
        if array.dtype != np.uint8 or array.ndim not in (3, 4) or len(array) != len(labels):
            raise UserError(f"{images}: expected uint8 images (N, H, W) or (N, H, W, C) of {len(labels)} samples")
        whole = Pictures(array[:, None] if array.ndim == 3 else np.moveaxis(array, -1, 1))
        pictures = [(whole, position) for position in range(len(labels))]
    return LabelSource(
        [str(position) for position in range(len(labels))],
        labels.astype(np.int64),
        probabilities.astype(np.float64),
        [str(label) for label in range(probabilities.shape[1])],
        "arrays",
        in_sample=False,
        pictures=pictures,
        remarks=["taken to be predictions of networks that have not seen the samples"],
    )


def _of_runs(headers: Mapping[Path, dict[str, Any]]) -> LabelSource:
    used, remarks = unseen_if_any(headers)
    fold_of: dict[Any, Path] = {}
    for run in used:
        fold = headers[run].get("fold")
        other = fold_of.setdefault(fold, run)
        if other != run:
            what = "the whole training set" if fold is None else f"fold {fold}"
            raise UserError(f"{other} and {run} both predict {what}: name one run, or the fold runs of one sweep")
    first = headers[used[0]]
    folds, classes = first.get("folds"), first.get("classes")
    if any((headers[run].get("folds"), headers[run].get("classes")) != (folds, classes) for run in used):
        raise UserError(f"{used[0].parent}: runs of different folds or classes: name the fold runs of one sweep")
    missing = sorted(set(range(folds or 0)) - set(fold_of)) if first["out_of_sample"] else []
    if missing:
        of = "items are" if len(missing) > 1 else "its items are"
        remarks.append(f"of {folds} folds, {', '.join(map(str, missing))} not there: {of} not judged")
    parts = [_part(run, headers[run]) for run in used]
    index = np.concatenate([part["index"] for part in parts])
    order = np.argsort(index, kind="stable")
    if len(np.unique(index)) < len(index):
        raise UserError(f"{used[0].parent}: some items are predicted twice; name the fold runs of one sweep")
    places = [(part["pictures"], place) for part in parts for place in range(len(part["index"]))]
    probabilities = np.concatenate([part["probabilities"] for part in parts])[order].astype(np.float64)
    in_sample = not first["out_of_sample"]
    return LabelSource(
        [str(each) for each in index[order]],
        np.concatenate([part["labels"] for part in parts])[order].astype(np.int64),
        probabilities / probabilities.sum(axis=1, keepdims=True),
        classes or [str(label) for label in range(probabilities.shape[1])],
        "one run" if in_sample or len(used) == 1 else "fold runs",
        in_sample,
        _fit(used[0], index[order]) if in_sample else None,
        [places[place] for place in order],
        remarks,
    )


def _part(run: Path, header: dict[str, Any]) -> dict[str, Any]:
    path = run / FOLDER / "predictions.npz"
    if not path.is_file():
        raise UserError(f"{path} is missing; a run of seg-anl-classify has it (masks: seg-anl-audit masks)")
    part: dict[str, Any] = {name: read_array(path, name) for name in ("probabilities", "labels", "index")}
    _check(path, part["probabilities"], part["labels"])
    if part["index"].shape != part["labels"].shape or [str(each) for each in part["index"]] != header["items"]:
        raise UserError(f"{path}: its samples are not those of {HEADER_FILE}")
    images = run / FOLDER / "images.npz"
    part["pictures"] = Pictures(
        read_array(images, "images") if images.is_file() else None, tuple(map(Path, header.get("files", ())))
    )
    return part


def _fit(run: Path, index: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """The mean over epochs of exp(-loss), where a run records its dynamics."""
    total, paths = np.zeros(len(index)), sorted((run / "records" / "dynamics").glob("epoch_*.npz"))
    for path in paths:
        loss, of = read_array(path, "loss"), read_array(path, "index")
        if not np.array_equal(of, index) or loss.shape != of.shape:
            raise UserError(f"{path}: not of the samples that the run predicts")
        total += np.exp(-loss.astype(np.float64))
    return total / len(paths) if paths else None


def _check(where: Path, probabilities: NDArray[Any], labels: NDArray[Any]) -> None:
    """Refuse what are no probabilities ``(N, K)`` of samples with labels ``(N,)``."""
    if probabilities.ndim != 2 or probabilities.shape[1] < 2 or probabilities.dtype.kind != "f":
        raise UserError(
            f"{where}: probabilities of shape {probabilities.shape} and type {probabilities.dtype}; "
            "expected fractions (N, K) of K > 1 classes"
        )
    if labels.shape != (len(probabilities),) or labels.dtype.kind not in "iu" or not len(labels):
        raise UserError(
            f"{where}: labels of shape {labels.shape} and type {labels.dtype}; expected whole numbers "
            f"({len(probabilities)},)"
        )
    if not np.isfinite(probabilities).all():
        raise UserError(f"{where}: the probabilities hold NaN or infinite values")
    total = probabilities.sum(axis=1, dtype=np.float64)
    worst = int(np.abs(total - 1).argmax())
    if probabilities.min() < 0 or abs(total[worst] - 1) > _SUM_TOLERANCE:
        raise UserError(f"{where}: the classes of sample {worst} sum to {total[worst]:.3f}; apply softmax first")
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise UserError(f"{where}: label {wrong}, but there are {probabilities.shape[1]} classes (from 0)")
