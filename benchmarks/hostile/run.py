"""Run the hostile inputs and count what was wrong.

Real run directories, checkpoints, configurations, images, masks, labels and manifests are made, then mutated: bits
flipped, files cut, values exchanged for others, files replaced by devices, disks filled, environments left behind. A
case is a fault where the command prints a traceback, is not done in time, is killed for its memory, executes what an
input names, or leaves a half-written file. The process is forked from one that has imported everything, so a case
costs what the command costs.

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
from .process import FAULTS, Ended, fault, import_commands, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose group or name has this in it")
    parser.add_argument("--without", default="nothing", help="a group that is left out")
    parser.add_argument("--sample", type=int, help="so many cases, drawn at random")
    parser.add_argument("--seed", type=int, default=1, help="of the mutations and the sample (default 1)")
    parser.add_argument(
        "--part", type=int, nargs=2, default=(0, 1), metavar=("I", "N"), help="every Nth case from the Ith"
    )
    parser.add_argument("--table", type=Path, help="write a table for the documentation")
    parser.add_argument("--keep", type=Path, help="folder for those that are faults")
    options = parser.parse_args()
    chosen = [case for case in groups.cases(options.seed) if options.only in f"{case.group} {case.name}"]
    chosen = [case for case in chosen if case.group != options.without]
    random.Random(options.seed).shuffle(chosen)  # what is stopped early has seen something of everything
    first, step = options.part
    counts = run_all(chosen[first::step][: options.sample], options.keep)
    headings = {name: name for name in ("cases", "refused", *FAULTS)}
    write_counts("input", headings, dict(sorted(counts.items())), options.table)
    raise SystemExit(any(count[name] for count in counts.values() for name in FAULTS))


def run_all(cases: list[Case], keep: Path | None) -> dict[str, Counter[str]]:
    """Run each case in a fresh copy of the base folder; how many of each group ended how."""
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
            ended = run(case, folder)
            wrong = fault(folder, ended)
            counts.setdefault(case.group, Counter()).update(
                ["cases", wrong or "right", *(["refused"] if ended.status else [])]
            )
            if wrong:
                _print_fault(wrong, case, ended)
                if keep:
                    shutil.copytree(folder, keep / f"{number}", symlinks=True, ignore=_irregular)
            if number % 50 == 49:
                print(f"{number + 1} of {len(cases)} cases", flush=True)
            shutil.rmtree(folder)
    return counts


def _check_base(origin: Path, folder: Path) -> None:
    for words in base.SOUND:
        shutil.copytree(origin, folder)
        ended = run(Case("base", words[0], words), folder)
        if ended.status != 0:
            raise SystemExit(f"{' '.join(words)}: {ended.output}")
        shutil.rmtree(folder)


def _print_fault(wrong: str, case: Case, ended: Ended) -> None:
    print(f"{wrong}: {case.group}: {case.name}: {' '.join(case.words)}")
    print("   ", "\n    ".join(ended.output.strip().splitlines()[-3:]), flush=True)


def _irregular(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not (os.path.isfile(f"{folder}/{name}") or os.path.isdir(f"{folder}/{name}"))]


if __name__ == "__main__":
    main()
