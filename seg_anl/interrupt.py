"""Ctrl-C while a command starts: one line instead of the traceback of whatever was being imported.

A library that is interrupted in the middle of its import leaves any exception, or none; so the process ends there and
then. Nothing has been written yet. Free of imports that take time: the commands import it first.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any

INTERRUPTED = "interrupted; the same command carries on from the last finished step"
EXIT_INTERRUPTED = 130


def end_quietly_while_importing(program: str) -> None:
    """From now on Ctrl-C during an import ends the process with one line and status 130; else as Python has it."""

    def interrupted(number: int, frame: FrameType | None) -> Any:
        while frame is not None:
            if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
                print(f"{program}: {INTERRUPTED}", file=sys.stderr, flush=True)
                os._exit(EXIT_INTERRUPTED)
            frame = frame.f_back
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell or a parent ignores it
        signal.signal(signal.SIGINT, interrupted)
