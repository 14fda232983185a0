"""Read labels and predicted probabilities from runs of ``seg-anl-classify`` or a folder of two arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.pictures import read_image
from seg_anl.records import UserError
from seg_anl.records.array_files import read_array
from seg_anl.records.predictions import FOLDER, HEADER_FILE, predicting_runs, prefer_out_of_sample

ARRAYS = ("probabilities.npy", "labels.npy")
_SUM_TOLERANCE = 0.02  # for float16 and many classes


@dataclass(frozen=True, eq=False)
class Pictures:
    """The images of some items: uint8 ``(N, C, H, W)`` in memory, or files; both empty if unknown."""

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
        except UserError:  # moved or damaged; images are optional
            return None


@dataclass(frozen=True, eq=False)
class LabelSource:
    """The labels to audit.

    Attributes:
        items: ids of the N samples: their positions in the full training set, ascending.
        labels: given labels ``(N,)``.
        probabilities: ``(N, K)`` float64; rows sum to 1.
        classes: names of the K classes.
        kind: the detected layout.
        in_sample: whether the network was trained on these labels.
        fit: ``(N,)`` probability of the given label averaged over epochs, from a run with ``record=dynamics``.
        pictures: for each sample, the :class:`Pictures` that contains its image, and its index there.
        remarks: notes for the user, one line each.
        run: the first of the runs, if it is read from runs.
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
    run: Path | None = None

    def picture(self, position: int) -> NDArray[np.uint8] | None:
        """RGB ``(H, W, 3)`` of a sample, or None."""
        if not self.pictures:
            return None
        pictures, index = self.pictures[position]
        return pictures.read(index)


def open_labels(source: Path) -> LabelSource:
    """Read SOURCE: a run, a folder of fold runs, or a folder with probabilities.npy and labels.npy.

    Raises:
        UserError: for any other folder, or arrays that do not match.
    """
    if not source.is_dir():
        raise UserError(f"{source} is not a folder")
    if all((source / name).is_file() for name in ARRAYS):
        return _read_arrays(source)
    headers = predicting_runs(source)
    if not headers:
        raise UserError(
            f"{source}: no run with predictions (folds=5, or record=predictions), and no {' and '.join(ARRAYS)}"
        )
    return _read_runs(headers)


def _read_arrays(source: Path) -> LabelSource:
    probabilities, labels = (read_array(source / name) for name in ARRAYS)
    _check(source, probabilities, labels)
    images = source / "images.npy"
    pictures: list[tuple[Pictures, int]] = []
    if images.is_file():
        array = read_array(images)
        known = array.dtype == np.uint8 and (array.ndim == 3 or (array.ndim == 4 and array.shape[3] in (1, 3)))
        if not known or len(array) != len(labels):
            raise UserError(
                f"{images}: {array.dtype} of shape {array.shape}; expected uint8 images (N, H, W), (N, H, W, 1) or "
                f"(N, H, W, 3) of {len(labels)} samples"
            )
        all_pictures = Pictures(array[:, None] if array.ndim == 3 else np.moveaxis(array, -1, 1))
        pictures = [(all_pictures, position) for position in range(len(labels))]
    return LabelSource(
        [str(position) for position in range(len(labels))],
        labels.astype(np.int64),
        _with_sum_1(probabilities),
        [str(label) for label in range(probabilities.shape[1])],
        "arrays",
        in_sample=False,
        pictures=pictures,
        remarks=["assumed to be predictions of networks that have not seen the samples"],
    )


