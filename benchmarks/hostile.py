"""Hostile inputs to every command, each in a process with limits: what comes out must be a result or one clear line.

Real run directories, checkpoints, configurations, images, masks, labels and manifests are made, then mutated: bits
flipped, files cut, values exchanged for others, files replaced by devices, disks filled, environments left behind. A
case is a fault where the command prints a traceback, is not done in time, is killed for its memory, executes what an
input names, or leaves a half-written file. The process is forked from one that has imported everything, so a case
costs what the command costs.

Example:
    python benchmarks/hostile.py --table hostile.md
    python benchmarks/hostile.py --only checkpoint --sample 20 --keep cases
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pickle
import random
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

SECONDS = 60  # of processor time for a case; thrice as many on the clock, where the machine has other work
GROWTH = 4 << 30  # bytes of memory beyond what the imports take
MARK = "EXECUTED"
COMMANDS = {
    "seg-anl-train": "seg_anl.segmentation.train",
    "seg-anl-predict": "seg_anl.segmentation.predict",
    "seg-anl-classify": "classification.train",
    "seg-anl-noise": "data_prep.noise_command",
    "seg-anl-prep": "data_prep.prep_command",
    "seg-anl-report": "seg_anl.reporting.command",
    "seg-anl-nnunet": "seg_anl.nnunet.nnunet_command",
}
TRAIN = ["run_dir=seg", "data.size=32", "data.limit=8", "epochs=1", "batch_size=4"]
TRAIN += ["model.base_filters=4", "model.max_filters=8"]
CLASSIFY = ["run_dir=cls", "epochs=1", "data.limit=100", "batch_size=50", "noise.rate=0.4"]
QUIET = ["device=cpu", "progress=false"]
PREDICT = ["seg", "photos", "out", "--device", "cpu", "--overwrite"]
VALUES: list[Any] = [
    *(None, "text", "", True, -1, 0, 1e6, 10**12, float("nan"), float("inf"), [], {}, [None], [1, [2]], {"a": 1}),
    *("os.system", "${oc.env:HOME}", "${seed}", "x" * 5000, {"_target_": "os.system", "_args_": [f"touch {MARK}"]}),
]


class Canary:
    """Marks the folder of the case where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {MARK}",)


@dataclass(frozen=True)
class Case:
    """One input: ``prepare`` makes it in a copy of the base folder, then the command runs there."""

    group: str
    name: str
    words: list[str]
    prepare: Callable[[Path], object] = lambda folder: None
    environment: Mapping[str, str] = field(default_factory=dict)
    largest_file: int | None = None  # as a disk that is full


def cases(seed: int) -> Iterator[Case]:
    for generate in (configurations, checkpoints, records, pictures, masks, labels, reports, overrides, systems, plans):
        yield from generate(random.Random(f"{seed} {generate.__name__}"))


def configurations(chance: random.Random) -> Iterator[Case]:
    """config.yaml of a run that somebody else made."""

    def exchange(path: tuple[str, ...], value: Any) -> Callable[[Path], object]:
        def prepare(folder: Path) -> None:
            config = yaml.safe_load((folder / "seg/config.yaml").read_text())
            group = config
            for name in path[:-1]:
                group = group[name]
            group[path[-1]] = value
            (folder / "seg/config.yaml").write_text(yaml.safe_dump(config))

        return prepare

    places = [
        ("task",),
        ("data",),
        ("model",),
        ("loss",),
        ("optim",),
        ("seed",),
        ("model", "name"),
        ("model", "stages"),
    ]
    places += [
        ("model", "base_filters"),
        ("model", "max_filters"),
        ("model", "_target_"),
        ("model", "deep_supervision"),
    ]
    places += [("data", "size"), ("data", "classes"), ("data", "name"), ("data", "threshold"), ("new",)]
    for path in places:
        for value in chance.sample(VALUES, 9):
            name = f"{'.'.join(path)}={str(value)[:30]}"
            yield Case("configuration of a run", name, ["seg-anl-predict", *PREDICT], exchange(path, value))
    for network, argument in [("UNet", "act"), ("BasicUNet", "features"), ("SegResNet", "blocks_down"), ("own", "x")]:
        for value in VALUES[::2]:
            model = {"name": "own" if network == "own" else "monai", "network": network, argument: value}
            name = f"{network}.{argument}={str(value)[:30]}"
            yield Case("configuration of a run", name, ["seg-anl-predict", *PREDICT], exchange(("model",), model))
    laughs = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    for name, text in {"laughs": laughs, "loop": "a: &a\n  b: *a\n", "deep": "[" * 10**5, "bell": "a: \a"}.items():
        for target in ("seg/config.yaml", "cls/config.yaml"):
            words = ["seg-anl-predict", *PREDICT] if target.startswith("seg") else resumed()
            yield Case("configuration of a run", f"{name} in {target}", words, writes(target, text.encode()))
    for number in range(25):
        words = ["seg-anl-predict", *PREDICT]
        yield Case("configuration of a run", f"damage {number}", words, damages("seg/config.yaml", chance.random()))


