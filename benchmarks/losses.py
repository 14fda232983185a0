"""Time and memory of every loss, forward and backward, against ``F.cross_entropy`` on the same tensors.

Cross entropy and the loss take turns inside one loop, so that a drift of the machine cancels in the ratio. A ratio is
the median over rounds of (loss / cross entropy as PyTorch users call it: eager). Peak memory is what one forward and
backward allocates at once beyond the logits and labels, which includes the gradient of the logits.

Example:
    python benchmarks/losses.py --losses anl_ce gce --rounds 30
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from seg_anl.losses import build_loss, list_losses

SHAPES = ((16, 2, 256, 256), (2, 14, 256, 256))
PARAMETERS: dict[str, Callable[[int], dict[str, Any]]] = {
    "forward": lambda classes: {"transition": 0.8 * torch.eye(classes) + 0.2 / classes},
}
# The lines that the design draws: compiled time, eager time and peak memory over those of eager cross entropy.
LIMITS = {"anl_ce": (1.5, 2.5, 1.5)}
OTHERS = (3.0, None, None)

LossFunction = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Ratios:
    """One loss at one shape, as multiples of eager cross entropy; None where it was not measured."""

    name: str
    eager: float
    compiled: float | None
    memory: float
    memory_compiled: float | None

    def missed(self) -> list[str]:
        """Which of the design's lines the loss misses."""
        measured = {"compiled": self.compiled, "eager": self.eager, "memory": self.memory}
        limits = zip(measured.items(), LIMITS.get(self.name, OTHERS), strict=True)
        return [f"{what} > {limit}" for (what, ratio), limit in limits if limit is not None and ratio and ratio > limit]


def main() -> None:
    """Measure, and print a Markdown table for each shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--losses", nargs="+", default=list_losses(), metavar="NAME", help="default: all")
    parser.add_argument(
        "--shapes",
        nargs="+",
        type=_shape,
        default=list(SHAPES),
        metavar="BxCxHxW",
        help="shapes of the logits, default: 16x2x256x256 2x14x256x256",
    )
    parser.add_argument("--rounds", type=int, default=30, help="turns that each of the two takes (default: 30)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--output", type=Path, help="also write the tables to this file")
    arguments = parser.parse_args()

    report = [_machine(arguments.device)]
    for shape in arguments.shapes:
        rows = []
        for name in arguments.losses:
            rows.append(measure(name, shape, arguments.device, arguments.rounds, not arguments.no_compile))
            print(f"{name}: {rows[-1]}", file=sys.stderr, flush=True)
        baseline = cross_entropy_line(shape, arguments.device, arguments.rounds, not arguments.no_compile)
        report.append(f"`{shape}`: {baseline}\n\n{table(rows)}")
    text = "\n\n".join(report) + "\n"
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")


def measure(name: str, shape: Sequence[int], device: str, rounds: int, compiled: bool) -> Ratios:
    """Time and memory of one loss at one shape."""
    logits, labels = batch(shape, device)
    loss = build_loss(name, **PARAMETERS.get(name, lambda _: {})(shape[1])).to(device)
    ce_memory = peak_memory(F.cross_entropy, logits, labels)
    eager = time_ratio(loss, F.cross_entropy, logits, labels, rounds)
    memory = peak_memory(loss, logits, labels) / ce_memory
    if not compiled:
        return Ratios(name, eager, None, memory, None)
    torch.compiler.reset()
    compiled_loss = torch.compile(loss, fullgraph=True)
    return Ratios(
        name,
        eager,
        time_ratio(compiled_loss, F.cross_entropy, logits, labels, rounds),
        memory,
        peak_memory(compiled_loss, logits, labels) / ce_memory,
    )


def batch(shape: Sequence[int], device: str) -> tuple[Tensor, Tensor]:
    """Seeded logits that want a gradient, and labels."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(*shape, generator=generator)
    labels = torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)
    return logits.to(device).requires_grad_(), labels.to(device)


def step(loss: LossFunction, logits: Tensor, labels: Tensor) -> None:
    """One forward and backward."""
    logits.grad = None
    loss(logits, labels).backward()


def time_ratio(loss: LossFunction, reference: LossFunction, logits: Tensor, labels: Tensor, rounds: int) -> float:
    """Median over rounds of the loss's time over the reference's, the two taking turns."""
    for _ in range(3):
        step(loss, logits, labels)
        step(reference, logits, labels)
    ratios = []
    for turn in range(rounds):
        # Who goes first alternates: what one leaves in the caches is not always the other's gain.
        if turn % 2:
            reference_time = seconds(reference, logits, labels)
            loss_time = seconds(loss, logits, labels)
        else:
            loss_time = seconds(loss, logits, labels)
            reference_time = seconds(reference, logits, labels)
        ratios.append(loss_time / reference_time)
    return statistics.median(ratios)


def seconds(loss: LossFunction, logits: Tensor, labels: Tensor) -> float:
    """Wall time of one step, the device's work included."""
    if logits.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    step(loss, logits, labels)
    if logits.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_memory(loss: LossFunction, logits: Tensor, labels: Tensor) -> int:
    """Bytes that one step has allocated at its worst moment, beyond what was there before."""
    step(loss, logits, labels)
    logits.grad = None
    if logits.is_cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(loss, logits, labels)
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        step(loss, logits, labels)
    # The profiler's tables sum allocations per operator; the peak needs every allocation and release in its order.
    results = trace.profiler.kineto_results  # type: ignore[union-attr]
    events = sorted((e for e in results.events() if e.name() == "[memory]"), key=lambda e: e.start_ns())
    current = peak = 0
    for event in events:
        current += event.nbytes()
        peak = max(peak, current)
    return peak


def cross_entropy_line(shape: Sequence[int], device: str, rounds: int, compiled: bool) -> str:
    """What the ratios are multiples of."""
    logits, labels = batch(shape, device)
    for _ in range(3):
        step(F.cross_entropy, logits, labels)
    milliseconds = 1e3 * statistics.median(seconds(F.cross_entropy, logits, labels) for _ in range(rounds))
    mebibytes = peak_memory(F.cross_entropy, logits, labels) / 2**20
    line = f"`F.cross_entropy` takes {milliseconds:.2f} ms and {mebibytes:.1f} MiB"
    if compiled:
        torch.compiler.reset()
        ratio = time_ratio(torch.compile(F.cross_entropy), F.cross_entropy, logits, labels, rounds)
        line += f"; compiled, {ratio:.2f} times as long"
    return line


def table(rows: Sequence[Ratios]) -> str:
    """A Markdown table of ratios."""
    lines = [
        "| loss | compiled | eager | peak memory, eager | peak memory, compiled | misses its line |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        cells = (_number(row.compiled), _number(row.eager), _number(row.memory), _number(row.memory_compiled))
        lines.append(f"| `{row.name}` | {' | '.join(cells)} | {', '.join(row.missed())} |")
    return "\n".join(lines)


def _number(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def _shape(text: str) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in text.split("x"))
    if not 2 <= len(sizes) <= 5:
        raise argparse.ArgumentTypeError(f"{text!r} is no shape BxC, BxCxL, BxCxHxW or BxCxDxHxW")
    return sizes


def _machine(device: str) -> str:
    if device.startswith("cuda"):
        hardware = torch.cuda.get_device_name(device)
    else:
        hardware = f"{_processor()}, {torch.get_num_threads()} threads"
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent
    ).stdout.strip()
    return f"{hardware}; torch {torch.__version__}, Python {platform.python_version()}; commit {revision or 'unknown'}."


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
