"""Shared timing helpers: interleaved measurements, ratios within a round, and the hardware they ran on."""

from __future__ import annotations

import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def now(device: str) -> float:
    """Wall-clock seconds, after synchronizing the device."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def device_seconds(step: Callable[[], object], steps: int = 10) -> float:
    """GPU seconds per call, without the host's launch overhead: the calls queue up behind a 30 ms sleep kernel, between
    two events."""
    import torch

    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda._sleep(50_000_000)
    start.record()
    for _ in range(steps):
        step()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000 / steps


def in_turns(measures: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Values of every measure, one per round. The order alternates between rounds, since caches carry over."""
    values: dict[str, list[float]] = {name: [] for name in measures}
    for turn in range(rounds):
        for name in list(measures)[:: -1 if turn % 2 else 1]:
            values[name].append(measures[name]())
    return values


def median_ratio(values: Sequence[float], reference: Sequence[float]) -> float:
    """Median over rounds of ``values / reference``, in which drift of the machine cancels."""
    return statistics.median(value / other for value, other in zip(values, reference, strict=True))


def machine(device: str) -> str:
    """Hardware, versions and commit, on one line."""
    import torch

    if device.startswith("cuda"):
        hardware = torch.cuda.get_device_name(device)
    else:
        hardware = f"{_processor()}, {torch.get_num_threads()} threads"
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent
    ).stdout.strip()
    return f"{hardware}; torch {torch.__version__}, Python {platform.python_version()}; commit {revision or 'unknown'}."


def default_device() -> str:
    """``cuda`` if available, else ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