def checkpoints(chance: random.Random) -> Iterator[Case]:
    """last.pt with bits flipped, cut, of another inner form, with code in it, or no file at all."""
    for path, words in (
        ("seg/checkpoints/last.pt", ["seg-anl-predict", *PREDICT]),
        ("cls/checkpoints/last.pt", resumed()),
    ):
        for number in range(15):
            yield Case(
                "checkpoint", f"{path} damage {number}", words, damages(path, chance.random(), "cls/summary.json")
            )
        for name, value in _forms().items():
            yield Case("checkpoint", f"{path} {name}", words, exchanges_part(path, *value))
        for name, make in _no_files().items():
            yield Case("checkpoint", f"{path} is {name}", words, replaces(path, make, "cls/summary.json"))
        yield Case("checkpoint", f"{path} is a pickle", words, writes(path, pickle.dumps(Canary()), "cls/summary.json"))
        yield Case("checkpoint", f"{path} is packed", words, makes(path, _repack))


def records(chance: random.Random) -> Iterator[Case]:
    """The other files of a run that is resumed."""
    files = ["config.yaml", "summary.json", "metrics.csv", "inputs.json", "environment.json", "noise/manifest.json"]
    contents = [
        b"",
        b"null",
        b"[]",
        b"[1]",
        b"{}",
        b'{"a": 1e999}',
        b'"x"',
        b"[" * 10**5,
        b"\xff\xfe",
        b"1" + b"0" * 5000,
    ]
    contents += [b'{"status": "finished"}', b'{"status": "finished", "k": 1, "epochs": 1, "metrics": {"a": 1}}']
    for name in [*files, "noise/labels.npy"]:
        for content in contents[:: 1 if name == "summary.json" else 2]:
            yield Case("files of a run", f"{name} {content[:20]!r}", resumed(), writes(f"cls/{name}", content))
        for kind, make in _no_files().items():
            yield Case("files of a run", f"{name} is {kind}", resumed(), replaces(f"cls/{name}", make))
        for number in range(4):
            yield Case("files of a run", f"{name} damage {number}", resumed(), damages(f"cls/{name}", chance.random()))
    for name, make in {".lock": _folder, "tb": _file, "checkpoints": _file, "noise": _file, "records": _file}.items():
        yield Case(
            "files of a run", f"{name} of another kind", resumed(), replaces(f"cls/{name}", make, "cls/summary.json")
        )
    yield Case(
        "files of a run",
        "what a killed run left",
        resumed(),
        writes("cls/.partial-x.json", b"half", "cls/summary.json"),
    )


def pictures(chance: random.Random) -> Iterator[Case]:
    """Photos to predict."""
    words = ["seg-anl-predict", *PREDICT]
    for name in ("a.png", "b.jpg", "c.tif"):
        for number in range(12):
            yield Case("photo", f"{name} damage {number}", words, damages(f"photos/{name}", chance.random()))
        for kind, make in _no_files().items():
            yield Case("photo", f"{name} is {kind}", words, replaces(f"photos/{name}", make))
    for name, picture in _odd_pictures().items():
        yield Case("photo", name, words, makes("photos/odd.png", picture))
    for name in ("x" * 250 + ".png", "ü.png", "a\nb.png", "-.png", "%s.png", os.fsdecode(b"\xff.png")):
        yield Case("photo", repr(name), words, makes(f"photos/{name}", _gray))


