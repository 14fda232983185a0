"""Everything that waits for a GPU, in one command for half an hour of one.

    python benchmarks/on_gpu.py --minutes 25 --out DIR --data ROOT
    python benchmarks/on_gpu.py --dry-run --minutes 10 --out DIR     all of it, tiny, on a CPU

In this order, each part with its share of the time: the tests marked `cuda`; losses.py and trainers.py; the published
protocol of CIFAR-10; that of ISIC-2017. Commands of a part run side by side where their times do not matter: one
training keeps a GPU busy for a fraction of its time. What fails, or is stopped at the end of its time, does not stop
the rest. It is named at the end, and the status is 1. The same command goes on where it stopped: commands that are done
are left alone, trainings go on from their checkpoints in --work.

DIR gets four small files, after each command: report.md, report.json, logs.zip and runs.zip (configuration, metrics and
summary of each run; `seg-anl-report DIR/runs.zip` reads it). They are merged with those of an earlier call.

ROOT holds cifar-10-batches-py (or cifar10.npz with x_train, y_train, x_test, y_test) and ISIC-2017_Training_Data with
its ground truth and the validation or test folders. A part without its data is passed over, and says so.

A machine that reaches no package index and has PyTorch needs wheels beside it. Here, for its Python:

    pip download --no-deps --only-binary=:all: --python-version 3.12 -d wheels hydra-core 'omegaconf<2.4' monai nibabel
    pip wheel --no-deps -w wheels antlr4-python3-runtime==4.9.3
    there: pip install --no-index --no-deps --target site wheels/*.whl; export PYTHONPATH=$PWD/site

These take 6 MB. torchvision, scikit-image, scikit-learn, OpenCV, pandas, matplotlib, tqdm, filelock, pytest and
hypothesis must be there too. Where 64 MiB can be brought at a time, ISIC-2017 at 256 pixels fits into one (28 MB);
CIFAR-10 needs three (`split -b 60M cifar-10-python.tar.gz`).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
KEPT = {"config.yaml", "environment.json", "inputs.json", "metrics.csv", "summary.json"}  # of a run, in runs.zip
CLASSIFY, SEGMENT = ["-m", "classification.train"], ["-m", "seg_anl.segmentation.train"]
MAIN_LOSSES = ["ce", "anl_ce", "anl_ce_er", "gce", "nce_rce", "ce_sr", "t_loss"]
CELLS = [("symmetric", 0.8, "anl_ce"), ("symmetric", 0.8, "ce"), ("asymmetric", 0.4, "anl_ce_er")]
GRACE_S = 10.0  # for a process that is told to end


@dataclass(frozen=True)
class Part:
    """Commands (name -> arguments of python) that share a part of the time.

    Attributes:
        share: of the minutes; what an earlier part leaves is for those behind it.
        at_once: how many run side by side.
        lacks: why it is passed over.
    """

    name: str
    commands: dict[str, list[str]]
    share: float
    at_once: int = 1
    lacks: str = ""


@dataclass
class Outcome:
    """What became of a command: done, failed (with its status), stopped (out of time), or passed over."""

    part: str
    command: str
    state: str
    seconds: float = 0.0
    note: str = ""


def parts(session: Session, data: Path | None, dry: bool) -> Iterator[Part]:
    """What is to be done, first things first; each is asked for when those before it are through."""
    marked = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.cuda" in path.read_text("utf-8")]
    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not cuda" if dry else "cuda"]
    marked = [path for path in marked if path.name == "test_cuda.py" or not dry]
    tests = {f"{path.parent.name} {path.stem}": [*pytest, str(path.relative_to(ROOT))] for path in marked}
    of_nnunet = {name: tests.pop(name) for name in list(tests) if name.startswith("nnunet ")}
    graphs = {"graph": [*tests["engine test_cuda"], "-k", "graph"]}
    no_nnunet = "" if importlib.util.find_spec("nnunetv2") else "nnunetv2 is not installed"
    on_cpu = "all of it needs a GPU" if dry else ""
    yield Part("graphs", graphs, 0.1, lacks=on_cpu)
    yield Part("tests", tests, 0.2, 1 if dry else 4)
    yield Part("nnU-Net", of_nnunet, 0.1, lacks=no_nnunet or on_cpu)
    yield Part("benchmarks", dict(_benchmarks(dry)), 0.25)
    work = session.work
    where = ["device=cpu" if dry else "device=cuda", "progress=false", "logger=null", f"run_root={work / 'runs'}"]
    protocol = [*CLASSIFY, *where, "data=cifar10", "preset=anl2024", "checkpoint_every=10", "evaluation.train_every=20"]
    if session.is_done("graphs", "graph"):
        protocol.append("graph=true")
    cifar10, lacks = _cifar10(work, data, dry)
    runs = {
        f"{noise} {loss} {seed}": [
            *(*protocol, *cifar10, f"noise={noise}", f"noise.rate={rate}", f"loss={loss}", f"seed={seed}")
        ]
        for seed in (1, 2, 3)
        for noise, rate, loss in CELLS
    }
    yield Part("CIFAR-10", runs, 0.6, 1 if dry else 6, lacks)
    protocol = [*SEGMENT, *where, "preset=isic2017", "noise.alpha=0.7", "noise.beta=0.7", "checkpoint_every=10"]
    protocol += ["evaluation.train_every=20"]
    isic, lacks = _isic2017(data, dry)
    masks = {f"ISIC-2017 {loss}": [*protocol, *isic, f"loss={loss}"] for loss in ("ce", "anl_ce", "gce", "t_loss")}
    yield Part("ISIC-2017", masks, 1.0, 1 if dry else 4, lacks)


def _benchmarks(dry: bool) -> Iterator[tuple[str, list[str]]]:
    losses, trainers = "benchmarks/losses.py", "benchmarks/trainers.py"
    if dry:
        yield "losses", [losses, "--losses", "anl_ce", "--shapes", "2x3x8x8", "--rounds", "1", "--no-compile"]
        tiny = ["--steps", "2", "--rounds", "1", "--batch", "4"]
        yield "masks", [trainers, *tiny, "--size", "32", "--base-filters", "4", "--max-filters", "8"]
        yield "cnn4", [trainers, *tiny, "--task", "classification", "--model", "cnn4", "--runs-per-device", "2"]
        return
    yield "losses compiled", [losses, "--losses", *MAIN_LOSSES, "--rounds", "10"]
    trainer = [trainers, "--rounds", "3", "--loops", "ours"]
    classify = [*trainer, "--task", "classification", "--channels-last", "--steps", "300"]
    for how in ("fp32", "bf16"):
        for also in ([], ["--graph"], ["--compile"], ["--compile", "--graph"]):
            yield " ".join(["cnn8", how, *also]), [*classify, "--precision", how, *also]
    segment = [*trainer, "--size", "256", "--base-filters", "32", "--max-filters", "512", "--steps", "100"]
    for also in ([], ["--compile"]):
        yield " ".join(["masks bf16", *also]), [*segment, "--precision", "bf16", *also]
    yield "cnn8 three at once", [*classify, "--precision", "bf16", "--runs-per-device", "3"]
    yield "cnn8 fed as usual", [*classify, "--precision", "bf16", "--loops", "usual", "--workers", "8"]
    yield "losses eager", [losses, "--rounds", "5", "--no-compile"]


def _cifar10(work: Path, data: Path | None, dry: bool) -> tuple[list[str], str]:
    """Settings that find the images, and what is missing."""
    if dry:
        work.mkdir(parents=True, exist_ok=True)
        random, file = np.random.default_rng(0), work / "tiny.npz"
        images, labels = random.integers(0, 256, (48, 32, 32, 3), dtype=np.uint8), np.arange(48) % 10
        np.savez(file, x_train=images, y_train=labels, x_test=images[:16], y_test=labels[:16])
        return [f"data.file={file}", "epochs=1", "batch_size=16", "model=cnn4"], ""
    if data is not None and (data / "cifar10.npz").is_file():
        return [f"data.file={data / 'cifar10.npz'}"], ""
    if data is not None and (data / "cifar-10-batches-py").is_dir():
        return [f"data.root={data}", "data.download=false"], ""
    return [], "no cifar-10-batches-py and no cifar10.npz in --data"


def _isic2017(data: Path | None, dry: bool) -> tuple[list[str], str]:
    if dry:
        tiny = ["data=embedded", "data.size=32", "data.limit=8", "epochs=1", "batch_size=4"]
        return [*tiny, "model.base_filters=4", "model.max_filters=8"], ""
    if data is not None and (data / "ISIC-2017_Training_Data").is_dir():
        return ["data=isic2017", f"data.root={data}", "precision=bf16"], ""
    return [], "no ISIC-2017_Training_Data in --data"


class Session:
    """The outcomes so far, in DIR."""

    def __init__(self, out: Path, work: Path, minutes: float) -> None:
        self.out, self.work, self.minutes = out, work, minutes
        self.started = time.monotonic()
        (work / "logs").mkdir(parents=True, exist_ok=True)
        out.mkdir(parents=True, exist_ok=True)
        known = json.loads((out / "report.json").read_text("utf-8")) if (out / "report.json").exists() else []
        self.outcomes = {(one["part"], one["command"]): Outcome(**one) for one in known}

    def left(self) -> float:
        """Seconds, so that the last process has ended when the minutes have."""
        return 60 * self.minutes - (time.monotonic() - self.started) - GRACE_S

    def do(self, part: Part) -> None:
        """Run what is not done yet of a part, within its share of the time."""
        end = time.monotonic() + min(part.share * 60 * self.minutes, self.left())
        waiting = {name: command for name, command in part.commands.items() if not self.is_done(part.name, name)}
        if part.lacks:
            for name in waiting:
                self._note(Outcome(part.name, name, "passed over", note=part.lacks))
            return
        running: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
        try:
            while waiting or running:
                self._go_on(part, waiting, running, end)
                time.sleep(0.1)
        finally:
            _end([process for process, _ in running.values()])

    def _go_on(
        self,
        part: Part,
        waiting: dict[str, list[str]],
        running: dict[str, tuple[subprocess.Popen[bytes], float]],
        end: float,
    ) -> None:
        """Start what there is room for, stop what is out of time, and note what has ended."""
        now = time.monotonic()
        while waiting and len(running) < part.at_once and now < end:
            name = next(iter(waiting))
            running[name] = self._start(part, name, waiting.pop(name)), now
        if now >= end:
            for name in waiting:
                self._note(Outcome(part.name, name, "stopped", note="no time was left to start it"))
            waiting.clear()
            _end([process for process, _ in running.values()])
        for name, (process, begun) in list(running.items()):
            status = process.poll()
            if status is not None:
                del running[name]
                state = "done" if status == 0 else "stopped" if now >= end else "failed"
                note = "" if status == 0 else f"status {status}: {self._last_line(part.name, name)}"
                self._note(Outcome(part.name, name, state, round(now - begun, 1), note))

    def finish(self) -> int:
        """Say what is not done; returns the exit status."""
        bad = [one for one in self.outcomes.values() if one.state in ("failed", "stopped")]
        for one in (*bad, *(one for one in self.outcomes.values() if one.state == "passed over")):
            print(f"{one.state}: {one.part}: {one.command}: {one.note}")
        print(f"{sum(one.state == 'done' for one in self.outcomes.values())} of {len(self.outcomes)} done; {self.out}")
        return int(bool(bad))

    def is_done(self, part: str, name: str) -> bool:
        """Whether a command has ended well, now or in an earlier call."""
        known = self.outcomes.get((part, name))
        return known is not None and known.state == "done"

    def _start(self, part: Part, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        threads = max(1, (os.cpu_count() or 1) // part.at_once)
        given = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", **os.environ}
        environment = {**given, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
        with open(self._log(part.name, name), "ab") as log:
            log.write(f"$ python {shlex.join(command)}\n".encode())
            log.flush()
            return subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def _log(self, part: str, name: str) -> Path:
        return self.work / "logs" / f"{part} {name}.log".replace(" ", "_")

    def _last_line(self, part: str, name: str) -> str:
        lines = self._log(part, name).read_text("utf-8", errors="replace").split("\n")
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")

    def _note(self, outcome: Outcome) -> None:
        self.outcomes[outcome.part, outcome.command] = outcome
        print(f"{outcome.state:>11}  {outcome.part}: {outcome.command} ({outcome.seconds:.0f} s)", flush=True)
        logs = {path.name: path for path in (self.work / "logs").iterdir()}
        runs = {path.relative_to(self.work / "runs").as_posix(): path for path in (self.work / "runs").rglob("*")}
        _merge(self.out / "logs.zip", logs)
        _merge(self.out / "runs.zip", {name: path for name, path in runs.items() if path.name in KEPT})
        whole = [asdict(one) for one in self.outcomes.values()]
        _replace(self.out / "report.json", json.dumps(whole, indent=1) + "\n")
        _replace(self.out / "report.md", self._page())

    def _page(self) -> str:
        lines = ["| part | command | state | seconds | |", "|---|---|---|---:|---|"]
        for one in self.outcomes.values():
            lines.append(f"| {one.part} | {one.command} | {one.state} | {one.seconds:.0f} | {one.note} |")
        for one in self.outcomes.values():
            log = self._log(one.part, one.command)
            if one.part == "benchmarks" and log.exists():
                lines += ["", f"## {one.command}", "", log.read_text("utf-8", errors="replace")]
        return "\n".join(lines) + "\n"


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes and those that they started: told first, killed after half of the grace."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, kind)
        until = time.monotonic() + GRACE_S / 2
        while time.monotonic() < until and any(process.poll() is None for process in processes):
            time.sleep(0.1)


def _merge(target: Path, files: dict[str, Path]) -> None:
    """Write ``files`` into an archive beside what it holds under other names."""
    aside = target.with_suffix(".aside")
    with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as archive:
        if target.exists():
            with zipfile.ZipFile(target) as old:
                for name in set(old.namelist()) - set(files):
                    archive.writestr(name, old.read(name))
        for name, path in sorted(files.items()):
            archive.write(path, name)
    aside.replace(target)


def _replace(target: Path, text: str) -> None:
    aside = target.with_suffix(".aside")
    aside.write_text(text, "utf-8")
    aside.replace(target)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=25.0, help="all of it (default: 25)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="what to bring back")
    parser.add_argument("--data", type=Path, metavar="ROOT", help="CIFAR-10 and ISIC-2017")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on the CPU")
    parser.add_argument("--parts", nargs="+", metavar="NAME", help="only those whose names begin so")
    parser.add_argument("--work", type=Path, help="runs with their checkpoints (default: in the temp folder)")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # not without ending what it has started
    work = args.work or Path(tempfile.gettempdir()) / f"on_gpu-{args.out.resolve().name}"
    session = Session(args.out, work.resolve(), args.minutes)
    data = None if args.data is None else args.data.resolve()
    for part in parts(session, data, args.dry_run):
        if args.parts is None or part.name.startswith(tuple(args.parts)):
            session.do(part)
    sys.exit(session.finish())


if __name__ == "__main__":
    main()
