"""Which settings are fast on this CPU: precision, memory format and threads, for four networks.

    OMP_NUM_THREADS=1 python benchmarks/cpu_settings.py
    python benchmarks/cpu_settings.py --threads --networks cnn8 dynunet64

All settings of a network alternate, round after round, so that drift of the machine affects all alike. "official" is a
loop as the published repositories write it, in fp32: torchvision's transforms for each image in a DataLoader, the L1
norm added to the loss, clipping, SGD. It takes the DataLoader of ``trainers.py`` and is left out for segmentation.

With ``--threads``, two processes with one thread each run side by side, and their sum is compared with one process with
two threads.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from step_loops import Subject

NETWORKS = {
    "cnn4": ("classification", 128, 30),
    "cnn8": ("classification", 128, 6),
    "dynunet64": ("segmentation", 16, 15),
    "dynunet128": ("segmentation", 16, 6),
}
"""Task, batch size and steps per round."""
OFFICIAL = "official"
SETTINGS = {
    "fp32": ("fp32", False),
    OFFICIAL: ("fp32", False),
    "fp32, channels last": ("fp32", True),
    "bf16": ("bf16", False),
    "bf16, channels last": ("bf16", True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", action="store_true", help="compare two processes with two threads")
    parser.add_argument("--json", action="store_true", help="print the rates of all rounds as JSON")
    args = parser.parse_args()
    if args.threads:
        compare_threads(args)
        return

    from timing import machine, median_ratio

    if args.json:
        print(json.dumps({name: measure(name, args.settings, args.rounds) for name in args.networks}))
        return
    print(f"\n{args.rounds} rounds; {machine('cpu')}\n")
    print("| network | settings | images per second (median) | ratio to the first row (median of rounds) |")
    print("|---|---|---|---|", flush=True)
    for network in args.networks:
        rates = measure(network, args.settings, args.rounds)
        first = next(iter(rates.values()))
        for name, values in rates.items():
            rate, ratio = statistics.median(values), median_ratio(values, first)
            print(f"| {network} | {name} | {rate:.1f} | {ratio:.2f} |", flush=True)


def measure(network: str, names: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Images per second of a network's training by settings, one value per round."""
    import step_loops
    from timing import in_turns

    task, batch, steps = NETWORKS[network]
    loops: dict[str, Callable[[], float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            precision, channels_last = SETTINGS[name]
            given = {
                **{"precision": precision, "channels_last": channels_last, "compile": False, "graph": False},
                **{"device": "cpu", "batch": batch, "steps": steps, "workers": 0, "model": network},
                **{"size": int(network.removeprefix("dynunet") or 0) if task == "segmentation" else 0},
                **{"base_filters": 16, "max_filters": 128},
            }
            subject: Subject = getattr(step_loops, task)(argparse.Namespace(**given))
            if name != OFFICIAL:
                loops[name] = step_loops.Bench(subject, steps, "cpu", Path(folder) / name).ours
            elif task == "classification":
                loops[name] = partial(official, subject, steps, batch)
        in_turns(loops, 1)  # warm up
        return in_turns(loops, rounds)


def official(subject: Subject, steps: int, batch: int) -> float:
    """Images per second of a plain loop."""
    import torch
    from timing import now
    from torch import nn

    model, criterion = subject.network().train(), subject.criterion()
    optimizer = torch.optim.SGD(model.parameters(), lr=subject.optim.lr, momentum=subject.optim.momentum)
    begin = now("cpu")
    for inputs, target in itertools.islice(subject.usual(0), steps):
        optimizer.zero_grad()
        loss = criterion(model(inputs), target)
        loss = loss + subject.optim.l1 * torch.stack([weights.abs().sum() for weights in model.parameters()]).sum()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        loss.item()  # for the log
    return steps * batch / (now("cpu") - begin)


def compare_threads(args: argparse.Namespace) -> None:
    """Print the images per second of two processes at a time, and of one with two threads."""
    print("| network | settings | two processes, one thread each | one process, two threads | ratio |")
    print("|---|---|---|---|---|")
    for network, name in itertools.product(args.networks, args.settings):
        apart, together = (run_processes(network, name, args.rounds, *counts) for counts in ((2, 1), (1, 2)))
        print(f"| {network} | {name} | {apart:.1f} | {together:.1f} | {apart / together:.2f} |", flush=True)


def run_processes(network: str, name: str, rounds: int, processes: int, threads: int) -> float:
    """Images per second of some processes at the same time, all together."""
    command = [sys.executable, __file__, "--json", "--rounds", str(rounds), "--networks", network, "--settings", name]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    started = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(processes)]
    outputs = [json.loads(process.communicate()[0]) for process in started]
    return sum(statistics.median(output[network][name]) for output in outputs)


if __name__ == "__main__":
    main()
