"""How well ``seg-anl-audit masks`` finds mistakes in one of several structures of volumes.

    python benchmarks/audit_structures.py runs/hippocampus OUT

RUNS holds runs of seg-anl-train on an nnU-Net raw data set, as docs/volumes.md trains them. Each run predicts its
held-out cases; their masks are corrupted by ``seg-anl-noise masks``, in one structure at a time and in all of them, and
audited. One line per run and draw: average precision of the default score, of contradiction (by images), displacement
and plain Dice whatever the default, and of cleanlab's segmentation score; the estimated share of wrong masks, how many
of the wrong masks are suspected (recall), and how many suspected ones are wrong (precision). At the end, the means over
the runs of one loss and noise. The predictions stay in OUT; a second call does only what is missing.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf

from data_prep.nnunet_raw import DESCRIPTION, LABELS, place, read_description
from seg_anl.audit.masks_report import summarize
from seg_anl.audit.sources import open_source
from seg_anl.audit.streaming import score_cases
from seg_anl.engine.checkpoint import load_model
from seg_anl.engine.run_directory import RunDirectory
from seg_anl.engine.settings import plain
from seg_anl.records import UserError, make_directory, write_json, written_aside
from seg_anl.records.atomic import folder_aside
from seg_anl.records.ranges import checked
from seg_anl.segmentation.volumes.cases import Case
from seg_anl.segmentation.volumes.planning import Plan
from seg_anl.segmentation.volumes.prediction import PLAN_FILE, predicted_logits
from seg_anl.segmentation.volumes.preparation import Preparation
from seg_anl.segmentation.volumes.settings import VolumeDataSettings

RANKINGS = ("contradiction", "displacement", "hard_dice")  # besides the default and cleanlab's
COLUMNS = ("default", "by images", "displacement", "plain Dice", "cleanlab", "estimated", "recall", "precision")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("runs", type=Path)
    add("out", type=Path)
    add("--losses", nargs="+", default=["ce", "t_loss"], metavar="NAME")
    add("--beta", type=float, default=0.5)
    options = parser.parse_args()
    means: dict[tuple[str, ...], list[list[float]]] = defaultdict(list)
    print(f"| run | wrong structure | truly wrong | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 3)}")
    for summary in sorted(options.runs.rglob("summary.json")):
        run = RunDirectory(summary.parent)
        config = run.config()
        if config.loss.name not in options.losses:
            continue
        network = f"{config.loss.name}, trained at alpha {config.noise.alpha}"
        predictions = options.out / f"{config.loss.name}-{config.noise.alpha}-{run.path.name}"
        held_out = predict(run, predictions)
        structures = {name: value for name, value in read_description(held_out)["labels"].items() if value}
        sets = [("none", 0.0, list(structures.values()))]
        sets += [("any", alpha, list(structures.values())) for alpha in (0.1, 0.3, 0.5)]
        sets += [(f"{name} alone", alpha, [value]) for name, value in structures.items() for alpha in (0.1, 0.3, 0.5)]
        for name, alpha, labels in sets:
            noisy = corrupted(held_out, options.out, alpha, options.beta, labels, config.seed)
            wrong, cells = audit(predictions, noisy)
            print(f"| {network}, seed {config.seed} | {name} | {wrong:.2f} | {row(cells)} |", flush=True)
            means[network, name, f"{wrong:.2f}"].append(cells)
    print("\nMeans")
    for key, rows in means.items():
        print(f"| {' | '.join(key)} | {row(np.mean(rows, axis=0))} |")


def row(cells: Any) -> str:
    return " | ".join("" if np.isnan(cell) else f"{cell:.2f}" for cell in cells)


@torch.inference_mode()
def predict(run: RunDirectory, out: Path) -> Path:
    """Write class probabilities of the held-out cases, and their raw data set next to ``out``; returns the latter."""
    config, plan, device = run.config(), Plan.read(run.path / PLAN_FILE), torch.device("cpu")
    data = checked(VolumeDataSettings, plain(config.data), "data")
    source = Path(config.data.root)
    with (run.path / "cases.csv").open() as file:
        items = sorted({case["item"] for case in csv.DictReader(file)})
    raw = out.parent / "held-out" / "Dataset999_HeldOut"
    if not raw.exists():
        make_directory(raw.parent)
        with folder_aside(raw) as aside:
            for item in items:
                for name in (f"imagesTr/{item}_0000.nii.gz", f"{LABELS}/{item}.nii.gz"):
                    make_directory((aside / name).parent)
                    place(source / name, aside / name, copy=True)
            write_json(aside / DESCRIPTION, read_description(source) | {"numTraining": len(items)})
    if {path.name.removesuffix(".nii.gz") for path in (raw / LABELS).iterdir()} != set(items):
        raise UserError(f"{run.path}: has other held-out cases than the runs before it")
    out.mkdir(parents=True, exist_ok=True)
    if missing := [item for item in items if not (out / f"{item}.npy").exists()]:
        model = plan.model(config.get("model") or OmegaConf.create())
        load_model(run.last, model, device)
        model.eval()
        preparation = Preparation(plan.frame, plan.labels, data.intensity, data.window)
        for item in missing:
            prepared = preparation.image(Case(item, (source / "imagesTr" / f"{item}_0000.nii.gz",)))
            logits = predicted_logits(model, prepared.image, plan.patch, device)
            probabilities = prepared.restored(plan.labels.probabilities(logits))
            with written_aside(out / f"{item}.npy") as aside, aside.open("wb") as file:
                np.save(file, probabilities.numpy().astype(np.float16))
    return raw


def corrupted(raw: Path, out: Path, alpha: float, beta: float, labels: list[int], seed: int) -> Path:
    """A copy of a raw data set with wrong masks, made by the command."""
    name = f"alpha{alpha}-beta{beta}-labels{'-'.join(map(str, labels))}-seed{seed}"
    noisy = out / "noisy" / name / raw.name
    if not (noisy / "manifest.json").exists():
        words = ["masks", raw, noisy, "--alpha", alpha, "--beta", beta, "--seed", seed, "--labels", *labels]
        command = ["seg-anl-noise", *map(str, words), "--no-distances"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return noisy


def audit(predictions: Path, noisy: Path) -> tuple[float, list[float]]:
    """The true share of wrong masks, and the cells of :data:`COLUMNS`."""
    from sklearn.metrics import average_precision_score

    records = json.loads((noisy / "manifest.json").read_text())["items"]
    source = open_source(predictions, noisy, None, None)
    journal = noisy.parent / predictions.name
    journal.mkdir(exist_ok=True)
    audit = summarize(score_cases(source, journal, None, 1), source, None)
    shutil.rmtree(journal)
    wrong = {record["item"]: record["realised"] > 0 for record in records}
    truth = np.array([wrong[case["item"]] for case in audit.cases])
    suspected = np.array([bool(case["suspected"]) for case in audit.cases])

    def worst(values: dict[str, list[float]]) -> NDArray[np.float64]:
        return np.array([max(values[case["item"]], default=0.0) for case in audit.cases])

    by_item: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in RANKINGS}
    for one in audit.structures:
        for name, values in by_item.items():
            values[one["item"]].append(one[name])
    default, cleanlab = (np.array([case[name] for case in audit.cases]) for name in ("score", "self_confidence"))
    rankings = (default, *map(worst, by_item.values()), cleanlab)
    precise = [average_precision_score(truth, ranking) if truth.any() else np.nan for ranking in rankings]
    recall = suspected[truth].mean() if truth.any() else np.nan
    precision = truth[suspected].mean() if truth.any() and suspected.any() else np.nan
    return float(truth.mean()), [*precise, audit.share.value, recall, precision]


if __name__ == "__main__":
    main()
