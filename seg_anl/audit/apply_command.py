"""``seg-anl-audit apply``: write a new data set with wrong annotations dropped, ignored or replaced."""

from __future__ import annotations

import hashlib
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_anl.records import UserError, make_directory, write_json
from seg_anl.records.atomic import folder_aside, remove_partial
from seg_anl.records.command_line import refuse_overlap
from seg_anl.records.foreign_files import read_bytes, read_json, read_table
from seg_anl.records.item_files import refuse_unknown
from seg_anl.records.manifest import MANIFEST

HELP = "write a data set without the wrong annotations"
DESCRIPTION = """\
Write a new data set from an audit: drop wrong cases (--drop), set elements on which annotation and prediction disagree
to the ignore label (--ignore, masks only), or replace wrong annotations with the prediction (--replace). Wrong are the
annotations suspected by the audit or, with --decisions, those marked wrong in review.html. nnU-Net raw data sets keep
their format; masks in folders become NEW_DATASET/images and masks; labels become class folders or arrays.

The source is not modified. Images are linked, or copied with --copy. manifest.json lists the changes."""
EXAMPLE = """\
examples:
  seg-anl-audit apply audit nnUNet_raw/Dataset502_Mended --ignore
  seg-anl-audit apply audit mended --drop --decisions decisions.json"""

DECISIONS = ("wrong", "right", "unsure")


@dataclass(frozen=True)
class Change:
    """The change to one case.

    Attributes:
        item: the case.
        action: ``drop``, ``ignore`` or ``replace``.
        elements: number of changed elements; None for a dropped case.
        source_sha256, result_sha256: ``array_digest`` of the annotation before and after; None after dropping it.
    """

    item: str
    action: str
    elements: int | None
    source_sha256: str
    result_sha256: str | None = None


@dataclass(frozen=True)
class Audit:
    """An audit read from its files.

    Attributes:
        folder: the audit's folder.
        content: audit.json.
        rows: rows of audit.csv by item, worst first.
    """

    folder: Path
    content: dict[str, Any]
    rows: dict[str, dict[str, str]]


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of this sub-command."""
    parser.add_argument("audit", type=Path, metavar="OUT", help="output of seg-anl-audit masks or labels")
    parser.add_argument("target", type=Path, metavar="NEW_DATASET", help="new folder")
    add = parser.add_mutually_exclusive_group(required=True).add_argument
    add("--drop", dest="action", action="store_const", const="drop", help="drop wrong cases")
    add(
        "--ignore",
        dest="action",
        action="store_const",
        const="ignore",
        help="set differing elements to the ignore label",
    )
    add("--replace", dest="action", action="store_const", const="replace", help="use the prediction instead")
    parser.add_argument("--decisions", type=Path, metavar="FILE", help="decisions saved by review.html")
    parser.add_argument("--copy", action="store_true", help="copy images instead of linking them")


def run(arguments: Namespace) -> int:
    """Run the sub-command; returns the exit status.

    Raises:
        UserError: for bad input; nothing is written then.
    """
    from .mended_labels import LabelSet
    from .mended_masks import MaskSet

    audit = read_audit(arguments.audit)
    target: Path = arguments.target
    request = {
        "audit": str(audit.folder.resolve()),
        "audit_sha256": _digest(audit.folder / "audit.csv"),
        "source": str(audit.content["source"]),
        "action": arguments.action,
        "decided": None if arguments.decisions is None else str(arguments.decisions),
        "decided_sha256": None if arguments.decisions is None else _digest(arguments.decisions),
    }
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        if not _is_result_of(request, target / MANIFEST):
            raise UserError(f"{target} already exists; choose a new folder")
        print(f"{target}: already written by this command; {target / MANIFEST} lists the changes")
        return 0
    wrong = wrong_items(audit, arguments.decisions)
    dataset: LabelSet | MaskSet = (LabelSet if audit.content["kind"] == "labels" else MaskSet)(audit)
    for folder in (audit.folder, *dataset.folders):
        refuse_overlap(folder, target)
    remove_partial(make_directory(target.parent), below=False)
    with folder_aside(target) as aside:
        changes, remarks = dataset.write(aside, arguments.action, wrong, copy=arguments.copy)
        same = [change.item for change in changes if change.elements == 0]
        if same:
            remarks.append(f"the prediction agrees with {len(same)} wrong annotations, such as {same[0]}: they stay")
        write_json(aside / MANIFEST, {**request, "remarks": remarks, "changes": [vars(change) for change in changes]})
    print(*remarks, sep="\n", end="\n" if remarks else "")
    done = {"drop": "dropped", "ignore": "partly set to the ignore label", "replace": "replaced"}[arguments.action]
    count = len(changes) - len(same)
    print(f"{target}: {count} of {len(audit.rows)} annotations {done}; {target / MANIFEST} lists them")
    return 0


def _digest(path: Path) -> str:
    return hashlib.sha256(read_bytes(path)).hexdigest()


def _is_result_of(request: dict[str, str | None], manifest: Path) -> bool:
    """Whether a data set was written from the same audit in the same way, by a process killed after its last file."""
    if not manifest.is_file():
        return False
    content = read_json(manifest)
    return isinstance(content, dict) and all(content.get(name) == value for name, value in request.items())


def read_audit(folder: Path) -> Audit:
    """Read the output of ``seg-anl-audit masks`` or ``labels``.

    Raises:
        UserError: if the folder is not an audit, or is damaged.
    """
    try:
        content = read_json(folder / "audit.json")
        rows = {row["item"]: row for row in read_table(folder / "audit.csv", "item")}
        if content["kind"] not in ("masks", "labels") or not isinstance(content["source"], str):
            raise ValueError("audit.json names no kind and source")
    except (UserError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}: not an audit of seg-anl-audit, or damaged: {error}") from error
    return Audit(folder, content, rows)


def wrong_items(audit: Audit, decisions: Path | None) -> set[str]:
    """The items to change: those decided to be wrong or, without decisions, those the audit suspects.

    Raises:
        UserError: for an unreadable file of decisions, or decisions about items not in the audit.
    """
    if decisions is None:
        wrong = {item for item, row in audit.rows.items() if row.get("suspected") == "1"}
    else:
        decision_of = read_decisions(decisions, audit)
        wrong = {item for item, decision in decision_of.items() if decision == "wrong"}
    if not wrong:
        raise UserError(f"{decisions or audit.folder}: no annotation is wrong; nothing to apply")
    return wrong


def read_decisions(path: Path, audit: Audit) -> dict[str, str]:
    """Decisions by item.

    Raises:
        UserError: for an unreadable file, decisions about other data, an unknown item or an unknown decision.
    """
    decisions = read_json(path)
    if isinstance(decisions, dict) and isinstance(decisions.get("decisions"), dict):
        if decisions.get("data") != audit.content.get("data", ""):
            raise UserError(
                f"{path}: decisions about other data than {audit.folder}, or of another audit; review again"
            )
        decisions = decisions["decisions"]
    if not isinstance(decisions, dict):
        raise UserError(f'{path}: expected a JSON object such as {{"ITEM": "wrong"}}')
    refuse_unknown(decisions, audit.rows, path)
    for item, decision in decisions.items():
        if decision not in DECISIONS:
            raise UserError(f"{path}: {item} is {decision!r}; expected {', '.join(DECISIONS)}")
    return decisions
