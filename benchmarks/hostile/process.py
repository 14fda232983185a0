"""A command in a process of its own with limits, and what is wrong with how it ended."""

from __future__ import annotations

import importlib
import os
import resource
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .case import MARK, Case

SECONDS = 60  # of processor time for a case; thrice as many on the clock, where the machine has other work
GROWTH = 4 << 30  # bytes of memory beyond what the imports take
KILLED = -signal.SIGALRM  # by us
FAULTS = ("traceback", "hang", "killed", "executed", "half-written", "status")
COMMANDS = {
    "seg-anl-train": "seg_anl.segmentation.train",
    "seg-anl-predict": "seg_anl.segmentation.predict",
    "seg-anl-classify": "classification.train",
    "seg-anl-noise": "data_prep.noise_command",
    "seg-anl-prep": "data_prep.prep_command",
    "seg-anl-report": "seg_anl.reporting.command",
    "seg-anl-nnunet": "seg_anl.nnunet.nnunet_command",
    "seg-anl-audit": "seg_anl.audit.command",
    "seg-anl-export": "seg_anl.export.command",
}
_THEIR_LATER_IMPORTS = ("seg_anl.segmentation.mask_prediction", "classification.experiment", "seg_anl.reporting.render")


def import_commands() -> None:
    """Import what the commands import, once for all cases: their processes are forked from this one."""
    for module in (*_THEIR_LATER_IMPORTS, *COMMANDS.values()):
        importlib.import_module(module)


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    seconds: float
    output: str


def run(case: Case, folder: Path, kill_after: float = 3 * SECONDS) -> Ended:
    """The command in a child process with limits, in ``folder``; with all its processes it is killed in time."""
    log, start = folder / "output.txt", time.monotonic()
    with open(log, "wb") as file:
        child = os.fork()
        if child == 0:
            _in_child(case, folder, file.fileno())
        with suppress(OSError):  # in the child as well: whoever is first
            os.setpgid(child, child)
        status = None
        while status is None and time.monotonic() - start < kill_after:
            ended, code = os.waitpid(child, os.WNOHANG)
            status = os.waitstatus_to_exitcode(code) if ended else None
            time.sleep(0.001)
        if status is None:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            status = KILLED
        time.sleep(0.05 if case.largest_file is None else 0.5)  # for the process that hands on what is printed
    return Ended(status, time.monotonic() - start, log.read_text(errors="replace"))


def _in_child(case: Case, folder: Path, output: int) -> None:
    """Become the command; never returns."""
    status = 70
    try:
        os.setpgid(0, 0)
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + GROWTH
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
        os.environ.update(case.environment)
        sys.argv = case.words
        if case.largest_file is not None:
            _output_without_limit(output)
            resource.setrlimit(resource.RLIMIT_FSIZE, (case.largest_file, case.largest_file))
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(1)  # its threads stay behind at a fork; made anew here, before threads race for them
        try:
            importlib.import_module(COMMANDS[case.words[0]]).main()
            status = 0
        except SystemExit as leaving:
            status = leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _output_without_limit(output: int) -> None:
    """Hand what is printed to a process of its own: the file that it goes to is one of those with a limit."""
    read, write = os.pipe()
    if os.fork():
        os.close(read)
        os.dup2(write, 1)
        os.dup2(write, 2)
        os.close(write)
        return
    os.close(write)
    for stream in (1, 2):
        os.close(stream)
    while block := os.read(read, 1 << 16):
        os.write(output, block)
    os._exit(0)


def fault(folder: Path, ended: Ended) -> str | None:
    """What is wrong with how a case ended, in a word."""
    if (folder / MARK).exists():
        return "executed"
    if ended.status in (KILLED, -signal.SIGXCPU):
        return "hang"
    if ended.status < 0:
        return "killed"
    if "Traceback (most recent call last)" in ended.output:
        return "traceback"
    if ended.status not in (0, 1, 2) or (ended.status == 2 and "error: " not in ended.output):
        return "status"
    if ended.status and any(folder.rglob(".partial-*")):
        return "half-written"
    return None
