"""A file of labels to a folder of noisy ones: labels.npy, manifest, confusion matrix as table and picture.

manifest.json is written last and removed first: a folder that has it is whole.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_anl.records import UserError, array_digest, make_directory, write_bytes, write_json, write_text, written_aside

from ..exclusive import alone_in
from ..mask_files import PARTIAL_PREFIX
from .kinds import LabelNoiseInputs, LabelNoiseSettings, apply_label_noise
from .report import LabelReport

LABELS, MANIFEST, TABLE = "labels.npy", "manifest.json", "manifest.csv"
CONFUSION, PICTURE = "confusion.csv", "confusion.png"
OUTPUTS = (LABELS, TABLE, CONFUSION, PICTURE, MANIFEST)
SCHEMA = 1
_NUMBERS_SHOWN = 20  # classes up to which the picture's cells carry numbers


def run_label_noise(
    source: Path,
    labels: NDArray[Any],
    target: Path,
    settings: LabelNoiseSettings,
    inputs: LabelNoiseInputs,
    *,
    other_files: tuple[Path, ...] = (),
    overwrite: bool = False,
) -> LabelReport:
    """Write the noisy labels of ``labels`` and what was done to them into ``target``.

    Args:
        source: the file that ``labels`` were read from.
        labels: (N,) clean labels.
        target: folder, made where it is missing.
        settings, inputs: as :func:`data_prep.label_noise.kinds.apply_label_noise` takes them.
        other_files: further files that were read; none is written over.
        overwrite: replace what another run left in ``target``.

    Raises:
        UserError: bad input, or a target that is another run's.
    """
    files = (source, *other_files)
    _refuse_own_input(target, files)
    try:
        noisy, report = apply_label_noise(labels, settings, inputs)
    except ValueError as error:
        raise UserError(f"{' with '.join(map(str, files))}: {error}") from error
    data = io.BytesIO()
    np.save(data, noisy, allow_pickle=False)
    identity = _identity(labels, settings, inputs)
    make_directory(target)
    try:
        with alone_in(target):  # asked only now: another run may have ended here a moment ago
            _refuse_folders(target)
            if not overwrite:
                _refuse_other_settings(target, identity)
                _refuse_foreign_files(target, data.getvalue())
            _write_folder(target, source, labels, noisy, data.getvalue(), identity, report)
    except OSError as error:
        raise UserError(f"cannot write into {target}: {error.strerror or error}") from error
    return report


def _write_folder(
    target: Path,
    source: Path,
    labels: NDArray[Any],
    noisy: NDArray[Any],
    data: bytes,
    identity: dict[str, Any],
    report: LabelReport,
) -> None:
    (target / MANIFEST).unlink(missing_ok=True)
    for leftover in target.glob(f"{PARTIAL_PREFIX}*"):
        if leftover.is_file():
            leftover.unlink()
    write_bytes(target / LABELS, data)
    rows = zip(range(len(labels)), labels.tolist(), noisy.tolist(), strict=True)
    write_text(target / TABLE, _table(["index", "clean", "noisy"], rows))
    classes = range(len(report.confusion))
    cells = ([label, *row.tolist()] for label, row in enumerate(report.confusion))
    write_text(target / CONFUSION, _table(["clean", *map(str, classes)], cells))
    draw_confusion(report, target / PICTURE)
    manifest = {
        "schema": SCHEMA,
        # A name that is no text would be no JSON either.
        "source": os.fsencode(source.name).decode("utf-8", "replace"),
        **identity,
        "samples": len(labels),
        "changed": int(np.count_nonzero(labels != noisy)),
        "realised_rate": report.realised,
        "class_rates": report.class_rates,
        "result_sha256": array_digest(noisy),
    }
    write_json(target / MANIFEST, manifest)


def _table(columns: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Whole numbers as CSV, a row at a time: a table may have as many as 25 million."""
    return "".join(f"{','.join(map(str, row))}\n" for row in chain([columns], rows))


def draw_confusion(report: LabelReport, picture: Path) -> None:
    """Draw the confusion matrix, each row as shares of its clean class, as a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display, no global state
    from matplotlib.figure import Figure

    number = len(report.confusion)
    sizes = report.confusion.sum(axis=1, keepdims=True)
    shares = report.confusion / np.maximum(sizes, 1)
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
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
        for row, column in np.argwhere(shares >= 0.005):  # what is not rounded to zero
            color = "black" if shares[row, column] > 0.6 else "white"
            text = f"{shares[row, column]:.2f}".lstrip("0")
            axis.text(column, row, text, ha="center", va="center", color=color, fontsize=8 if number <= 10 else 5)
    with written_aside(picture) as aside:
        figure.savefig(aside, dpi=110, metadata={"Software": None})


def _identity(labels: NDArray[Any], settings: LabelNoiseSettings, inputs: LabelNoiseInputs) -> dict[str, Any]:
    """What decides the result: settings, and digests of all that was read."""
    arrays = {"labels": labels, **{name: array for name, array in vars(inputs).items() if array is not None}}
    return {
        "settings": settings.given(),
        "source_sha256": {name: array_digest(array) for name, array in arrays.items()},
    }


def _refuse_own_input(target: Path, files: Iterable[Path]) -> None:
    written = {os.path.realpath(target / name) for name in OUTPUTS}
    for path in files:
        if os.path.realpath(path) in written:
            raise UserError(f"{path} lies in {target} under a name that is written there: name another folder")


def _refuse_folders(target: Path) -> None:
    for name in OUTPUTS:
        if (target / name).is_dir():
            raise UserError(f"{target / name} is a folder, where a file of this name is written: name another folder")


def _refuse_other_settings(target: Path, identity: dict[str, Any]) -> None:
    path = target / MANIFEST
    if not path.exists():
        return
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
        same = all(there.get(name) == value for name, value in identity.items())
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: not a manifest of this command ({error}); --overwrite replaces it") from error
    if not same:
        different = "settings" if there.get("settings") != identity["settings"] else "sources"
        raise UserError(f"{target} holds noisy labels of other {different}; --overwrite replaces them")


def _refuse_foreign_files(target: Path, data: bytes) -> None:
    """What stands there without a manifest is that of a killed run of this command, or not ours."""
    there = [target / name for name in OUTPUTS if (target / name).exists()]
    labels = target / LABELS
    killed = labels.is_file() and labels.read_bytes() == data  # the labels are written first
    if there and not killed and target / MANIFEST not in there:
        raise UserError(f"{there[0]} is there, but without a manifest of this command; --overwrite replaces it")
