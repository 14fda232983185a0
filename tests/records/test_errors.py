"""What a person did wrong: one line and exit status 2. What the program did wrong: a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.skipif(os.name != "posix", reason="pipes of the shell")
@pytest.mark.parametrize("environment", [{"PYTHONUNBUFFERED": ""}, {"PYTHONUNBUFFERED": "1"}])
@pytest.mark.parametrize("lines", [1, 100_000])
def test_output_that_is_read_no_further_ends_quietly(lines: int, environment: dict[str, str]) -> None:
    body = f"sys.stdin.read(), [print('a line') for _ in range({lines})]"  # begins when nobody reads any more
    code = f"import sys; from seg_anl.records import run_command; run_command('seg-anl', lambda: ({body}))"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, said = process.communicate(b"", timeout=60)
    assert (process.returncode, said) == (141, b"")


def test_a_broken_pipe_of_another_kind_is_not_swallowed() -> None:
    with pytest.raises(BrokenPipeError):
        run_command("seg-anl-train", lambda: failing(BrokenPipeError()))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
@pytest.mark.parametrize("lines", [1, 100_000])
def test_output_onto_a_full_disk_is_one_line(lines: int) -> None:
    body = f"[print('a line') for _ in range({lines})]"
    code = f"from seg_anl.records import run_command; run_command('seg-anl', lambda: {body})"
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, "seg-anl: error: No space left on device\n")


def test_what_the_system_refuses_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for main, words in (
        (lambda: os.listdir(tmp_path / "absent"), "absent: No such file or directory"),
        (lambda: failing(PermissionError(13, "Permission denied", "runs/.lock")), "runs/.lock: Permission denied"),
        (lambda: failing(MemoryError()), "memory"),
    ):
        with pytest.raises(SystemExit) as leaving:
            run_command("seg-anl", main)
        error = capsys.readouterr().err
        assert (leaving.value.code, error.count("\n")) == (2, 1)
        assert words in error


def test_threads_that_are_no_number_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "abc")
    with pytest.raises(SystemExit):
        run_command("seg-anl", lambda: None)
    assert "OMP_NUM_THREADS=abc in the environment" in capsys.readouterr().err


def test_a_name_that_the_terminal_cannot_show_is_escaped() -> None:
    code = "from seg_anl.records import run_command; run_command('seg-anl', lambda: print('caf\\xe9 \\udcff'))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert (done.returncode, done.stdout) == (0, b"caf\\xe9 \\udcff\n")


def test_nearest_names() -> None:
    names = ["mae", "gce", "anl_ce"]
    assert nearest_names("anl_c", names) == "did you mean 'anl_ce'?"
    assert nearest_names("qqq", names) == nearest_names("", names) == "known: anl_ce, gce, mae"


def test_the_ground_floor_is_free_of_torch() -> None:
    program = "import seg_anl.records, sys; sys.exit(bool({'torch', 'monai', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
