"""Wrong labels for the training set: made once, kept with manifest and confusion matrix in the run directory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from data_prep.array_files import read_array, read_matrix
from data_prep.label_noise import (
    LabelNoiseInputs,
    LabelNoiseSettings,
    has_label_noise,
    label_kinds,
    make_label_noise,
    read_human_labels,
    read_label_noise,
)
from seg_anl.engine.paths import configured_path
from seg_anl.engine.run_directory import RunDirectory
from seg_anl.engine.settings import plain
from seg_anl.records import UserError, array_digest, nearest_names
from seg_anl.records.ranges import checked

from .datasets import Dataset, FileImages, fingerprints

NO_NOISE = "none"
FILE_SETTINGS = {"human": ("file",), "matrix": ("matrix",), "prediction_error": ("softmax",)}
"""Settings of a kind that name the file it reads; they are not settings of its function."""


def noise_settings(noise: DictConfig, num_classes: int = 2) -> LabelNoiseSettings | None:
    """The checked settings of the ``noise`` group for ``num_classes`` classes; None for ``noise=none``.

    Raises:
        UserError: naming the setting that is out of range, missing, or not one of the kind.
    """
    given, kinds = plain(noise), label_kinds()
    kind = given.get("kind")
    if kind is None:
        raise UserError(f"noise: not one of class labels, which have a kind: {', '.join([NO_NOISE, *kinds])}")
    if kind == NO_NOISE:
        return None
    if not isinstance(kind, str) or kind not in kinds:
        raise UserError(f"noise.kind={kind}: {nearest_names(str(kind), [NO_NOISE, *kinds])}")
    needed = (*FILE_SETTINGS.get(kind, ()), *sorted(kinds[kind].required | (kinds[kind].options & {"labels"})))
    for setting in needed:
        if given.get(setting) is None:
            # noise.kind=... instead of noise=... leaves the settings of another kind.
            hint = (
                "noise=asymmetric has no published flips for this data set: set data.flips to mnist, cifar10 or "
                "cifar100 if its classes are the same, or use noise=pair_flip or noise=matrix"
            )
            raise UserError(hint if setting == "dataset" else f"noise={kind} needs noise.{setting}")
    own = {name: value for name, value in given.items() if name not in FILE_SETTINGS.get(kind, ())}
    for setting in sorted(own.keys() - kinds[kind].options - {"kind"}):
        raise UserError(f"noise.{setting}: {kind} noise has no such setting")
    return checked(LabelNoiseSettings, {**own, "num_classes": num_classes}, "noise")


def noise_name(noise: DictConfig) -> str:
    """The noise in a word, for a run's place: ``symmetric0.4``, ``human-worst``, ``none``."""
    if noise.kind == "human":
        return f"human-{noise.labels}"
    return f"{noise.kind}{noise.rate:g}" if "rate" in noise else str(noise.kind)


def noise_fingerprints(data: Dataset, noise: DictConfig) -> dict[str, str]:
    """Digests of what the noise is made from beyond ``data``, by the name of the setting that names its file."""
    if noise.kind == NO_NOISE:
        return {}
    arrays = {"softmax": "noise.softmax", "matrix": "noise.matrix", "human": "noise.file"}
    inputs = vars(_inputs(noise, data))
    return {setting: array_digest(inputs[name]) for name, setting in arrays.items() if inputs[name] is not None}


def noisy_labels(data: Dataset, noise: DictConfig, folder: Path) -> NDArray[np.int64]:
    """The training labels ``(N,)`` of a run: made and written into ``folder``, or read if an earlier start made them.

    Raises:
        UserError: a setting out of range, a file that does not fit, or labels that are noisy already.
    """
    settings = noise_settings(noise, data.num_classes)
    if settings is None:
        return data.train.labels
    if not data.labels_are_clean:
        raise UserError("the training labels of this data set are noisy already: use noise=none")
    if has_label_noise(folder):
        return read_label_noise(folder)
    made = make_label_noise(data.train.labels, settings, _inputs(noise, data))
    made.write(folder, overwrite=True)
    return made.labels.astype(np.int64)


def _check_recorded_on(softmax: Path, data: Dataset) -> None:
    """Refuse a run's ``RUN/records/softmax.npy`` of other images: as many may be others, or in another order."""
    name = "training images"
    recorded = (RunDirectory(softmax.parent.parent).inputs or {}).get(name)
    if recorded is not None and recorded != fingerprints(data)[name]:
        raise UserError(
            f"{softmax}: recorded on other training images than these; give the data settings of that run "
            "(data.limit, data.subset_seed, data.imbalance)"
        )


def _inputs(noise: DictConfig, data: Dataset) -> LabelNoiseInputs:
    """The arrays a kind needs. Files are about the whole training set; the run may use a part of it."""
    needs = label_kinds()[noise.kind].needs
    if needs == "images":
        if isinstance(data.train.images, FileImages):
            raise UserError(f"noise={noise.kind} needs images in memory; this data set's are decoded as they are used")
        return LabelNoiseInputs(images=data.train.images.movedim(1, -1).numpy())
    if needs == "softmax":
        path = configured_path(noise.softmax, "noise.softmax")
        softmax = read_array(path, "softmax")
        total = softmax.shape[-2] if softmax.ndim > 1 else 0
        if total == len(data.train):
            _check_recorded_on(path, data)
        if total == len(data.found_labels):
            softmax = softmax[..., data.kept, :]
        return LabelNoiseInputs(softmax=softmax)
    if needs == "matrix":
        return LabelNoiseInputs(matrix=read_matrix(configured_path(noise.matrix, "noise.matrix")))
    if needs == "human":
        path = configured_path(noise.file, "noise.file")
        labels = read_human_labels(path, str(noise.labels), data.found_labels, data.num_classes)
        return LabelNoiseInputs(human=labels[data.kept])
    return LabelNoiseInputs()
