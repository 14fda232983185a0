"""What a report says: the runs read, the tables made of them, and what a reader must know."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import pandas as pd

from seg_anl.records import UserError

from .aggregate import NOT_AVERAGED, Notice, gather
from .published import PublishedTable, find_table
from .run_directories import Run
from .tables import Table, build_tables


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that is written; ``groups`` of runs that differ in their seeds alone, see :mod:`aggregate`."""

    runs: tuple[Run, ...]
    groups: pd.DataFrame
    tables: tuple[Table, ...]
    notices: tuple[Notice, ...]

    @property
    def not_averaged(self) -> tuple[Notice, ...]:
        """About runs that are in no table."""
        return tuple(notice for notice in self.notices if notice.kind in NOT_AVERAGED)

    @property
    def warnings(self) -> tuple[Notice, ...]:
        """About runs that are in a table, with a reservation."""
        return tuple(notice for notice in self.notices if notice.kind not in NOT_AVERAGED)


def make_report(runs: Sequence[Run], table_ids: Iterable[str] = ()) -> Report:
    """Average the runs and put them into tables: the published ones named by ``table_ids``, else those that fit.

    Raises:
        UserError: for an unknown table, one that holds no results, or one that no run is of the data set of.
    """
    wanted = [_results_table(name) for name in table_ids]
    runs = sorted(runs, key=lambda run: PurePath(run.path))
    groups, notices = gather(runs)
    tables, left = build_tables(groups, wanted)
    for table in wanted:
        if table not in [built.published for built in tables]:
            there = sorted(set(groups["data"] + " (" + groups["headline"] + ")"))
            raise UserError(
                f"--table {table.id} is about {table.metric} on {table.dataset}, of which there is no finished run; "
                f"there are runs on {', '.join(there) or 'nothing'}"
            )
    for group in left.itertuples():
        text = f"{group.data}, {group.method}, {group.noise}: not of the tables asked for"
        notices.append(Notice("elsewhere", tuple(run.path for run in group.runs), text))
    notices += [notice for table in tables for notice in table.notices]
    return Report(tuple(runs), groups, tuple(tables), tuple(dict.fromkeys(notices)))


def _results_table(name: str) -> PublishedTable:
    table = find_table(name)
    if table.kind != "results":
        raise UserError(f"--table {table.id} holds parameters of methods, no results; see seg-anl-report --list")
    return table
