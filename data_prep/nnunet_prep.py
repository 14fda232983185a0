"""Pairs of pictures and masks to an nnU-Net raw dataset of PNG files."""

from __future__ import annotations

import csv
from collections import Counter
from functools import partial
from pathlib import Path

from seg_anl.records import UserError, make_directory

from .folders import TRAINING, find_usual
from .isic2017 import find_isic2017, is_official
from .nnunet_raw import write_description
from .pairing import Found, Pair
from .pairs import each, read_pair, report_problems, write_png

READER = "NaturalImage2DIO"  # nnU-Net's reader of PNG files: one file per case, all channels in it


def find_pairs(source: Path) -> Found:
    """The pairs of a folder with split.csv (as ``seg-anl-prep isic2017`` writes it), of the official ISIC-2017 folders,
    or of a folder in one of the usual layouts.

    Raises:
        UserError: when the table cannot be read, or there is no pair.
    """
    table = source / "split.csv"
    if not table.is_file():
        return find_isic2017(source) if is_official(source) else find_usual(source)
    try:
        with open(table, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        pairs = [Pair(row["id"], row["split"], source / row["image"], source / row["mask"]) for row in rows]
    except (OSError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise UserError(f"{table}: cannot be read: expected columns id, split, image, mask ({error})") from error
    if not pairs:
        raise UserError(f"{table} lists no images")
    counts = Counter(pair.split for pair in pairs)
    return Found(pairs, remarks=[f"{split}: {count} images" for split, count in counts.items()])


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
        label: what the masks show.
        size: as in :func:`data_prep.pairs.read_pair`.
        workers: threads.
        skip_broken: carry on with the pairs that are whole.

    Returns:
        The number of cases in ``Tr`` and ``Ts``.

    Raises:
        UserError: when something is missing or broken and ``skip_broken`` is False, or nothing is left to train on.
    """
    sides = {"Tr" if pair.split == TRAINING else "Ts" for pair in found.pairs}
    for part in sorted(f"{what}{side}" for what in ("images", "labels") for side in sides):
        make_directory(folder / part)
    problems, written = list(found.problems), Counter[str]()
    for outcome in each(partial(_write_case, folder=folder, size=size), found.pairs, workers, "convert"):
        if outcome in ("Tr", "Ts"):
            written[outcome] += 1
        else:
            problems.append(outcome)
    report_problems(problems, folder, skip_broken=skip_broken)
    if written["Tr"] == 0:
        raise UserError(f"{folder}: no training case; nnU-Net needs the split {TRAINING!r}")
    write_description(
        folder,
        name=name,
        channels=("R", "G", "B"),
        labels={"background": 0, label: 1},
        cases=written["Tr"],
        ending=".png",
        reader=READER,
    )
    return {"Tr": written["Tr"], "Ts": written["Ts"]}


def _write_case(pair: Pair, folder: Path, size: int | None) -> str:
    if "/" in pair.item:
        raise UserError(f"{pair.image} lies in a sub-folder, but nnU-Net has its cases side by side; move it up")
    side = "Tr" if pair.split == TRAINING else "Ts"
    decoded = read_pair(pair, size, color=True)
    write_png(folder / f"images{side}" / f"{pair.item}_0000.png", decoded.image)
    write_png(folder / f"labels{side}" / f"{pair.item}.png", decoded.mask)
    return side
