"""Noisy labels in memory and in a folder: labels.npy, manifest, confusion matrix as table and picture.

manifest.json is written last and removed first: a folder that has it is complete.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_anl.records import UserError, array_digest, write_bytes, write_json, write_text
from seg_anl.records.array_files import read_array
from seg_anl.records.atomic import remove_partial
from seg_anl.records.foreign_files import read_bytes, read_json
from seg_anl.records.lock import locked
from seg_anl.records.manifest import MANIFEST, MANIFEST_TABLE

from ..drawing import save_picture
from .label_kind import LabelNoiseInputs, LabelNoiseSettings, apply_label_noise
from .label_report import LabelReport

LABELS = "labels.npy"
CONFUSION, PICTURE = "confusion.csv", "confusion.png"
OUTPUTS = (LABELS, MANIFEST_TABLE, CONFUSION, PICTURE, MANIFEST)
SCHEMA = 1
_NUMBERS_SHOWN = 20  # at most so many classes have numbers in the picture's cells


@dataclass(frozen=True, eq=False)
class NoisyLabels:
    """A noisy label vector and its provenance."""

    clean: NDArray[Any]  # (N,)
    labels: NDArray[Any]  # (N,), of the same dtype
    report: LabelReport
    identity: dict[str, Any]  # what decides the result: settings and digests of all arrays
    source: str  # file or description of the clean labels

    @property
    def manifest(self) -> dict[str, Any]:
        """The content of manifest.json."""
        return {
            "schema": SCHEMA,
            # JSON has no names that are not text.
            "source": os.fsencode(Path(self.source).name).decode("utf-8", "replace"),
            **self.identity,
            "samples": len(self.clean),
            "changed": int(np.count_nonzero(self.clean != self.labels)),
            "realised_rate": self.report.realised,
            "class_rates": self.report.class_rates,
            "result_sha256": array_digest(self.labels),
        }

    def write(self, folder: Path, *, overwrite: bool = False) -> None:
        """Write everything into a new or empty ``folder``, or one with noise of the same settings."""
        stored = io.BytesIO()
        np.save(stored, self.labels, allow_pickle=False)
        with locked(folder):
            _check_target(folder, self.identity, stored.getvalue(), overwrite=overwrite)
            (folder / MANIFEST).unlink(missing_ok=True)
            remove_partial(folder, below=False)
            write_bytes(folder / LABELS, stored.getvalue())
            rows = zip(range(len(self.clean)), self.clean.tolist(), self.labels.tolist(), strict=True)
            write_text(folder / MANIFEST_TABLE, _table(["index", "clean", "noisy"], rows))
            confusion = self.report.confusion
            cells = ([label, *row.tolist()] for label, row in enumerate(confusion))
            write_text(folder / CONFUSION, _table(["clean", *map(str, range(len(confusion)))], cells))
            draw_confusion(self.report, folder / PICTURE)
            write_json(folder / MANIFEST, self.manifest)


def make_label_noise(
    labels: NDArray[Any],
    settings: LabelNoiseSettings,
    inputs: LabelNoiseInputs | None = None,
    *,
    source: str = "noise",
    other_sources: Sequence[str] = (),
) -> NoisyLabels:
    """:func:`data_prep.label_noise.apply_label_noise` of labels (N,), ready to be written.

    ``source`` names the file of the labels in manifest and errors, ``other_sources`` those of ``inputs`` in errors.
    """
    inputs = inputs or LabelNoiseInputs()
    try:
        noisy, report = apply_label_noise(labels, settings, inputs)
    except ValueError as error:
        raise UserError(f"{' with '.join((source, *other_sources))}: {error}") from error
    arrays = {"labels": labels, **{name: array for name, array in vars(inputs).items() if array is not None}}
    digests = {name: array_digest(array) for name, array in arrays.items()}
    return NoisyLabels(labels, noisy, report, {"settings": settings.given(), "source_sha256": digests}, source)


def has_label_noise(folder: Path) -> bool:
    """Whether ``folder`` holds the complete output of :meth:`NoisyLabels.write`."""
    return (folder / MANIFEST).exists()


def read_label_noise(folder: Path) -> NDArray[np.int64]:
    """The labels ``(N,)`` of :meth:`NoisyLabels.write`."""
    labels = read_array(folder / LABELS)
    try:
        expected = read_json(folder / MANIFEST)["result_sha256"]
    except (UserError, KeyError, TypeError) as error:
        raise UserError(f"{folder / MANIFEST}: not the manifest of noisy labels ({error}); delete {folder}") from error
    if array_digest(labels) != expected:
        raise UserError(f"{folder / LABELS}: not the labels of {MANIFEST} beside it; delete {folder}")
    return labels.astype(np.int64)


def refuse_own_input(folder: Path, files: Iterable[Path]) -> None:
    """Refuse to replace one of ``files`` by writing into ``folder``."""
    written = {os.path.realpath(folder / name) for name in OUTPUTS}
    for path in files:
        if os.path.realpath(path) in written:
            raise UserError(f"{path} lies in {folder} under a name that is written there: name another folder")


def _table(columns: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Integers as CSV, a row at a time: a table may have 25 million cells."""
    return "".join(f"{','.join(map(str, row))}\n" for row in chain([columns], rows))


def draw_confusion(report: LabelReport, picture: Path) -> None:
    """Draw the confusion matrix, as shares of each clean class (row), into a PNG file."""
    from matplotlib.figure import Figure  # no display, no global state

    number = len(report.confusion)
    sizes = report.confusion.sum(axis=1, keepdims=True)
    shares = report.confusion / np.maximum(sizes, 1)
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axis = figure.add_subplot()
    image = axis.imshow(shares, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
    figure.colorbar(image, ax=axis, label="share of the clean class")
    axis.set_xlabel("noisy label")
    axis.set_ylabel("clean label")
    axis.set_title(f"{report.realised:.2%} of {int(sizes.sum())} labels changed")
    step = max(1, number // 20)
    axis.set_xticks(range(0, number, step))
    axis.set_yticks(range(0, number, step))
    if number <= _NUMBERS_SHOWN:
        for row, column in np.argwhere(shares >= 0.005):  # shown as 0.01 or more
            color = "black" if shares[row, column] > 0.6 else "white"
            text = f"{shares[row, column]:.2f}".lstrip("0")
            axis.text(column, row, text, ha="center", va="center", color=color, fontsize=8 if number <= 10 else 5)
    save_picture(figure, picture)


def _check_target(target: Path, identity: dict[str, Any], labels: bytes, *, overwrite: bool) -> None:
    """Refuse other files in ``target``, but not those of a killed run with these settings."""
    path, there = target / MANIFEST, [target / name for name in OUTPUTS if (target / name).exists()]
    for output in there:
        if output.is_dir():
            raise UserError(f"{output} is a folder, where a file of this name is written: name another folder")
    if overwrite or not there:
        return
    if path in there:
        try:
            earlier = dict(read_json(path))
        except (UserError, ValueError, TypeError) as error:
            raise UserError(f"{path}: not a manifest of this command ({error}); --overwrite replaces it") from error
        if any(earlier.get(name) != value for name, value in identity.items()):
            different = "settings" if earlier.get("settings") != identity["settings"] else "sources"
            raise UserError(f"{target} holds noisy labels of other {different}; --overwrite replaces them")
    elif there[0] != target / LABELS or read_bytes(there[0]) != labels:  # the labels are written first
        raise UserError(f"{there[0]} is there, but without a manifest of this command; --overwrite replaces it")