def masks(chance: random.Random) -> Iterator[Case]:
    """Masks to make noisy, to train on, and to convert."""
    for command in (
        ["seg-anl-noise", "masks", "set/masks", "out"],
        ["seg-anl-prep", "nnunet", "set", "out", "--id", "1", "--name", "X"],
    ):
        for number in range(12):
            yield Case("mask", f"{command[1]} damage {number}", command, damages("set/masks/m1.png", chance.random()))
        for name, picture in _odd_pictures().items():
            yield Case("mask", f"{command[1]} {name}", command, makes("set/masks/m1.png", picture))
        for name, make in _no_files().items():
            yield Case("mask", f"{command[1]} is {name}", command, replaces("set/masks/m1.png", make))
    training = ["seg-anl-train", "data=folder", "data.root=set", *TRAIN, *QUIET]
    for name, picture in _odd_pictures().items():
        yield Case("mask", f"training {name}", training, makes("set/masks/m1.png", picture))
    for word in (
        "--alpha=nan",
        "--alpha=-1",
        "--beta=1e300",
        "--kinds=x",
        "--seed=-1",
        "--seed=1e99",
        "--workers=0",
        "--workers=100000",
    ):
        yield Case("mask", word, ["seg-anl-noise", "masks", "set/masks", "out", word])
    yield Case(
        "mask",
        "a name that leads out",
        ["seg-anl-prep", "nnunet", "set", "out", "--id", "1", "--name", "x/../../../OUTSIDE"],
    )


def labels(chance: random.Random) -> Iterator[Case]:
    """Labels to make noisy."""
    words = ["seg-anl-noise", "labels", "labels.npy", "out", "--rate", "0.4"]
    arrays: dict[str, Any] = {
        "complex": np.zeros(9, complex),
        "text": np.array(["a", "b"]),
        "object": np.array([Canary()], object),
        "empty": np.zeros(0, int),
        "negative": np.array([-1, 0, 1]),
        "nan": np.array([0, np.nan]),
        "huge": np.array([0, 2**62]),
        "scalar": np.array(1),
        "3-d": np.zeros((2, 2, 2)),
    }
    for name, array in arrays.items():
        yield Case("labels", name, words, makes("labels.npy", partial(_save_array, array)))
    for number in range(12):
        yield Case("labels", f"damage {number}", words, damages("labels.npy", chance.random()))
    for kind, make in _no_files().items():
        yield Case("labels", f"is {kind}", words, replaces("labels.npy", make))


def reports(chance: random.Random) -> Iterator[Case]:
    """Run directories to report on: one that is broken must not keep the other from it."""
    words = ["seg-anl-report", "cls", "seg", "--out", "report"]
    for name in ("config.yaml", "summary.json", "metrics.csv"):
        for content in (
            b"",
            b"null",
            b"[1]",
            b"{}",
            b"[" * 10**5,
            b"\xff",
            b"1" + b"0" * 5000,
            b"epoch,split\n1e99,test\n",
        ):
            yield Case("report", f"{name} {content[:20]!r}", words, writes(f"cls/{name}", content))
        for kind, make in _no_files().items():
            yield Case("report", f"{name} is {kind}", words, replaces(f"cls/{name}", make))
        for number in range(6):
            yield Case("report", f"{name} damage {number}", words, damages(f"cls/{name}", chance.random()))


