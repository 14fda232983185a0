"""Processes that begin as copies of this one, which has imported already what each would need seconds for.

So does every ``python -m MODULE`` that one of them starts in turn: a sweep's trainings, submitit's jobs.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from seg_anl import commands

ROOT = Path(__file__).parents[1]
TIMEOUT = 400  # seconds
PR_SET_PDEATHSIG = 1
NOT_FORKED = {"ipykernel_launcher"}  # whose loop of events has a thread that stays behind
# submitit makes a job's folder after it has started the job, and relies on Python to be slower.
SECONDS_TO_START = {"submitit.local._local": 2}
# Hands its arguments, folder, environment and files to the process that listens; ends as that says.
CLIENT = """
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    socket.send_fds(connection, [b"."], [0, 1, 2])
    connection.sendall(json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ)]).encode())
    connection.shutdown(socket.SHUT_WR)
    sys.exit(int(connection.recv(9) or 1))
"""


class Process:
    """A process of its own: what it is told to do, in a folder, with its own environment, signals and output."""

    def __init__(self, work: Callable[[], object], cwd: Path | None = None, **variables: str) -> None:
        self._out, self._err = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _become(work, self._out, self._err, cwd, variables)
        with contextlib.suppress(OSError):  # in the child as well: whoever is first
            os.setpgid(self.pid, self.pid)

    @property
    def out(self) -> str:
        """What it has written on its standard output so far."""
        return _written(self._out)

    @property
    def err(self) -> str:
        """What it has written on its standard error so far."""
        return _written(self._err)

    def poll(self) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode

    def wait(self, timeout: float = TIMEOUT) -> int:
        self.until(lambda: self.poll() is not None, timeout)
        assert self.returncode is not None
        return self.returncode

    def until(self, happened: Callable[[], bool], timeout: float = TIMEOUT) -> None:
        """Wait for something that it does; it is not left running when it ends or the test does without that."""
        deadline = time.monotonic() + timeout
        try:
            while not happened():
                assert self.returncode is None, (self.returncode, self.out, self.err)
                assert time.monotonic() < deadline, (self.out, self.err)
                self.poll()
                time.sleep(0.005)
        except BaseException:
            self.kill()
            raise

    def ended(self, timeout: float = TIMEOUT) -> tuple[int, str, str]:
        """Exit status, standard output and standard error, once it has ended."""
        return self.wait(timeout), self.out, self.err

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9, and what it has started with it."""
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill_in_the_midst(self, run: Path, seconds: float) -> None:
        """kill -9 a training so many seconds after its first checkpoint, before it has come to its end."""
        self.until((run / "checkpoints/last.pt").exists)
        time.sleep(seconds)
        self.kill()
        assert not (run / "summary.json").exists()


def start(command: str, *arguments: object, cwd: Path, **variables: str) -> Process:
    """Begin ``seg-anl-COMMAND ARGUMENTS`` in a folder."""
    return Process(main_of(f"seg-anl-{command}", getattr(commands, command), *arguments), cwd, **variables)


def call(command: str, *arguments: object, cwd: Path, **variables: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of ``seg-anl-COMMAND ARGUMENTS``."""
    return start(command, *arguments, cwd=cwd, **variables).ended()


@contextlib.contextmanager
def programs(entries: Mapping[str, Callable[[], object]]) -> Iterator[Path]:
    """Commands for a shell: a folder for its PATH, while a copy of this process waits there for them to be called."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{folder}/socket")
        listening.listen()
        (Path(folder) / "client.py").write_text(CLIENT)
        words = shlex.join([sys.executable, "-IS", f"{folder}/client.py", f"{folder}/socket"])
        for name in entries:
            (Path(folder) / name).write_text(f'#!/bin/sh\nexec {words} {name} "$@"\n')
            (Path(folder) / name).chmod(0o755)
        process = Process(lambda: _serve(listening, entries))
        try:
            yield Path(folder)
        finally:
            process.kill()


def main_of(program: str, entry: Callable[[], object], *arguments: object) -> Callable[[], object]:
    """An entry point that finds its command line."""

    def main() -> object:
        sys.argv = [program, *map(str, arguments)]
        return entry()

    return main


def module(name: str, *arguments: object) -> Callable[[], object]:
    """What ``python -m NAME ARGUMENTS`` does."""
    return main_of(name, lambda: runpy.run_module(name, run_name="__main__"), *arguments)


def of_checkout(folder: Path, work: Callable[[], object]) -> Callable[[], object]:
    """What imports this project's packages anew, from another folder."""
    ours = tuple(f"{ROOT / package}{os.sep}" for package in ("seg_anl", "classification", "data_prep", "docs"))

    def main() -> object:
        for name, known in list(sys.modules.items()):
            if (getattr(known, "__file__", None) or "").startswith(ours):
                del sys.modules[name]
        sys.path.insert(0, str(folder))
        return work()

    return main


def without_this_package(work: Callable[[], object]) -> Callable[[], object]:
    """What is done where this package is not installed."""

    def main() -> object:
        for name in [name for name in sys.modules if name.partition(".")[0] == "seg_anl"]:
            del sys.modules[name]
        sys.modules["seg_anl"] = None  # type: ignore[assignment]  # importing it fails
        return work()

    return main


