"""Report a user's mistake in one line.

Commands raise :class:`UserError` for bad input and run under :func:`run_command`, which turns it into one line on
standard error and exit status 2. So a traceback always means a bug. Any function that reads user input may raise it;
docstrings mention it only if there is more to say.
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
EXIT_UNREAD = 141  # what a shell reports for SIGPIPE

FULL = (errno.ENOSPC, errno.EDQUOT)  # the disk is full, or this user's quota


class UserError(Exception):
    """Bad input: the message names the file or setting, what was found and what was expected, in one line."""


def nearest_names(name: str, known: Iterable[str]) -> str:
    """The end of an error message: up to three known names like ``name``, those that start with it first.

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
    completions = [known_name for known_name in names if lower and known_name.lower().startswith(lower)]
    by_lower = {known_name.lower(): known_name for known_name in names}
    similar = [by_lower[match] for match in difflib.get_close_matches(lower, by_lower, n=3, cutoff=0.6)]
    close = list(dict.fromkeys([*completions, *similar]))[:3]
    if close:
        return f"did you mean {' or '.join(repr(match) for match in close)}?"
    return f"known: {', '.join(names)}"


def reason_of(error: BaseException, line: int = 0) -> str:
    """One ``line`` of a library's error message: the first (0) or the last (-1) that is not blank.

    >>> reason_of(ValueError("bad header\\n  at byte 3")), reason_of(KeyError())
    ('bad header', 'KeyError')
    """
    lines = [text.strip() for text in str(error).splitlines() if text.strip()]
    return lines[line][:300] if lines else type(error).__name__


def one_line(error: object) -> str:
    """A library's whole error message in one line of at most 300 characters.

    >>> one_line(ValueError("bad header\\n  at byte 3"))
    'bad header at byte 3'
    """
    return " ".join(str(error).split())[:300] or type(error).__name__


def exit_with_error(program: str, message: object) -> NoReturn:
    """Print one line ``program: error: message`` and exit with the status of a user error."""
    print(f"{program}: error: {' '.join(str(message).split())}", file=sys.stderr)
    raise SystemExit(EXIT_USER_ERROR)


def run_command(program: str, main: Callable[[], object]) -> None:
    """Run a command's body; a :class:`UserError` becomes one line and status 2, Ctrl-C status 130.

    So do errors of the system (a full disk, no permission). When nobody reads the output any more (``| head``), the
    command ends quietly with status 141. Characters that the terminal cannot show are escaped.
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
        if not isinstance(_flush_output(end="\n"), BrokenPipeError):  # of another pipe
            raise
        raise SystemExit(EXIT_UNREAD) from None
    except OSError as error:
        _flush_output(end="")
        exit_with_error(program, refusal(error))
    except MemoryError:
        exit_with_error(program, "this machine does not have enough memory")


def _check_threads() -> None:
    """Refuse values with which libraries end in a traceback while they are imported."""
    for name in ("OMP_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMEXPR_MAX_THREADS"):
        text = os.environ.get(name, "1")
        if not text.strip().isdecimal():
            raise UserError(f"{name}={text} in the environment: expected a whole number of threads")


def refusal(error: OSError) -> str:
    """The system's error message, with the path if there is one, and the space left on a full disk.

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
    """The error for a failed write to ``path``, or to the temporary file beside it."""
    return UserError(f"cannot write {refusal(OSError(error.errno, error.strerror or str(error), str(path)))}")


def _flush_output(end: str) -> OSError | None:
    """Flush standard output; discard it if that fails, because Python would try again as it exits, and complain."""
    try:
        print(end=end, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return None
