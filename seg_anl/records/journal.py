"""The journal of a command that works through many items: after a kill, the next run skips finished items.

It is a JSON Lines file: first the identity of the run (everything that determines its results), then a row per
finished item.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from .atomic import write_text
from .errors import UserError, cannot_write
from .foreign_files import parse_json, read_bytes, read_json
from .progress import progress_bar
from .workers import in_processes

Row = dict[str, Any]
Task = TypeVar("Task")
ERRORS_SHOWN = 5


def read_journal(path: Path) -> tuple[Row, dict[str, Row]] | None:
    """The identity and, by ``item``, the rows of the run that wrote ``path``; None if it is missing or damaged."""
    if not path.is_file():
        return None
    lines = read_bytes(path).split(b"\n")[:-1]  # a kill may have cut off the last line
    try:
        identity, *rows = (parse_json(line.decode(), path) for line in lines)
        return dict(identity), {row["item"]: row for row in rows}
    except (KeyError, TypeError, ValueError, UserError):
        return None


def earlier_run(journal: Path, manifest: Path) -> tuple[Row, dict[str, Row]] | None:
    """Identity and rows of an earlier run: from its journal if it was interrupted, otherwise from its manifest."""
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
    """Do ``tasks`` and write the row of each into ``journal`` at once; returns all rows by item.

    Args:
        journal: replaced by a journal of the ``finished`` items before the first task.
        identity: of this run.
        finished: rows of items that are not among the tasks, by item.
        work: task -> row with its ``item``, or an error message. It is pickled if there are several workers.
        tasks: the items that are left.
        unit: the word for an item in messages.
        workers: number of processes; the rows do not depend on it.

    Raises:
        UserError: naming the first tasks that failed, after all others are done and in the journal.
    """
    rows, errors = dict(finished), []
    write_text(journal, "".join(map(_line, (identity, *rows.values()))))
    try:
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
        if error.filename in (None, str(journal)):  # otherwise it is about a file of the work
            raise cannot_write(journal, error) from error
        raise
    if errors:
        more = f"; and {len(errors) - ERRORS_SHOWN} more" if len(errors) > ERRORS_SHOWN else ""
        total = len(finished) + len(tasks)
        raise UserError(f"{len(errors)} of {total} {unit}s failed: {'; '.join(errors[:ERRORS_SHOWN])}{more}")
    return rows


def _line(value: Row) -> str:
    return json.dumps(value) + "\n"
