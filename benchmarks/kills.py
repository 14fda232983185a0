"""Kill commands at random times, restart them, and compare their output with that of an uninterrupted run.

Each command first runs twice without interruption; files that differ between the two (timings, for example) are not
compared. It is then killed at a random time (SIGKILL, with all its processes), in one case of three again after a
restart, and restarted until it finishes. Every file must be identical byte for byte, in archives every member, in
checkpoints every value. Partial files of killed processes must be gone.

Example:
    python -m benchmarks.kills --kills 200 --table kills.md
    python -m benchmarks.kills --only co-teaching --kills 10
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import torch

from .hostile import base
from .hostile.case import Case
from .hostile.counts import write_counts
from .hostile.process import KILLED, import_commands, run

FOLDER = "new"  # output folder of every command
CLASSIFY = [word for word in base.CLASSIFY_NEW if not word.startswith("epochs=")]
MASKS = ["seg-anl-noise", "masks", "set/masks", FOLDER, "--alpha", "1", "--beta", "0.5", "--preview"]
VOLUMES = ["seg-anl-train", "data=nnunet", "data.root=volumes", "data.patch=[16,16,8]", "data.test_share=0.3"]
VOLUMES += ["data.memory=0MB", "data.cache=cache", "model.base_filters=4", "noise.alpha=0.5", "record=[predictions]"]
VOLUMES += ["epochs=3", "evaluation.surface=true", *base.QUIET, f"run_dir={FOLDER}"]

TRAININGS = {
    "segmentation": [*base.TRAIN_NEW, "epochs=2", "record=[masks,predictions,dynamics]"],
    "segmentation, a fold, SGD": [*base.TRAIN_NEW, "epochs=2", "folds=2", "fold=0", "optim=sgd", "precision=bf16"],
    "volumes, beyond the memory": VOLUMES,
    "T-Loss, which learns": [*base.TRAIN_NEW, "epochs=2", "loss=t_loss"],
    "classification": [*CLASSIFY, "epochs=3", "record=[probabilities,gradients,features]", "record_every=2"],
    "classification, a fold": [*CLASSIFY, "epochs=3", "folds=2", "fold=1", "optim.l1=1e-5", "loss=anl_ce"],
    "forward correction": [*CLASSIFY, "epochs=2", "method=forward", "loss=ce"],
    "co-teaching": [*CLASSIFY, "epochs=3", "method=co_teaching", "loss=ce"],
    "D2L": [*CLASSIFY, "epochs=4", "method=d2l", "method.init_epochs=0", "method.window=2", "loss=ce"],
    "SR, whose loss has a schedule": [*CLASSIFY, "epochs=3", "loss=ce_sr"],
}
OTHERS = {
    "mask noise": MASKS,
    "mask noise, two processes": [*MASKS, "--workers", "2"],
    "label noise": ["seg-anl-noise", "labels", "labels.npy", FOLDER, "--kind", "symmetric", "--rate", "0.4"],
    "preparation": ["seg-anl-prep", "nnunet", "set", FOLDER, "--id", "1", "--name", "X", "--overwrite"],
    "prediction": ["seg-anl-predict", "seg", "photos", FOLDER, "--device", "cpu", "--overwrite", "--overlay"],
    "audit of masks": ["seg-anl-audit", "masks", "predictions", FOLDER, "--masks", "set/masks"],
    "mended masks": ["seg-anl-audit", "apply", "audit", FOLDER, "--drop", "--decisions", "decisions.json"],
    "report": ["seg-anl-report", "cls", "seg", "--out", FOLDER],
    "export": ["seg-anl-export", "seg", f"{FOLDER}/seg.pt", "--format", "torchscript"],
}
KINDS = TRAININGS | OTHERS
"""Command lines by kind of run."""
HEADINGS = {
    "kills": "kills",
    "files": "files compared",
    "leftovers": "half-written files left by kills",
    "differences": "differences",
}
TIMEOUT = 3600  # seconds for an uninterrupted run on a busy machine
CHEAP_WEIGHT = 4  # kills of a cheap kind of run per kill of a training


class Outcome(NamedTuple):
    """Result of killing and restarting one run."""

    kills: int
    leftovers: int
    differences: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="total number of kills (default 200)")
    parser.add_argument("--only", default="", help="only kinds whose name contains this")
    parser.add_argument(
        "--part", type=int, nargs=2, default=(0, 1), metavar=("I", "N"), help="every Nth kind, starting at the Ith"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the kill times (default 1)")
    parser.add_argument("--table", type=Path, help="write a Markdown table for the documentation")
    options = parser.parse_args()
    first, step = options.part
    shares = distribute_kills(options.kills, [name for name in KINDS if options.only in name])
    torch.set_num_threads(1)
    import_commands()
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        origin = Path(scratch) / "base"
        base.make_base(origin)
        make_volumes(origin / "volumes")
        for name, share in list(shares.items())[first::step]:
            rng = random.Random(f"{options.seed} {name}")
            counts[name] = kill_runs(name, origin, Path(scratch), share, rng)
            print(f"{name}: {dict(counts[name])}", flush=True)
    write_counts("kind of run", HEADINGS, counts, options.table)
    raise SystemExit(any(count["differences"] for count in counts.values()))


def distribute_kills(total: int, kinds: Sequence[str]) -> dict[str, int]:
    """Distribute ``total`` kills over the ``kinds`` of run, by weight."""
    weights = {name: CHEAP_WEIGHT if name in OTHERS else 1 for name in kinds}
    done, counts = 0, {}
    for number, name in enumerate(kinds):
        until = total * sum(list(weights.values())[: number + 1]) // sum(weights.values())
        done, counts[name] = until, until - done
    return counts


def make_volumes(folder: Path) -> None:
    """Write an nnU-Net raw dataset of six cases: a bright box in noise, voxels of 1 x 1 x 2 mm."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(6):
        mask = np.zeros((20, 18, 12), np.uint8)
        mask[4 + number : 12 + number, 5:13, 3:9] = 1
        image = (generator.normal(size=mask.shape) + 2 * mask).astype(np.float32)
        for name, values in ((f"imagesTr/v{number}_0000", image), (f"labelsTr/v{number}", mask)):
            nibabel.save(nibabel.Nifti1Image(values, np.diag((1, 1, 2, 1))), folder / f"{name}.nii.gz")
    description = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "box": 1}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(description))


