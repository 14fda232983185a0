"""What a result came from: versions of packages and the revision of the checkout."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path


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
    """The revision of the checkout around ``folder``, with ``-dirty`` for uncommitted changes; None outside one."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
