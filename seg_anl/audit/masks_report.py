"""From the cases' rows to the audit: ranking, suspects, shares, and the files that tell of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg_anl import __version__
from seg_anl.records import UserError, write_csv, write_json
from seg_anl.records.foreign_files import read_table
from seg_anl.records.progress import progress_bar
from seg_anl.records.workers import in_processes

from .cases import CaseFiles, Labels, load_case
from .diagnosis import KINDS, PLAUSIBLE
from .images import case_pictures, read_case_image
from .overview import write_overview
from .review import ReviewItem, write_review
from .scores import SCORES
from .share import Share, share_of, suspected_by_image, suspected_by_mixture
from .sources import Source

SCHEMA = 1
_FEW_PICTURES = 100  # drawn sooner than processes are started
_LEARNED = 0.5  # Dice with most masks that a network should reach before it is believed
_MEASURES = ("offset", "shift", "shift_length", "size", "share", "with")
_COLUMNS = (
    "item", "score", "suspected", "diagnosis", "structure", "evidence", "group", "fold", *SCORES, "contrast_ratio",
    "signed_distance", "unit", "training_loss", "dice_before", "dice_after", *_MEASURES,
)  # fmt: skip
_OF_STRUCTURES = tuple(name for name in _COLUMNS if name not in ("suspected", "group", "training_loss"))
_OF_COMPONENTS = ("item", "structure", "kind", "score", "elements", "size", "overlap", "center")


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        cases: a row for each case, worst first.
        structures: a row for each structure of a case, worst first.
        components: a row for each connected piece, worst first.
        score: the name of the score that ranks.
        share: estimated share of wrong annotations.
        kinds: the same by diagnosis.
        groups: the same by annotator or site.
        summary: for the terminal.
    """

    cases: list[dict[str, Any]]
    structures: list[dict[str, Any]]
    components: list[dict[str, Any]]
    score: str
    share: Share
    kinds: dict[str, Share]
    groups: dict[str, Share]
    summary: str


def audited(rows: Sequence[Mapping[str, Any]], source: Source, groups: Mapping[str, str] | None) -> Audit:
    """Rank the cases and estimate shares; a case is as wrong as its worst structure.

    Raises:
        UserError: when ``groups`` knows none of the cases.
    """
    by_image = all(row["image"] for row in rows)
    score = "contradiction" if by_image else "displacement"
    structures, components, cases = [], [], []
    for row in rows:
        own = [_structure_row(row, structure, score) for structure in row["structures"]]
        structures += own
        for structure in row["structures"]:
            names = {"item": row["item"], "structure": structure["structure"]}
            components += [{**names, **component} for component in structure["components"]]
        worst = max(own, key=lambda one: one["score"], default=_nothing(row))
        group = "" if groups is None else groups.get(row["item"], "")
        loss = source.losses.get(row["item"], "")
        cases.append({**worst, "group": group, "self_confidence": row["self_confidence"], "training_loss": loss})
    columns = ("contrast_ratio", "displacement", "contradiction") if by_image else ("confident_disagreement",)
    values = [np.array([case[name] for case in cases], dtype=float) for name in columns]
    suspected, share = suspected_by_image(*values) if by_image else suspected_by_mixture(*values)
    for case, flag in zip(cases, suspected, strict=True):
        case["suspected"] = int(flag)
        case["diagnosis"] = case["diagnosis"] if flag else PLAUSIBLE
    shares = {kind: share_of(np.array([case["diagnosis"] == kind for case in cases])) for kind in KINDS}
    named = sorted({case["group"] for case in cases} - {""})
    if groups is not None and not named:
        raise UserError(f"--by: none of its items is a case; cases are called {cases[0]['item']} and so on")
    by_group = {name: share_of(suspected[[case["group"] == name for case in cases]]) for name in named}
    for table in (cases, structures, components):
        table.sort(key=lambda row: (-row["score"], row["item"], str(row["structure"])))
    return Audit(cases, structures, components, score, share, shares, by_group, _summary(cases, score, share, by_group))


def _structure_row(row: Mapping[str, Any], structure: Mapping[str, Any], score: str) -> dict[str, Any]:
    measures = {name: structure["measures"].get(name, "") for name in _MEASURES}
    if measures["shift"]:
        measures["shift"] = " ".join(f"{step:g}" for step in measures["shift"])
    taken = ("structure", "diagnosis", "evidence", "dice_before", "dice_after")
    about = {name: row[name] for name in ("item", "fold", "unit")}
    scores = structure["scores"]
    return {**about, **{name: structure[name] for name in taken}, **scores, **measures, "score": scores[score]}


