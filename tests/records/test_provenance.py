"""Where a result came from: versions, the checkout's revision, and what a resumed run adds."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from seg_anl.records import UserError
from seg_anl.records.provenance import git_revision, package_versions, provenance, write_environment


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_versions_of_what_is_there_and_what_is_not() -> None:
    assert package_versions(["numpy", "no-such-package"]) == {
        "numpy": metadata.version("numpy"),
        "no-such-package": "not installed",
    }


def test_the_revision_says_whether_files_were_changed(tmp_path: Path) -> None:
    assert git_revision(tmp_path) is None
    git(tmp_path, "init", "--quiet")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "--quiet", "--message", "a")
    git(tmp_path, "tag", "v1")
    head = git(tmp_path, "rev-parse", "HEAD").strip()
    assert git_revision(tmp_path) == head[:12]
    (tmp_path / "a").write_text("2")
    assert git_revision(tmp_path) == f"{head[:12]}-dirty"
    (tmp_path / "environment").mkdir()
    (tmp_path / "environment" / "installed.py").touch()
    assert git_revision(tmp_path / "environment") is None  # the revision is not that of an installed package


def test_the_command_is_what_the_person_wrote(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/seg-anl-train", "loss=ce", "hydra.launcher=ray", "hydra/sweeper=x"])
    found = provenance(["numpy"], tmp_path)
    assert found["command"] == ["seg-anl-train", "loss=ce"]
    assert found["git_revision"] is None
    assert json.loads(json.dumps(found)) == found


def test_a_resumed_run_adds_to_the_first(tmp_path: Path) -> None:
    path = tmp_path / "environment.json"
    write_environment(path, {"device": "cpu"}, resumed_at=3)  # nothing to add to
    assert json.loads(path.read_text()) == {"device": "cpu"}
    write_environment(path, {"device": "cuda"})
    write_environment(path, {"device": "mps"}, resumed_at=3)
    write_environment(path, {"device": "cpu"}, resumed_at=5)
    assert json.loads(path.read_text()) == {
        "device": "cuda",
        "resumed": [{"epoch": 3, "device": "mps"}, {"epoch": 5, "device": "cpu"}],
    }
    path.write_text("{")
    with pytest.raises(UserError, match=r"environment\.json: damaged"):
        write_environment(path, {}, resumed_at=6)
