"""The command ``seg-anl-report``: tables and figures of the papers from run directories."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from seg_anl.records import UserError, make_directory, run_command
from seg_anl.records.command_line import OneLineParser, positive_int

if TYPE_CHECKING:
    from .run_directories import Run
    from .tables import Report

# The report's own modules are imported where they are needed: pandas and matplotlib would delay every --help.
PROGRAM = "seg-anl-report"
EXIT_STRICT = 1
EXAMPLE = """\
examples:
  seg-anl-report runs                                  every run below runs/, beside the published tables that fit
  seg-anl-report docs/results/isic2017-400.zip         the runs of an archive; a path inside it names some of them
  seg-anl-report runs --table CIFAR10-II --out report  one published table, whole, with what is missing
  seg-anl-report runs --figure NAME                    a figure of the papers
  seg-anl-report runs --pack study.zip                 put run directories, without checkpoints, into an archive
  seg-anl-report --list                                names of tables and figures

Runs that are unfinished, damaged or there twice are named and left out; runs of other settings are never averaged
with each other. The exit status is 0 all the same, or 1 with --strict.
"""


def main() -> None:
    """Entry point of ``seg-anl-report``."""
    run_command(PROGRAM, _run)


def _run() -> None:
    options = _parser().parse_args()
    if not options.figure and (options.epoch or options.samples):
        raise UserError("--epoch and --samples are of figures; name one with --figure")
    if options.list:
        _print_list()
        return
    if not options.runs and (options.table or options.pack or not options.figure):
        raise UserError(f"name run directories, or folders that hold some (see {PROGRAM} --help)")
    if options.pack:
        _pack(options.runs, options.pack)
        return
    from .run_directories import read_runs

    runs = read_runs(options.runs) if options.runs else []  # a few figures are drawn without runs
    if options.figure:
        _draw(options, runs)
    if options.table or not options.figure:
        from .tables import make_report

        report = make_report(runs, options.table)
        _write(report, options.out)
        if options.strict and (report.not_averaged or report.warnings):
            raise SystemExit(EXIT_STRICT)


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog=PROGRAM,
        description="Tables and figures of the papers from run directories, with the published numbers beside them.",
        epilog=EXAMPLE,
    )
    add = parser.add_argument
    add("runs", nargs="*", type=Path, metavar="RUNS", help="run directories, folders or .zip archives with some below")
    add("--table", action="append", default=[], metavar="NAME", help="a published table; repeatable")
    add("--figure", action="append", default=[], metavar="NAME", help="draw a figure; repeatable")
    add("--epoch", type=positive_int, metavar="N", help="of target-probability (default: about half of the training)")
    add("--samples", type=positive_int, metavar="N", help="of features, evenly spaced (default: all, minutes)")
    add("--format", default="png", choices=("png", "pdf", "svg"), help="of figures (default: png)")
    add("--out", type=Path, default=Path("report"), metavar="DIR", help="default: %(default)s")
    add("--pack", type=Path, metavar="STUDY.zip", help="write the runs into an archive, and nothing else")
    add("--list", action="store_true", help="names of tables and figures, and what they need")
    add("--strict", action="store_true", help="exit status 1 when there is anything to warn of")
    return parser


def _write(report: Report, out: Path) -> None:
    from .render import PAGE, terminal_text, write_report

    written = write_report(report, out)
    print(terminal_text(report))
    names = ", ".join(path.name for path in written)
    print(f"{len(report.runs)} run(s), {len(report.tables)} table(s); written: {names}")
    print(f"open {out / PAGE} in a browser")


def _draw(options: argparse.Namespace, runs: list[Run]) -> None:
    from .figures.catalog import OPTIONS, chosen_figures

    figures = chosen_figures(options.figure, {choice: getattr(options, choice) for choice in OPTIONS})
    make_directory(options.out)
    for name, figure in figures.items():
        path = options.out / f"{name}.{options.format}"
        for note in figure.draw(runs, path):
            print(f"{name}: {note}")
        print(f"{name}: {path}")


def _pack(places: list[Path], target: Path) -> None:
    """Write the runs below ``places``, each under its path from the folder that was given, into an archive."""
    from .archives import SUFFIX, pack
    from .run_directories import find_runs

    if target.suffix != SUFFIX:
        raise UserError(f"--pack {target}: an archive is called NAME{SUFFIX}")
    folders: dict[str, Path] = {}
    for place in places:
        for path, folder in find_runs([place]).items():
            if not isinstance(folder, Path):
                raise UserError(f"{path}: is in an archive already; give folders")
            inside = folder.relative_to(place).as_posix()
            name = inside if folder != place else os.path.basename(os.path.realpath(folder))
            if name in folders:
                raise UserError(f"{folders[name]} and {folder} would both be {name} in the archive")
            folders[name] = folder
    print(f"{target}: {len(folders)} run(s), {pack(target, folders)} files")


def _print_list() -> None:
    from .figures.catalog import FIGURES
    from .published import list_tables

    print("tables (--table)")
    for table in list_tables():
        if table.kind == "results":
            print(f"  {table.id:<16} {table.title}")
    print("\nfigures (--figure)")
    for name, figure in FIGURES.items():
        print(f"  {name:<16} {figure.meaning}\n{'':<19}{figure.needs}")


if __name__ == "__main__":
    main()
