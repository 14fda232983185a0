"""What a person did wrong, said in one line.

Every command of the project raises :class:`UserError` for bad input and runs under :func:`run_command`, which turns it
into one line on the standard error and exit status 2. A traceback therefore always means a defect of the program.
It names the file or setting, what was found and what was expected. Whatever reads what a person wrote may raise it;
docstrings say so only where there is more to say.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import io
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

from seg_anl.interrupt import EXIT_INTERRUPTED, INTERRUPTED

EXIT_USER_ERROR = 2
EXIT_UNREAD = 141  # as the shell tells that who read the output has left

FULL = (errno.ENOSPC, errno.EDQUOT)  # what a disk says that has no space left, or none for this person


class UserError(Exception):
    """Bad input: the message names the file or setting, what was found and what was expected, in one line."""


def nearest_names(name: str, known: Iterable[str]) -> str:
    """Say which three known names stand nearest to ``name``, for the end of an error message: first those it begins.

    >>> nearest_names("anl_c", ["anl_ce", "gce", "mae"])
    "did you mean 'anl_ce'?"
    >>> nearest_names("anl", ["anl_ce", "anl_fl", "mae"])
    "did you mean 'anl_ce' or 'anl_fl'?"
    >>> nearest_names("ANL-C", ["ANL-CE", "GCE"])
    "did you mean 'ANL-CE'?"
    >>> nearest_names("CIFAR-II", ["CIFAR10-II", "ISIC-VI"])
    "did you mean 'CIFAR10-II'?"
    >>> nearest_names("zzz", ["gce", "mae"])
    'known: gce, mae'
    """
    names, lower = sorted(known), name.lower()
    begun = [match for match in names if lower and match.lower().startswith(lower)]
    of_lower = {match.lower(): match for match in names}
    similar = [of_lower[match] for match in difflib.get_close_matches(lower, of_lower, n=3, cutoff=0.6)]
    close = list(dict.fromkeys([*begun, *similar]))[:3]
    if close:
        return f"did you mean {' or '.join(repr(match) for match in close)}?"
    return f"known: {', '.join(names)}"


def reason_of(error: BaseException, line: int = 0) -> str:
    """What an exception of a library says, in one ``line`` of its words: the first, or the last (-1).

    >>> reason_of(ValueError("bad header\\n  at byte 3")), reason_of(KeyError())
    ('bad header', 'KeyError')
    """
    lines = [text.strip() for text in str(error).splitlines() if text.strip()]
    return lines[line][:300] if lines else type(error).__name__


def exit_with_error(program: str, message: object) -> NoReturn:
    """Print one line ``program: error: message`` and leave with the exit status of a user's error."""
    print(f"{program}: error: {' '.join(str(message).split())}", file=sys.stderr)
    raise SystemExit(EXIT_USER_ERROR)


def run_command(program: str, main: Callable[[], object]) -> None:
    """Run a command's body; a :class:`UserError` becomes one line and status 2, Ctrl-C status 130.

    A name that the terminal cannot show is written with escapes. Where the output is read no further (``| head``), the
    command ends quietly with status 141. What the system refuses (a full disk, a closed folder) is one line, too.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        _check_threads()
        main()
        print(end="", flush=True)
    except UserError as error:
        exit_with_error(program, error)
    except KeyboardInterrupt:
        print(f"{program}: {INTERRUPTED}", file=sys.stderr)
        raise SystemExit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        if not _output_is_unread():
            raise
        raise SystemExit(EXIT_UNREAD) from None
    except OSError as error:
        _forget_unwritten_output()
        exit_with_error(program, refusal(error))
    except MemoryError:
        exit_with_error(program, "the memory of this machine does not suffice")


def _check_threads() -> None:
    """Refuse what the libraries below would end with a traceback for, while they are imported."""
    for name in ("OMP_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMEXPR_MAX_THREADS"):
        text = os.environ.get(name, "1")
        if not text.strip().isdecimal():
            raise UserError(f"{name}={text} in the environment: expected a whole number of threads")


def refusal(error: OSError) -> str:
    """What the system refused, in its own words: the path where there is one, and the space that a full disk has left.

    >>> refusal(PermissionError(13, "Permission denied", "runs/.lock"))
    'runs/.lock: Permission denied'
    """
    reason = error.strerror or str(error) or type(error).__name__
    place = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
    if error.errno in FULL and place:
        with contextlib.suppress(OSError):
            reason += f" ({shutil.disk_usage(os.path.dirname(place) or '.').free >> 10} KiB free)"
    return f"{place}: {reason}" if place else reason


def cannot_write(path: Path, error: OSError) -> UserError:
    """What the system refused while ``path`` was written, perhaps under another name."""
    return UserError(f"cannot write {refusal(OSError(error.errno, error.strerror or str(error), str(path)))}")


def _forget_unwritten_output() -> None:
    try:
        print(end="", flush=True)
    except OSError:
        _send_output_nowhere()


def _send_output_nowhere() -> None:
    """Else Python would try once more as it ends, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _output_is_unread() -> bool:
    """Whether the standard output has no reader; what is still to be written then goes nowhere."""
    try:
        print(flush=True)
    except BrokenPipeError:
        _send_output_nowhere()
        return True
    return False
