"""Bars of progress: on a terminal, and not a byte in a file."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

CODE = """
from seg_anl.records.progress import progress_bar
assert list(progress_bar("abc", "case", shown={shown})) == ["a", "b", "c"]
"""


def test_a_bar_is_for_a_terminal() -> None:
    shown, hidden = ([sys.executable, "-c", CODE.format(shown=shown)] for shown in (True, False))
    assert subprocess.run(shown, stderr=subprocess.PIPE, check=True).stderr == b""
    terminal, screen = pty.openpty()
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    subprocess.run(hidden, stderr=screen, check=True)
    os.write(screen, b".")  # so that reading does not wait where nothing was written
    assert os.read(terminal, 10_000) == b"."
    subprocess.run(shown, stderr=screen, check=True)
    assert b"case/s" in os.read(terminal, 10_000)
    os.close(screen)
    os.close(terminal)
