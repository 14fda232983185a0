"""``seg-anl-prep raters``: folders with the masks of several raters to one folder of masks, or of soft labels."""

from __future__ import annotations

import hashlib
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seg_anl import __version__
from seg_anl.records import UserError, item_id, make_directory, write_csv, write_json
from seg_anl.records.atomic import remove_partial
from seg_anl.records.command_line import positive_int, refuse_overlap, worker_count
from seg_anl.records.files import file_sha256
from seg_anl.records.journal import Row, earlier_run, finish_items
from seg_anl.records.lock import locked
from seg_anl.records.manifest import MANIFEST
from seg_anl.records.predictions import write_arrays

from . import raters
from .drawing import fullest_slice, panels, save_picture
from .mask_files import mask_paths, save_mask

MASKS, SOFT = "masks", "soft"  # folders below OUT
JOURNAL, TABLE, PICTURE = ".seg-anl-raters.jsonl", "agreement.csv", "disagreement.png"
CONSENSUS = "consensus"
_SHOWN, _COLUMNS, _NAMED = 12, 4, 5

_DESCRIPTION = """\
Fuse the masks of several raters, one folder each, with the same names in all. OUT gets masks/ (with --by mean soft/: of
each item an .npz with class probabilities, which seg-anl-train takes as data.soft), manifest.json, agreement.csv (Dice
and kappa of each pair of raters, and of each rater and the consensus) and disagreement.png."""
_EXAMPLE = """\
example:
  seg-anl-prep raters rater1 rater2 rater3 fused --by staple --workers 4
  seg-anl-train data=folder data.root=DATA data.soft=mean/soft     after: seg-anl-prep raters r1 r2 r3 mean --by mean"""


class _Task(NamedTuple):
    item: str
    paths: tuple[Path, ...]
    target: Path
    settings: Row


def add_arguments(sub_commands: Any) -> None:
    """Add the parser of this sub-command."""
    meaning = "masks of several raters to one folder of masks, or of soft labels"
    one = sub_commands.add_parser("raters", help=meaning, description=_DESCRIPTION, epilog=_EXAMPLE)
    one.add_argument("sources", metavar="SRC", type=Path, nargs="+", help="a rater's folder of masks; two or more")
    one.add_argument("target", metavar="OUT", type=Path, help="new folder, or that of an equal command cut short")
    one.add_argument("--by", choices=raters.METHODS, required=True, help="vote, staple (SimpleITK), mean or random")
    one.add_argument("--classes", type=_classes, default=2, metavar="C", help="background among them (default 2)")
    one.add_argument(
        "--ignore", type=_ignored, metavar="V", help="value of what a rater says nothing of; not with staple"
    )
    one.add_argument("--seed", type=int, default=0, help="of --by random (default 0)")
    one.add_argument("--workers", type=worker_count, default=1, metavar="N", help="processes (default 1)")


def run(arguments: Namespace) -> None:
    """Do what the command line asks for."""
    sources, target, by = arguments.sources, arguments.target, arguments.by
    if len({source.resolve() for source in sources}) < max(2, len(sources)):
        raise UserError("raters: expected two or more different folders of masks, and OUT after them")
    if by == "staple" and arguments.ignore is not None:
        raise UserError("--ignore does not go with --by staple: SimpleITK's STAPLE takes every element as labeled")
    if arguments.ignore is not None and arguments.ignore < arguments.classes:
        raise UserError(f"--ignore {arguments.ignore} is one of the classes 0 to {arguments.classes - 1} (--classes)")
    for source in sources:
        refuse_overlap(source, target)
    settings = {name: getattr(arguments, name) for name in ("by", "classes", "ignore", "seed")}
    tasks = _tasks(sources, target, settings)
    names = raters.rater_names(sources)
    items = hashlib.sha256("\n".join(task.item for task in tasks).encode()).hexdigest()
    identity = {"command": "raters", "version": __version__, "raters": names, **settings, "items_sha256": items}
    with locked(make_directory(target)):
        remove_partial(target)
        rows = _fused(target, tasks, identity, arguments.workers)
        table = [
            {"first": first, "second": second, **raters.agreement([row["overlaps"][number] for row in rows])}
            for number, (first, second) in enumerate(combinations([*names, CONSENSUS], 2))
        ]
        write_csv(target / TABLE, list(table[0]), table)
        _picture(target / PICTURE, tasks, rows)
        write_json(target / MANIFEST, {"schema": 1, "settings": identity, "items": rows})
        (target / JOURNAL).unlink(missing_ok=True)
    print(f"{target}: {len(rows)} items of {len(sources)} raters, by {by}, in {SOFT if by == 'mean' else MASKS}/")
    for row in table:
        print(f"  {row['first']:24} {row['second']:24} Dice {row['dice']:.3f}  kappa {row['kappa']:.3f}")


