"""``--help`` of every console command answers before torch, MONAI or torchvision is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import seg_anl

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
HEAVY = ("torch", "monai", "torchvision", "nnunetv2")
RUN = """
import importlib, sys
module, name, command, *arguments = sys.argv[1:]
for argument in arguments:
    sys.argv = [command, argument]
    try:
        getattr(importlib.import_module(module), name)()
    except SystemExit as leaving:
        status = leaving.code or 0
    else:
        status = 0
print(status, *sorted(set(sys.modules) & set({heavy!r})))
"""


def answers(command: str, *arguments: str) -> tuple[str, str]:
    """What a command writes to each argument, and in one line its last status and the heavy modules it imported."""
    entry = SCRIPTS[command].split(":")
    code = RUN.format(heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", code, *entry, command, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=ROOT,
    )
    *lines, last = done.stdout.splitlines()
    return "\n".join([*lines, done.stderr]), last


def test_version_and_help_import_nothing_heavy() -> None:
    for command in SCRIPTS:
        written, last = answers(command, "--version", "--help")
        version, rest = written.split("\n", 1)
        assert (version, last) == (f"seg_anl {seg_anl.__version__}", "0"), command
        assert command in rest


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("seg-anl-train", ["los=gce"], "did you mean 'loss'"),
        ("seg-anl-train", ["preset=smal"], "small"),
        ("seg-anl-train", ["loss.alpha=-1"], "loss 'anl_ce': alpha must be"),
        ("seg-anl-classify", ["preset=anl204"], "anl2024"),
        ("seg-anl-classify", ["optim.lr=-1"], "optim.lr must be"),
        ("seg-anl-predict", ["--overly"], "are required"),
        ("seg-anl-report", ["--tabel", "x"], "--tabel"),
        ("seg-anl-noise", ["mask"], "masks"),
        ("seg-anl-losses", ["anlce"], "did you mean 'anl_ce'"),
    ],
)
def test_a_mistake_is_named_before_anything_heavy_is_imported(command: str, arguments: list[str], words: str) -> None:
    written, last = answers(command, *arguments)
    assert words in written
    assert last == "2"


def test_importing_the_package_is_light() -> None:
    code = f"import seg_anl, sys; assert not set(sys.modules) & set({HEAVY!r})"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_classification_trains_without_monai_and_nibabel() -> None:
    code = "import classification.experiment, sys; assert not set(sys.modules) & {'monai', 'nibabel'}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_every_command_begins_where_ctrl_c_is_heard() -> None:
    for command, entry in SCRIPTS.items():
        assert entry == f"seg_anl.commands:{command.removeprefix('seg-anl-')}"


# They are all made by one function.
@pytest.mark.parametrize("command", ["seg-anl-train", "seg-anl-noise"])
def test_ctrl_c_while_a_library_is_imported_is_one_line(command: str, tmp_path: Path) -> None:
    """The library swallows the exception, as extensions do in the middle of their start."""
    slow = "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept BaseException: pass\n"
    (tmp_path / "numpy.py").write_text(slow)
    module, _, name = SCRIPTS[command].partition(":")
    code = (
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"  # where a shell has ignored it
        f"from {module} import {name} as main\nmain()\nimport numpy\nprint('went on')"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (130, "", 1)
    assert done.stderr.startswith(f"{command}: interrupted")