def kill_runs(name: str, origin: Path, scratch: Path, count: int, rng: random.Random) -> Counter[str]:
    """Kill and restart a kind of run until ``count`` kills have hit a running process."""
    first, seconds = run_uninterrupted(name, origin, scratch / "whole")
    second, _ = run_uninterrupted(name, origin, scratch / "again")
    same = {file: digest for file, digest in first.items() if second.get(file) == digest}
    print(f"{name}: {seconds:.1f} s; not compared: {', '.join(sorted(first.keys() - same.keys())) or 'nothing'}")
    total: Counter[str] = Counter(files=len(same))
    while total["kills"] < count:
        outcome = kill_and_restart(name, origin, scratch / "killed", same, seconds, rng)
        total.update(kills=outcome.kills, leftovers=outcome.leftovers, differences=len(outcome.differences))
        for difference in outcome.differences:
            print(f"{name}: {difference}", flush=True)
    return total


def run_uninterrupted(name: str, origin: Path, folder: Path) -> tuple[dict[str, str], float]:
    """Run to the end; returns the digests of the output files and the seconds."""
    shutil.copytree(origin, folder)
    result = run(Case("kills", name, KINDS[name]), folder, TIMEOUT)
    if result.status != 0:
        raise SystemExit(result.output)
    digests = digest_files(folder / FOLDER)
    shutil.rmtree(folder)
    return digests, result.seconds


def kill_and_restart(
    name: str, origin: Path, folder: Path, expected: dict[str, str], seconds: float, rng: random.Random
) -> Outcome:
    """Start, kill, restart until the command finishes, and compare."""
    shutil.copytree(origin, folder)
    case, kills, leftovers, differences = Case("kills", name, KINDS[name]), 0, 0, []
    for _ in range(rng.choice((1, 1, 2))):
        result = run(case, folder, kill_after=rng.random() * seconds)
        kills += result.status == KILLED
        leftovers += sum(1 for _ in folder.rglob(".partial-*"))
    result = run(case, folder, TIMEOUT)
    if result.status != 0:
        differences.append(f"status {result.status}: {result.output.strip().splitlines()[-1:]}")
    digests = digest_files(folder / FOLDER)
    differences += [f"{file} differs" for file, digest in expected.items() if digests.get(file) != digest]
    differences += [f"{path.name} was not removed" for path in folder.rglob(".partial-*")]
    shutil.rmtree(folder)
    return Outcome(kills, leftovers, differences)


def digest_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below ``folder``, by relative path; archives by their members."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(content(path)).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def content(path: Path) -> bytes:
    """The bytes of a file that must not depend on interruptions.

    Archives are compared by member, since torch names their top folder after the file. Checkpoints are compared by
    value, since a pickle also records which values were the same object. The list of resumptions in environment.json
    is ignored.
    """
    if path.parent.name == "checkpoints":
        return encode(torch.load(path, weights_only=True))
    if path.name == "environment.json":
        return json.dumps({**json.loads(path.read_text()), "resumed": None}).encode()
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        parts = {name.partition("/")[2] or name: archive.read(name) for name in archive.namelist()}
    return b"".join(name.encode() + value for name, value in sorted(parts.items()))


def encode(state: Any) -> bytes:
    """Serialize the values and types of nested dicts and lists."""
    if isinstance(state, dict):
        return b"{%b}" % b",".join(encode(key) + encode(state[key]) for key in state)
    if isinstance(state, (list, tuple)):
        return b"[%b]" % b",".join(map(encode, state))
    if isinstance(state, torch.Tensor):
        return (
            f"{state.dtype} {tuple(state.shape)}".encode()
            + state.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        )
    return f"{type(state)} {state!r}".encode()


if __name__ == "__main__":
    main()