def program(code: str, *arguments: str) -> Callable[[], object]:
    """Python code as ``python -c`` runs it."""
    return main_of("-c", lambda: exec(compile(code, "<program>", "exec"), {"__name__": "__main__"}), *arguments)


def run_groups(code: str, *groups: tuple[int, Sequence[str]]) -> list[list[str]]:
    """Run Python code in groups of processes, all at the same time; each group can form a process group of its own.

    Args:
        code: finds RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as torchrun gives them.
        groups: the number of processes and the arguments they all get.

    Returns:
        What every process of every group wrote on its standard output, by rank. One that fails fails the test with
        what it wrote on its standard error; none is left running.
    """
    started = [_group(program(code, *arguments), world_size) for world_size, arguments in groups]
    try:
        return [[_output(process) for process in group] for group in started]
    finally:
        for process in (process for group in started for process in group):
            process.kill()


def run_nodes(nodes: int, name: str, arguments: Sequence[str]) -> list[str]:
    """Run a module by a ``torchrun`` of one process on each of several machines, all of which are this one.

    Returns:
        What each wrote on its standard output, by rank.
    """
    place = ["--master-addr", "127.0.0.1", "--master-port", _free_port(), "--nproc-per-node", 1, "--nnodes", nodes]
    started = [
        Process(module("torch.distributed.run", *place, "--node-rank", rank, "-m", name, *arguments))
        for rank in range(nodes)
    ]
    try:
        return [_output(process) for process in started]
    finally:
        for process in started:
            process.kill()


def _free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def _serve(listening: socket.socket, entries: Mapping[str, Callable[[], object]]) -> None:
    """Run one program after the other."""
    while True:
        connection, _ = listening.accept()
        with connection:
            _, files, _, _ = socket.recv_fds(connection, 1, 3)
            (name, *arguments), cwd, environment = json.load(connection.makefile())
            child = os.fork()
            if child == 0:
                _die_with_parent()
                for number, file in enumerate(files):
                    os.dup2(file, number)
                os.chdir(cwd)
                _change_environment(environment)
                _run_as_program(main_of(name, entries[name], *arguments))
            for file in files:
                os.close(file)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            connection.sendall(str(status).encode())


def _group(work: Callable[[], object], world_size: int) -> list[Process]:
    shared = {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port()}
    return [Process(work, **shared, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(world_size)]


def _output(process: Process) -> str:
    status, output, errors = process.ended()
    assert status == 0, errors
    return output


def _written(file: IO[bytes]) -> str:
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")  # half a letter


class _ForkedModule(subprocess.Popen):  # type: ignore[type-arg]
    """``subprocess.Popen`` for which ``[python, -m, MODULE, ...]`` is a copy of this process that runs the module."""

    def __init__(
        self,
        args: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        preexec_fn: Callable[[], object] | None = None,
        **others: Any,
    ) -> None:
        words = [] if isinstance(args, (str, Path)) else [word for word in args if word != "-u"]
        if words[:2] != [sys.executable, "-m"] or words[2] in NOT_FORKED:
            super().__init__(args, env=env, preexec_fn=preexec_fn, **others)
            return
        known = _open_files()

        def run_instead_of_a_program() -> None:
            gc.enable()
            for number in signal.valid_signals():  # submitit's handlers, say, are not a new program's
                if callable(signal.getsignal(number)):
                    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            _die_with_parent()
            if preexec_fn is not None:
                preexec_fn()
            for file in _open_files() - known:  # Popen's own: it waits until one of them is closed
                os.close(file)
            if env is not None:
                _change_environment(env)
            time.sleep(SECONDS_TO_START.get(words[2], 0))
            _run_as_program(module(*words[2:]))

        super().__init__(args, preexec_fn=run_instead_of_a_program, **others)


def _become(
    work: Callable[[], object], out: IO[Any], err: IO[Any], cwd: Path | None, variables: dict[str, str]
) -> None:
    """Do the work of the child process."""
    os.setpgid(0, 0)
    _die_with_parent()
    for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), out.fileno(), err.fileno())):
        os.dup2(file, number)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # where a shell has ignored it
    os.environ.update(variables)
    if cwd is not None:
        os.chdir(cwd)
    _run_as_program(work)


def _die_with_parent() -> None:
    """Not to outlive the tests."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _open_files() -> set[int]:
    return {int(name) for name in os.listdir("/dev/fd") if os.path.exists(f"/dev/fd/{name}")}  # not that of the list


def _change_environment(variables: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


def _run_as_program(work: Callable[[], object]) -> None:
    """Do the work with the files 0, 1 and 2, and end the process as Python ends a program."""
    status = 1
    try:
        sys.stdin = os.fdopen(0, closefd=False)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, closefd=False) for number in (1, 2))
        subprocess.Popen = _ForkedModule  # type: ignore[misc]
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(1)  # threads stay behind at a fork
        work()
        status = 0
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 0 if left.code is None else 1
        if left.code is not None and not isinstance(left.code, int):
            print(left.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        if not sys.stdout.closed:
            sys.stdout.flush()
        os._exit(status)
