"""The command ``seg-anl-report``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from seg_anl.reporting.command import main
from seg_anl.reporting.figures.catalog import FIGURES

RESULTS = Path(__file__).parents[2] / "docs" / "results"


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run the command in an empty folder; returns exit status, stdout and stderr."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["seg-anl-report", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as exit_:
            status = int(exit_.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return run


def test_recorded_results_match_the_documentation(command):
    # The means are those of docs/isic2017.md, from 0.747 +- 0.009 for CE to 0.769 +- 0.010 for T-Loss.
    status, out, err = command(RESULTS / "isic2017-400.zip")
    assert (status, err) == (0, "")
    lines = {line.split()[0]: " ".join(line.split()) for line in out.splitlines() if line.startswith("  ")}
    assert lines["CE"].startswith("CE 74.7 ± 0.9 3")
    assert lines["T-Loss"].startswith("T-Loss 76.9 ± 1.0* 3 76.1 ± 0.6 +0.8")
    assert lines["ANL-CE"].startswith("ANL-CE 76.8 ± 1.2 3 77.3 ± 0.4 −0.5")
    assert "open report/report.html in a browser" in out
    assert sorted(path.suffix for path in Path("report").iterdir()) == [".csv", ".html", ".md", ".md", ".tex"]


def test_left_out_runs_are_printed_and_fail_with_strict(command, write_run, tmp_path):
    for seed in (1, 2):
        write_run(f"runs/s{seed}", seed=seed)
    assert command(tmp_path / "runs", "--strict")[0] == 0
    stopped = write_run("runs/stopped", seed=3, epochs=9)
    (stopped / "summary.json").unlink()
    status, out, _ = command(tmp_path / "runs")
    assert status == 0
    assert f"unfinished: {stopped}: 2 of 9 epochs done" in out
    assert command(tmp_path / "runs", "--strict")[0] == 1
    status, out, _ = command(stopped, "--out", "alone")  # no table, but no error
    assert (status, Path("alone/report.html").exists()) == (0, True)
    assert "no finished runs, so no tables" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "expected run directories"),
        (["nowhere"], "nowhere does not exist"),
        ([__file__], "is a file"),
        (["."], "no run directory in ."),
        ([RESULTS, "--table", "ISIC-IV"], "did you mean 'ISIC-VI'"),
        ([RESULTS / "embedded-200.zip", "--table", "CIFAR10-II"], "no finished runs; there are runs on"),
        ([RESULTS, "--figure", "accuracy"], "did you mean 'accuracies'"),
        ([RESULTS, "--color"], "unrecognized arguments: --color"),
    ],
)
def test_user_error_is_one_line_and_leaves_nothing(command, arguments, words):
    status, _, err = command(*arguments)
    assert status == 2
    assert err.startswith("seg-anl-report: error: ")
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert not Path("report").exists()


def test_error_names_a_file_instead_of_the_folder(command):
    Path("report").write_text("mine")
    status, _, err = command(RESULTS / "embedded-200.zip")
    assert status == 2
    assert "report is a file" in err
    assert Path("report").read_text() == "mine"


def test_list_shows_tables_and_figures(command):
    status, out, _ = command("--list")
    assert status == 0
    assert "ISIC-VI" in out
    assert "CIFAR10-VIII" not in out  # a table of parameters
    assert "accuracies" in out


def test_figure_is_drawn_and_its_notes_are_printed(command, write_run, tmp_path, monkeypatch):
    def draw(runs, path):
        path.write_text(" ".join(Path(run.path).name for run in runs))
        return ["left out: nothing"]

    monkeypatch.setitem(FIGURES, "mine", SimpleNamespace(draw=draw))
    write_run("runs/a")
    write_run("runs/b", seed=2)
    status, out, _ = command(tmp_path / "runs", "--figure", "mine", "--format", "svg", "--out", "figures")
    assert status == 0
    assert "mine: left out: nothing" in out
    assert Path("figures/mine.svg").read_text() == "a b"
    assert [path.name for path in Path("figures").iterdir()] == ["mine.svg"]  # no tables unless asked for
    assert command("--figure", "mine")[0] == 0  # some need no runs


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["--help"], ("torch", "pandas", "matplotlib", "scipy", "jinja2")),
        ([RESULTS / "embedded-200.zip", "--out", "out"], ("torch", "monai", "sklearn")),
    ],
)
def test_unneeded_libraries_are_not_imported(tmp_path, arguments, unwanted):
    code = (
        "import sys, atexit; from seg_anl.reporting.command import main;"
        f"atexit.register(lambda: print('unwanted:', [name for name in {unwanted} if name in sys.modules])); main()"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path)
    assert done.stdout.strip().endswith("unwanted: []")
