"""Write pairs of images and masks as a clean folder or an nnU-Net raw dataset, naming every fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from PIL import Image

from seg_anl.records import UserError, write_csv, write_json, write_text
from seg_anl.records.files import files_below
from seg_anl.records.progress import progress_bar
from seg_anl.records.workers import tried_in_threads

from .duplicates import Duplicate, Fingerprint, find_duplicates, fingerprint
from .layouts import TRAINING, Found
from .pairing import Pair
from .pictures import Picture, check_size, read_image, read_labels, two_valued, write_png

SPLIT_COLUMNS = ("id", "split", "image", "mask", "source_width", "source_height", "foreground", "duplicate_of")
PROBLEMS = "problems.txt"

T = TypeVar("T")


def read_pair(pair: Pair, size: int | None, *, color: bool) -> tuple[Picture, Picture, tuple[int, int]]:
    """The image (H, W, 3) or, without ``color``, (H, W); the mask (H, W) of 0 and 1; width and height in the file.

    Resized to a square of ``size`` pixels, if any, as the published scripts do: the image bilinearly without
    antialiasing, the mask by the nearest pixel.
    """
    image, _ = read_image(pair.image.open(), pair.image.name, "RGB" if color else "L")
    labels = read_labels(pair.mask.open(), pair.mask.name)
    check_size(labels, image, pair.mask.name)
    binary = two_valued(labels, pair.mask.name)
    height, width = binary.shape
    if size is not None:
        image = np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
        binary = np.asarray(cv2.resize(binary, (size, size), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
    return image, binary, (width, height)


def write_clean_folder(
    found: Found, target: Path, size: int | None, *, workers: int = 1, skip_broken: bool = False
) -> tuple[list[dict[str, Any]], list[Duplicate]]:
    """Write ``images/SPLIT``, ``masks/SPLIT`` (0 and 255), ``split.csv`` and ``duplicates.csv`` to ``target``.

    ``workers`` threads read the pairs. Missing or broken files are listed in problems.txt; they are an error unless
    ``skip_broken``. Returns the rows of split.csv, and the duplicates among all splits.
    """
    _refuse_leftovers(target, found.pairs, _clean_files)
    convert = partial(_convert_one, target=target, size=size, color=found.color)
    done = _each(convert, found, target, "prepare", workers=workers, skip_broken=skip_broken)
    rows = [row for row, _ in done]
    duplicates = find_duplicates([print_ for _, print_ in done])
    first_of = {(duplicate.item, duplicate.split): duplicate.first for duplicate in reversed(duplicates)}
    for row in rows:
        row["duplicate_of"] = first_of.get((row["id"], row["split"]), "")
    write_csv(target / "duplicates.csv", Duplicate._fields, [duplicate._asdict() for duplicate in duplicates])
    write_csv(target / "split.csv", SPLIT_COLUMNS, rows)
    return rows, duplicates


def _convert_one(pair: Pair, target: Path, size: int | None, color: bool) -> tuple[dict[str, Any], Fingerprint]:
    picture, binary, (width, height) = read_pair(pair, size, color=color)
    image, mask = _clean_files(pair)
    write_png(target / image, Image.fromarray(picture))
    write_png(target / mask, Image.fromarray(binary * np.uint8(255)))
    foreground = round(float(binary.mean()), 6)
    row = dict(zip(SPLIT_COLUMNS, (pair.item, pair.split, image, mask, width, height, foreground), strict=False))
    return row, fingerprint(pair.item, pair.split, Path(pair.image.name), picture)


def _clean_files(pair: Pair) -> tuple[str, str]:
    return f"images/{pair.split}/{pair.item}.png", f"masks/{pair.split}/{pair.item}.png"


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

    The split ``train`` goes to Tr, every other one to Ts; returns the number of cases in each. ``name`` is the
    dataset's, ``label`` what the masks show; the other arguments are those of :func:`write_clean_folder`.
    """
    written_from: dict[tuple[str, str], Pair] = {}
    for pair in found.pairs:
        if (earlier := written_from.setdefault((_side(pair), pair.item), pair)) is not pair:
            raise UserError(f"{earlier.image} and {pair.image} would both be the case {pair.item}; rename one")
    _refuse_leftovers(folder, found.pairs, _case_files)
    convert = partial(_write_case, folder=folder, size=size)
    written = Counter(_each(convert, found, folder, "convert", workers=workers, skip_broken=skip_broken))
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


def _write_case(pair: Pair, folder: Path, size: int | None) -> str:
    if "/" in pair.item:
        raise UserError(f"{pair.image.name} lies in a sub-folder, but nnU-Net has its cases side by side; move it up")
    image, mask, _ = read_pair(pair, size, color=True)
    for name, array in zip(_case_files(pair), (image, mask), strict=True):
        write_png(folder / name, Image.fromarray(array))
    return _side(pair)


def _case_files(pair: Pair) -> tuple[str, str]:
    return f"images{_side(pair)}/{pair.item}_0000.png", f"labels{_side(pair)}/{pair.item}.png"


def _side(pair: Pair) -> str:
    return "Tr" if pair.split == TRAINING else "Ts"


def _refuse_leftovers(target: Path, pairs: Sequence[Pair], files: Callable[[Pair], tuple[str, str]]) -> None:
    """Refuse a folder with pictures of an earlier run that this one would not replace: they would be trained on."""
    own = {target / name for pair in pairs for name in files(pair)}
    for path in files_below(target) if target.is_dir() else ():
        if path.suffix == ".png" and path not in own:
            found = path.relative_to(target)
            raise UserError(f"{target} holds {found}, which this run would not replace; choose another folder")


def _each(
    work: Callable[[Pair], T], found: Found, target: Path, title: str, *, workers: int, skip_broken: bool
) -> list[T]:
    """The results of ``work`` on every pair; faults go to problems.txt and, unless ``skip_broken``, are an error."""
    tried = tried_in_threads(work, found.pairs, workers)
    outcomes = list(progress_bar(tried, "pair", total=len(found.pairs), title=title))
    problems = [*found.problems, *(str(outcome) for outcome in outcomes if isinstance(outcome, UserError))]
    path = target / PROBLEMS
    path.unlink(missing_ok=True)
    if problems:
        write_text(path, "\n".join(problems) + "\n")
    if problems and not skip_broken:
        shown = "; ".join(problems[:3]) + ("; ..." if len(problems) > 3 else "")
        raise UserError(f"{len(problems)} problems, all in {path} (--skip-broken continues without them): {shown}")
    return [outcome for outcome in outcomes if not isinstance(outcome, UserError)]
