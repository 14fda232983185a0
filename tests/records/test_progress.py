"""Bars of progress: on a terminal, and not a byte in a file."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

CODE = """
from seg_anl.records.progress import progress_bar
assert list(progress_bar("abc", "case", shown={shown})) == ["a", "b", "c"]
"""


@pytest.mark.parametrize("shown", [True, False])
def test_a_bar_is_for_a_terminal(shown: bool) -> None:
    command = [sys.executable, "-c", CODE.format(shown=shown)]
    to_a_file = subprocess.run(command, stderr=subprocess.PIPE, check=True).stderr
    assert to_a_file == b""
    terminal, screen = pty.openpty()
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    subprocess.run(command, stderr=screen, check=True)
    os.write(screen, b".")  # so that reading does not wait where nothing was written
    said = os.read(terminal, 10_000)
    os.close(screen)
    os.close(terminal)
    assert (b"case/s" in said) == shown
