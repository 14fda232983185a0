"""Where a result comes from: package versions, revision of the checkout, machine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from .atomic import write_json
from .errors import UserError
from .foreign_files import read_json


def package_versions(packages: Iterable[str]) -> dict[str, str]:
    """Installed versions by distribution name."""
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def git_revision(folder: Path) -> str | None:
    """The Git revision of the files in ``folder``, with ``-dirty`` for uncommitted changes; None if Git has none."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", ".")  # fails in a virtual environment inside another project's checkout
        return git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None


def provenance(packages: Iterable[str], folder: Path) -> dict[str, Any]:
    """Versions, platform, command line and Git revision for environment.json."""
    # Hydra's own options were added by this package.
    arguments = [word for word in sys.argv[1:] if not word.startswith("hydra")]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": package_versions(packages),
        "cpu_count": os.cpu_count(),
        "git_revision": git_revision(folder),
        "command": [Path(sys.argv[0]).name, *arguments],
    }


def write_environment(path: Path, now: dict[str, Any], *, resumed_at: int = 0) -> None:
    """Write environment.json; a run resumed at an epoch > 0 adds its environment to the list ``resumed``."""
    if resumed_at and path.exists():
        first = read_json(path)
        if not isinstance(first, dict) or not isinstance(first.setdefault("resumed", []), list):
            raise UserError(f"{path}: damaged: not the environment of a run; delete it to continue")
        first["resumed"].append({"epoch": resumed_at, **now})
        now = first
    write_json(path, now)
