"""A case, and what it may do to a copy of the base folder before its command runs there."""

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
MARK = "EXECUTED"
EXECUTES = f"touch {MARK}"


class Canary:
    """Marks the folder of the case where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (EXECUTES,)


# Values of another kind than a setting expects.
VALUES: list[Any] = [
    *(None, "text", "", True, -1, 0, 1e6, 10**12, float("nan"), float("inf"), [], {}, [None], [1, [2]], {"a": 1}),
    *("os.system", "${oc.env:HOME}", "${seed}", "x" * 5000, {"_target_": "os.system", "_args_": [EXECUTES]}),
]


@dataclass(frozen=True)
class Case:
    """One input: ``prepare`` makes it in a copy of the base folder, then the command runs there."""

    group: str
    name: str
    words: list[str]
    prepare: Prepare = lambda folder: None
    environment: Mapping[str, str] = field(default_factory=dict)
    largest_file: int | None = None  # as a disk that is full


def writes(name: str, content: bytes, *without: str) -> Prepare:
    """The file holds ``content``; the files in ``without`` are not there."""
    return replaces(name, lambda path: path.write_bytes(content), *without)


def replaces(name: str, make: Prepare, *without: str) -> Prepare:
    """What ``make`` makes stands in place of the file; the files in ``without`` are not there."""

    def prepare(folder: Path) -> None:
        for each in (name, *without):
            remove(folder / each)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        make(folder / name)

    return prepare


def damages(name: str, seed: float, *without: str) -> Prepare:
    """Flips bits, or cuts, repeats or exchanges a piece of the file."""

    def prepare(folder: Path) -> None:
        for each in without:
            remove(folder / each)
        chance, path = random.Random(seed), folder / name
        data = bytearray(path.read_bytes())
        place = chance.randrange(len(data))
        how = chance.choice(("bit", "bits", "cut", "repeat", "bytes", "none"))
        if how in ("bit", "bits"):
            for _ in range(1 if how == "bit" else 40):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        elif how == "cut":
            del data[place:]
        elif how == "repeat":
            data[place:place] = data[: chance.randrange(1, 2000)] * 3
        elif how == "bytes":
            data[place : place + 30] = chance.randbytes(30)
        else:
            del data[place : place + chance.randrange(1, 100)]
        path.write_bytes(data)

    return prepare


def damaged(
    group: str, words: list[str], file: str, count: int, chance: random.Random, *without: str
) -> Iterator[Case]:
    """``count`` damages of one file."""
    for number in range(count):
        yield Case(group, f"{file} damage {number}", words, damages(file, chance.random(), *without))


def no_file(group: str, words: list[str], file: str, *without: str, **more: Any) -> Iterator[Case]:
    """A folder, a device and their like in place of a file."""
    for kind, make in NO_FILES.items():
        yield Case(group, f"{file} is {kind}", words, replaces(file, make, *without), **more)


def remove(path: Path) -> None:
    """Whatever it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _listening(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the address of a socket is short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)
    os.chdir(here)


NO_FILES: dict[str, Prepare] = {
    "a folder": Path.mkdir,
    "a FIFO": os.mkfifo,
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "its own link": lambda path: path.symlink_to(path.name),
    "absent": lambda path: None,
    "a socket": _listening,
}
