"""Test cases, and the changes they make to a copy of the base folder before their command runs there."""

from __future__ import annotations

import os
import random
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Prepare = Callable[[Path], object]
MARKER = "EXECUTED"
SHELL_COMMAND = f"touch {MARKER}"


class Canary:
    """Creates the marker file when unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (SHELL_COMMAND,)


# Values of a type that a setting does not expect.
VALUES: list[Any] = [
    *(None, "text", "", True, -1, 0, 1e6, 10**12, float("nan"), float("inf"), [], {}, [None], [1, [2]], {"a": 1}),
    *("os.system", "${oc.env:HOME}", "${seed}", "x" * 5000, {"_target_": "os.system", "_args_": [SHELL_COMMAND]}),
]


@dataclass(frozen=True)
class Case:
    """One input: ``prepare`` creates it in a copy of the base folder, then the command runs there."""

    group: str
    name: str
    words: list[str]
    prepare: Prepare = lambda folder: None
    environment: Mapping[str, str] = field(default_factory=dict)
    largest_file: int | None = None  # limit on the size of written files in bytes, to simulate a full disk


def writes(name: str, content: bytes, *without: str) -> Prepare:
    """Write ``content`` to the file and remove the files in ``without``."""
    return replaces(name, lambda path: path.write_bytes(content), *without)


def replaces(name: str, make: Prepare, *without: str) -> Prepare:
    """Replace the file by the result of ``make`` and remove the files in ``without``."""

    def prepare(folder: Path) -> None:
        for each in (name, *without):
            remove(folder / each)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        make(folder / name)

    return prepare


def damages(name: str, seed: float, *without: str) -> Prepare:
    """Flip bits, or truncate the file, or repeat, overwrite or delete a piece of it."""

    def prepare(folder: Path) -> None:
        for each in without:
            remove(folder / each)
        rng, path = random.Random(seed), folder / name
        data = bytearray(path.read_bytes())
        start = rng.randrange(len(data))
        kind = rng.choice(("bit", "bits", "truncate", "repeat", "overwrite", "delete"))
        if kind in ("bit", "bits"):
            for _ in range(1 if kind == "bit" else 40):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif kind == "truncate":
            del data[start:]
        elif kind == "repeat":
            data[start:start] = data[: rng.randrange(1, 2000)] * 3
        elif kind == "overwrite":
            data[start : start + 30] = rng.randbytes(30)
        else:
            del data[start : start + rng.randrange(1, 100)]
        path.write_bytes(data)

    return prepare


def damaged(group: str, words: list[str], file: str, count: int, rng: random.Random, *without: str) -> Iterator[Case]:
    """Cases with ``count`` different damages to one file."""
    for number in range(count):
        yield Case(group, f"{file} damage {number}", words, damages(file, rng.random(), *without))


def no_file(group: str, words: list[str], file: str, *without: str, **options: Any) -> Iterator[Case]:
    """Cases with a folder, device or the like instead of a regular file."""
    for kind, make in NO_FILES.items():
        yield Case(group, f"{file} is {kind}", words, replaces(file, make, *without), **options)


def remove(path: Path) -> None:
    """Remove a file, link or folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _bind_socket(path: Path) -> None:
    previous = os.getcwd()
    os.chdir(path.parent)  # the path of a socket has a length limit
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir(previous)


NO_FILES: dict[str, Prepare] = {
    "a folder": Path.mkdir,
    "a FIFO": os.mkfifo,
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "its own link": lambda path: path.symlink_to(path.name),
    "absent": lambda path: None,
    "a socket": _bind_socket,
}
