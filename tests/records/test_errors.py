"""What a person did wrong: one line and exit status 2. What the program did wrong: a traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

from seg_anl.records import UserError, nearest_names, run_command


def failing(error: BaseException) -> None:
    raise error


def test_a_user_error_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        run_command("seg-anl-train", lambda: failing(UserError("masks/a.png: 7 values,\n  expected 2")))
    assert left.value.code == 2
    streams = capsys.readouterr()
    assert streams.err == "seg-anl-train: error: masks/a.png: 7 values, expected 2\n"
    assert streams.out == ""


def test_an_interruption_is_status_130(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        run_command("seg-anl-train", lambda: failing(KeyboardInterrupt()))
    assert left.value.code == 130
    assert capsys.readouterr().err.count("\n") == 1


def test_a_defect_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        run_command("seg-anl-train", lambda: failing(ZeroDivisionError()))


def test_success_returns() -> None:
    ran = []
    run_command("seg-anl-train", lambda: ran.append(True))
    assert ran == [True]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [("anl_c", "did you mean 'anl_ce'?"), ("qqq", "known: anl_ce, gce, mae"), ("", "known: anl_ce, gce, mae")],
)
def test_nearest_names(wrong: str, message: str) -> None:
    assert nearest_names(wrong, ["mae", "gce", "anl_ce"]) == message


@pytest.mark.parametrize("module", ["seg_anl", "seg_anl.records"])
def test_the_ground_floor_is_free_of_torch(module: str) -> None:
    program = f"import {module}, sys; sys.exit(bool({{'torch', 'monai', 'pandas'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
