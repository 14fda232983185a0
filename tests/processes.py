"""Real gloo processes on this machine, started as torchrun starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

TIMEOUT = 240  # seconds


def run_groups(program: str, *groups: tuple[int, Sequence[str]]) -> list[list[str]]:
    """Run Python code in groups of processes, all at the same time; each group can form a process group of its own.

    Args:
        program: passed to ``python -c``; finds RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT.
        groups: the number of processes and the arguments they all get.

    Returns:
        What every process of every group wrote on its standard output, by rank. One that fails fails the test with
        what it wrote on its standard error; none is left running.
    """
    started = [_started(program, world_size, arguments) for world_size, arguments in groups]
    try:
        return [[_output(process) for process in group] for group in started]
    finally:
        for process in (process for group in started for process in group):
            process.kill()
            process.wait()


def run_nodes(nodes: int, module: str, arguments: Sequence[str]) -> list[str]:
    """Run a module by a ``torchrun`` of one process on each of several machines, all of which are this one.

    Returns:
        What each wrote on its standard output, by rank.
    """
    place = ["--master-addr", "127.0.0.1", "--master-port", _free_port()]
    started = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--nnodes", str(nodes), "--node-rank", str(rank)),
                *("--nproc-per-node", "1", *place, "-m", module, *arguments),
            ],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(nodes)
    ]
    try:
        return [_output(process) for process in started]
    finally:
        for process in started:
            process.terminate()  # torchrun ends what it started
            process.wait()


def kill_in_the_midst(process: subprocess.Popen[str], run: Path, seconds: float) -> None:
    """kill -9 a training so many seconds after its first checkpoint, before it has come to its end."""
    try:
        deadline = time.monotonic() + TIMEOUT
        while not (run / "checkpoints/last.pt").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(seconds)
    finally:
        process.kill()
        process.communicate()
    assert not (run / "summary.json").exists()


def _free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def _started(program: str, world_size: int, arguments: Sequence[str]) -> list[subprocess.Popen[str]]:
    master = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port()}
    shared = {"WORLD_SIZE": str(world_size), **master, "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world_size)
    ]


def _output(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, errors
    return output
