"""The command ``seg-anl-prep``: public datasets as they are downloaded to folders that the trainers read."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from seg_anl.records import UserError, make_directory, run_command

from .command_line import OneLineParser, positive_int, refuse_overlap
from .conversion import write_clean_folder, write_raw_dataset
from .duplicates import Duplicate
from .pairing import find_dataset, find_isic2017
from .shenzhen import find_shenzhen

PROGRAM = "seg-anl-prep"
_DESCRIPTION = """\
Turn public datasets as they are downloaded into clean folders. Nothing is dropped silently: every missing or
unreadable file is named, duplicates are listed in duplicates.csv."""
_DATASETS = {
    "isic2017": "the official ISIC-2017 Part 1 folders to images/, masks/ and split.csv",
    "nnunet": "the same folders, what isic2017 or shenzhen made, or images/ and masks/, to an nnU-Net raw dataset",
    "shenzhen": "the Shenzhen chest X-rays with lung masks, split as in the T-Loss paper",
}
_EXAMPLE = """\
examples:
  seg-anl-prep isic2017 downloads/isic2017 data/isic2017 --size 256
  seg-anl-prep nnunet downloads/isic2017 $nnUNet_raw --id 501 --name ISIC2017 --size 256"""


def main() -> None:
    """Parse the command line and prepare the dataset it names."""
    parser = OneLineParser(prog=PROGRAM, description=_DESCRIPTION, epilog=_EXAMPLE)
    sub_commands = parser.add_subparsers(dest="dataset", required=True, metavar="|".join(_DATASETS))
    for name, source, size in (("isic2017", "ROOT", 256), ("nnunet", "SRC", None), ("shenzhen", "ROOT", 256)):
        one = sub_commands.add_parser(name, help=_DATASETS[name], description=_DATASETS[name], epilog=_EXAMPLE)
        one.add_argument("source", metavar=source, type=Path, help="folder of the downloaded dataset")
        one.add_argument("target", metavar="OUT", type=Path, help="where to write")
        one.add_argument("--size", type=_size, default=size, help=f"pixels, or original (default {size or 'original'})")
        one.add_argument("--workers", type=positive_int, default=2, metavar="N", help="threads (default 2)")
        one.add_argument("--skip-broken", action="store_true", help="go on without what is missing or broken")
        one.add_argument("--overwrite", action="store_true", help="write into a folder that is not empty")
        if name == "nnunet":
            one.add_argument("--id", type=positive_int, required=True, help="number of the dataset, such as 501")
            one.add_argument("--name", type=_dataset_name, required=True, help="name of the dataset, such as ISIC2017")
            one.add_argument("--label", default="lesion", help="what the masks show (default lesion)")
        if name == "shenzhen":
            one.add_argument("--seed", type=int, default=0, help="of the split (default 0, the published one)")
    arguments = parser.parse_args()
    run_command(f"{PROGRAM} {arguments.dataset}", lambda: _run(arguments))


def _size(text: str) -> int | None:
    return None if text == "original" else positive_int(text)


def _dataset_name(text: str) -> str:
    if not re.fullmatch(r"\w[\w.+-]*", text):  # it becomes the name of a folder
        raise argparse.ArgumentTypeError(f"{text!r} is not made of letters, digits, '_', '-' and '.'")
    return text


def _run(arguments: argparse.Namespace) -> None:
    if not arguments.source.is_dir():
        raise UserError(f"{arguments.source} is not a folder")
    if arguments.dataset == "nnunet":
        _to_nnunet(arguments)
        return
    is_isic = arguments.dataset == "isic2017"
    found = find_isic2017(arguments.source) if is_isic else find_shenzhen(arguments.source, arguments.seed)
    refuse_overlap(arguments.source, arguments.target)
    _new_folder(arguments.target, overwrite=arguments.overwrite)
    print("\n".join(found.remarks))
    rows, duplicates = write_clean_folder(
        found, arguments.target, arguments.size, workers=arguments.workers, skip_broken=arguments.skip_broken
    )
    counts = Counter(row["split"] for row in rows)
    print(f"{arguments.target}: {', '.join(f'{count} {split}' for split, count in counts.items())}, see split.csv")
    print(duplicate_report(duplicates))


def _to_nnunet(arguments: argparse.Namespace) -> None:
    found = find_dataset(arguments.source)
    folder = arguments.target / f"Dataset{arguments.id:03d}_{arguments.name}"
    refuse_overlap(arguments.source, folder)
    _new_folder(folder, overwrite=arguments.overwrite)
    print("\n".join(found.remarks))
    counts = write_raw_dataset(
        found,
        folder,
        arguments.name,
        arguments.size,
        label=arguments.label,
        workers=arguments.workers,
        skip_broken=arguments.skip_broken,
    )
    print(f"{folder}: {counts['Tr']} cases in imagesTr, {counts['Ts']} in imagesTs")


def _new_folder(folder: Path, *, overwrite: bool) -> None:
    """Make sure that ``folder`` is there and empty, or may be written over."""
    make_directory(folder)
    if not overwrite and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; choose another folder or --overwrite")


def duplicate_report(duplicates: Sequence[Duplicate]) -> str:
    """What to say on the terminal about duplicates, one line each."""
    if not duplicates:
        return "no duplicates"
    across = sum(one.split != one.first_split for one in duplicates)
    lines = [f"{len(duplicates)} duplicates, {across} of them across splits (duplicates.csv):"]
    lines += [f"  {one.kind:5}  {one.item} ({one.split}) = {one.first} ({one.first_split})" for one in duplicates[:20]]
    return "\n".join(lines + ["  ..."] * (len(duplicates) > 20))
