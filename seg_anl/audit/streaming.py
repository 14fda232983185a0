"""Score cases in one or more processes, with a journal from which a killed run resumes."""

from __future__ import annotations

import os
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
from .repairs import Other, describe_steps
from .scores import THRESHOLD, Compared, case_self_confidence, compare, components, image_scores, structure_scores
from .sources import Source

JOURNAL = ".cases.jsonl"
_ROW_SCHEMA = 7  # version of the journal's rows


@dataclass(frozen=True)
class CaseTask:
    """One case to score; ``tolerance`` in mm or pixels, None for two elements."""

    files: CaseFiles
    labels: Labels
    tolerance: float | None


def score_cases(source: Source, out: Path, tolerance: float | None, workers: int) -> list[dict[str, Any]]:
    """The rows of all cases, sorted by item.

    Cases in the journal of ``out`` are reused unless their files have changed. The rows do not depend on the number
    of workers.

    Raises:
        UserError: naming the cases that cannot be scored; all others are in the journal by then.
    """
    journal = out / JOURNAL
    identity = {"version": __version__, "rows": _ROW_SCHEMA, "labels": repr(source.labels), "tolerance": tolerance}
    journal_identity, journal_rows = read_journal(journal) or (None, {})
    if journal_identity != identity:
        journal_rows = {}
    finished = {
        files.item: journal_rows[files.item]
        for files in source.cases
        if journal_rows.get(files.item, {}).get("files", ()) == file_states(files)
    }
    unfinished = [files for files in source.cases if files.item not in finished]
    unfinished.sort(key=lambda files: files.mask)  # the masks of a run are one archive, which is kept until the next
    tasks = [CaseTask(files, source.labels, tolerance) for files in unfinished]
    rows = finish_items(journal, identity, finished, score_case, tasks, unit="case", workers=workers)
    return [rows[item] for item in sorted(rows)]


def score_case(task: CaseTask) -> dict[str, Any] | str:
    """The row of one case as JSON values, or an error message if its files cannot be used."""
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
        return f"{task.files.mask}: not enough memory"
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
    measured = structure_scores(compared, tolerance)
    scores: dict[str, float | None] = {**measured}
    if image is not None:
        image_box = (slice(None), *compared.box)
        scores |= image_scores(compared, image[image_box], measured["displacement"])
    others = [] if task.labels.regions else _other_labels(case, structure, compared.box)  # regions overlap anyway
    diagnosis = diagnose(compared, case.unit, others)
    repair = diagnosis.repair
    measures = repair.measures if repair else {}
    return {
        "scores": {name: None if value is None else round(value, 9) for name, value in scores.items()},
        "diagnosis": diagnosis.kind,
        "evidence": diagnosis.text + _anatomical_direction(measures.get("shift"), case),
        "measures": measures,
        "dice_before": diagnosis.before,
        "dice_after": repair.after if repair else diagnosis.best,
        "components": components(compared),
    }


def _other_labels(case: Case, structure: Structure, box: Box) -> list[Other]:
    """Every other label within a structure's box, for swaps."""
    others = [case.of(other, box) for other in case.structures if other != structure]
    return [(one.structure.name, one.annotated, one.probability >= THRESHOLD) for one in others]


def _anatomical_direction(shift: list[float] | None, case: Case) -> str:
    """The direction of a shift in patient space, for files with an affine."""
    if shift is None or case.affine is None:
        return ""
    patient_shift = case.affine[:3, :3] @ (np.array(shift) / np.array(case.spacing))
    names = (("left", "right"), ("posterior", "anterior"), ("inferior", "superior"))
    text = describe_steps(patient_shift, names, "mm ")
    return f" ({text})" if text else ""


def file_states(files: CaseFiles) -> list[Any]:
    """How the files are read, then path, size and time of modification of mask, prediction and image."""
    states: list[Any] = [files.row, files.fold, files.axes]
    for path in (files.mask, files.prediction, Path(files.image.name) if files.image else None):
        state = path.stat() if path is not None and path.exists() else None
        states.append([os.path.realpath(path), state.st_size, state.st_mtime_ns] if path and state else None)
    return states