def _tasks(sources: Sequence[Path], target: Path, settings: Row) -> list[_Task]:
    found = [{item_id(path, source): path for path in mask_paths(source)} for source in sources]
    everywhere = sorted(set().union(*found))
    for source, paths in zip(sources, found, strict=True):
        lacking = [item for item in everywhere if item not in paths]
        if lacking:
            more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
            raise UserError(f"{source}: no mask of {', '.join(lacking[:_NAMED])}{more}, which another rater has")
    tasks = []
    for item in everywhere:
        relative = found[0][item].relative_to(sources[0])
        place = target / SOFT / f"{item}.npz" if settings["by"] == "mean" else target / MASKS / relative
        tasks.append(_Task(item, tuple(paths[item] for paths in found), place, settings))
    return tasks


def _fused(target: Path, tasks: Sequence[_Task], identity: Row, workers: int) -> list[Row]:
    """Fuse what is not finished; the journal keeps what is, until the manifest does."""
    earlier = _earlier(target, identity)
    finished = {task.item: earlier[task.item] for task in tasks if _is_done(task, earlier.get(task.item))}
    waiting = [task for task in tasks if task.item not in finished]
    if waiting:
        (target / MANIFEST).unlink(missing_ok=True)
        finished = finish_items(target / JOURNAL, identity, finished, _one, waiting, unit="item", workers=workers)
    return [finished[task.item] for task in tasks]


def _earlier(target: Path, identity: Row) -> dict[str, Row]:
    """The rows of an earlier, equal command in ``target``, by item; an error where that holds something else."""
    found = earlier_run(target / JOURNAL, target / MANIFEST)
    if found is None:
        if any(not path.name.startswith(".") for path in target.iterdir()):
            raise UserError(f"{target} is not empty and holds no masks of this command; choose another folder")
        return {}
    settings, rows = found
    if settings != identity:
        raise UserError(f"{target} holds masks of other raters, settings or items; choose another folder")
    return rows


def _is_done(task: _Task, row: Row | None) -> bool:
    """Whether the result is there, from the same files."""
    if row is None or not task.target.is_file() or file_sha256(task.target) != row.get("result_sha256"):
        return False
    return [file_sha256(path) for path in task.paths] == row.get("source_sha256")


def _one(task: _Task) -> Row | str:
    """Read, fuse, write and compare the masks of one item; what is wrong with them comes back as text."""
    by, classes, ignore, seed = (task.settings[name] for name in ("by", "classes", "ignore", "seed"))
    rater = raters.drawn(seed, task.item, len(task.paths)) if by == "random" else None
    try:
        masks, labels = raters.load_raters(task.paths, classes, ignore)
        consensus = raters.staple(labels, classes) if by == "staple" else raters.vote(labels, classes)
        chosen = consensus if rater is None else labels[rater]
        fused = None if by == "mean" else raters.stored(chosen, masks, task.paths, classes, ignore)
    except UserError as error:
        return str(error)
    make_directory(task.target.parent)
    if fused is None:
        probabilities = raters.mean(labels, classes)
        # As the losses know an element that does not count: all its channels hold the value to ignore.
        write_arrays(task.target, probabilities=np.nan_to_num(probabilities, nan=0 if ignore is None else ignore))
    else:
        save_mask(masks[0], fused, task.target)
    pairs = combinations([*labels, consensus], 2)
    return {
        "item": task.item,
        "source_sha256": [file_sha256(path) for path in task.paths],
        "result_sha256": file_sha256(task.target),
        "rater": rater,
        "disagreement": round(float(raters.disagreement(labels, classes).mean()), 6),
        "overlaps": [raters.overlaps(first, second, classes) for first, second in pairs],
    }


def _picture(path: Path, tasks: Sequence[_Task], rows: Sequence[Row]) -> None:
    """Write the maps of the items that the raters disagree on most; of a volume the slice with most of it."""
    order = sorted(zip(rows, tasks, strict=True), key=lambda pair: (-pair[0]["disagreement"], pair[0]["item"]))[:_SHOWN]
    lines = -(-len(order) // _COLUMNS)
    figure, axes = panels(lines, _COLUMNS, 2.4 * _COLUMNS, 2.5 * lines + 0.4)
    for axis, (row, task) in zip(axes.flat, order, strict=False):
        classes = task.settings["classes"]
        _, labels = raters.load_raters(task.paths, classes, task.settings["ignore"])
        heat = raters.disagreement(labels, classes)
        heat, outline = fullest_slice(heat, heat, raters.vote(labels, classes) > 0)
        shown = axis.imshow(heat, cmap="magma", vmin=0, vmax=0.5, interpolation="nearest")
        if outline.any() and not outline.all():
            axis.contour(outline, levels=[0.5], colors="white", linewidths=0.8)
        axis.set_title(f"{row['item'][-26:]}\n{row['disagreement']:.3f}", fontsize=7)
    figure.colorbar(shown, ax=axes, shrink=0.6, label="share of raters with another class than most")
    save_picture(figure, path)


def _classes(text: str) -> int:
    classes = positive_int(text, 255)
    if classes < 2:
        raise ArgumentTypeError("expected at least 2, background among them")
    return classes


def _ignored(text: str) -> int:
    value = positive_int(text, 65504)  # what half precision holds
    if value < 2:
        raise ArgumentTypeError("1 means a class that is present; mark what is to be ignored by another value")
    return value
