"""Run all tests, benchmarks and experiments that need a GPU in half an hour.

    python benchmarks/on_gpu.py --minutes 25 --out DIR --data ROOT
    python benchmarks/on_gpu.py --dry-run --minutes 10 --out DIR     everything at tiny sizes on a CPU

In this order, each part with its share of the time: the tests marked `cuda`; losses.py and trainers.py; the published
protocol on CIFAR-10, and that on ISIC-2017. Commands of a part run in parallel if their times do not matter, since one
training leaves a GPU mostly idle. A command that fails or runs out of time does not stop the others; it is listed at
the end, and the exit status is 1. Rerunning the command resumes it: finished commands are skipped, trainings continue
from their checkpoints in --work.

DIR receives four small files, updated after each command: report.md, report.json, logs.zip and runs.zip (configuration,
metrics and summary of each run, readable by `seg-anl-report DIR/runs.zip`). They are merged with earlier results.

ROOT contains cifar-10-batches-py (or cifar10.npz with x_train, y_train, x_test, y_test) and ISIC-2017_Training_Data
with its ground truth and the validation or test folders. A part without its data is skipped, with a note.

An offline machine with PyTorch needs additional wheels. On a machine with network access, for the same Python version:

    pip download --no-deps --only-binary=:all: --python-version 3.12 -d wheels hydra-core 'omegaconf<2.4' monai nibabel
    pip wheel --no-deps -w wheels antlr4-python3-runtime==4.9.3

and on the offline machine:

    pip install --no-index --no-deps --target site wheels/*.whl; export PYTHONPATH=$PWD/site

The wheels take 6 MB. torchvision, scikit-image, scikit-learn, OpenCV, pandas, matplotlib, tqdm, filelock, pytest and
hypothesis must be installed too. If uploads are limited to 64 MiB, ISIC-2017 at 256 pixels fits into one (28 MB);
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
RUN_FILES = {"config.yaml", "environment.json", "inputs.json", "metrics.csv", "summary.json"}  # kept in runs.zip
CLASSIFY, SEGMENT = ["-m", "classification.train"], ["-m", "seg_anl.segmentation.train"]
MAIN_LOSSES = ["ce", "anl_ce", "anl_ce_er", "gce", "nce_rce", "ce_sr", "t_loss"]
CELLS = [("symmetric", 0.8, "anl_ce"), ("symmetric", 0.8, "ce"), ("asymmetric", 0.4, "anl_ce_er")]
GRACE_S = 10.0  # time to terminate processes


@dataclass(frozen=True)
class Part:
    """Commands (name -> arguments of python) with a common share of the time.

    Attributes:
        share: fraction of the minutes; unused time is left to later parts.
        at_once: number of commands that run in parallel.
        lacks: reason to skip the part, or empty.
    """

    name: str
    commands: dict[str, list[str]]
    share: float
    at_once: int = 1
    lacks: str = ""


@dataclass
class Outcome:
    """Outcome of a command: done, failed (with its status), stopped (out of time) or skipped."""

    part: str
    command: str
    state: str
    seconds: float = 0.0
    note: str = ""


def parts(session: Session, data: Path | None, dry: bool) -> Iterator[Part]:
    """The parts by priority; a generator, since later parts depend on the outcomes of earlier ones."""
    marked = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.cuda" in path.read_text("utf-8")]
    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not cuda" if dry else "cuda"]
    marked = [path for path in marked if path.name == "test_cuda.py" or not dry]
    tests = {f"{path.parent.name} {path.stem}": [*pytest, str(path.relative_to(ROOT))] for path in marked}
    nnunet_tests = {name: tests.pop(name) for name in list(tests) if name.startswith("nnunet ")}
    graphs = {"graph": [*tests["engine test_cuda"], "-k", "graph"]}
    no_nnunet = "" if importlib.util.find_spec("nnunetv2") else "nnunetv2 is not installed"
    on_cpu = "needs a GPU" if dry else ""
    yield Part("graphs", graphs, 0.1, lacks=on_cpu)
    yield Part("tests", tests, 0.2, 1 if dry else 4)
    yield Part("nnU-Net", nnunet_tests, 0.1, lacks=no_nnunet or on_cpu)
    yield Part("benchmarks", dict(_benchmarks(dry)), 0.25)
    work = session.work
    common = ["device=cpu" if dry else "device=cuda", "progress=false", "logger=null", f"run_root={work / 'runs'}"]
    protocol = [
        *CLASSIFY,
        *common,
        "data=cifar10",
        "preset=anl2024",
        "checkpoint_every=10",
        "evaluation.train_every=20",
    ]
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
    protocol = [*SEGMENT, *common, "preset=isic2017", "noise.alpha=0.7", "noise.beta=0.7", "checkpoint_every=10"]
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
    for precision in ("fp32", "bf16"):
        for flags in ([], ["--graph"], ["--compile"], ["--compile", "--graph"]):
            yield " ".join(["cnn8", precision, *flags]), [*classify, "--precision", precision, *flags]
    segment = [*trainer, "--size", "256", "--base-filters", "32", "--max-filters", "512", "--steps", "100"]
    for flags in ([], ["--compile"]):
        yield " ".join(["masks bf16", *flags]), [*segment, "--precision", "bf16", *flags]
    yield "cnn8 three at once", [*classify, "--precision", "bf16", "--runs-per-device", "3"]
    yield "cnn8 fed as usual", [*classify, "--precision", "bf16", "--loops", "usual", "--workers", "8"]
    yield "losses eager", [losses, "--rounds", "5", "--no-compile"]


def _cifar10(work: Path, data: Path | None, dry: bool) -> tuple[list[str], str]:
    """Settings of the data, and what is missing."""
    if dry:
        work.mkdir(parents=True, exist_ok=True)
        rng, file = np.random.default_rng(0), work / "tiny.npz"
        images, labels = rng.integers(0, 256, (48, 32, 32, 3), dtype=np.uint8), np.arange(48) % 10
        np.savez(file, x_train=images, y_train=labels, x_test=images[:16], y_test=labels[:16])
        return [f"data.file={file}", "epochs=1", "batch_size=16", "model=cnn4"], ""
    if data is not None and (data / "cifar10.npz").is_file():
        return [f"data.file={data / 'cifar10.npz'}"], ""
    if data is not None and (data / "cifar-10-batches-py").is_dir():
        return [f"data.root={data}", "data.download=false"], ""
    return [], "no cifar-10-batches-py or cifar10.npz in --data"


def _isic2017(data: Path | None, dry: bool) -> tuple[list[str], str]:
    if dry:
        tiny = ["data=embedded", "data.size=32", "data.limit=8", "epochs=1", "batch_size=4"]
        return [*tiny, "model.base_filters=4", "model.max_filters=8"], ""
    if data is not None and (data / "ISIC-2017_Training_Data").is_dir():
        return ["data=isic2017", f"data.root={data}", "precision=bf16"], ""
    return [], "no ISIC-2017_Training_Data in --data"


class Session:
    """Runs commands and records their outcomes in DIR."""

    def __init__(self, out: Path, work: Path, minutes: float) -> None:
        self.out, self.work, self.minutes = out, work, minutes
        self.started = time.monotonic()
        (work / "logs").mkdir(parents=True, exist_ok=True)
        out.mkdir(parents=True, exist_ok=True)
        earlier = json.loads((out / "report.json").read_text("utf-8")) if (out / "report.json").exists() else []
        self.outcomes = {(row["part"], row["command"]): Outcome(**row) for row in earlier}

    def remaining(self) -> float:
        """Seconds left, less the time to terminate the last processes."""
        return 60 * self.minutes - (time.monotonic() - self.started) - GRACE_S

    def do(self, part: Part) -> None:
        """Run the unfinished commands of a part within its share of the time."""
        end = time.monotonic() + min(part.share * 60 * self.minutes, self.remaining())
        waiting = {name: command for name, command in part.commands.items() if not self.is_done(part.name, name)}
        if part.lacks:
            for name in waiting:
                self._record(Outcome(part.name, name, "skipped", note=part.lacks))
            return
        running: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
        try:
            while waiting or running:
                self._update(part, waiting, running, end)
                time.sleep(0.1)
        finally:
            _terminate([process for process, _ in running.values()])

    def _update(
        self,
        part: Part,
        waiting: dict[str, list[str]],
        running: dict[str, tuple[subprocess.Popen[bytes], float]],
        end: float,
    ) -> None:
        """Start commands while there is room, stop those out of time, and record those that have ended."""
        now = time.monotonic()
        while waiting and len(running) < part.at_once and now < end:
            name = next(iter(waiting))
            running[name] = self._start(part, name, waiting.pop(name)), now
        if now >= end:
            for name in waiting:
                self._record(Outcome(part.name, name, "stopped", note="no time left to start it"))
            waiting.clear()
            _terminate([process for process, _ in running.values()])
        for name, (process, start) in list(running.items()):
            status = process.poll()
            if status is not None:
                del running[name]
                state = "done" if status == 0 else "stopped" if now >= end else "failed"
                note = "" if status == 0 else f"status {status}: {self._last_line(part.name, name)}"
                self._record(Outcome(part.name, name, state, round(now - start, 1), note))

    def finish(self) -> int:
        """Print what is not done; returns the exit status."""
        outcomes = self.outcomes.values()
        bad = [outcome for outcome in outcomes if outcome.state in ("failed", "stopped")]
        for outcome in (*bad, *(outcome for outcome in outcomes if outcome.state == "skipped")):
            print(f"{outcome.state}: {outcome.part}: {outcome.command}: {outcome.note}")
        print(f"{sum(outcome.state == 'done' for outcome in outcomes)} of {len(outcomes)} done; {self.out}")
        return int(bool(bad))

    def is_done(self, part: str, name: str) -> bool:
        """Whether a command has succeeded, now or in an earlier call."""
        outcome = self.outcomes.get((part, name))
        return outcome is not None and outcome.state == "done"

    def _start(self, part: Part, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        threads = max(1, (os.cpu_count() or 1) // part.at_once)
        defaults = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
        environment = {**defaults, **os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
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

    def _record(self, outcome: Outcome) -> None:
        self.outcomes[outcome.part, outcome.command] = outcome
        print(f"{outcome.state:>11}  {outcome.part}: {outcome.command} ({outcome.seconds:.0f} s)", flush=True)
        logs = {path.name: path for path in (self.work / "logs").iterdir()}
        runs = {path.relative_to(self.work / "runs").as_posix(): path for path in (self.work / "runs").rglob("*")}
        _merge(self.out / "logs.zip", logs)
        _merge(self.out / "runs.zip", {name: path for name, path in runs.items() if path.name in RUN_FILES})
        rows = [asdict(outcome) for outcome in self.outcomes.values()]
        _replace(self.out / "report.json", json.dumps(rows, indent=1) + "\n")
        _replace(self.out / "report.md", self._markdown())

    def _markdown(self) -> str:
        lines = ["| part | command | state | seconds | |", "|---|---|---|---:|---|"]
        for row in self.outcomes.values():
            lines.append(f"| {row.part} | {row.command} | {row.state} | {row.seconds:.0f} | {row.note} |")
        for row in self.outcomes.values():
            log = self._log(row.part, row.command)
            if row.part == "benchmarks" and log.exists():
                lines += ["", f"## {row.command}", "", log.read_text("utf-8", errors="replace")]
        return "\n".join(lines) + "\n"


def _terminate(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Terminate process groups, and kill those still running after half of the grace time."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, kind)
        deadline = time.monotonic() + GRACE_S / 2
        while time.monotonic() < deadline and any(process.poll() is None for process in processes):
            time.sleep(0.1)


def _merge(target: Path, files: dict[str, Path]) -> None:
    """Add ``files`` to an archive, replacing members of the same name."""
    temporary = target.with_suffix(".tmp")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        if target.exists():
            with zipfile.ZipFile(target) as old:
                for name in set(old.namelist()) - set(files):
                    archive.writestr(name, old.read(name))
        for name, path in sorted(files.items()):
            archive.write(path, name)
    temporary.replace(target)


def _replace(target: Path, text: str) -> None:
    temporary = target.with_suffix(".tmp")
    temporary.write_text(text, "utf-8")
    temporary.replace(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=25.0, help="total time (default: 25)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--data", type=Path, metavar="ROOT", help="folder with CIFAR-10 and ISIC-2017")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on the CPU")
    parser.add_argument("--parts", nargs="+", metavar="NAME", help="only parts whose names start with one of these")
    parser.add_argument("--work", type=Path, help="folder of runs and checkpoints (default: in the temp folder)")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # exit through `finally`, which terminates the commands
    work = args.work or Path(tempfile.gettempdir()) / f"on_gpu-{args.out.resolve().name}"
    session = Session(args.out, work.resolve(), args.minutes)
    data = None if args.data is None else args.data.resolve()
    for part in parts(session, data, args.dry_run):
        if args.parts is None or part.name.startswith(tuple(args.parts)):
            session.do(part)
    sys.exit(session.finish())


if __name__ == "__main__":
    main()