def overrides(chance: random.Random) -> Iterator[Case]:
    """What one may mistype."""
    both = [
        "~loss",
        "~loss=anl_ce",
        "loss@x=ce",
        "loss@=ce",
        "loss=",
        "loss=null",
        "loss=[ce,gce]",
        "=ce",
        "~",
        "+",
        "@",
        "",
        "~optim.lr",
    ]
    both += [
        "loss.name=null",
        "+loss.reduction=none",
        "+loss.activation=sigmoid",
        "loss=forward",
        "seed=[1,1]",
        "seed=${seed}",
        "seed={a:1}",
    ]
    both += [
        "optim=null",
        "optim.lr=nan",
        "optim.lr=1e300",
        "optim.lr={}",
        "defaults=[]",
        "+a.b=1",
        "hydra=1",
        "preset=[small]",
        "task=1",
    ]
    both += [
        "run_dir=[a]",
        "run_root=''",
        "run_dir=~nobody/x",
        "run_dir=" + "x" * 300,
        "device=meta",
        "device=cuda:99",
        "device=[]",
        "epochs=1e999",
    ]
    both += [
        "batch_size=1000000",
        "workers=100000",
        "precision=null",
        "record={}",
        "optim.milestones=[3,2]",
        "data.root=ü b",
        "'loss=ce'",
        "a=b=c",
    ]
    for word in both:
        for program, settings in (("seg-anl-train", TRAIN), ("seg-anl-classify", CLASSIFY)):
            yield Case("setting", f"{program} {word[:40]}", [program, *settings, "run_dir=new", *QUIET, word])
    own = [
        "model.base_filters=1000000",
        "model.stages=[]",
        "data.size=[16]",
        "data.size=8193",
        "model=own model._target_=os.getcwd",
    ]
    own += [
        "model=monai model.network=os.system",
        "model=monai model.network=UNet +model.channels=[8192,8192] +model.strides=[2]",
    ]
    own += [
        "loss=forward loss.transition=x",
        "loss=forward loss.transition=[[1]]",
        "noise.alpha=nan",
        "noise.kinds=[x]",
        "data.classes=0",
    ]
    for text in own:
        yield Case("setting", text[:50], ["seg-anl-train", *TRAIN, "run_dir=new", *QUIET, *text.split()])


def systems(chance: random.Random) -> Iterator[Case]:
    """Full disks, closed folders, environments that another program left."""
    train, classify = (
        ["seg-anl-train", *TRAIN, "run_dir=new", *QUIET],
        ["seg-anl-classify", *CLASSIFY, "run_dir=new", *QUIET],
    )
    others = [["seg-anl-predict", *PREDICT], ["seg-anl-report", "cls", "seg", "--out", "report"], resumed()]
    others += [
        ["seg-anl-noise", "masks", "set/masks", "out"],
        ["seg-anl-noise", "labels", "labels.npy", "out", "--rate", "0.4"],
    ]
    others += [["seg-anl-prep", "nnunet", "set", "out", "--id", "1", "--name", "X"]]
    for words in (train, classify, *others):
        for size in (0, 1, 60, 300, 3000, 30_000, 200_000):
            prepare = (
                (lambda folder: (folder / "cls/summary.json").unlink()) if words == resumed() else (lambda folder: None)
            )
            yield Case("full disk", f"{words[0]} {words[1]} {size} bytes", words, prepare, largest_file=size)
    for name, value in [
        ("WORLD_SIZE", "2"),
        ("WORLD_SIZE", "x"),
        ("WORLD_SIZE", "0"),
        ("RANK", "3"),
        ("RANK", "x"),
        ("LOCAL_RANK", "x"),
    ]:
        yield Case("environment", f"{name}={value}", classify, environment={name: value})
    yield Case("environment", "RANK beyond", classify, environment={"WORLD_SIZE": "2", "RANK": "5"})
    for name, value in [
        ("SEG_ANL_LOSS", "gce ignore_index=3"),
        ("SEG_ANL_LOSS", "config.yaml"),
        ("SEG_ANL_TRAIN", "epochs=x"),
    ]:
        words = ["seg-anl-nnunet", "train", "501", "2d", "0", "-tr", "nnUNetTrainerRobust"]
        yield Case(
            "environment", f"{name}={value}", words, writes("config.yaml", b"a: &a [*a]"), environment={name: value}
        )


