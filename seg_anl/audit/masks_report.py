"""Summarize the rows of all cases (ranking, suspects, shares) and write the report files."""

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
from .images import draw_case, read_case_image
from .overview import write_overview
from .review import ReviewItem, write_review
from .scores import SCORES
from .share import Share, share_of
from .sources import Source
from .suspects import shown_in_images, suspect_by_dice, suspect_by_images

SCHEMA = 1
_FEW_PICTURES = 100  # drawn faster in this process than by starting workers
_LEARNED = 0.5  # below this median Dice the network is not to be trusted
_MEASURES = ("offset", "shift", "shift_length", "size", "share", "with")
_COLUMNS = (
    "item", "score", "suspected", "diagnosis", "structure", "evidence", "group", "fold", *SCORES, "contrast_ratio",
    "sharpness", "signed_distance", "unit", "training_loss", "dice_before", "dice_after", *_MEASURES,
)  # fmt: skip
_STRUCTURE_COLUMNS = tuple(name for name in _COLUMNS if name not in ("group", "training_loss"))
_COMPONENT_COLUMNS = ("item", "structure", "kind", "score", "elements", "size", "overlap", "center")


@dataclass(frozen=True)
class Audit:
    """Results of an audit of masks.

    Attributes:
        cases: one row per case, worst first.
        structures: one row per structure of a case, worst first.
        components: one row per connected component, worst first.
        score: name of the score used for ranking.
        share: estimated share of wrong annotations.
        kinds: estimated share by diagnosis.
        groups: estimated share by annotator or site.
        summary: text for the terminal.
    """

    cases: list[dict[str, Any]]
    structures: list[dict[str, Any]]
    components: list[dict[str, Any]]
    score: str
    share: Share
    kinds: dict[str, Share]
    groups: dict[str, Share]
    summary: str


def summarize(rows: Sequence[Mapping[str, Any]], source: Source, groups: Mapping[str, str] | None) -> Audit:
    """Rank the cases by their worst structure, the suspected ones first, and estimate shares."""
    structures = [_structure_row(row, structure) for row in rows for structure in row["structures"]]
    with_images = all(row["image"] for row in rows)
    shown = shown_in_images(structures, len(rows)) if with_images else {}
    by_images = bool(shown) and all(shown.values())
    share = (suspect_by_images if by_images else suspect_by_dice)(structures, len(rows))
    score = "contradiction" if by_images else "excess"
    for one in structures:
        one["score"] = one[score]
    structures.sort(key=_worst_first)
    of_item: dict[str, dict[str, Any]] = {}
    for one in structures:
        of_item.setdefault(one["item"], one)
    unscored = {name: 0.0 for name in SCORES if structures and name in structures[0]}  # nothing is wrong at all
    unscored["score"] = unscored[score] = min((one["score"] for one in structures), default=0.0)
    components, cases = [], []
    for row in rows:
        item = row["item"]
        for structure in row["structures"]:
            names = {"item": item, "structure": structure["structure"]}
            components += [{**names, **component} for component in structure["components"]]
        group, loss = "" if groups is None else groups.get(item, ""), source.losses.get(item, "")
        case = {**(of_item.get(item) or _empty_row(row, unscored))}
        case |= {"group": group, "self_confidence": row["self_confidence"], "training_loss": loss}
        cases.append({**case, "diagnosis": case["diagnosis"] if case["suspected"] else PLAUSIBLE})
    cases.sort(key=_worst_first)
    components.sort(key=lambda row: (-row["score"], row["item"], row["structure"]))

    diagnoses = Counter(case["diagnosis"] for case in cases)
    shares = {kind: share_of(diagnoses[kind], len(cases)) for kind in KINDS}
    sizes = Counter(case["group"] for case in cases if case["group"])
    wrong = Counter(case["group"] for case in cases if case["suspected"])
    by_group = {name: share_of(wrong[name], size) for name, size in sorted(sizes.items())}
    summary = _summary_text(cases, score, share, by_group)
    if hidden := [name for name, visible in shown.items() if not visible]:
        summary += f"\nthe images show no edge at the outlines of {', '.join(hidden)}: judged by Dice, not by images"
    elif with_images and not shown and structures:
        summary += "\nthe structures are too small to tell whether the images show their outlines: judged by Dice"
    if groups is not None and (alone := sum(not case["group"] for case in cases)):
        summary += f"\nno group for {alone} of {len(cases)} cases"
    return Audit(cases, structures, components, score, share, shares, by_group, summary)