def _nothing(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a case in which neither annotation nor prediction shows anything."""
    about = {name: row[name] for name in ("item", "fold", "unit")}
    empty = dict.fromkeys((*SCORES, "contrast_ratio", "signed_distance"), 0.0)
    told = {"structure": "", "diagnosis": PLAUSIBLE, "evidence": "nothing annotated and nothing predicted"}
    return {**about, **empty, **told, "score": 0.0}


def _summary(cases: Sequence[Mapping[str, Any]], score: str, share: Share, groups: Mapping[str, Share]) -> str:
    counts = Counter(case["diagnosis"] for case in cases if case["suspected"])
    told = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    lines = [
        f"ranked by {score}; {sum(counts.values())} of {len(cases)} suspected" + (f": {told}" if told else ""),
        f"estimated wrong: {share.value:.0%} ({share.low:.0%} to {share.high:.0%})",
    ]
    lines += [f"  {name}: {part.value:.0%} ({part.low:.0%} to {part.high:.0%})" for name, part in groups.items()]
    dice = 1 - float(np.median([case["hard_dice"] for case in cases]))
    if dice < _LEARNED:
        lines.append(f"the median Dice of predictions and masks is {dice:.2f}: such networks know too little to accuse")
    return "\n".join(lines)


def read_groups(path: Path, column: str) -> dict[str, str]:
    """The annotator, site or the like of each item, from a CSV file.

    Raises:
        UserError: for a file that cannot be read or lacks the columns.
    """
    return {row["item"]: row[column] for row in read_table(path, "item", column)}


# Writing


@dataclass(frozen=True)
class _PictureTask:
    files: CaseFiles
    labels: Labels
    structure: str


def write_report(
    out: Path, found: Audit, source: Source, settings: Mapping[str, Any], *, show: int, workers: int
) -> None:
    """Write every file of the audit into ``out``; audit.json comes last.

    Args:
        out: the folder.
        found: what to tell.
        source: where the pictures come from.
        settings: for audit.json.
        show: cases on the page.
        workers: processes that draw.
    """
    write_csv(out / "audit.csv", _COLUMNS, [_cells(row, _COLUMNS) for row in found.cases])
    write_csv(out / "structures.csv", _OF_STRUCTURES, [_cells(row, _OF_STRUCTURES) for row in found.structures])
    write_csv(out / "components.csv", _OF_COMPONENTS, found.components)
    write_overview(out / "overview.png", found.cases, found.score, found.share, found.kinds)
    files = {case.item: case for case in source.cases}
    shown = found.cases[:show]
    tasks = [_PictureTask(files[row["item"]], source.labels, row["structure"]) for row in shown]
    workers = workers if len(tasks) > _FEW_PICTURES else 1
    drawing = in_processes(_pictures, tasks, workers)
    pictures = progress_bar(drawing, "case", total=len(tasks), title="pictures")
    told = ("item", "score", "diagnosis", "structure")
    items = (
        ReviewItem(
            **{name: row[name] for name in told},
            pictures=drawn,
            caption=row["evidence"],
            suspected=bool(row["suspected"]),
        )
        for row, drawn in zip(shown, pictures, strict=True)
    )
    legend = "Orange: annotation. Blue: prediction. Right: where they disagree, by the network's probability."
    title = f"Audit of {len(found.cases)} masks"
    caveats = [f"{line[0].upper()}{line[1:]}." for line in found.summary.splitlines()[1:] if line[0] != " "]
    write_review(out, items, title, " ".join([legend, *caveats]))
    write_json(
        out / "audit.json",
        {
            "schema": SCHEMA,
            "kind": "masks",
            "version": __version__,
            **settings,
            "layout": source.kind,
            "in_sample": source.in_sample,
            "cases": len(found.cases),
            "suspected": sum(row["suspected"] for row in found.cases),
            "score": found.score,
            "formula": SCORES[found.score],
            "wrong": found.share.as_dict(),
            "wrong_by_kind": {kind: share.as_dict() for kind, share in found.kinds.items()},
            "wrong_by_group": {name: share.as_dict() for name, share in found.groups.items()},
            "missing": source.missing,
            "remarks": source.remarks,
        },
    )


def _cells(row: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    return {name: round(value, 6) if isinstance(value := row.get(name, ""), float) else value for name in columns}


def _pictures(task: _PictureTask) -> list[bytes]:
    case = load_case(task.files, task.labels)
    structure = next((one for one in case.structures if one.name == task.structure), None)
    if structure is None:
        return []
    return case_pictures(case, case.of(structure), read_case_image(task.files, case))
