"""Case after case through the scores, in one or many processes, with a journal that a killed run carries on from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.regions import Box
from seg_anl import __version__
from seg_anl.records import UserError
from seg_anl.records.journal import finish_items, read_journal

from .cases import Case, CaseFiles, Labels, Structure, load_case
from .diagnosis import diagnose
from .images import read_case_image
from .repairs import Other, in_words
from .scores import THRESHOLD, Compared, case_self_confidence, compare, components, contradiction, structure_scores
from .sources import Source

JOURNAL = ".cases.jsonl"
_ROWS = 4  # schema of the journal's rows


@dataclass(frozen=True)
class CaseTask:
    """One case to score; ``tolerance`` in mm or pixels, None for two elements."""

    files: CaseFiles
    labels: Labels
    tolerance: float | None


def score_cases(source: Source, out: Path, tolerance: float | None, workers: int) -> list[dict[str, Any]]:
    """The rows of all cases, sorted by item: those that the journal in ``out`` knows are not made again.

    A case whose files have changed since is. The rows do not depend on the number of workers.

    Raises:
        UserError: naming the cases that cannot be used; the others are done by then, and kept.
    """
    journal = out / JOURNAL
    identity = {"version": __version__, "rows": _ROWS, "labels": repr(source.labels), "tolerance": tolerance}
    written_by, known = read_journal(journal) or (None, {})
    if written_by != identity:
        known = {}
    finished = {
        files.item: known[files.item]
        for files in source.cases
        if known.get(files.item, {}).get("files", ()) == file_states(files)
    }
    tasks = [CaseTask(files, source.labels, tolerance) for files in source.cases if files.item not in finished]
    rows = finish_items(journal, identity, finished, score_case, tasks, unit="case", workers=workers)
    return [rows[item] for item in sorted(rows)]


def score_case(task: CaseTask) -> dict[str, Any] | str:
    """Everything about one case in plain numbers; what is wrong with its files as text."""
    try:
        case = load_case(task.files, task.labels)
        image = read_case_image(task.files, case)
        structures = []
        for structure in case.structures:
            compared = compare(case.of(structure), case.spacing)
            if compared is not None:
                row = _structure_row(task, case, image, structure, compared)
                structures.append({"structure": structure.name, **row})
    except UserError as error:
        return str(error)
    except MemoryError:
        return f"{task.files.mask}: too large for this machine's memory"
    return {
        "item": task.files.item,
        "fold": task.files.fold,
        "unit": case.unit,
        "image": image is not None,
        "self_confidence": case_self_confidence(case) if case.soft and not task.labels.regions else None,
        "structures": structures,
        "files": file_states(task.files),
    }


def _structure_row(
    task: CaseTask, case: Case, image: NDArray[np.float32] | None, structure: Structure, compared: Compared
) -> dict[str, Any]:
    tolerance = 2 * min(case.spacing) if task.tolerance is None else task.tolerance
    scores = structure_scores(compared, tolerance)
    if image is not None:
        box = (slice(None), *compared.box)
        seen = image[box]
        scores["contradiction"], scores["contrast_ratio"] = contradiction(compared, seen, scores["displacement"])
    others = [] if task.labels.regions else _others(case, structure, compared.box)  # regions hold each other
    diagnosis = diagnose(compared, case.unit, others)
    repair = diagnosis.repair
    measures = repair.measures if repair else {}
    return {
        "scores": {name: round(value, 9) for name, value in scores.items()},
        "diagnosis": diagnosis.kind,
        "evidence": diagnosis.text + _in_the_body(measures.get("shift"), case),
        "measures": measures,
        "dice_before": diagnosis.before,
        "dice_after": repair.after if repair else diagnosis.best,
        "components": components(compared),
    }


def _others(case: Case, structure: Structure, box: Box) -> list[Other]:
    """Every other label in a structure's box, for which it may have been mistaken."""
    found = [case.of(other, box) for other in case.structures if other != structure]
    return [(one.structure.name, one.annotated, one.probability >= THRESHOLD) for one in found]


def _in_the_body(shift: list[float] | None, case: Case) -> str:
    """The direction of a shift in the patient's space, for files that know it."""
    if shift is None or case.affine is None:
        return ""
    space = case.affine[:3, :3] @ (np.array(shift) / np.array(case.spacing))
    words = in_words(space, (("left", "right"), ("posterior", "anterior"), ("inferior", "superior")), "mm ")
    return f" ({words})" if words else ""


def file_states(files: CaseFiles) -> list[Any]:
    """What tells that a case's files are still those that were read."""
    states: list[Any] = [files.row]
    for path in (files.mask, files.prediction, Path(files.image.name) if files.image else None):
        state = path.stat() if path is not None and path.exists() else None
        states.append([str(path), state.st_size, state.st_mtime_ns] if state else None)
    return states
