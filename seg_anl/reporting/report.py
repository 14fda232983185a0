"""A report: runs in, tables and notices out, and the files of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from seg_anl.records import UserError, make_directory, write_text

from .cells import NOT_AVERAGED, Cell, Notice, gather
from .comma_separated import write_table_csv
from .latex import table_latex
from .markdown import index_markdown, table_markdown
from .page import page_html
from .published import PublishedTable, find_table
from .runs import Run, find_runs, read_run
from .tables import Table, build_tables

INDEX, PAGE = "tables.md", "report.html"


@dataclass(frozen=True)
class Report:
    """Everything that is written: the runs read, the tables made of them, and what a reader must know."""

    runs: tuple[Run, ...]
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


def read_runs(places: Iterable[Path]) -> list[Run]:
    """All runs at or below ``places``, with a progress bar where there is a person to see it.

    Raises:
        UserError: when a place is no folder or there is no run directory.
    """
    paths = find_runs(places)
    return [read_run(path) for path in tqdm(paths, desc="reading runs", unit="run", leave=False, disable=None)]


def make_report(runs: Sequence[Run], table_ids: Iterable[str] = ()) -> Report:
    """Average the runs and put them into tables: the published ones named by ``table_ids``, else those that fit.

    Raises:
        UserError: for an unknown table, one that holds no results, or one that no run is of the data set of.
    """
    wanted = [_results_table(name) for name in table_ids]
    cells, notices = gather(runs)
    tables, left = build_tables(cells, wanted)
    for table in wanted:
        if table not in [built.published for built in tables]:
            there = sorted({f"{cell.key.data} ({cell.headline})" for cell in cells})
            raise UserError(
                f"--table {table.id} is about {table.metric} on {table.dataset}, of which there is no finished run; "
                f"there are runs on {', '.join(there) or 'nothing'}"
            )
    notices += [_elsewhere(cell) for cell in left]
    notices += [notice for table in tables for notice in table.notices]
    return Report(tuple(runs), tuple(tables), tuple(dict.fromkeys(notices)))


def _results_table(name: str) -> PublishedTable:
    table = find_table(name)
    if table.kind != "results":
        raise UserError(f"--table {table.id} holds parameters of methods, no results; see seg-anl-report --list")
    return table


def _elsewhere(cell: Cell) -> Notice:
    paths = tuple(str(run.path) for run in cell.runs)
    return Notice("elsewhere", paths, f"{cell.key.data}, {cell.method}, {cell.noise}: not of the tables asked for")


def write_report(report: Report, out: Path) -> list[Path]:
    """Write the report's files into the folder ``out`` and return their paths; equal runs give equal bytes.

    Raises:
        UserError: when the folder or a file cannot be written.
    """
    make_directory(out)
    written: list[Path] = []
    for table in report.tables:
        files = [out / f"{table.name}{suffix}" for suffix in (".md", ".csv", ".tex")]
        write_text(files[0], table_markdown(table))
        write_table_csv(table, files[1])
        write_text(files[2], table_latex(table))
        written += files
    write_text(out / INDEX, index_markdown(report.tables, report.notices))
    write_text(out / PAGE, page_html(report.tables, report.notices, report.runs))
    return [*written, out / INDEX, out / PAGE]