def _read_runs(headers: Mapping[Path, dict[str, Any]]) -> LabelSource:
    runs, remarks = prefer_out_of_sample(headers)
    run_of_fold: dict[Any, Path] = {}
    for run in runs:
        fold = headers[run].get("fold")
        other = run_of_fold.setdefault(fold, run)
        if other != run:
            scope = "the whole training set" if fold is None else f"fold {fold}"
            raise UserError(f"{other} and {run} both predict {scope}: name one run, or the fold runs of one sweep")
    first = headers[runs[0]]
    folds, classes = first.get("folds"), first.get("classes")
    if any((headers[run].get("folds"), headers[run].get("classes")) != (folds, classes) for run in runs):
        raise UserError(f"{runs[0].parent}: runs differ in folds or classes: name the fold runs of one sweep")
    missing = sorted(set(range(folds or 0)) - set(run_of_fold)) if first["out_of_sample"] else []
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        remarks.append(f"of {folds} folds, {', '.join(map(str, missing))} {verb} missing and not audited")
    parts = [_read_run(run, headers[run]) for run in runs]
    index = np.concatenate([part["index"] for part in parts])
    order = np.argsort(index, kind="stable")
    if len(np.unique(index)) < len(index):
        raise UserError(f"{runs[0].parent}: some items are predicted twice: name the fold runs of one sweep")
    pictures = [(part["pictures"], position) for part in parts for position in range(len(part["index"]))]
    probabilities = _with_sum_1(np.concatenate([part["probabilities"] for part in parts])[order])
    in_sample = not first["out_of_sample"]
    return LabelSource(
        [str(each) for each in index[order]],
        np.concatenate([part["labels"] for part in parts])[order].astype(np.int64),
        probabilities,
        classes or [str(label) for label in range(probabilities.shape[1])],
        "one run" if in_sample or len(runs) == 1 else "fold runs",
        in_sample,
        _read_fit(runs[0], index[order]) if in_sample else None,
        [pictures[position] for position in order],
        remarks,
        runs[0],
    )


def _read_run(run: Path, header: dict[str, Any]) -> dict[str, Any]:
    path = run / FOLDER / "predictions.npz"
    if not path.is_file():
        raise UserError(f"{path} is missing; expected a run of seg-anl-classify (for masks: seg-anl-audit masks)")
    part: dict[str, Any] = {name: read_array(path, name) for name in ("probabilities", "labels", "index")}
    _check(path, part["probabilities"], part["labels"])
    if part["index"].shape != part["labels"].shape or [str(each) for each in part["index"]] != header["items"]:
        raise UserError(f"{path}: its samples differ from those in {HEADER_FILE}")
    images = run / FOLDER / "images.npz"
    part["pictures"] = Pictures(
        read_array(images, "images") if images.is_file() else None, tuple(map(Path, header.get("files", ())))
    )
    return part


def _read_fit(run: Path, index: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """exp(-loss) of each sample averaged over epochs, if the run recorded its dynamics."""
    total, paths = np.zeros(len(index)), sorted((run / "records" / "dynamics").glob("epoch_*.npz"))
    for path in paths:
        loss, loss_index = read_array(path, "loss"), read_array(path, "index")
        if not np.array_equal(loss_index, index) or loss.shape != loss_index.shape:
            raise UserError(f"{path}: its samples differ from those the run predicts")
        total += np.exp(-loss.astype(np.float64))
    return total / len(paths) if paths else None


def _with_sum_1(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """Without their rounding errors: cleanlab refuses a probability above 1."""
    rows: NDArray[np.float64] = probabilities / probabilities.sum(axis=1, dtype=np.float64, keepdims=True)
    return rows


def _check(where: Path, probabilities: NDArray[Any], labels: NDArray[Any]) -> None:
    """Refuse anything but probabilities ``(N, K)`` and matching labels ``(N,)``."""
    if probabilities.ndim != 2 or probabilities.shape[1] < 2 or probabilities.dtype.kind != "f":
        raise UserError(
            f"{where}: probabilities of shape {probabilities.shape} and dtype {probabilities.dtype}; "
            "expected floats (N, K) of K > 1 classes"
        )
    if labels.shape != (len(probabilities),) or labels.dtype.kind not in "iu" or not len(labels):
        raise UserError(
            f"{where}: labels of shape {labels.shape} and dtype {labels.dtype}; expected integers "
            f"({len(probabilities)},)"
        )
    if not np.isfinite(probabilities).all():
        raise UserError(f"{where}: the probabilities hold NaN or infinite values")
    total = probabilities.sum(axis=1, dtype=np.float64)
    worst = int(np.abs(total - 1).argmax())
    if probabilities.min() < 0 or abs(total[worst] - 1) > _SUM_TOLERANCE:
        raise UserError(f"{where}: the probabilities of sample {worst} sum to {total[worst]:.3f}; apply softmax first")
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        invalid = labels.min() if labels.min() < 0 else labels.max()
        raise UserError(f"{where}: label {invalid}, but there are {probabilities.shape[1]} classes, counted from 0")
