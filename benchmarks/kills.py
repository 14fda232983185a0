"""Kill commands at random moments, start them again, and compare what they leave with an uninterrupted run's.

Each kind of run is made twice without interruption: what differs between these two (times, versions of the machine) is
not compared. Then it is started and killed (SIGKILL, with all its processes) at a moment drawn from how long it takes,
in one case of three a second time while it carries on, and started until it ends. Every file has to be the same byte by
byte; of archives every part, of checkpoints every value. What killed processes left half-written has to be gone.

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

FOLDER = "new"  # where every kind writes
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
    "D2L": [*CLASSIFY, "epochs=3", "method=d2l", "loss=ce"],
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
"""Words of the command by kind of run."""
HEADINGS = {
    "kills": "kills",
    "files": "files compared",
    "leftovers": "half-written files left by kills",
    "differences": "differences",
}
PATIENCE = 3600  # seconds for a run that nobody kills, on a machine that has other work
OFTEN = 4  # times as many kills for a kind that costs little


class Outcome(NamedTuple):
    """What became of one run that was killed."""

    kills: int
    leftovers: int
    faults: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="in all (default 200)")
    parser.add_argument("--only", default="", help="kinds whose name has this in it")
    parser.add_argument("--part", type=int, nargs=2, default=(0, 1), metavar=("I", "N"), help="every Nth kind from Ith")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (default 1)")
    parser.add_argument("--table", type=Path, help="write a table for the documentation")
    options = parser.parse_args()
    first, step = options.part
    shares = kills_of(options.kills, [name for name in KINDS if options.only in name])
    torch.set_num_threads(1)
    import_commands()
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        origin = Path(scratch) / "base"
        base.make_base(origin)
        make_volumes(origin / "volumes")
        for name, share in list(shares.items())[first::step]:
            counts[name] = killed(name, origin, Path(scratch), share, random.Random(f"{options.seed} {name}"))
            print(f"{name}: {dict(counts[name])}", flush=True)
    write_counts("kind of run", HEADINGS, counts, options.table)
    raise SystemExit(any(count["differences"] for count in counts.values()))


def kills_of(total: int, kinds: Sequence[str]) -> dict[str, int]:
    """How many of ``total`` kills each of the ``kinds`` of run gets."""
    weights = {name: OFTEN if name in OTHERS else 1 for name in kinds}
    done, counts = 0, {}
    for number, name in enumerate(kinds):
        until = total * sum(list(weights.values())[: number + 1]) // sum(weights.values())
        done, counts[name] = until, until - done
    return counts


def make_volumes(folder: Path) -> None:
    """An nnU-Net raw dataset of six cases: a bright box in noise, its mask, voxels of 1 x 1 x 2 mm."""
    for place in ("imagesTr", "labelsTr"):
        (folder / place).mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(6):
        mask = np.zeros((20, 18, 12), np.uint8)
        mask[4 + number : 12 + number, 5:13, 3:9] = 1
        image = (generator.normal(size=mask.shape) + 2 * mask).astype(np.float32)
        for name, values in ((f"imagesTr/v{number}_0000", image), (f"labelsTr/v{number}", mask)):
            nibabel.save(nibabel.Nifti1Image(values, np.diag((1, 1, 2, 1))), folder / f"{name}.nii.gz")
    description = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "box": 1}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(description))


def killed(name: str, origin: Path, scratch: Path, count: int, chance: random.Random) -> Counter[str]:
    """Kill a kind of run until ``count`` kills have struck."""
    first, seconds = whole(name, origin, scratch / "whole")
    second, _ = whole(name, origin, scratch / "again")
    same = {file: digest for file, digest in first.items() if second.get(file) == digest}
    print(f"{name}: {seconds:.1f} s; not compared: {', '.join(sorted(first.keys() - same.keys())) or 'nothing'}")
    done: Counter[str] = Counter(files=len(same))
    while done["kills"] < count:
        one = killed_once(name, origin, scratch / "killed", same, seconds, chance)
        done.update(kills=one.kills, leftovers=one.leftovers, differences=len(one.faults))
        for fault in one.faults:
            print(f"{name}: {fault}", flush=True)
    return done


def whole(name: str, origin: Path, folder: Path) -> tuple[dict[str, str], float]:
    """The digests of what an uninterrupted run writes, and its seconds."""
    shutil.copytree(origin, folder)
    ended = run(Case("kills", name, KINDS[name]), folder, PATIENCE)
    if ended.status != 0:
        raise SystemExit(ended.output)
    digests = written(folder / FOLDER)
    shutil.rmtree(folder)
    return digests, ended.seconds


def killed_once(
    name: str, origin: Path, folder: Path, expected: dict[str, str], seconds: float, chance: random.Random
) -> Outcome:
    """Start, kill, start again until it ends."""
    shutil.copytree(origin, folder)
    case, kills, leftovers, faults = Case("kills", name, KINDS[name]), 0, 0, []
    for _ in range(chance.choice((1, 1, 2))):
        ended = run(case, folder, kill_after=chance.random() * seconds)
        kills += ended.status == KILLED
        leftovers += sum(1 for _ in folder.rglob(".partial-*"))
    ended = run(case, folder, PATIENCE)
    if ended.status != 0:
        faults.append(f"status {ended.status}: {ended.output.strip().splitlines()[-1:]}")
    found = written(folder / FOLDER)
    faults += [f"{file} differs" for file, digest in expected.items() if found.get(file) != digest]
    faults += [f"{path.name} is left" for path in folder.rglob(".partial-*")]
    shutil.rmtree(folder)
    return Outcome(kills, leftovers, faults)


def written(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below ``folder``, by name; of an archive, of its parts."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(content(path)).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def content(path: Path) -> bytes:
    """The bytes of a file; of an archive those of its parts, as torch names its folder by the file that is written.

    Of a checkpoint its values, as a pickle says also which of them were one object. A run lists its resumptions in
    environment.json, which are left out.
    """
    if path.parent.name == "checkpoints":
        return values(torch.load(path, weights_only=True))
    if path.name == "environment.json":
        return json.dumps({**json.loads(path.read_text()), "resumed": None}).encode()
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        parts = {name.partition("/")[2] or name: archive.read(name) for name in archive.namelist()}
    return b"".join(name.encode() + value for name, value in sorted(parts.items()))


def values(state: Any) -> bytes:
    """All numbers and texts of nested dicts and lists, with their kinds."""
    if isinstance(state, dict):
        return b"{%b}" % b",".join(values(key) + values(state[key]) for key in state)
    if isinstance(state, (list, tuple)):
        return b"[%b]" % b",".join(map(values, state))
    if isinstance(state, torch.Tensor):
        return (
            f"{state.dtype} {tuple(state.shape)}".encode()
            + state.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        )
    return f"{type(state)} {state!r}".encode()


if __name__ == "__main__":
    main()
