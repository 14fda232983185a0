"""One process at a time in a folder: the second is refused, a killed one holds nothing, nothing stays behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from seg_anl.records import UserError
from seg_anl.records.lock import LOCK_FILE, locked

HOLD = """
import sys, time
from pathlib import Path
from seg_anl.records.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="out: another process is writing there"), locked(folder):
            pass
        with pytest.raises(UserError, match="out: busy"), locked(folder, "busy"):
            pass
        holder.kill()
        holder.wait()
    assert (folder / LOCK_FILE).exists()  # what a kill leaves behind
    with locked(folder):
        (folder / "a").write_text("")
    assert [path.name for path in folder.iterdir()] == ["a"]


def test_neither_lock_nor_empty_folder_stays(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / LOCK_FILE).is_file()
    assert not (tmp_path / "a" / "b").exists()
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "c"):
        1 / 0  # noqa: B018
    assert not (tmp_path / "c").exists()


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"), locked(tmp_path / "file"):
        pass
    (tmp_path / LOCK_FILE).mkdir()
    with pytest.raises(UserError, match=r"cannot write .*\.seg-anl\.lock"), locked(tmp_path):
        pass
