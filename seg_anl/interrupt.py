"""Ctrl-C while a command starts: one line instead of the traceback of an import.

A library may raise any exception, or none, if its import is interrupted, so the process ends at once; it has not
written anything yet. Commands import this module first, so it must be fast to import.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any

INTERRUPTED = "interrupted; the same command continues from the last finished step"
EXIT_INTERRUPTED = 130


def end_quietly_while_importing(program: str) -> None:
    """From now on, Ctrl-C during an import ends the process with one line and status 130."""

    def interrupted(number: int, frame: FrameType | None) -> Any:
        while frame is not None:
            if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
                print(f"{program}: {INTERRUPTED}", file=sys.stderr, flush=True)
                os._exit(EXIT_INTERRUPTED)
            frame = frame.f_back
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # unless a shell or parent ignores it
        signal.signal(signal.SIGINT, interrupted)
