"""Wrong labels for the training set: made once, kept with manifest and confusion matrix in the run directory."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from data_prep.array_files import read_array, read_matrix
from data_prep.label_noise import (
    LabelNoiseInputs,
    LabelNoiseSettings,
    label_kinds,
    make_label_noise,
    read_human_labels,
    read_label_noise,
)
from seg_anl.engine import RunDirectory
from seg_anl.records import UserError, array_digest, is_number, nearest_names

from .datasets import Dataset, FileImages, fingerprints
from .paths import configured_path

NO_NOISE = "none"
FILE_SETTINGS = ("softmax", "matrix", "file")  # of the noise group: not settings of a generator but files it reads


def check_noise_settings(noise: DictConfig) -> None:
    """Check the ``noise`` group as far as it can be without the data.

    Raises:
        UserError: naming the setting that is out of range.
    """
    kind = noise.get("kind")
    if kind is None:
        raise UserError(f"noise: not one of class labels, which have a kind: {', '.join([NO_NOISE, *label_kinds()])}")
    if kind != NO_NOISE and kind not in label_kinds():
        raise UserError(f"noise.kind={kind}: {nearest_names(str(kind), [NO_NOISE, *label_kinds()])}")
    # noise.kind=... in the place of noise=... leaves the settings of another kind.
    files = {"human": ("file", "labels"), "matrix": ("matrix",), "prediction_error": ("softmax",)}
    for setting in files.get(str(kind), ()):
        if noise.get(setting) is None:
            raise UserError(f"noise={kind} needs noise.{setting}")
    for setting in ("rate", "rate_std"):
        value = noise.get(setting, 0.0)
        if not is_number(value) or not 0 <= value <= 1:
            raise UserError(f"noise.{setting} must be from 0 to 1, got {value!r}")


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


def write_noise(data: Dataset, noise: DictConfig, folder: Path) -> None:
    """Make the noisy training labels and write them, with what was done, into ``folder``; none for ``noise=none``.

    Raises:
        UserError: a setting out of range, a file that does not fit, or labels that are noisy as they come.
    """
    if noise.kind == NO_NOISE:
        return
    if not data.labels_are_clean:
        raise UserError("the training labels of this data set are noisy as they come: use noise=none")
    settings, inputs = _settings(noise, data.num_classes), _inputs(noise, data)
    make_label_noise(data.train.labels, settings, inputs).write(folder, overwrite=True)


def read_noise(data: Dataset, noise: DictConfig, folder: Path) -> NDArray[np.int64]:
    """The training labels ``(N,)`` that :func:`write_noise` left in ``folder``; the data's own for ``noise=none``."""
    if noise.kind == NO_NOISE:
        return data.train.labels
    return read_label_noise(folder)


def _settings(noise: DictConfig, num_classes: int) -> LabelNoiseSettings:
    given = OmegaConf.to_container(noise, resolve=True)
    assert isinstance(given, dict)
    values: dict[str, Any] = {str(key): value for key, value in given.items() if key not in FILE_SETTINGS}
    foreign = sorted(set(values) - {field.name for field in fields(LabelNoiseSettings)})
    if foreign:
        raise UserError(f"noise.{foreign[0]}: {noise.kind} noise has no such setting")
    if noise.kind == "asymmetric" and values.get("dataset") is None:
        raise UserError(
            "noise=asymmetric has no published flips for this data set: set data.flips to mnist, cifar10 or cifar100 "
            "where its classes are the same, or use noise=pair_flip or noise=matrix"
        )
    return LabelNoiseSettings(num_classes=num_classes, **values)


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
        softmax = read_array(path, "softmax")[0]
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
