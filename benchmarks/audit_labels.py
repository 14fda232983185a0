"""How well ``seg-anl-audit labels`` finds wrong labels on CIFAR-10, with human (CIFAR-10N) or synthetic noise.

For each kind of noise and each loss, trains one network on everything (in-sample, with training dynamics) and one per
fold of five, audits them, and prints average precision, precision at the true count and the estimated share of wrong
labels. A second call trains only missing runs.

With ``--loop``: audits one network with the commands, drops or replaces what they suspect, trains on every set of
labels and prints accuracies on the clean test images.

Example:
    python benchmarks/audit_labels.py cifar10.npz RUNS --noise worst aggregate --losses ce anl_ce --epochs 20
    python benchmarks/audit_labels.py cifar10.npz RUNS --noise worst --losses ce anl_ce --seeds 1 2 3 --loop
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SOURCES = {"folds": "five folds of", "one": "in-sample"}
# As for the eight losses on 4000 pictures in docs/classification.md.
SETTINGS = [
    "data=arrays", "data.mean=[0.4914,0.4822,0.4465]", "data.std=[0.24703,0.24349,0.26159]", "data.flips=cifar10",
    "augmentation.crop_padding=4", "augmentation.flip=0.5", "optim.lr=0.01", "optim.clip_norm=5.0", "batch_size=32",
    "evaluation.train_every=0", "progress=false", "data.test_limit=1000",
]  # fmt: skip
DECAY = {"anl_ce": ["optim.weight_decay=0", "optim.l1=5e-5"]}
SETS = ("noisy", "dropped", "replaced", "clean")
SYNTHETIC = {"symmetric": ["noise=symmetric", "noise.rate=0.4"], "asymmetric": ["noise=asymmetric", "noise.rate=0.4"]}


class Row(NamedTuple):
    """Ranking quality of one score: ``at_count`` is its precision at the true number of wrong labels."""

    noise: str
    source: str
    score: str
    average_precision: float
    at_count: float
    estimated: float
    wrong: float


def main() -> None:
    """Train, audit, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "data", type=Path, help="x_train, y_train, x_test, y_test, worse_label, aggre_label in one .npz"
    )
    parser.add_argument("runs", type=Path, help="folder of the runs")
    parser.add_argument(
        "--noise", nargs="+", default=["worst", "aggregate"], choices=["worst", "aggregate", *SYNTHETIC]
    )
    parser.add_argument("--losses", nargs="+", default=["ce", "anl_ce"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--limit", type=int, default=5000, help="training images")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--model", default="cnn4")
    parser.add_argument("--sources", nargs="+", default=["folds", "one"], choices=["folds", "one"])
    parser.add_argument("--loop", action="store_true", help="audit, mend, and train again")
    arguments = parser.parse_args()
    if arguments.loop:
        loop(arguments)
        return
    rows = [
        row
        for noise in arguments.noise
        for loss in arguments.losses
        for seed in arguments.seeds
        for row in audit_runs(arguments, noise, loss, seed)
    ]
    print(table(rows))


def audit_runs(arguments: argparse.Namespace, noise: str, loss: str, seed: int) -> Iterable[Row]:
    """Train and audit every source of predictions; yields a row per score."""
    from seg_anl.audit.label_scores import audit_labels
    from seg_anl.audit.label_sources import open_labels

    clean = np.load(arguments.data)["y_train"]
    for kind in arguments.sources:
        name, source = f"{SOURCES[kind]} {loss}", open_labels(train_runs(arguments, noise, loss, seed, kind))
        wrong = clean[np.array(source.items, dtype=int)] != source.labels
        audit = audit_labels(source)
        for score, values in audit.scores.items():
            order = np.argsort(-values, kind="stable")
            at_count = float(wrong[order[: wrong.sum()]].mean())
            precision = average_precision(wrong[order])
            yield Row(noise, name, score, precision, at_count, audit.noise_rate, float(wrong.mean()))


def train_runs(arguments: argparse.Namespace, noise: str, loss: str, seed: int, kind: str) -> Path:
    """Train the runs of one audit; returns their folder."""
    from classification.experiment import train
    from seg_anl.engine.command import compose

    noise_settings = SYNTHETIC.get(noise, ["noise=human", f"noise.labels={noise}", f"noise.file={arguments.data}"])
    root = arguments.runs / f"{noise}-{loss}-seed{seed}-{kind}"
    settings = [
        *(f"data.file={arguments.data}", f"data.limit={arguments.limit}", f"model={arguments.model}", f"loss={loss}"),
        *(f"epochs={arguments.epochs}", f"seed={seed}", f"run_root={root}"),
        *DECAY.get(loss, ["optim.weight_decay=1e-4"]),
        "folds=5" if kind == "folds" else "record=[predictions,dynamics]",
    ]
    train(compose("classification", [*SETTINGS, *noise_settings, *settings]))
    return root


def loop(arguments: argparse.Namespace) -> None:
    """Audit one in-sample network of cross entropy, mend the labels, train on every set and print test accuracies."""
    noise, audited_seed = arguments.noise[0], arguments.seeds[0]
    (summary,) = train_runs(arguments, noise, "ce", audited_seed, "one").rglob("summary.json")
    out = arguments.runs / f"{noise}-loop"
    command = [sys.executable, "-m", "seg_anl.audit.command"]
    subprocess.run([*command, "labels", str(summary.parent), str(out / "audit")], check=True)
    for name, action in (("dropped", "--drop"), ("replaced", "--replace")):
        if not (out / name).is_dir():
            subprocess.run([*command, "apply", str(out / "audit"), str(out / name), action], check=True)
    write_unmended(arguments.data, out)
    truth = np.load(out / "clean" / "dataset.npz")["y_train"]
    print("| labels | loss | images | wrong | test accuracy | by seed |\n|---|---|---|---|---|---|")
    for name in SETS:
        labels = np.load(out / name / "dataset.npz")["y_train"]
        kept = ~suspected(out / "audit")[1] if name == "dropped" else slice(None)
        for loss in arguments.losses:
            accuracies = [100 * value for value in retrain(arguments, out, name, loss, len(truth) / len(labels))]
            mean = f"{statistics.fmean(accuracies):.1f}"
            mean += f" ± {statistics.stdev(accuracies):.1f}" if len(accuracies) > 1 else ""
            by_seed = ", ".join(f"{value:.1f}" for value in accuracies)
            wrong = (labels != truth[kept]).sum()
            print(f"| {name} | {loss} | {len(labels)} | {wrong} | {mean} | {by_seed} |")


def suspected(audit: Path) -> tuple[Any, Any]:
    """The audited items in the order of the data set, and whether each is suspected."""
    with (audit / "audit.csv").open() as file:
        rows = sorted((int(row["item"]), row["suspected"] == "1") for row in csv.DictReader(file))
    items, flags = zip(*rows, strict=True)
    return np.array(items), np.array(flags)


def write_unmended(data: Path, out: Path) -> None:
    """Write the audited images with the labels that they were given, and with the right ones."""
    items, _ = suspected(out / "audit")
    with (out / "audit" / "audit.csv").open() as file:
        given = {int(row["item"]): int(row["given"]) for row in csv.DictReader(file)}
    arrays = np.load(data)
    for name, labels in (("noisy", np.array([given[item] for item in items])), ("clean", arrays["y_train"][items])):
        (out / name).mkdir(exist_ok=True)
        test = {key: arrays[key] for key in ("x_test", "y_test")}
        np.savez(out / name / "dataset.npz", x_train=arrays["x_train"][items], y_train=labels, **test)


def retrain(arguments: argparse.Namespace, out: Path, name: str, loss: str, longer: float) -> list[float]:
    """Test accuracies of the last epoch, by seed; fewer images are trained for as many steps."""
    from classification.experiment import train
    from seg_anl.engine.command import compose

    epochs = round(arguments.epochs * longer)
    settings = [
        *(f"data.file={out / name / 'dataset.npz'}", "noise=none", f"model={arguments.model}", f"loss={loss}"),
        *(f"epochs={epochs}", f"seed={arguments.seeds}", f"run_root={out / 'runs' / name}", "data.test_limit=null"),
        *("evaluation.last_k=1", f"evaluation.test_every={epochs}", "precision=bf16", "channels_last=true"),
        *DECAY.get(loss, ["optim.weight_decay=1e-4"]),
    ]
    runs = train(compose("classification", [*SETTINGS, *settings]))
    return [float(run.summary["metrics"]["test/accuracy"]["last"]) for run in runs if run.summary]


def average_precision(wrong: Any) -> float:
    """Mean precision at each wrong item, for items ranked by score, most suspicious first.

    >>> average_precision(np.array([True, False, True]))
    0.8333333333333333
    """
    hits = np.cumsum(wrong)[wrong]
    return float((hits / (np.flatnonzero(wrong) + 1)).mean())


def table(rows: list[Row]) -> str:
    """Means over seeds, with standard deviations if there are several seeds."""
    lines = [
        "| labels | source | score | average precision | precision at the true count | estimated wrong | wrong |",
        "|---" * 7 + "|",
    ]
    for key in dict.fromkeys(row[:3] for row in rows):
        same = [row for row in rows if row[:3] == key]
        cells = [_format_mean([float(row[column]) for row in same]) for column in range(3, 7)]
        lines.append(f"| {' | '.join([*key, *cells])} |")
    return "\n".join(lines)


def _format_mean(values: list[float]) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else math.nan
    mean = statistics.fmean(values)
    return f"{mean:.3f}" if math.isnan(spread) else f"{mean:.3f} ± {spread:.3f}"


if __name__ == "__main__":
    main()
