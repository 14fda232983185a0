"""The journal of a command that works through many items: a killed run goes on after the items that it had finished.

One JSON line each: first the identity of the run, all that decides its results, then the row of each finished item.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from .atomic import written_aside
from .errors import UserError, cannot_write
from .foreign_files import parse_json, read_bytes, read_json
from .progress import progress_bar
from .workers import in_processes

Row = dict[str, Any]
Task = TypeVar("Task")
ERRORS_SHOWN = 5


def read_journal(path: Path) -> tuple[Row, dict[str, Row]] | None:
    """Identity of the run that wrote ``path``, and its rows by ``item``; None where there is none, or a damaged one."""
    if not path.is_file():
        return None
    lines = read_bytes(path).split(b"\n")[:-1]  # a kill may have cut off the last one
    try:
        identity, *rows = (parse_json(line.decode(), path) for line in lines)
        return dict(identity), {row["item"]: row for row in rows}
    except (KeyError, TypeError, ValueError, UserError):
        return None


def earlier_run(journal: Path, manifest: Path) -> tuple[Row, dict[str, Row]] | None:
    """The same of the run that filled a folder: by its journal if it was cut short, else by its manifest."""
    found = read_journal(journal)
    if found is None and manifest.is_file():
        try:
            content = read_json(manifest)
            found = dict(content["settings"]), {row["item"]: row for row in content["items"]}
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{manifest}: not written by this command; choose another folder") from error
    return found


def finish_items(
    journal: Path,
    identity: Row,
    finished: Mapping[str, Row],
    work: Callable[[Task], Row | str],
    tasks: Sequence[Task],
    *,
    unit: str,
    workers: int,
) -> dict[str, Row]:
    """Do ``tasks``, writing the row of each into ``journal`` as soon as there is one; returns all rows by item.

    Args:
        journal: replaced by one of ``finished`` before the first task.
        identity: of this run.
        finished: rows of items that are not among the tasks, by item.
        work: task -> row with its ``item``, or what is wrong with it. Pickled if there are several workers.
        tasks: of the items that are left.
        unit: what an item is called on the terminal.
        workers: processes; the rows do not depend on them.

    Raises:
        UserError: naming the first tasks at fault; the others are done by then, and in the journal.
    """
    rows, errors = dict(finished), []
    try:
        with written_aside(journal) as aside:
            aside.write_text("".join(map(_line, (identity, *rows.values()))), encoding="utf-8")
        with open(journal, "a", encoding="utf-8") as file:
            results = in_processes(work, tasks, workers)
            for result in progress_bar(results, unit, total=len(tasks), title=f"{unit}s"):
                if isinstance(result, str):
                    errors.append(result)
                    continue
                rows[result["item"]] = result
                file.write(_line(result))
                file.flush()
    except OSError as error:
        raise cannot_write(journal, error) from error
    if errors:
        more = f"; and {len(errors) - ERRORS_SHOWN} more" if len(errors) > ERRORS_SHOWN else ""
        total = len(finished) + len(tasks)
        raise UserError(f"{len(errors)} of {total} {unit}s failed: {'; '.join(errors[:ERRORS_SHOWN])}{more}")
    return rows


def _line(value: Row) -> str:
    return json.dumps(value) + "\n"
