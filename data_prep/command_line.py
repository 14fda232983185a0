"""What the commands of this package share: a parser whose errors are one line."""

from __future__ import annotations

import argparse
from typing import NoReturn

from seg_anl.records import exit_with_error


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
