"""Paths that a configuration names."""

from __future__ import annotations

from pathlib import Path

import pytest

from seg_anl.records import UserError
from seg_anl.records.paths import configured_path


def test_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert configured_path("~/data", "data.root") == tmp_path / "data"
    assert configured_path(2017, "data.root") == Path("2017")  # what YAML makes of a year
    for value in ("", True, {"a": 1}, "~nobody-of-this-name/data"):
        with pytest.raises(UserError, match=r"data\.root"):
            configured_path(value, "data.root")
