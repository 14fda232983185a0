"""Files that are whole or absent, whatever happens in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from seg_anl.records import UserError, make_directory, write_bytes, write_csv, write_json, write_text, written_aside
from seg_anl.records.atomic import folder_aside, remove_partial, scratch_folder


def test_writers_write(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a.bin", b"\x00\xff")
    write_text(tmp_path / "a.txt", "Läsion\n")
    write_json(tmp_path / "a.json", {"name": "Läsion", "values": [0.1, None]})
    write_csv(tmp_path / "a.csv", ["x", "y"], [{"x": 0.1 + 0.2, "y": "a,b"}, {"x": 1}])
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\xff"
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "Läsion\n"
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"name": "Läsion", "values": [0.1, None]}
    assert (tmp_path / "a.csv").read_bytes() == b'x,y\n0.30000000000000004,"a,b"\n1,\n'


def test_nothing_else_is_left(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    write_text(tmp_path / "a.txt", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "new"


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def write_and_fail() -> None:
        with written_aside(target) as aside:
            aside.write_text("half of the n")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        write_and_fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_unknown_column_leaves_the_old_table(tmp_path: Path) -> None:
    target = tmp_path / "a.csv"
    target.write_text("old")
    with pytest.raises(ValueError, match="y"):
        write_csv(target, ["x"], [{"x": 1}, {"y": 2}])
    assert target.read_text() == "old"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
@pytest.mark.parametrize("existed", [True, False])
def test_a_killed_process_leaves_the_old_file(
    tmp_path: Path, existed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "state.bin"
    if existed:
        target.write_bytes(b"old")
    program = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from seg_anl.records import written_aside
        with written_aside(Path(sys.argv[1])) as aside:
            with open(aside, "wb") as file:
                file.write(b"half of the new")
                file.flush()
                print("writing", flush=True)
                time.sleep(60)
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(target)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        remove_partial(tmp_path)
        assert len(list(tmp_path.glob(".partial-*"))) == 1  # of a process that is at work
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert target.exists() == existed
    if existed:
        assert target.read_bytes() == b"old"
    left_over = [path.name for path in tmp_path.iterdir() if path != target]
    assert len(left_over) == 1
    assert left_over[0].startswith(".partial-")
    (tmp_path / ".partial-mine").touch()
    remove_partial(tmp_path)
    assert left_over[0] in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir() if path != target} == {".partial-mine"}


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    """A second process replaces the file over and over; every read is one of its states."""
    target = tmp_path / "state.txt"
    write_text(target, "0" * 100_000)
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from seg_anl.records import write_text
        print("started", flush=True)
        for turn in range(200):
            write_text(Path(sys.argv[1]), str(turn % 10) * 100_000)
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(target)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while process.poll() is None:
            text = target.read_text()
            assert len(text) == 100_000
            assert len(set(text)) == 1
            time.sleep(0.001)
    assert process.returncode == 0


def test_the_aside_file_keeps_its_suffixes(tmp_path: Path) -> None:
    with written_aside(tmp_path / "volume.nii.gz") as aside:
        assert aside.name.endswith(".nii.gz")
        assert aside.parent == tmp_path
        aside.write_bytes(b"")
    assert (tmp_path / "volume.nii.gz").exists()


@pytest.mark.skipif(os.name != "posix", reason="permission bits")
def test_permissions_are_those_of_an_ordinary_file(tmp_path: Path) -> None:
    (tmp_path / "ordinary").write_text("")
    write_text(tmp_path / "ours", "")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_the_umask_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to the process: of two threads that change and restore it, one would write files open to all."""
    monkeypatch.delattr(os, "umask")
    write_text(tmp_path / "a.txt", "")
    with folder_aside(tmp_path / "b") as aside:
        write_text(aside / "c.txt", "")
    assert (tmp_path / "b" / "c.txt").exists()


def test_a_scratch_folder_at_work_is_no_leftover(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        (folder / "weights").touch()
        remove_partial(tmp_path)
        assert (folder / "weights").exists()
    assert not list(tmp_path.iterdir())


def test_make_directory(tmp_path: Path) -> None:
    made = make_directory(tmp_path / "a" / "b")
    assert made.is_dir()
    assert make_directory(made) == made


def test_a_folder_beneath_a_file_is_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file is a file"):
        make_directory(tmp_path / "file" / "run")


def test_folders_that_cannot_be_are_told(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("absent")
    for name in ("x" * 300, "loop", "loop/below", "nowhere"):
        with pytest.raises(UserError, match="cannot create the folder"):
            make_directory(tmp_path / name)


def test_a_file_that_cannot_be_is_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for impossible in (tmp_path / "file" / "a.txt", tmp_path / "absent" / "a.txt", tmp_path / "folder"):
        with pytest.raises(UserError, match=f"cannot write .*{impossible.name}"):
            write_text(impossible, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
