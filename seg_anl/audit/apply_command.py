"""``seg-anl-audit apply``: a new data set in which what is wrong is left out, ignored or replaced."""

from __future__ import annotations

import hashlib
from argparse import ArgumentParser, Namespace
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_anl.records import UserError, make_directory, write_json
from seg_anl.records.atomic import folder_aside, remove_partial
from seg_anl.records.command_line import refuse_overlap
from seg_anl.records.foreign_files import read_bytes, read_json, read_table
from seg_anl.records.item_files import refuse_unknown

HELP = "a new data set without the wrong annotations"
DESCRIPTION = """\
Write a new data set from an audit: cases left out (--drop), what annotation and prediction disagree on set to the
ignore label (--ignore, masks alone), or annotations replaced by the prediction (--replace). What is wrong is what the
audit suspects or, with --decisions, what a person called wrong in review.html. nnU-Net raw data sets stay such; masks
in folders become NEW_DATASET/images and masks; labels become a folder for each class, or arrays.

The source is not touched. Images are linked, or copied with --copy. manifest.json says what was done to which case."""
EXAMPLE = """\
examples:
  seg-anl-audit apply audit nnUNet_raw/Dataset502_Mended --ignore
  seg-anl-audit apply audit mended --drop --decisions decisions.json"""

MANIFEST = "manifest.json"
DECISIONS = ("wrong", "right", "unsure")


@dataclass(frozen=True)
class Change:
    """What happened to one case: ``array_digest`` of its annotation before and, where there is one, after.

    Attributes:
        item: the case.
        action: ``drop``, ``ignore`` or ``replace``.
        elements: of the annotation that changed; None for a case left out.
        source_sha256, result_sha256: digests.
    """

    item: str
    action: str
    elements: int | None
    source_sha256: str
    result_sha256: str | None = None


@dataclass(frozen=True)
class Audit:
    """An audit as it was written.

    Attributes:
        folder: where it lies.
        content: audit.json.
        rows: audit.csv by item, worst first.
    """

    folder: Path
    content: dict[str, Any]
    rows: dict[str, dict[str, str]]


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this sub-command."""
    parser.add_argument("audit", type=Path, metavar="OUT", help="what seg-anl-audit masks or labels has written")
    parser.add_argument("target", type=Path, metavar="NEW_DATASET", help="new folder")
    add = parser.add_mutually_exclusive_group(required=True).add_argument
    add("--drop", dest="action", action="store_const", const="drop", help="leave the cases out")
    add("--ignore", dest="action", action="store_const", const="ignore", help="set what differs to the ignore label")
    add("--replace", dest="action", action="store_const", const="replace", help="take the prediction")
    parser.add_argument("--decisions", type=Path, metavar="FILE", help="JSON of review.html: wrong, right, unsure")
    parser.add_argument("--copy", action="store_true", help="copy images instead of linking them")


def run(arguments: Namespace) -> int:
    """Do what the command line asks for; returns the exit status.

    Raises:
        UserError: for anything wrong with the input; then nothing is written.
    """
    from .mended_labels import LabelSet
    from .mended_masks import MaskSet

    audit = read_audit(arguments.audit)
    target: Path = arguments.target
    asked = {
        "audit": str(audit.folder.resolve()),
        "audit_sha256": _digest(audit.folder / "audit.csv"),
        "source": str(audit.content["source"]),
        "action": arguments.action,
        "decided": None if arguments.decisions is None else str(arguments.decisions),
        "decided_sha256": None if arguments.decisions is None else _digest(arguments.decisions),
    }
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        if not _is_made_by(asked, target / MANIFEST):
            raise UserError(f"{target} exists already: name a new folder")
        print(f"{target}: made by this command already; {target / MANIFEST} lists the changes")
        return 0
    wrong = wrong_items(audit, arguments.decisions)
    dataset: LabelSet | MaskSet = (LabelSet if audit.content["kind"] == "labels" else MaskSet)(audit)
    for place in (audit.folder, *dataset.places):
        refuse_overlap(place, target)
    remove_partial(make_directory(target.parent), below=False)
    with folder_aside(target) as aside:
        changes, remarks = dataset.write(aside, arguments.action, wrong, copy=arguments.copy)
        write_json(aside / MANIFEST, {**asked, "remarks": remarks, "changes": [vars(change) for change in changes]})
    print(*remarks, sep="\n", end="\n" if remarks else "")
    done = {"drop": "left out", "ignore": "set to the ignore label in part", "replace": "replaced"}[arguments.action]
    print(f"{target}: {len(changes)} of {len(audit.rows)} annotations {done}; {target / MANIFEST} lists them")
    return 0


def _digest(path: Path) -> str:
    return hashlib.sha256(read_bytes(path)).hexdigest()


def _is_made_by(asked: dict[str, str | None], manifest: Path) -> bool:
    """Whether a data set was made of the same audit in the same way: a process may be killed after its last file."""
    if not manifest.is_file():
        return False
    made = read_json(manifest)
    return isinstance(made, dict) and all(made.get(name) == value for name, value in asked.items())


def read_audit(folder: Path) -> Audit:
    """Read what ``seg-anl-audit masks`` or ``labels`` has written.

    Raises:
        UserError: when it is no such thing, or damaged.
    """
    try:
        content = read_json(folder / "audit.json")
        rows = {row["item"]: row for row in read_table(folder / "audit.csv", "item")}
        if content["kind"] not in ("masks", "labels") or not isinstance(content["source"], str):
            raise ValueError("audit.json names no kind and source")
    except (UserError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}: no audit of seg-anl-audit, or a damaged one: {error}") from error
    return Audit(folder, content, rows)


def wrong_items(audit: Audit, decisions: Path | None) -> set[str]:
    """The items to change: those decided to be wrong or, without decisions, those that the audit suspects.

    Raises:
        UserError: for decisions that cannot be read, or about items that the audit does not know.
    """
    if decisions is None:
        found = {item for item, row in audit.rows.items() if row.get("suspected") == "1"}
    else:
        decided = read_decisions(decisions, audit.rows)
        found = {item for item, decision in decided.items() if decision == "wrong"}
    if not found:
        raise UserError(f"{decisions or audit.folder}: nothing is wrong: nothing to apply")
    return found


def read_decisions(path: Path, known: Collection[str]) -> dict[str, str]:
    """Decisions by item.

    Raises:
        UserError: for a file that cannot be read, an unknown item or decision.
    """
    decided = read_json(path)
    if not isinstance(decided, dict):
        raise UserError(f'{path}: expected {{"ITEM": "wrong"}} and so on')
    refuse_unknown(decided, known, path)
    for item, decision in decided.items():
        if decision not in DECISIONS:
            raise UserError(f"{path}: {item} is {decision!r}; expected {', '.join(DECISIONS)}")
    return decided
