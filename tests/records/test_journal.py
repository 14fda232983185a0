"""What is finished stays finished: after errors, after a kill in the middle of a line, and under no other identity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seg_anl.records import UserError
from seg_anl.records.journal import finish_items, read_journal

IDENTITY = {"command": "square", "version": "1"}


def square(number: int) -> dict[str, Any] | str:
    return {"item": f"n{number}", "square": number**2} if number >= 0 else f"{number}: negative"


def finish(path: Path, tasks: list[int], finished: dict[str, Any] | None = None) -> dict[str, Any]:
    return finish_items(path, IDENTITY, finished or {}, square, tasks, unit="number", workers=1)


def test_a_run_goes_on_after_what_it_had_finished(tmp_path: Path) -> None:
    path = tmp_path / ".journal"
    whole = finish(path, [1, 2, 3])
    content = path.read_bytes()
    assert [row["square"] for row in whole.values()] == [1, 4, 9]
    path.write_bytes(content[:-5])  # killed while it wrote the last row
    found = read_journal(path)
    assert found == (IDENTITY, {name: whole[name] for name in ("n1", "n2")})
    assert finish(path, [3], found[1]) == whole
    assert path.read_bytes() == content


def test_errors_are_named_together_and_cost_no_finished_item(tmp_path: Path) -> None:
    path = tmp_path / ".journal"
    with pytest.raises(UserError, match=r"^6 of 8 numbers failed: -1: negative; .*-5: negative; and 1 more$"):
        finish(path, [1, -1, -2, -3, -4, -5, -6, 2])
    assert read_journal(path) == (IDENTITY, {f"n{i}": square(i) for i in (1, 2)})


def test_a_damaged_journal_is_none(tmp_path: Path) -> None:
    for content in (b"", b"{", b"{}\n[]\n", b"{}\n{}\n", b"\xff\n", b"[" * 9999 + b"\n"):
        (tmp_path / ".journal").write_bytes(content)
        assert read_journal(tmp_path / ".journal") is None, content


def raise_error(error: OSError) -> str:
    raise error


def test_an_error_names_the_journal_or_the_file_of_the_work(tmp_path: Path) -> None:
    full = OSError(28, "No space left on device")
    with pytest.raises(UserError, match=r"cannot write .*\.journal: No space left on device"):
        finish_items(tmp_path / ".journal", IDENTITY, {}, raise_error, [full], unit="number", workers=1)
    closed = PermissionError(13, "Permission denied", "mask.png")
    with pytest.raises(PermissionError, match=r"mask\.png"):
        finish_items(tmp_path / ".journal", IDENTITY, {}, raise_error, [closed], unit="number", workers=1)
