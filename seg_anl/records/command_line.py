"""What the commands share: an argument parser with one-line errors, argument types, a check for overlapping folders."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import NoReturn

from seg_anl import __version__

from .errors import UserError, exit_with_error

MAX_WORKERS = max(64, 4 * (os.cpu_count() or 1))


class OneLineParser(argparse.ArgumentParser):
    """An argument parser that reports an error in one line, without the usage, and keeps the layout of its help."""

    def __init__(self, **options: object) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**options)  # type: ignore[arg-type]
        self.add_argument("--version", action="version", version=f"seg_anl {__version__}")

    def error(self, message: str) -> NoReturn:
        """Exit with the status of a user error."""
        exit_with_error(self.prog, f"{message} (see {self.prog} --help)")


def positive_int(text: str, most: int | None = None) -> int:
    """An argument type: a whole number from 1 to ``most``."""
    number = int(text) if text.isdecimal() and len(text) < 20 else 0
    if number < 1 or (most is not None and number > most):
        wanted = "of at least 1" if most is None else f"from 1 to {most}"
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {wanted}")
    return number


def worker_count(text: str) -> int:
    """An argument type: a number of threads or processes that this machine can start."""
    return positive_int(text, MAX_WORKERS)


def refuse_overlap(source: Path, target: Path) -> None:
    """Raise a UserError if one folder is or contains the other: a command must not write over its input."""
    inner, outer = Path(os.path.realpath(target)), Path(os.path.realpath(source))
    if inner == outer or outer in inner.parents or inner in outer.parents:
        raise UserError(f"{target} and {source} overlap: the output must not lie in the input, nor the input in it")