def plans(chance: random.Random) -> Iterator[Case]:
    """Plans of nnU-Net."""
    words = ["seg-anl-nnunet", "plan", "501", "--patch-size", "64", "64"]
    good = {
        "configurations": {
            "2d": {"patch_size": [64, 64], "architecture": {"arch_kwargs": {"strides": [[1, 1], [2, 2]]}}}
        }
    }
    texts = ["", "[]", "{}", "null", "[" * 10**5, '{"configurations": 1}', '{"configurations": {"2d": {}}}']
    texts += [
        json.dumps({"configurations": {"2d": {**good["configurations"]["2d"], "inherits_from": value}}})
        for value in ("2d", 1, ["x"])
    ]
    texts += [json.dumps({"configurations": {"2d": {"patch_size": value}}}) for value in (None, 1, "x", [1, 2, 3])]
    place = "preprocessed/Dataset501_X/nnUNetPlans.json"
    for text in texts:
        yield Case("plans", text[:40], words, writes(place, text.encode()), {"nnUNet_preprocessed": "preprocessed"})
    for kind, make in _no_files().items():
        yield Case("plans", kind, words, replaces(place, make), {"nnUNet_preprocessed": "preprocessed"})


def resumed() -> list[str]:
    return ["seg-anl-classify", *CLASSIFY, *QUIET]


def writes(name: str, content: bytes, *without: str) -> Callable[[Path], object]:
    def prepare(folder: Path) -> None:
        _without(folder, name, *without)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    return prepare


