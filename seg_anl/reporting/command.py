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

# The report's modules are imported late, because pandas and matplotlib would delay --help.
PROGRAM = "seg-anl-report"
EXIT_STRICT = 1
EXAMPLE = """\
examples:
  seg-anl-report runs                                  all runs below runs/, with the matching published tables
  seg-anl-report docs/results/isic2017-400.zip         the runs in an archive, or in a path inside it
  seg-anl-report runs --table CIFAR10-II --out report  a complete published table, including missing runs
  seg-anl-report runs --figure NAME                    a figure of the papers
  seg-anl-report runs --pack study.zip                 pack run directories, without checkpoints, into an archive
  seg-anl-report --list                                names of tables and figures

Unfinished, damaged and duplicate runs are reported and left out; runs with different settings are never averaged
together. The exit status is 0 even then, or 1 with --strict.
"""


def main() -> None:
    """Entry point of ``seg-anl-report``."""
    run_command(PROGRAM, _run)


def _run() -> None:
    options = _parser().parse_args()
    if not options.figure and (options.epoch or options.samples):
        raise UserError("--epoch and --samples need --figure")
    if options.list:
        _print_list()
        return
    if not options.runs and (options.table or options.pack or not options.figure):
        raise UserError(f"expected run directories, or folders that contain some (see {PROGRAM} --help)")
    if options.pack:
        _pack(options.runs, options.pack)
        return
    from .run_directories import read_runs

    runs = read_runs(options.runs) if options.runs else []  # a few figures need no runs
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
        description="Make tables and figures of the papers from run directories, with the published numbers.",
        epilog=EXAMPLE,
    )
    add = parser.add_argument
    add("runs", nargs="*", type=Path, metavar="RUNS", help="run directories, or folders or .zip archives with runs")
    add("--table", action="append", default=[], metavar="NAME", help="a published table; repeatable")
    add("--figure", action="append", default=[], metavar="NAME", help="draw a figure; repeatable")
    add("--epoch", type=positive_int, metavar="N", help="for target-probability (default: about half of the training)")
    add("--samples", type=positive_int, metavar="N", help="for features, evenly spaced (default: all; takes minutes)")
    add("--format", default="png", choices=("png", "pdf", "svg"), help="format of figures (default: png)")
    add("--out", type=Path, default=Path("report"), metavar="DIR", help="default: %(default)s")
    add("--pack", type=Path, metavar="STUDY.zip", help="only write the runs into an archive")
    add("--list", action="store_true", help="list tables and figures, and what they need")
    add("--strict", action="store_true", help="exit status 1 if there are warnings")
    return parser


def _write(report: Report, out: Path) -> None:
    from .render import PAGE, terminal_text, write_report

    written = write_report(report, out)
    print(terminal_text(report))
    names = ", ".join(path.name for path in written)
    print(f"{len(report.runs)} run(s), {len(report.tables)} table(s); written: {names}")
    print(f"open {out / PAGE} in a browser")


def _draw(options: argparse.Namespace, runs: list[Run]) -> None:
    from .figures.catalog import OPTIONS, select_figures

    figures = select_figures(options.figure, {name: getattr(options, name) for name in OPTIONS})
    make_directory(options.out)
    for name, figure in figures.items():
        path = options.out / f"{name}.{options.format}"
        for note in figure.draw(runs, path):
            print(f"{name}: {note}")
        print(f"{name}: {path}")


def _pack(roots: list[Path], target: Path) -> None:
    """Write the runs below ``roots`` into an archive, under their paths relative to the root."""
    from .archives import SUFFIX, pack
    from .run_directories import find_runs

    if target.suffix != SUFFIX:
        raise UserError(f"--pack {target}: expected a name ending in {SUFFIX}")
    folders: dict[str, Path] = {}
    for root in roots:
        for path, folder in find_runs([root]).items():
            if isinstance(folder, UserError):
                raise folder
            if not isinstance(folder, Path):
                raise UserError(f"{path}: is already in an archive; give folders")
            relative = folder.relative_to(root).as_posix()
            name = relative if folder != root else os.path.basename(os.path.realpath(folder))
            if name in folders:
                raise UserError(f"{folders[name]} and {folder} would both be named {name} in the archive")
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
