"""Noisy training labels, generated once and stored with manifest and confusion matrix in the run directory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from data_prep.label_noise import (
    LabelNoiseInputs,
    LabelNoiseSettings,
    has_label_noise,
    label_kinds,
    make_label_noise,
    read_human_labels,
    read_label_noise,
)
from seg_anl.engine.run_directory import RunDirectory
from seg_anl.engine.settings import plain
from seg_anl.records import UserError, array_digest, nearest_names
from seg_anl.records.array_files import read_array, read_matrix
from seg_anl.records.paths import configured_path
from seg_anl.records.ranges import checked

from .datasets import Dataset, FileImages, fingerprints

NO_NOISE = "none"
FILE_SETTINGS = {"human": ("file",), "matrix": ("matrix",), "prediction_error": ("softmax",)}
"""Settings that name a file to read, by kind of noise; they are not passed to the noise function."""


def noise_settings(noise: DictConfig, num_classes: int = 2) -> LabelNoiseSettings | None:
    """Validate the ``noise`` group for ``num_classes`` classes; None for ``noise=none``.

    Raises:
        UserError: naming a setting that is out of range, missing or unknown for this kind of noise.
    """
    given, kinds = plain(noise), label_kinds()
    kind = given.get("kind")
    if kind is None:
        raise UserError(f"noise: not a label noise; expected noise.kind to be one of {', '.join([NO_NOISE, *kinds])}")
    if kind == NO_NOISE:
        return None
    if not isinstance(kind, str) or kind not in kinds:
        raise UserError(f"noise.kind={kind}: {nearest_names(str(kind), [NO_NOISE, *kinds])}")
    required = (*FILE_SETTINGS.get(kind, ()), *sorted(kinds[kind].required | (kinds[kind].options & {"labels"})))
    for setting in required:
        if given.get(setting) is None:
            # noise.kind=... instead of noise=... keeps the settings of another kind.
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
    """The noise in one word, for the path of a run: ``symmetric0.4``, ``human-worst``, ``none``."""
    if noise.kind == "human":
        return f"human-{noise.labels}"
    return f"{noise.kind}{noise.rate:g}" if "rate" in noise else str(noise.kind)


def noise_fingerprints(data: Dataset, noise: DictConfig) -> dict[str, str]:
    """Digests of the noise's input files, by the setting that names the file."""
    if noise.kind == NO_NOISE:
        return {}
    arrays = {"softmax": "noise.softmax", "matrix": "noise.matrix", "human": "noise.file"}
    inputs = vars(_inputs(noise, data))
    return {setting: array_digest(inputs[name]) for name, setting in arrays.items() if inputs[name] is not None}


def noisy_labels(data: Dataset, noise: DictConfig, folder: Path, *, anew: bool) -> NDArray[np.int64]:
    """The noisy training labels ``(N,)`` of a run, generated and written into ``folder``, or unless ``anew`` read
    from there.

    Raises:
        UserError: for a setting out of range, a file that does not match, or labels that are already noisy.
    """
    settings = noise_settings(noise, data.num_classes)
    if settings is None:
        return data.train.labels
    if not data.labels_are_clean:
        raise UserError("the training labels of this data set are already noisy: use noise=none")
    if not anew and has_label_noise(folder):
        return read_label_noise(folder)
    noisy = make_label_noise(data.train.labels, settings, _inputs(noise, data))
    noisy.write(folder, overwrite=True)
    return noisy.labels.astype(np.int64)


def _check_recorded_images(softmax: Path, data: Dataset) -> None:
    """Refuse a ``RUN/records/softmax.npy`` of other images; the same number does not mean the same images."""
    name = "training images"
    recorded = (RunDirectory(softmax.parent.parent).inputs or {}).get(name)
    if recorded is not None and recorded != fingerprints(data)[name]:
        raise UserError(
            f"{softmax}: recorded on different training images; use the data settings of that run "
            "(data.limit, data.subset_seed, data.imbalance)"
        )


def _inputs(noise: DictConfig, data: Dataset) -> LabelNoiseInputs:
    """The arrays that the kind of noise needs. Files cover the full training set, of which the run may use a part."""
    needs = label_kinds()[noise.kind].needs
    if needs == "images":
        if isinstance(data.train.images, FileImages):
            raise UserError(f"noise={noise.kind} needs images in memory, but this data set's images are in files")
        return LabelNoiseInputs(images=data.train.images.movedim(1, -1).numpy())
    if needs == "softmax":
        path = configured_path(noise.softmax, "noise.softmax")
        softmax = read_array(path, "softmax")
        total = softmax.shape[-2] if softmax.ndim > 1 else 0
        if total == len(data.train):
            _check_recorded_images(path, data)
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
