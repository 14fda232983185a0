"""Forward and backward time and memory of every loss, relative to ``F.cross_entropy`` on the same tensors.

Cross entropy and the loss alternate within one loop, so that drift of the machine cancels in the ratio. A ratio is the
median over rounds of the loss divided by eager cross entropy. Peak memory is what one forward and backward pass
allocates beyond the logits and labels, including the gradient of the logits.

Example:
    python benchmarks/losses.py --losses anl_ce gce --rounds 30
    python benchmarks/losses.py --soft --shapes 2x4x96x96x96 --no-compile
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loss_cost import Ratios

SHAPES = ((16, 2, 256, 256), (2, 14, 256, 256), (2, 4, 96, 96, 96))
# Limits on compiled time, eager time and peak memory relative to eager cross entropy.
LIMITS = {"anl_ce": (1.5, 2.5, 1.5)}
DEFAULT_LIMITS = (3.0, None, 1.5)


def main() -> None:
    """Print a Markdown table for each shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--losses", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument(
        "--shapes",
        nargs="+",
        type=_shape,
        default=list(SHAPES),
        metavar="BxCxHxW",
        help="shapes of the logits, default: 16x2x256x256 2x14x256x256 2x4x96x96x96",
    )
    parser.add_argument("--rounds", type=int, default=30, help="measurements of each (default: 30)")
    parser.add_argument("--device", help="default: cuda if available, else cpu")
    parser.add_argument(
        "--soft", action="store_true", help="use class probabilities as targets, also for cross entropy"
    )
    parser.add_argument("--cpu-time", action="store_true", help="measure CPU time, for a busy machine")
    parser.add_argument("--no-compile", action="store_true", help="skip torch.compile")
    parser.add_argument("--output", type=Path, help="also write the tables to this file")
    arguments = parser.parse_args()

    from loss_cost import Conditions, cross_entropy_line, measure  # torch takes seconds to import
    from timing import default_device, machine

    from seg_anl.losses import list_losses

    device = arguments.device or default_device()
    conditions = Conditions(device, arguments.rounds, not arguments.no_compile, arguments.soft, arguments.cpu_time)
    report = [machine(device)]
    for shape in arguments.shapes:
        rows = []
        for name in arguments.losses or list_losses():
            rows.append(measure(name, shape, conditions))
            print(f"{name}: {rows[-1]}", file=sys.stderr, flush=True)
        report.append(f"`{shape}`: {cross_entropy_line(shape, conditions)}\n\n{table(rows)}")
    text = "\n\n".join(report) + "\n"
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")


def table(rows: Sequence[Ratios]) -> str:
    """Markdown table of ratios."""
    lines = [
        "| loss | compiled | eager | peak memory, eager | peak memory, compiled | over its limit |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        ratios = (row.compiled, row.eager, row.memory, row.memory_compiled)
        cells = ["-" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
        lines.append(f"| `{row.name}` | {' | '.join(cells)} | {', '.join(over_limits(row))} |")
    return "\n".join(lines)


def over_limits(row: Ratios) -> list[str]:
    """The limits that the loss exceeds."""
    measured = {"compiled": row.compiled, "eager": row.eager, "memory": row.memory}
    limits = zip(measured.items(), LIMITS.get(row.name, DEFAULT_LIMITS), strict=True)
    return [f"{name} > {limit}" for (name, ratio), limit in limits if limit is not None and ratio and ratio > limit]


def _shape(text: str) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in text.split("x"))
    if not 2 <= len(sizes) <= 5:
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape BxC, BxCxL, BxCxHxW or BxCxDxHxW")
    return sizes


if __name__ == "__main__":
    main()
