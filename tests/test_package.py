"""The sdist and the wheel: whole, in order for an index, and commands that answer where only the wheel is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]


def run(*command: str | Path, cwd: Path, status: int = 0) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the sdist and of the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment with the wheel; its dependencies are those of this one."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    (wheel,) = built.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python"]
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    # A folder named in such a file is not searched for further ones, such as that of an editable installation.
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
    return folder / "bin"


def test_an_index_would_take_them(built: Path) -> None:
    assert sorted(path.suffix for path in built.iterdir()) == [".gz", ".whl"]
    said = run(sys.executable, "-m", "twine", "check", "--strict", *built.iterdir(), cwd=built)
    assert said.count("PASSED") == 2
    (wheel,) = built.glob("*.whl")
    (metadata,) = (name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA"))
    links = re.findall(r"^Project-URL: (.*), (.*)$", zipfile.ZipFile(wheel).read(metadata).decode(), re.MULTILINE)
    assert links
    # PyPI's own limit, which twine leaves to the upload.
    assert [label for label, address in links if len(label) > 32 or not address.startswith("https://")] == []


def test_the_wheel_holds_every_file_of_the_packages(built: Path) -> None:
    def files(folder: str) -> set[str]:
        found = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {path.relative_to(ROOT).as_posix() for path in found}

    (wheel,) = built.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    configs = {f"seg_anl/{name}" for name in files("configs")}
    assert held == files("seg_anl") | files("classification") | files("data_prep") | configs


@pytest.mark.parametrize("command", SCRIPTS)
def test_a_command_answers_from_another_folder(command: str, installed: Path, tmp_path: Path) -> None:
    assert command in run(installed / command, "--help", cwd=tmp_path)


def test_the_installed_package_is_the_wheels_and_finds_its_settings(installed: Path, tmp_path: Path) -> None:
    code = (
        "import seg_anl, classification, data_prep as d; print(seg_anl.__file__, classification.__file__, d.__file__)"
    )
    for file in run(installed / "python", "-c", code, cwd=tmp_path).split():
        assert Path(file).is_relative_to(installed.parent)
    assert "did you mean 'gce'" in run(installed / "seg-anl-train", "loss=gcf", cwd=tmp_path, status=2)
    assert list(tmp_path.iterdir()) == []
