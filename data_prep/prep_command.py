"""The command ``seg-anl-prep``: downloaded public datasets to folders that the trainers read."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from seg_anl.records import UserError, make_directory, run_command
from seg_anl.records.atomic import remove_partial
from seg_anl.records.command_line import OneLineParser, positive_int, refuse_overlap, worker_count
from seg_anl.records.files import check_folder

from . import raters_command
from .conversion import write_clean_folder, write_raw_dataset
from .duplicates import Duplicate
from .layouts import find_dataset, find_isic2017
from .shenzhen import find_shenzhen

PROGRAM = "seg-anl-prep"
_DESCRIPTION = """\
Turn downloaded public datasets into clean folders. Nothing is dropped silently: every missing or unreadable file is
named, duplicates are listed in duplicates.csv."""
_DATASETS = {
    "isic2017": "the official ISIC-2017 Part 1 folders to images/, masks/ and split.csv",
    "nnunet": "the same folders, what isic2017 or shenzhen made, or images/ and masks/, to an nnU-Net raw dataset",
    "shenzhen": "the Shenzhen chest X-rays with lung masks, split as in the T-Loss paper",
}
_EXAMPLE = """\
examples:
  seg-anl-prep isic2017 downloads/isic2017 data/isic2017 --size 256
  seg-anl-prep nnunet downloads/isic2017 $nnUNet_raw --id 501 --name ISIC2017 --size 256"""
_MAX_SIZE = 1 << 13  # pixels; such a picture takes 200 MB


def main() -> None:
    """Parse the command line and prepare the dataset it names."""
    parser = OneLineParser(prog=PROGRAM, description=_DESCRIPTION, epilog=_EXAMPLE)
    sub_commands = parser.add_subparsers(dest="dataset", required=True, metavar="|".join([*_DATASETS, "raters"]))
    raters_command.add_arguments(sub_commands)
    for name, source, size in (("isic2017", "ROOT", 256), ("nnunet", "SRC", None), ("shenzhen", "ROOT", 256)):
        one = sub_commands.add_parser(name, help=_DATASETS[name], description=_DATASETS[name], epilog=_EXAMPLE)
        one.add_argument("source", metavar=source, type=Path, help="folder of the downloaded dataset")
        one.add_argument("target", metavar="OUT", type=Path, help="where to write")
        one.add_argument("--size", type=_size, default=size, help=f"pixels, or original (default {size or 'original'})")
        one.add_argument("--workers", type=worker_count, default=2, metavar="N", help="threads (default 2)")
        one.add_argument("--skip-broken", action="store_true", help="continue without missing or broken files")
        one.add_argument(
            "--overwrite", action="store_true", help="write into a folder that is not empty, in place of an earlier run"
        )
        if name == "nnunet":
            one.add_argument("--id", type=positive_int, required=True, help="number of the dataset, such as 501")
            one.add_argument("--name", type=_dataset_name, required=True, help="name of the dataset, such as ISIC2017")
            one.add_argument("--label", type=_label, default="lesion", help="what the masks show (default lesion)")
        if name == "shenzhen":
            one.add_argument("--seed", type=int, default=0, help="of the split (default 0, the published one)")
    arguments = parser.parse_args()
    run_command(f"{PROGRAM} {arguments.dataset}", lambda: _run(arguments))


def _size(text: str) -> int | None:
    return None if text == "original" else positive_int(text, _MAX_SIZE)


def _dataset_name(text: str) -> str:
    if not re.fullmatch(r"\w[\w.+-]*", text):  # it becomes the name of a folder
        raise argparse.ArgumentTypeError(f"{text!r} is not made of letters, digits, '_', '-' and '.'")
    return text


def _label(text: str) -> str:
    if text in ("background", "ignore"):
        raise argparse.ArgumentTypeError(f"{text!r} means something else in nnU-Net; say what the masks show")
    return text


def _run(arguments: argparse.Namespace) -> None:
    if arguments.dataset == "raters":
        raters_command.run(arguments)
        return
    source, target, size = arguments.source, arguments.target, arguments.size
    options = {"workers": arguments.workers, "skip_broken": arguments.skip_broken}
    check_folder(source)
    if arguments.dataset == "shenzhen":
        found = find_shenzhen(source, arguments.seed)
    else:
        found = (find_isic2017 if arguments.dataset == "isic2017" else find_dataset)(source)
    if arguments.dataset == "nnunet":
        target = target / f"Dataset{arguments.id:03d}_{arguments.name}"
    refuse_overlap(source, target)
    remove_partial(make_directory(target))
    if not arguments.overwrite and any(target.iterdir()):
        raise UserError(f"{target} is not empty; choose another folder or --overwrite")
    print("\n".join(found.remarks))
    if arguments.dataset == "nnunet":
        cases = write_raw_dataset(found, target, arguments.name, size, label=arguments.label, **options)
        print(f"{target}: {cases['Tr']} cases in imagesTr, {cases['Ts']} in imagesTs")
        return
    rows, duplicates = write_clean_folder(found, target, size, **options)
    counts = Counter(row["split"] for row in rows)
    print(f"{target}: {', '.join(f'{count} {split}' for split, count in counts.items())}, see split.csv")
    print(_duplicate_report(duplicates))


def _duplicate_report(duplicates: Sequence[Duplicate]) -> str:
    if not duplicates:
        return "no duplicates"
    across = sum(one.split != one.first_split for one in duplicates)
    lines = [f"{len(duplicates)} duplicates, {across} of them across splits (duplicates.csv):"]
    lines += [f"  {one.kind:5}  {one.item} ({one.split}) = {one.first} ({one.first_split})" for one in duplicates[:20]]
    return "\n".join(lines + ["  ..."] * (len(duplicates) > 20))
