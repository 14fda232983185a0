"""RUN/predictions: what a trained network says of training items, as class probabilities.

One ``NAME.npz`` for each item, or one for all; predictions.json, written last, says of which items and whether the
network has been trained on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .atomic import make_directory, write_json, written_aside
from .errors import UserError
from .foreign_files import read_json

FOLDER, HEADER_FILE = "predictions", "predictions.json"


def write_predictions(
    run: Path,
    arrays: Iterable[tuple[str, Mapping[str, NDArray[Any]]]],
    items: Sequence[str],
    *,
    fold: int | None,
    folds: int | None,
    **more: Any,
) -> None:
    """Write RUN/predictions.

    Args:
        run: the run directory.
        arrays: names of files without suffix, and what each holds.
        items: ids of the training items that are predicted.
        fold, folds: the part of the training set that the network has not seen; None for a network that has seen all.
        more: what else predictions.json says.
    """
    folder = make_directory(run / FOLDER)
    (folder / HEADER_FILE).unlink(missing_ok=True)
    for name, content in arrays:
        write_arrays(folder / f"{name}.npz", **content)
    header = {"out_of_sample": fold is not None, "fold": fold, "folds": folds, **more, "items": list(items)}
    write_json(folder / HEADER_FILE, header)


def predicting_runs(source: Path) -> dict[Path, dict[str, Any]]:
    """The run directories at or below ``source`` with predictions, and what their predictions.json says."""
    whole = (source / FOLDER / HEADER_FILE).is_file()
    paths = [source / FOLDER / HEADER_FILE] if whole else sorted(source.rglob(f"{FOLDER}/{HEADER_FILE}"))
    headers = {path.parent.parent: read_json(path) for path in paths}
    for run, header in headers.items():
        known = header if isinstance(header, dict) else {}
        if not isinstance(known.get("out_of_sample"), bool) or not isinstance(known.get("items"), list):
            raise UserError(f"{run / FOLDER / HEADER_FILE}: damaged: expected out_of_sample and items")
    return headers


def unseen_if_any(headers: Mapping[Path, Mapping[str, Any]]) -> tuple[list[Path], list[str]]:
    """The runs that predict what they have not seen, or where there are none, all; and a remark on those left out."""
    used = [run for run, header in headers.items() if header["out_of_sample"]] or list(headers)
    return used, [f"{len(headers) - len(used)} in-sample run(s) left out"] if len(used) < len(headers) else []


def write_arrays(path: Path, **arrays: Any) -> None:
    """Write a compressed ``.npz``, whole or not at all; its folder is made where it is missing."""
    make_directory(path.parent)
    with written_aside(path) as aside, open(aside, "wb") as file:
        np.savez_compressed(file, **arrays)
