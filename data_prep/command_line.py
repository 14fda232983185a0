"""What the commands share: a parser whose errors are one line, and a check that output does not overwrite input."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from seg_anl.records import UserError, exit_with_error


class OneLineParser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line, without the usage, and keeps an example in its help."""

    def __init__(self, **options: object) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Leave with the exit status of a user's error."""
        exit_with_error(self.prog, f"{message} (see {self.prog} --help)")


def positive_int(text: str) -> int:
    """An argument type: a whole number of at least 1."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return number


def refuse_overlap(source: Path, target: Path) -> None:
    """Raise a UserError when one folder is, or lies in, the other: what is read must not change."""
    inner, outer = target.resolve(), source.resolve()
    if inner == outer or outer in inner.parents or inner in outer.parents:
        raise UserError(f"{target} and {source} lie in each other: what is read must not be written over")
