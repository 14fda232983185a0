"""How well wrong labels are found on pictures of CIFAR-10 whose human labels (CIFAR-10N) lie beside the right ones.

Trains, for each kind of wrong labels and each loss, one network on everything (in-sample, with its dynamics) and one
for each of five folds, audits them, and prints average precision, precision at the true count and the estimated share
of wrong labels. A second call trains only what is missing.

Example:
    python benchmarks/audit_labels.py cifar10.npz RUNS --noise worst aggregate --losses ce anl_ce --epochs 20
"""

from __future__ import annotations

import argparse
import math
import statistics
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
SYNTHETIC = {"symmetric": ["noise=symmetric", "noise.rate=0.4"], "asymmetric": ["noise=asymmetric", "noise.rate=0.4"]}


class Row(NamedTuple):
    """How well one score of an audit ranks: ``at_count`` is its precision at the true number of wrong labels."""

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
    parser.add_argument("--limit", type=int, default=5000, help="pictures")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--model", default="cnn4")
    parser.add_argument("--sources", nargs="+", default=["folds", "one"], choices=["folds", "one"])
    arguments = parser.parse_args()
    rows = [
        row
        for noise in arguments.noise
        for loss in arguments.losses
        for seed in arguments.seeds
        for row in audited(arguments, noise, loss, seed)
    ]
    print(table(rows))


def audited(arguments: argparse.Namespace, noise: str, loss: str, seed: int) -> Iterable[Row]:
    """The scores of five folds, and of one network that has seen everything."""
    from seg_anl.audit.label_scores import audit_labels
    from seg_anl.audit.label_sources import open_labels

    clean = np.load(arguments.data)["y_train"]
    for kind in arguments.sources:
        name, source = f"{SOURCES[kind]} {loss}", open_labels(trained(arguments, noise, loss, seed, kind))
        wrong = clean[np.array(source.items, dtype=int)] != source.labels
        found = audit_labels(source)
        for score, values in found.scores.items():
            order = np.argsort(-values, kind="stable")
            at_count = float(wrong[order[: wrong.sum()]].mean())
            precision = average_precision(wrong[order])
            yield Row(noise, name, score, precision, at_count, found.noise_rate, float(wrong.mean()))


def trained(arguments: argparse.Namespace, noise: str, loss: str, seed: int, kind: str) -> Path:
    """The folder of the runs of one audit."""
    from classification.experiment import train
    from seg_anl.engine.command import compose

    of_noise = SYNTHETIC.get(noise, ["noise=human", f"noise.labels={noise}", f"noise.file={arguments.data}"])
    root = arguments.runs / f"{noise}-{loss}-seed{seed}-{kind}"
    more = "folds=5" if kind == "folds" else "record=[predictions,dynamics]"
    own = [f"data.file={arguments.data}", f"data.limit={arguments.limit}", f"model={arguments.model}", f"loss={loss}"]
    own += [
        f"epochs={arguments.epochs}",
        f"seed={seed}",
        f"run_root={root}",
        *DECAY.get(loss, ["optim.weight_decay=1e-4"]),
    ]
    train(compose("classification", [*SETTINGS, *of_noise, *own, more]))
    return root


def average_precision(wrong: Any) -> float:
    """Of items in the order of their scores, worst first: the mean precision at each one that is wrong.

    >>> average_precision(np.array([True, False, True]))
    0.8333333333333333
    """
    hits = np.cumsum(wrong)[wrong]
    return float((hits / (np.flatnonzero(wrong) + 1)).mean())


def table(rows: list[Row]) -> str:
    """Means over seeds, with their spread where there are several."""
    lines = [
        "| labels | source | score | average precision | precision at the true count | estimated wrong | wrong |",
        "|---" * 7 + "|",
    ]
    for key in dict.fromkeys(row[:3] for row in rows):
        same = [row for row in rows if row[:3] == key]
        cells = [_spread([float(row[place]) for row in same]) for place in range(3, 7)]
        lines.append(f"| {' | '.join([*key, *cells])} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else math.nan
    mean = statistics.fmean(values)
    return f"{mean:.3f}" if math.isnan(spread) else f"{mean:.3f} ± {spread:.3f}"


if __name__ == "__main__":
    main()
