"""Time and peak memory of a loss relative to eager ``F.cross_entropy`` on the same tensors."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from timing import device_seconds, in_turns, median_ratio
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from seg_anl.losses import build_loss

PARAMETERS: dict[str, Callable[[int], dict[str, Any]]] = {
    "forward": lambda classes: {"transition": 0.8 * torch.eye(classes) + 0.2 / classes},
}
WARM_UP = 3
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Ratios:
    """Cost of one loss at one shape relative to eager cross entropy; None if not measured."""

    name: str
    eager: float
    compiled: float | None
    memory: float
    memory_compiled: float | None


@dataclass(frozen=True)
class Conditions:
    """Settings of a measurement."""

    device: str
    rounds: int
    compiled: bool = True
    soft: bool = False
    cpu_time: bool = False


class Batch:
    """Seeded logits of ``shape`` that require a gradient, with labels or class probabilities."""

    def __init__(self, shape: Sequence[int], conditions: Conditions) -> None:
        generator = torch.Generator().manual_seed(0)
        self.logits = (3 * torch.randn(*shape, generator=generator)).to(conditions.device).requires_grad_()
        if conditions.soft:
            labels = torch.softmax(2 * torch.randn(*shape, generator=generator), dim=1)
        else:
            labels = torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)
        self.labels, self.conditions = labels.to(conditions.device), conditions

    def step(self, loss: Loss) -> None:
        """One forward and backward pass."""
        self.logits.grad = None
        loss(self.logits, self.labels).backward()

    def seconds(self, loss: Loss) -> float:
        """Time of one step: wall time on a CPU, mean device time of ten steps on a GPU."""
        if self.logits.is_cuda:
            return device_seconds(lambda: self.step(loss))
        clock = time.process_time if self.conditions.cpu_time else time.perf_counter
        start = clock()
        self.step(loss)
        return clock() - start

    def time_ratio(self, loss: Loss) -> float:
        """Time relative to eager cross entropy, measured in alternation."""
        both = {"loss": lambda: self.seconds(loss), "reference": lambda: self.seconds(F.cross_entropy)}
        in_turns(both, WARM_UP)
        times = in_turns(both, self.conditions.rounds)
        return median_ratio(times["loss"], times["reference"])

    def peak_memory(self, loss: Loss) -> int:
        """Peak bytes allocated by one step, beyond what was allocated before it."""
        self.step(loss)
        self.logits.grad = None
        if self.logits.is_cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            self.step(loss)
            torch.cuda.synchronize()
            return torch.cuda.max_memory_allocated() - before
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
            self.step(loss)
        # The profiler's tables sum allocations per operator; the peak needs every allocation and release in order.
        results = trace.profiler.kineto_results  # type: ignore[union-attr]
        events = sorted((e for e in results.events() if e.name() == "[memory]"), key=lambda e: e.start_ns())
        current = peak = 0
        for event in events:
            current += event.nbytes()
            peak = max(peak, current)
        return peak


def measure(name: str, shape: Sequence[int], conditions: Conditions) -> Ratios:
    """Time and memory of one loss at one shape."""
    batch = Batch(shape, conditions)
    loss = build_loss(name, **PARAMETERS.get(name, lambda _: {})(shape[1])).to(conditions.device)
    reference = batch.peak_memory(F.cross_entropy)
    eager, memory = batch.time_ratio(loss), batch.peak_memory(loss) / reference
    if not conditions.compiled:
        return Ratios(name, eager, None, memory, None)
    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True)
    return Ratios(name, eager, batch.time_ratio(compiled), memory, batch.peak_memory(compiled) / reference)


def cross_entropy_line(shape: Sequence[int], conditions: Conditions) -> str:
    """Absolute time and memory of the reference, cross entropy."""
    batch = Batch(shape, conditions)
    times = [batch.seconds(F.cross_entropy) for _ in range(WARM_UP + conditions.rounds)][WARM_UP:]
    mebibytes = batch.peak_memory(F.cross_entropy) / 2**20
    line = f"`F.cross_entropy` takes {1e3 * statistics.median(times):.2f} ms and {mebibytes:.1f} MiB"
    if conditions.compiled:
        torch.compiler.reset()
        line += f"; compiled, {batch.time_ratio(torch.compile(F.cross_entropy)):.2f} times as long"
    return line
