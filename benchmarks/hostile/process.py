"""Run a command in a child process with limits and classify how it ended."""

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

from .case import MARKER, Case

SECONDS = 60  # limit on CPU time; three times as much wall time, as the machine may be busy
EXTRA_MEMORY = 4 << 30  # limit on memory beyond that of the imports, in bytes
KILLED = -signal.SIGALRM  # status of a process that we killed
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
_LAZY_IMPORTS = ("seg_anl.segmentation.mask_prediction", "classification.experiment", "seg_anl.reporting.render")


def import_commands() -> None:
    """Import the modules of all commands once, since the processes of the cases are forked from this one."""
    for module in (*_LAZY_IMPORTS, *COMMANDS.values()):
        importlib.import_module(module)


@dataclass(frozen=True)
class Result:
    """Exit status, wall time and output of a command."""

    status: int
    seconds: float
    output: str


def run(case: Case, folder: Path, kill_after: float = 3 * SECONDS) -> Result:
    """Run the command in ``folder`` in a child process with limits; kill its process group after ``kill_after`` s."""
    log, start = folder / "output.txt", time.monotonic()
    with open(log, "wb") as file:
        child = os.fork()
        if child == 0:
            _in_child(case, folder, file.fileno())
        with suppress(OSError):  # the child does the same; either may be first
            os.setpgid(child, child)
        status = None
        while status is None and time.monotonic() - start < kill_after:
            finished, code = os.waitpid(child, os.WNOHANG)
            status = os.waitstatus_to_exitcode(code) if finished else None
            time.sleep(0.001)
        if status is None:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            status = KILLED
        time.sleep(0.05 if case.largest_file is None else 0.5)  # for the process that forwards the output
    return Result(status, time.monotonic() - start, log.read_text(errors="replace"))


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
        limit = pages * os.sysconf("SC_PAGE_SIZE") + EXTRA_MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
        os.environ.update(case.environment)
        sys.argv = case.words
        if case.largest_file is not None:
            _forward_output(output)
            resource.setrlimit(resource.RLIMIT_FSIZE, (case.largest_file, case.largest_file))
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(1)  # a fork loses torch's thread pool; recreate it before threads race for it
        try:
            importlib.import_module(COMMANDS[case.words[0]]).main()
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _forward_output(output: int) -> None:
    """Write stdout and stderr from another process, which is not subject to the limit on file sizes."""
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


def find_fault(folder: Path, result: Result) -> str | None:
    """One of ``FAULTS``, or None."""
    if (folder / MARKER).exists():
        return "executed"
    if result.status in (KILLED, -signal.SIGXCPU):
        return "hang"
    if result.status < 0:
        return "killed"
    if "Traceback (most recent call last)" in result.output:
        return "traceback"
    if result.status not in (0, 1, 2) or (result.status == 2 and "error: " not in result.output):
        return "status"
    if result.status and any(folder.rglob(".partial-*")):
        return "half-written"
    return None
