"""Run the commands on hostile inputs and count the faults.

Creates real run directories, checkpoints, configurations, images, masks, labels and manifests and mutates them: flips
bits, truncates files, replaces values, replaces files by devices, fills disks, sets stale environment variables. A case
is a fault if the command prints a traceback, exceeds its time or memory limit, executes code from an input, or leaves a
partial file. Processes are forked from one that has imported everything, so a case costs no more than its command.

Example:
    python -m benchmarks.hostile.run --table hostile.md
    python -m benchmarks.hostile.run --only checkpoint --sample 20 --keep cases
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import torch

from . import base, groups
from .case import Case
from .counts import write_counts
from .process import FAULTS, Result, find_fault, import_commands, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only cases whose group or name contains this")
    parser.add_argument("--without", default="nothing", help="group to skip")
    parser.add_argument("--sample", type=int, help="number of cases, drawn at random")
    parser.add_argument("--seed", type=int, default=1, help="seed of the mutations and the sample (default 1)")
    parser.add_argument(
        "--part", type=int, nargs=2, default=(0, 1), metavar=("I", "N"), help="every Nth case, starting at the Ith"
    )
    parser.add_argument("--table", type=Path, help="write a Markdown table for the documentation")
    parser.add_argument("--keep", type=Path, help="copy the folders of faults to this folder")
    options = parser.parse_args()
    cases = [case for case in groups.cases(options.seed) if options.only in f"{case.group} {case.name}"]
    cases = [case for case in cases if case.group != options.without]
    random.Random(options.seed).shuffle(cases)  # so that an interrupted run has covered all groups
    first, step = options.part
    counts = run_all(cases[first::step][: options.sample], options.keep)
    headings = {name: name for name in ("cases", "refused", *FAULTS)}
    write_counts("input", headings, dict(sorted(counts.items())), options.table)
    raise SystemExit(any(count[name] for count in counts.values() for name in FAULTS))


def run_all(cases: list[Case], keep: Path | None) -> dict[str, Counter[str]]:
    """Run each case in a fresh copy of the base folder; returns counts of outcomes by group."""
    torch.set_num_threads(1)
    import_commands()
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        origin = Path(scratch) / "base"
        base.make_base(origin)
        _check_base(origin, Path(scratch) / "sound")
        for number, case in enumerate(cases):
            folder = Path(scratch) / f"{number}"
            shutil.copytree(origin, folder)
            case.prepare(folder)
            result = run(case, folder)
            fault = find_fault(folder, result)
            counts.setdefault(case.group, Counter()).update(
                ["cases", *([fault] if fault else []), *(["refused"] if result.status else [])]
            )
            if fault:
                _print_fault(fault, case, result)
                if keep:
                    shutil.copytree(folder, keep / f"{number}", symlinks=True, ignore=_irregular)
            if number % 50 == 49:
                print(f"{number + 1} of {len(cases)} cases", flush=True)
            shutil.rmtree(folder)
    return counts


def _check_base(origin: Path, folder: Path) -> None:
    for words in base.SOUND:
        shutil.copytree(origin, folder)
        result = run(Case("base", words[0], words), folder)
        if result.status != 0:
            raise SystemExit(f"{' '.join(words)}: {result.output}")
        shutil.rmtree(folder)


def _print_fault(fault: str, case: Case, result: Result) -> None:
    print(f"{fault}: {case.group}: {case.name}: {' '.join(case.words)}")
    print("   ", "\n    ".join(result.output.strip().splitlines()[-3:]), flush=True)


def _irregular(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not (os.path.isfile(f"{folder}/{name}") or os.path.isdir(f"{folder}/{name}"))]


if __name__ == "__main__":
    main()
