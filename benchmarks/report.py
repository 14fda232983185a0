"""Time of a full report on 400 synthetic run directories of 120 epochs.

The runs have the metrics of classification with ten classes, with random values: accuracy and marginals on the test
set; accuracies, marginals, loss and learning rate on the training set. The command runs in its own process, so the time
includes the start of Python, reading, averaging and every output.

Example:
    python benchmarks/report.py --runs 400 --rounds 3
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from seg_anl.records import SUMMARY_SCHEMA, MetricRow, write_json, write_metrics, write_text
from seg_anl.records.runs import CONFIG_FILE, METRICS_FILE, SUMMARY_FILE, summarize

LIMIT = 10.0  # seconds
CLASSES = 10
LOSSES = ("ce", "focal", "mae", "gce", "sce", "nce_rce", "nce_agce", "anl_ce", "anl_fl", "anl_ce_er")
NOISES = (
    ("none", None),
    *(("symmetric", rate) for rate in (0.2, 0.4, 0.6, 0.8)),
    *(("asymmetric", rate) for rate in (0.1, 0.2, 0.3, 0.4)),
    *(("part_dependent", rate) for rate in (0.2, 0.4)),
    *(("pair_flip", rate) for rate in (0.2, 0.4)),
    ("human", None),
)


def make_runs(root: Path, count: int, epochs: int) -> None:
    settings = itertools.islice(itertools.product((1, 2, 3), NOISES, LOSSES), count)
    for index, (seed, (kind, rate), loss) in enumerate(settings):
        noise: dict[str, Any] = {"kind": kind, "seed": seed}
        noise |= {} if rate is None else {"rate": rate, "counts": "cell"}
        noise |= {"labels": "worst"} if kind == "human" else {}
        folder = root / f"cifar10/{kind}{rate or ''}/{loss}/seed{seed}"
        folder.mkdir(parents=True)
        make_run(folder, {"loss": {"name": loss}, "noise": noise, "seed": seed, "epochs": epochs}, index)


def make_run(folder: Path, settings: dict[str, Any], seed: int) -> None:
    config: dict[str, Any] = {
        "task": "classification",
        "batch_size": 128,
        "precision": "fp32",
        "evaluation": {"last_k": 1, "train_every": 1, "batch_size": 512},
        "data": {"name": "cifar10", "root": None, "limit": None, "tuning": 0.0, "mean": [0.49, 0.48, 0.45]},
        "model": {"name": "cnn8"},
        "method": {"name": "plain"},
        "optim": {"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4, "schedule": "cosine", "l1": 0.0},
        "augmentation": {"crop_padding": 4, "flip": 0.5, "rotation": 0.0},
        "preset": "anl2024",
        **settings,
    }
    rows = random_rows(settings["epochs"], np.random.default_rng(seed))
    write_text(folder / CONFIG_FILE, OmegaConf.to_yaml(OmegaConf.create(config)))
    write_metrics(folder / METRICS_FILE, rows)
    kept = ("task", "data", "model", "preset", "loss", "noise", "method", "optim", "seed", "epochs")
    summary = {
        "schema": SUMMARY_SCHEMA,
        "status": "finished",
        **{key: config[key] for key in kept},
        "headline": "test/accuracy",
        "k": 1,
        "counts": {"train": 50000, "test": 10000, "wrong_labels": None},
        "metrics": summarize(rows, 1),
    }
    write_json(folder / SUMMARY_FILE, summary)


def random_rows(epochs: int, generator: np.random.Generator) -> list[MetricRow]:
    level = generator.uniform(0.4, 0.9)
    rows = []
    for epoch in range(epochs):
        mean = level * (1 - 0.8 * 0.95**epoch)

        def sample(mean: float = mean) -> float:
            return float(mean + 0.02 * generator.standard_normal())

        marginals = {f"marginal_{k}": float(generator.uniform(0.05, 0.15)) for k in range(CLASSES)}
        names = ("accuracy", "accuracy_clean", "accuracy_mislabelled", "accuracy_true", "loss", "lr")
        rows.append(MetricRow(epoch, "test", {"accuracy": sample(), **marginals}))
        rows.append(MetricRow(epoch, "train", {**{name: sample() for name in names}, **marginals}))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="write the runs to this folder and keep them")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = options.keep or Path(scratch) / "runs"
        make_runs(root, options.runs, options.epochs)
        out = Path(scratch) / "report"
        command = [sys.executable, "-m", "seg_anl.reporting.command", str(root), "--out", str(out)]
        seconds = []
        for _ in range(options.rounds):
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - start)
        size = sum(path.stat().st_size for path in out.iterdir()) / 1e6
    print(f"python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{options.runs} runs of {options.epochs} epochs: {', '.join(f'{s:.2f} s' for s in seconds)}; {size:.1f} MB")
    if min(seconds) > LIMIT:
        raise SystemExit(f"slower than {LIMIT} s")


if __name__ == "__main__":
    main()
