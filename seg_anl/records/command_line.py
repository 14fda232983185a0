"""What the commands share: a parser with errors of one line, kinds of arguments, a check that no input is replaced."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import NoReturn

from seg_anl import __version__

from .errors import UserError, exit_with_error

MAX_WORKERS = max(64, 4 * (os.cpu_count() or 1))


class OneLineParser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line, without the usage, and keeps an example in its help."""

    def __init__(self, **options: object) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**options)  # type: ignore[arg-type]
        self.add_argument("--version", action="version", version=f"seg_anl {__version__}")

    def error(self, message: str) -> NoReturn:
        """Leave with the exit status of a user's error."""
        exit_with_error(self.prog, f"{message} (see {self.prog} --help)")


def positive_int(text: str, most: int | None = None) -> int:
    """An argument type: a whole number of at least 1, and at most ``most``."""
    number = int(text) if text.isdecimal() and len(text) < 20 else 0
    if number < 1 or (most is not None and number > most):
        wanted = "of at least 1" if most is None else f"from 1 to {most}"
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number {wanted}")
    return number


def worker_count(text: str) -> int:
    """An argument type: a number of threads or processes that this machine can start."""
    return positive_int(text, MAX_WORKERS)


def refuse_overlap(source: Path, target: Path) -> None:
    """Raise a UserError when one folder is, or lies in, the other: what is read must not change."""
    inner, outer = Path(os.path.realpath(target)), Path(os.path.realpath(source))
    if inner == outer or outer in inner.parents or inner in outer.parents:
        raise UserError(f"{target} and {source} lie in each other: what is read must not be written over")