def makes(name: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: make(folder / name)


def replaces(name: str, make: Callable[[Path], object], *without: str) -> Callable[[Path], object]:
    def prepare(folder: Path) -> None:
        _without(folder, *without)
        replace_by(folder / name, make)

    return prepare


def replace_by(path: Path, make: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _without(path.parent, path.name)
    make(path)


def damages(name: str, seed: float, *without: str) -> Callable[[Path], object]:
    """Flips bits, cuts, repeats or exchanges a piece of the file."""

    def prepare(folder: Path) -> None:
        _without(folder, *without)
        chance, path = random.Random(seed), folder / name
        data = bytearray(path.read_bytes())
        place = chance.randrange(len(data))
        how = chance.choice(("bit", "bits", "cut", "repeat", "bytes", "none"))
        if how in ("bit", "bits"):
            for _ in range(1 if how == "bit" else 40):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        elif how == "cut":
            del data[place:]
        elif how == "repeat":
            data[place:place] = data[: chance.randrange(1, 2000)] * 3
        elif how == "bytes":
            data[place : place + 30] = chance.randbytes(30)
        else:
            del data[place : place + chance.randrange(1, 100)]
        path.write_bytes(data)

    return prepare


def exchanges_part(path: str, part: str, value: Any) -> Callable[[Path], object]:
    def prepare(folder: Path) -> None:
        _without(folder, "cls/summary.json")
        state = torch.load(folder / path, weights_only=True)
        state[part] = value
        if value is ...:
            del state[part]
        torch.save(state, folder / path)

    return prepare


def _forms() -> dict[str, tuple[str, Any]]:
    values: list[Any] = [..., None, "text", [], {}, [1], {"a": None}, -1, 1e300, torch.ones(2), Canary()]
    parts = {"schema": values[::2], "epoch": values, "rows": values, "random": values[::2], "model": values}
    return {f"{part}={str(value)[:20]}": (part, value) for part, several in parts.items() for value in several}


def _no_files() -> dict[str, Callable[[Path], object]]:
    def listening(path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as one:
            os.chdir(path.parent)  # a socket's path is short
            one.bind(path.name)

    return {
        "a folder": _folder,
        "a FIFO": os.mkfifo,
        "endless": lambda path: path.symlink_to("/dev/zero"),
        "its own link": lambda path: path.symlink_to(path.name),
        "absent": lambda path: None,
        "a socket": listening,
    }


def _save_array(array: Any, path: Path) -> None:
    np.save(path, array)


def _folder(path: Path) -> None:
    _without(path.parent, path.name)
    path.mkdir()


def _file(path: Path) -> None:
    _without(path.parent, path.name)
    path.write_text("x")


def _gray(path: Path) -> None:
    Image.new("L", (40, 30), 99).save(path, "PNG")


def _odd_pictures() -> dict[str, Callable[[Path], object]]:
    frames = [Image.new("L", (40, 30), value) for value in (0, 255)]
    floats = np.linspace(0, 2, 1200, dtype=np.float32).reshape(30, 40)
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\0\1\0\0\0\1\0\0" + b"\x08\x02\0\0\0" + b"\0\0\0\0"
    return {
        "empty": lambda path: path.write_bytes(b""),
        "65536 pixels square": lambda path: path.write_bytes(bomb),
        "a GIF": lambda path: frames[0].save(path, "GIF", save_all=True, append_images=frames[1:]),
        "frames": lambda path: frames[0].save(path, "PNG", save_all=True, append_images=frames[1:]),
        "pages": lambda path: frames[0].save(path, "TIFF", save_all=True, append_images=frames[1:]),
        "floats": lambda path: Image.fromarray(floats).save(path, "TIFF"),
        "NaN": lambda path: Image.fromarray(floats * np.float32("nan")).save(path, "TIFF"),
        "16 bits": lambda path: Image.new("I;16", (40, 30), 999).save(path, "PNG"),
        "one pixel": lambda path: Image.new("L", (1, 1)).save(path, "PNG"),
        "one row": lambda path: Image.new("L", (20_000, 1)).save(path, "PNG"),
        "palette": lambda path: Image.new("P", (40, 30), 3).save(path, "PNG"),
        "CMYK": lambda path: Image.new("CMYK", (40, 30)).save(path, "JPEG"),
        "text": lambda path: path.write_text("no picture"),
        "a pickle": lambda path: path.write_bytes(pickle.dumps(Canary())),
        "a NUL": lambda path: path.write_bytes(b"\0" * 10**6),
    }


def _repack(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content + bytes(1 << 24))


def _without(folder: Path, *names: str) -> None:
    for path in (folder / name for name in names):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def make_base(folder: Path) -> None:
    """Two small finished runs, photos, a set of images and masks, and labels."""
    generator = np.random.default_rng(0)
    for place in ("photos", "set/images", "set/masks"):
        (folder / place).mkdir(parents=True)
    noise = generator.integers(0, 255, (30, 40, 3), dtype=np.uint8)
    for name in ("a.png", "b.jpg", "c.tif"):
        Image.fromarray(noise).save(folder / "photos" / name)
    for number in range(6):
        disc = np.hypot(*(np.mgrid[:30, :40] - [[[15]], [[12 + number]]])) < 8
        Image.fromarray(noise).save(folder / f"set/images/m{number}.png")
        Image.fromarray(disc.astype(np.uint8) * 255).save(folder / f"set/masks/m{number}.png")
    np.save(folder / "labels.npy", generator.integers(0, 5, 500))
    for words in (["seg-anl-train", *TRAIN, *QUIET], resumed()):
        ended = run(Case("base", words[0], words), folder)
        if ended.status != 0:
            raise SystemExit(ended.output)


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    seconds: float
    output: str


def run(case: Case, folder: Path) -> Ended:
    """The command in a child process with limits, in ``folder``."""
    log, start = folder / "output.txt", time.monotonic()
    with open(log, "wb") as file:
        child = os.fork()
        if child == 0:
            _in_child(case, folder, file.fileno())
        status = None
        while status is None and time.monotonic() - start < 3 * SECONDS:
            ended, code = os.waitpid(child, os.WNOHANG)
            status = os.waitstatus_to_exitcode(code) if ended else None
            time.sleep(0.01)
        if status is None:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            status = -signal.SIGALRM
        time.sleep(0.05 if case.largest_file is None else 0.5)  # for the process that hands on what is printed
    return Ended(status, time.monotonic() - start, log.read_text(errors="replace"))


def _in_child(case: Case, folder: Path, output: int) -> None:
    """Become the command; never returns."""
    status = 70
    try:
        os.setpgid(0, 0)
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + GROWTH
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
        os.environ.update(case.environment)
        sys.argv = case.words
        if case.largest_file is not None:
            _output_without_limit(output)
            resource.setrlimit(resource.RLIMIT_FSIZE, (case.largest_file, case.largest_file))
        try:
            importlib.import_module(COMMANDS[case.words[0]]).main()
            status = 0
        except SystemExit as leaving:
            status = leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _output_without_limit(output: int) -> None:
    """Hand what is printed to a process of its own: the file that it goes to is one of those with a limit."""
    read, write = os.pipe()
    if os.fork():
        os.close(read)
        os.dup2(write, 1)
        os.dup2(write, 2)
        os.close(write)
        return
    os.close(write)
    for stream in (1, 2):
        os.close(stream)
    while block := os.read(read, 1 << 16):
        os.write(output, block)
    os._exit(0)


def fault(folder: Path, ended: Ended) -> str | None:
    """What is wrong with how a case ended, in a word."""
    if (folder / MARK).exists():
        return "executed"
    if ended.status in (-signal.SIGALRM, -signal.SIGXCPU):
        return "hang"
    if ended.status < 0:
        return "killed"
    if "Traceback (most recent call last)" in ended.output:
        return "traceback"
    if ended.status not in (0, 1, 2) or (ended.status == 2 and "error: " not in ended.output):
        return "status"
    if ended.status and any(path for path in folder.rglob(".partial-*")):
        return "half-written"
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose group or name has this in it")
    parser.add_argument("--without", default="nothing", help="a group that is left out")
    parser.add_argument("--sample", type=int, help="so many cases, drawn at random")
    parser.add_argument("--seed", type=int, default=1, help="of the mutations and the sample (default 1)")
    parser.add_argument("--table", type=Path, help="write a table for the documentation")
    parser.add_argument("--keep", type=Path, help="folder for those that are faults")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for module in (
        "seg_anl.segmentation.mask_prediction",
        "classification.experiment",
        "seg_anl.reporting.render",
        *COMMANDS.values(),
    ):
        importlib.import_module(module)
    chosen = [case for case in cases(options.seed) if options.only in f"{case.group} {case.name}"]
    chosen = [case for case in chosen if case.group != options.without]
    random.Random(options.seed).shuffle(chosen)  # what is stopped early has seen something of everything
    chosen = chosen[: options.sample]
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch) / "base"
        make_base(base)
        for number, case in enumerate(chosen):
            folder = Path(scratch) / f"{number}"
            shutil.copytree(base, folder)
            here = os.getcwd()
            case.prepare(folder)
            os.chdir(here)
            ended = run(case, folder)
            wrong = fault(folder, ended)
            count = counts.setdefault(case.group, Counter())
            count.update(["cases", wrong or "right", *(["refused"] if ended.status else [])])
            if number % 50 == 49:
                print(f"{number + 1} of {len(chosen)} cases", flush=True)
            if wrong:
                print(f"{wrong}: {case.group}: {case.name}: {' '.join(case.words)}")
                print("   ", "\n    ".join(ended.output.strip().splitlines()[-3:]), flush=True)
                if options.keep:
                    shutil.copytree(folder, options.keep / f"{number}", symlinks=True, ignore=_irregular)
            shutil.rmtree(folder)
    faults = ("traceback", "hang", "killed", "executed", "half-written", "status")
    lines = ["| input | cases | refused | " + " | ".join(faults) + " |", "|---|" + "---|" * (len(faults) + 2)]
    total = sum(counts.values(), Counter())
    for group, count in [*counts.items(), ("all", total)]:
        cells = (group, *(count[name] for name in ("cases", "refused", *faults)))
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    print("\n".join(lines))
    if options.table:
        options.table.write_text("\n".join(lines) + "\n")
    raise SystemExit(any(total[name] for name in faults))


def _irregular(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not (os.path.isfile(f"{folder}/{name}") or os.path.isdir(f"{folder}/{name}"))]


if __name__ == "__main__":
    main()
