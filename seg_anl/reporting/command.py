"""The command ``seg-anl-report``: tables and figures of the papers from run directories."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from seg_anl.records import UserError, exit_with_error, make_directory, nearest_names, run_command

from .published import list_tables
from .report import PAGE, Report, make_report, read_runs, write_report
from .runs import Run
from .terminal import notice_lines, table_lines

PROGRAM = "seg-anl-report"
EXIT_STRICT = 1
EXAMPLE = """\
examples:
  seg-anl-report runs                                  every run below runs/, beside the published tables that fit
  seg-anl-report runs --table CIFAR10-II --out report  one published table, whole, with what is missing
  seg-anl-report runs --figure NAME                    a figure of the papers
  seg-anl-report --list                                names of tables and figures

Runs that are unfinished, damaged or there twice are named and left out; runs of other settings are never averaged
with each other. The exit status is 0 all the same, or 1 with --strict.
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        exit_with_error(self.prog, f"{message} (see {self.prog} --help)")


def main() -> None:
    """Entry point of ``seg-anl-report``."""
    run_command(PROGRAM, _run)


def _run() -> None:
    options = _parser().parse_args()
    if options.list:
        _print_list()
        return
    if not options.runs and (options.table or not options.figure):
        raise UserError(f"name run directories, or folders that hold some (see {PROGRAM} --help)")
    runs = read_runs(options.runs) if options.runs else []  # a few figures are drawn without runs
    if options.figure:
        _draw(options.figure, runs, options.out, options.format)
    if options.table or not options.figure:
        report = make_report(runs, options.table)
        _write_and_tell(report, options.out)
        if options.strict and report.notices:
            raise SystemExit(EXIT_STRICT)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        PROGRAM,
        description="Tables and figures of the papers from run directories, with the published numbers beside them.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs", nargs="*", type=Path, metavar="RUNS", help="run directories, or folders with some below"
    )
    parser.add_argument("--table", action="append", default=[], metavar="NAME", help="a published table; repeatable")
    parser.add_argument("--figure", action="append", default=[], metavar="NAME", help="draw a figure; repeatable")
    parser.add_argument("--format", default="png", choices=("png", "pdf", "svg"), help="of figures (default: png)")
    parser.add_argument("--out", type=Path, default=Path("report"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--list", action="store_true", help="names of tables and figures, and what they need")
    parser.add_argument("--strict", action="store_true", help="exit status 1 when there is anything to warn of")
    return parser


def _write_and_tell(report: Report, out: Path) -> None:
    written = write_report(report, out)
    for table in report.tables:
        print("\n".join(table_lines(table)), end="\n\n")
    told = [
        *notice_lines("not averaged", report.not_averaged),
        *notice_lines("averaged, but", report.warnings),
    ]
    if told:
        print("\n".join(told), end="\n\n")
    if not report.tables:
        print("no finished run, so no table")
    print(
        f"{len(report.runs)} run(s), {len(report.tables)} table(s); written: {', '.join(path.name for path in written)}"
    )
    print(f"open {out / PAGE} in a browser")


def _draw(names: list[str], runs: list[Run], out: Path, suffix: str) -> None:
    from .figures import FIGURES  # matplotlib takes a second to start

    for name in names:
        if name not in FIGURES:
            raise UserError(f"unknown figure {name!r}; {nearest_names(name, FIGURES)}")
    make_directory(out)
    for name in names:
        path = out / f"{name}.{suffix}"
        for note in FIGURES[name].draw(runs, path):
            print(f"{name}: {note}")
        print(f"{name}: {path}")


def _print_list() -> None:
    from .figures import FIGURES

    print("tables (--table)")
    for table in list_tables():
        if table.kind == "results":
            print(f"  {table.id:<16} {table.title}")
    print("\nfigures (--figure)")
    for name, figure in FIGURES.items():
        print(f"  {name:<16} {figure.meaning}\n{'':<19}{figure.needs}")


if __name__ == "__main__":
    main()
