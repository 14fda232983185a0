"""RUN/predictions: class probabilities that a trained network predicts for training items.

One ``NAME.npz`` per item, or one for all. predictions.json, written last, lists the items and says whether the network
was trained on them.
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
        arrays: file names without suffix, and the arrays of each file.
        items: ids of the predicted training items.
        fold, folds: the fold that the network was not trained on; None if it was trained on all.
        more: further entries of predictions.json.
    """
    folder = make_directory(run / FOLDER)
    (folder / HEADER_FILE).unlink(missing_ok=True)
    for name, content in arrays:
        write_arrays(folder / f"{name}.npz", **content)
    header = {"out_of_sample": fold is not None, "fold": fold, "folds": folds, **more, "items": list(items)}
    write_json(folder / HEADER_FILE, header)


def predicting_runs(source: Path) -> dict[Path, dict[str, Any]]:
    """The run directories at or below ``source`` that have predictions, with the content of their predictions.json."""
    own = source / FOLDER / HEADER_FILE
    paths = [own] if own.is_file() else sorted(source.rglob(f"{FOLDER}/{HEADER_FILE}"))
    headers = {path.parent.parent: read_json(path) for path in paths}
    for run, header in headers.items():
        known = header if isinstance(header, dict) else {}
        if not isinstance(known.get("out_of_sample"), bool) or not isinstance(known.get("items"), list):
            raise UserError(f"{run / FOLDER / HEADER_FILE}: damaged: expected out_of_sample and items")
    return headers


def prefer_out_of_sample(headers: Mapping[Path, Mapping[str, Any]]) -> tuple[list[Path], list[str]]:
    """The runs with out-of-sample predictions, or all runs if there are none; and a remark about runs left out."""
    used = [run for run, header in headers.items() if header["out_of_sample"]] or list(headers)
    return used, [f"{len(headers) - len(used)} in-sample run(s) left out"] if len(used) < len(headers) else []


def write_arrays(path: Path, **arrays: Any) -> None:
    """Write a compressed ``.npz``, whole or not at all, and create its folder if necessary."""
    make_directory(path.parent)
    with written_aside(path) as aside, open(aside, "wb") as file:
        np.savez_compressed(file, **arrays)
