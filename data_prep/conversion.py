"""Pairs of images and masks to a clean folder or to an nnU-Net raw dataset, with every fault named.

Which image belongs to which mask is found by :mod:`data_prep.pairing`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from seg_anl.records import UserError, make_directory, write_csv, write_json, write_text, written_aside

from .duplicates import Duplicate, Fingerprint, find_duplicates, fingerprint
from .pairing import TRAINING, Found, Pair
from .pictures import Picture, check_size, read_image, read_labels, two_valued

SPLIT_COLUMNS = ("id", "split", "image", "mask", "source_width", "source_height", "foreground", "duplicate_of")
PROBLEMS = "problems.txt"


@dataclass(frozen=True)
class Decoded:
    """A pair in memory: image (H, W, 3) or (H, W), mask (H, W) of 0 and 1, and the image's size in the file."""

    image: Picture
    mask: Picture
    width: int
    height: int


def read_pair(pair: Pair, size: int | None, *, color: bool) -> Decoded:
    """Read and resize a pair as the published scripts do: image bilinear without antialiasing, mask by nearest element.

    Args:
        pair: where the files are.
        size: of the result, square (the image is squashed); None: the size of the file.
        color: (H, W, 3) RGB, or (H, W) gray.

    Raises:
        UserError: naming the file that is damaged, has another size than its partner, or is no two-valued mask.
    """
    image, _ = read_image(pair.image.open(), pair.image.name, "RGB" if color else "L")
    labels = read_labels(pair.mask.open(), pair.mask.name)
    check_size(labels, image, pair.mask.name)
    binary = two_valued(labels, pair.mask.name)
    height, width = binary.shape
    if size is not None:
        image = np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
        binary = np.asarray(cv2.resize(binary, (size, size), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
    return Decoded(image, binary, width, height)


def write_clean_folder(
    found: Found, target: Path, size: int | None, *, workers: int = 1, skip_broken: bool = False
) -> tuple[list[dict[str, Any]], list[Duplicate]]:
    """Write ``images/SPLIT``, ``masks/SPLIT`` (0 and 255), ``split.csv`` and ``duplicates.csv`` to ``target``.

    Args:
        found: the pairs and what is wrong with the folders.
        target: an existing folder.
        size: as in :func:`read_pair`.
        workers: threads.
        skip_broken: carry on with the pairs that are whole.

    Returns:
        The rows of split.csv, and the duplicates among all splits.

    Raises:
        UserError: when something is missing or broken (problems.txt has all of it) and ``skip_broken`` is False.
    """
    work = partial(_convert_one, target=target, size=size, color=found.color)
    rows, prints, problems = [], [], list(found.problems)
    for outcome in _each(work, found.pairs, workers, "prepare"):
        if isinstance(outcome, str):
            problems.append(outcome)
        else:
            rows.append(outcome[0])
            prints.append(outcome[1])
    duplicates = find_duplicates(prints)
    _report_problems(problems, target, skip_broken=skip_broken)
    first_of = {duplicate.item: duplicate.first for duplicate in reversed(duplicates)}
    for row in rows:
        row["duplicate_of"] = first_of.get(row["id"], "")
    write_csv(target / "duplicates.csv", [field.name for field in fields(Duplicate)], list(map(asdict, duplicates)))
    write_csv(target / "split.csv", SPLIT_COLUMNS, rows)
    return rows, duplicates


def _convert_one(pair: Pair, target: Path, size: int | None, color: bool) -> tuple[dict[str, Any], Fingerprint]:
    decoded = read_pair(pair, size, color=color)
    image, mask = f"images/{pair.split}/{pair.item}.png", f"masks/{pair.split}/{pair.item}.png"
    for name in (image, mask):  # an item may lie in a sub-folder
        make_directory((target / name).parent)
    _write_png(target / image, decoded.image)
    _write_png(target / mask, decoded.mask * np.uint8(255))
    row = {
        "id": pair.item,
        "split": pair.split,
        "image": image,
        "mask": mask,
        "source_width": decoded.width,
        "source_height": decoded.height,
        "foreground": round(float(decoded.mask.mean()), 6),
    }
    return row, fingerprint(pair.item, pair.split, Path(pair.image.name), decoded.image)


def write_raw_dataset(
    found: Found,
    folder: Path,
    name: str,
    size: int | None,
    *,
    label: str = "lesion",
    workers: int = 1,
    skip_broken: bool = False,
) -> dict[str, int]:
    """Write imagesTr, labelsTr (0 and 1), imagesTs, labelsTs and dataset.json to ``folder``.

    The split ``train`` goes to Tr, every other one to Ts.

    Args:
        found: pairs, and what is wrong with the folders they came from.
        folder: ``DatasetNNN_NAME``.
        name: of the dataset.
        size: as in :func:`read_pair`.
        label: what the masks show.
        workers: threads.
        skip_broken: carry on with the pairs that are whole.

    Returns:
        The number of cases in ``Tr`` and ``Ts``.

    Raises:
        UserError: when something is missing or broken and ``skip_broken`` is False, or nothing is left to train on.
    """
    sides = {_side(pair) for pair in found.pairs}
    for part in sorted(f"{what}{side}" for what in ("images", "labels") for side in sides):
        make_directory(folder / part)
    problems, written = list(found.problems), Counter[str]()
    for outcome in _each(partial(_write_case, folder=folder, size=size), found.pairs, workers, "convert"):
        if outcome in ("Tr", "Ts"):
            written[outcome] += 1
        else:
            problems.append(outcome)
    _report_problems(problems, folder, skip_broken=skip_broken)
    if written["Tr"] == 0:
        raise UserError(f"{folder}: no training case; nnU-Net needs the split {TRAINING!r}")
    description = {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, label: 1},
        "numTraining": written["Tr"],
        "file_ending": ".png",
        "name": name,
        "overwrite_image_reader_writer": "NaturalImage2DIO",  # of PNG files: one per case, with all channels in it
    }
    write_json(folder / "dataset.json", description)
    return {"Tr": written["Tr"], "Ts": written["Ts"]}


def _side(pair: Pair) -> str:
    return "Tr" if pair.split == TRAINING else "Ts"


def _write_case(pair: Pair, folder: Path, size: int | None) -> str:
    if "/" in pair.item:
        raise UserError(f"{pair.image} lies in a sub-folder, but nnU-Net has its cases side by side; move it up")
    decoded, side = read_pair(pair, size, color=True), _side(pair)
    _write_png(folder / f"images{side}" / f"{pair.item}_0000.png", decoded.image)
    _write_png(folder / f"labels{side}" / f"{pair.item}.png", decoded.mask)
    return side


def _each(work: Callable[[Pair], Any], pairs: Sequence[Pair], workers: int, title: str) -> Iterator[Any]:
    """``work`` on every pair in threads, in order, with a progress bar; a UserError comes back as its text.

    Threads do, because decoding and resizing happen outside the interpreter's lock.
    """

    def safely(pair: Pair) -> Any:
        try:
            return work(pair)
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(workers) as pool:
        yield from tqdm(pool.map(safely, pairs), total=len(pairs), unit="pair", desc=title, disable=None)


def _report_problems(problems: Sequence[str], target: Path, *, skip_broken: bool) -> None:
    """Keep every problem in problems.txt; raise one line about them unless they may be skipped."""
    path = target / PROBLEMS
    path.unlink(missing_ok=True)
    if not problems:
        return
    write_text(path, "\n".join(problems) + "\n")
    if not skip_broken:
        shown = "; ".join(problems[:3]) + ("; ..." if len(problems) > 3 else "")
        raise UserError(f"{len(problems)} problems, all in {path} (--skip-broken goes on without): {shown}")


def _write_png(path: Path, picture: Picture) -> None:
    """Write a PNG file, whole or not at all."""
    try:
        with written_aside(path) as aside:
            Image.fromarray(picture).save(aside, format="PNG")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