def _worst_first(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return -row["suspected"], -row["score"], row["item"], row["structure"]


def _structure_row(row: Mapping[str, Any], structure: Mapping[str, Any]) -> dict[str, Any]:
    measures = {name: structure["measures"].get(name, "") for name in _MEASURES}
    if measures["shift"]:
        measures["shift"] = " ".join(f"{step:g}" for step in measures["shift"])
    copied = ("structure", "diagnosis", "evidence", "dice_before", "dice_after")
    case_fields = {name: row[name] for name in ("item", "fold", "unit")}
    return {**case_fields, **{name: structure[name] for name in copied}, **structure["scores"], **measures}


def _empty_row(row: Mapping[str, Any], scores: Mapping[str, float]) -> dict[str, Any]:
    """The row of a case with no structure in the annotation or the prediction."""
    case_fields = {name: row[name] for name in ("item", "fold", "unit")}
    texts = {"structure": "", "diagnosis": PLAUSIBLE, "evidence": "nothing annotated and nothing predicted"}
    return {**case_fields, **scores, **texts, "hard_dice": 0.0, "suspected": 0}


def _summary_text(cases: Sequence[Mapping[str, Any]], score: str, share: Share, groups: Mapping[str, Share]) -> str:
    counts = Counter(case["diagnosis"] for case in cases if case["suspected"])
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    lines = [
        f"ranked by {score}; {sum(counts.values())} of {len(cases)} suspected" + (f": {kinds}" if kinds else ""),
        f"estimated wrong: {share.value:.0%} ({share.low:.0%} to {share.high:.0%})",
    ]
    lines += [f"  {name}: {part.value:.0%} ({part.low:.0%} to {part.high:.0%})" for name, part in groups.items()]
    dice = 1 - float(np.median([case["hard_dice"] for case in cases]))
    if dice < _LEARNED:
        lines.append(f"the median Dice of predictions and masks is {dice:.2f}: too low for a reliable audit")
    return "\n".join(lines)


def read_groups(path: Path, column: str) -> dict[str, str]:
    """The annotator, site or other group of each item, from a CSV file.

    Raises:
        UserError: for an unreadable file, missing columns or an item in two groups.
    """
    groups: dict[str, str] = {}
    for row in read_table(path, "item", column):
        item, group = row["item"], row[column]
        if groups.setdefault(item, group) != group:
            raise UserError(f"{path}: {item} belongs to two groups, {groups[item]!r} and {group!r}")
    return groups


@dataclass(frozen=True)
class _PictureTask:
    files: CaseFiles
    labels: Labels
    structure: str


def write_report(
    out: Path, audit: Audit, source: Source, settings: Mapping[str, Any], *, show: int, workers: int
) -> None:
    """Write all files of the audit into ``out``, audit.json last: without it the folder is no audit.

    Args:
        out: the output folder.
        audit: the results.
        source: the audited cases, for the pictures.
        settings: for audit.json.
        show: number of cases on the page.
        workers: number of processes that draw pictures.
    """
    write_csv(out / "audit.csv", _COLUMNS, [_cells(row, _COLUMNS) for row in audit.cases])
    write_csv(out / "structures.csv", _STRUCTURE_COLUMNS, [_cells(row, _STRUCTURE_COLUMNS) for row in audit.structures])
    write_csv(out / "components.csv", _COMPONENT_COLUMNS, audit.components)
    write_overview(out / "overview.png", audit.cases, audit.score, audit.share, audit.kinds)
    files = {case.item: case for case in source.cases}
    shown = audit.cases[:show]
    drawn = sorted(shown, key=lambda row: files[row["item"]].mask)  # as in score_cases
    tasks = [_PictureTask(files[row["item"]], source.labels, row["structure"]) for row in drawn]
    workers = workers if len(tasks) > _FEW_PICTURES else 1
    results = progress_bar(in_processes(_draw_case, tasks, workers), "case", total=len(tasks), title="pictures")
    pictures = {row["item"]: case_pictures for row, case_pictures in zip(drawn, results, strict=True)}
    items = [
        ReviewItem(
            **{name: row[name] for name in ("item", "score", "diagnosis", "structure")},
            pictures=pictures[row["item"]],
            caption=row["evidence"],
            suspected=bool(row["suspected"]),
        )
        for row in shown
    ]
    legend = "Orange: annotation. Blue: prediction. Right: disagreement, weighted by the predicted probability."
    title = f"Audit of {len(audit.cases)} masks"
    caveats = [f"{line[0].upper()}{line[1:]}." for line in audit.summary.splitlines()[1:] if line[0] != " "]
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
            "cases": len(audit.cases),
            "suspected": sum(row["suspected"] for row in audit.cases),
            "score": audit.score,
            "formula": SCORES[audit.score],
            "wrong": audit.share.as_dict(),
            "wrong_by_kind": {kind: share.as_dict() for kind, share in audit.kinds.items()},
            "wrong_by_group": {name: share.as_dict() for name, share in audit.groups.items()},
            "missing": source.missing,
            "remarks": source.remarks,
        },
    )


def _cells(row: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    return {name: round(value, 6) if isinstance(value := row.get(name, ""), float) else value for name in columns}


def _draw_case(task: _PictureTask) -> list[bytes]:
    case = load_case(task.files, task.labels)
    structure = next((one for one in case.structures if one.name == task.structure), None)
    if structure is None:
        return []
    return draw_case(case, case.of(structure), read_case_image(task.files, case))
