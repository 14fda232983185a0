"""How well ``seg-anl-audit masks`` finds synthetic mask errors.

    python benchmarks/audit_masks.py train ISIC RUNS --alpha 0.3 --beta 0.7 --loss anl_ce --folds 2
    python benchmarks/audit_masks.py score RUNS [--redraw SEED [--alone]]
    python benchmarks/audit_masks.py loop ISIC RUNS/NOISE/NETWORK --epochs 20
    python benchmarks/audit_masks.py volumes FOLDER --cases 1000 --workers 2

``train`` resizes images of a folder in a layout of ``seg-anl-prep``, corrupts a share of their masks, trains networks
on folds (``--folds 1``: one network on everything, in-sample) and writes class probabilities for every image. ``score``
audits all probabilities below RUNS and compares the result with the truth: average precision (AP), area under the ROC
curve, precision at the true count, diagnoses and the estimated share. It also ranks by cleanlab's segmentation score
(extra ``audit``) and by plain Dice. ``loop`` audits the masks of one such network with the commands, corrects them,
retrains on every set and prints test Dice on ISIC-2017's validation images. ``volumes`` writes volumes of 96 x 96 x 64
with 4 classes to FOLDER (0.6 GB), audits them, prints speed and memory, and deletes FOLDER. A second call of ``train``
or ``loop`` does only what is missing; ``volumes`` resumes after being killed.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.layouts import find_pairs
from data_prep.mask_noise import noisy_dataset
from data_prep.pairing import Pair
from data_prep.pictures import read_image, read_mask
from seg_anl.audit.masks_report import Audit, summarize
from seg_anl.audit.sources import open_source
from seg_anl.audit.streaming import JOURNAL, score_cases
from seg_anl.records import item_hash, write_manifest

DRAWS = [(alpha, beta) for alpha in (0.1, 0.3, 0.5) for beta in (0.3, 0.7)]
SETS = ("noisy", "dropped", "ignored", "replaced", "clean")
KINDS = ("erode", "dilate", "affine", "boundary", "polygon", "holes", "spurious")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("train").add_argument
    add("data", type=Path)
    add("runs", type=Path)
    add("--alpha", type=float, default=0.3)
    add("--beta", type=float, default=0.7)
    add("--kinds", nargs="+", default=list(KINDS))
    add("--images", type=int, default=400)
    add("--size", type=int, default=64)
    add("--loss", default="anl_ce")
    add("--folds", type=int, default=2)
    add("--epochs", type=int, default=40)
    add("--seed", type=int, default=0, help="seed of the noise, the folds and the networks")
    add("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of seg-anl-train; not part of folder names")
    add = commands.add_parser("score").add_argument
    add("runs", type=Path)
    add("--redraw", type=int, metavar="SEED", help="audit other mask errors with the same predictions")
    add("--alone", action="store_true", help="with --redraw: each kind alone, at alpha 0.3 and beta 0.7")
    add = commands.add_parser("loop").add_argument
    add("data", type=Path)
    add("network", type=Path, help="RUNS/NOISE/NETWORK of `train`")
    add("--sets", nargs="+", default=list(SETS), choices=SETS)
    add("--losses", nargs="+", default=["ce", "anl_ce"])
    add("--seeds", nargs="+", type=int, default=[1, 2, 3])
    add("--epochs", type=int, default=20)
    add("--filters", type=int, default=16, help="filters of the network's first stage")
    add("--only-table", action="store_true", help="only print the table of finished runs")
    add = commands.add_parser("volumes").add_argument
    add("folder", type=Path)
    add("--different", type=int, default=100, metavar="N", help="unique volumes; the others are hard links to them")
    add("--cases", type=int, default=1000)
    add("--workers", type=int, default=2)
    add("--cleanlab", type=int, default=60, metavar="N", help="also rank N of them with cleanlab")
    arguments = parser.parse_args()
    {"train": train, "score": score, "loop": loop, "volumes": volumes}[arguments.command](arguments)


def train(options: argparse.Namespace) -> None:
    name = "mixed" if tuple(options.kinds) == KINDS else "+".join(options.kinds)
    noise = f"a{options.alpha:g}-b{options.beta:g}-{name}-n{options.images}-s{options.size}-seed{options.seed}"
    folder = options.runs / noise
    if not (folder / "manifest.csv").exists():
        make_data(folder, options)
    items = sorted(path.stem for path in (folder / "images").iterdir())
    out = folder / f"{options.loss}-folds{options.folds}" / "predictions"
    out.mkdir(parents=True, exist_ok=True)
    ranked = sorted(items, key=lambda item: item_hash(options.seed, item, "fold"))
    for fold in range(options.folds):
        held_out = ranked[fold :: options.folds]
        train_items = items if options.folds == 1 else sorted(set(items) - set(held_out))
        if all((out / f"{item}.npz").exists() for item in held_out):
            continue
        data, run = out.parent / f"data{fold}", out.parent / f"run{fold}"
        # seg-anl-train needs test images, even if their scores are not used.
        test_items = held_out if options.folds > 1 else held_out[:16]
        for split, names in (("train", train_items), ("test", test_items)):
            for part in ("images", "masks"):
                (data / split / part).mkdir(parents=True, exist_ok=True)
                for item in names:
                    link = data / split / part / f"{item}.png"
                    if not link.is_symlink():
                        link.symlink_to((folder / part / f"{item}.png").resolve())
        settings = {
            "data": "folder", "data.root": data, "data.size": options.size, "loss": options.loss, "preset": "small",
            "epochs": options.epochs, "seed": options.seed + 1, "noise.alpha": 0, "run_dir": run, "workers": 1,
            "progress": "false", "evaluation.train_every": options.epochs, "checkpoint_every": options.epochs,
        }  # fmt: skip
        words = [*(f"{key}={value}" for key, value in settings.items()), *options.set]
        subprocess.run([sys.executable, "-m", "seg_anl.segmentation.train", *words], check=True)
        predict(run, folder / "images", held_out, out)


def make_data(folder: Path, options: argparse.Namespace) -> None:
    pairs = find_pairs("folder", options.seed, root=options.data, limit=options.images).train
    for part in ("images", "masks", "truth"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    truth = [resize_pair(pair, options.size, folder / "images") for pair in pairs]
    settings = {"alpha": options.alpha, "beta": options.beta, "kinds": options.kinds, "seed": options.seed}
    noisy, records = noisy_dataset(truth, [pair.item for pair in pairs], **settings)
    for record, clean, wrong in zip(records, truth, noisy, strict=True):
        cv2.imwrite(str(folder / "truth" / f"{record.item}.png"), clean * 255)
        cv2.imwrite(str(folder / "masks" / f"{record.item}.png"), wrong * 255)
    write_manifest(folder, settings, records)


def resize_pair(pair: Pair, side: int, images: Path) -> NDArray[np.uint8]:
    """Write the resized image to ``images`` and return the resized mask."""
    image, _ = read_image(pair.image.open(), pair.image.name)
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(images / f"{pair.item}.png"), small[..., ::-1])
    mask = read_mask(pair.mask.open(), pair.mask.name, threshold=127)
    return np.asarray(cv2.resize(mask, (side, side), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)


DIAGNOSES = {
    "erode": "eroded", "dilate": "dilated", "affine": "shifted", "holes": "part missing", "spurious": "part added",
    "boundary": "coarse outline", "polygon": "coarse outline",
}  # fmt: skip


def score(options: argparse.Namespace) -> None:
    import pandas as pd

    confusion: dict[str, Counter[str]] = {}
    rows = []
    for predictions in sorted(options.runs.glob("*/*/predictions")):
        folder, network = predictions.parents[1], predictions.parent
        truth = json.loads((folder / "manifest.json").read_text())["items"]
        if len(list(predictions.glob("*.npz"))) < len(truth):
            continue
        sets = [(folder.name, folder / "masks", truth, network / "audit")]
        if options.redraw is not None:
            draws = [((kind,), 0.3, 0.7) for kind in KINDS] if options.alone else [(KINDS, *d) for d in DRAWS]
            draws = [] if "folds1" in network.name else draws  # an in-sample network was trained on one draw
            sets = [redraw(folder, network, kinds, alpha, beta, options.redraw) for kinds, alpha, beta in draws]
        for name, masks, records, out in sets:
            source = open_source(predictions, masks, folder / "images", None)
            out.mkdir(exist_ok=True)
            audit = summarize(score_cases(source, out, None, 1), source, None)
            quality = cleanlab_quality([row["item"] for row in audit.cases], predictions, masks)
            numbers = compare(audit, {record["item"]: record for record in records}, quality, confusion)
            rows.append({"noise": name, "network": network.name, **numbers})
            if len(rows) == 1:
                print(*rows[0], sep=",")
            print(name, network.name, *(f"{value:.3f}" for value in numbers.values()), sep=",", flush=True)
    if not rows:
        sys.exit(f"{options.runs}: no predictions of all images; run `train` first")
    table = pd.DataFrame(rows)
    seeds = table.assign(noise=table.noise.str.replace(r"-seed\d+", "", regex=True)).groupby(["noise", "network"])
    means = seeds.mean().assign(seeds=seeds.size()).reset_index()
    print(f"\nMeans over seeds:\n{means.to_csv(float_format='%.3f', index=False)}")
    kinds = sorted({kind for row in confusion.values() for kind in row})
    print(f"\n| true | {' | '.join(kinds)} |\n|" + "---|" * (len(kinds) + 1))
    for kind, row in sorted(confusion.items()):
        print(f"| {kind} | {' | '.join(str(row[name]) for name in kinds)} |")


def redraw(
    folder: Path, network: Path, kinds: tuple[str, ...], alpha: float, beta: float, seed: int
) -> tuple[str, Path, list[Any], Path]:
    """Write masks with other errors; returns a name, the folder of masks, the records and the audit's folder."""
    name = f"a{alpha:g}-b{beta:g}" + ("" if kinds == KINDS else f"-{'+'.join(kinds)}")
    out = network / f"redrawn-{name}-seed{seed}"
    (out / "masks").mkdir(parents=True, exist_ok=True)
    paths = sorted((folder / "truth").iterdir())
    truth = [read_mask(path, path.name) for path in paths]
    noisy, records = noisy_dataset(truth, [path.stem for path in paths], alpha=alpha, beta=beta, kinds=kinds, seed=seed)
    for path, mask in zip(paths, noisy, strict=True):
        cv2.imwrite(str(out / "masks" / path.name), mask * 255)
    return f"{name} on {folder.name}", out / "masks", [vars(record) for record in records], out / "audit"


def compare(
    audit: Audit, truth: dict[str, Any], quality: NDArray[Any], confusion: dict[str, Counter[str]]
) -> dict[str, float]:
    """The numbers of one row; adds the diagnoses of true positives to ``confusion``."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    wrong = np.array([truth[row["item"]]["realised"] > 0 for row in audit.cases])
    ours, plain, dice = (np.array([row[key] for row in audit.cases]) for key in ("score", "displacement", "hard_dice"))
    correct = Counter[bool]()
    for row, is_wrong in zip(audit.cases, wrong, strict=True):
        if is_wrong and row["suspected"]:
            record = truth[row["item"]]
            correct[row["diagnosis"] == DIAGNOSES[record["kind"]]] += 1
            confusion.setdefault(f"b{record['asked']:g} {record['kind']}", Counter())[row["diagnosis"]] += 1
    found: dict[str, float] = {"wrong": wrong.mean(), "estimated": audit.share.value}
    found |= {"low": audit.share.low, "high": audit.share.high}
    for name, values in {"ours": ours, "without images": plain, "cleanlab": -quality, "Dice": dice}.items():
        found[f"AP {name}"] = average_precision_score(wrong, values)
    for name, values in {"ours": ours, "cleanlab": -quality}.items():
        found[f"AUROC {name}"] = roc_auc_score(wrong, values)
        found[f"precision {name}"] = wrong[np.argsort(-values, kind="stable")[: wrong.sum()]].mean()
    return found | {"true positives": correct.total(), "diagnosed right": correct[True]}


def cleanlab_quality(items: list[str], predictions: Path, masks: Path) -> NDArray[Any]:
    from cleanlab.segmentation.rank import get_label_quality_scores

    probabilities = np.stack(
        [np.load(predictions / f"{item}.npz")["probabilities"].astype(np.float32) for item in items]
    )
    labels = np.stack([read_mask(masks / f"{item}.png", item) for item in items]).astype(np.int64)
    return get_label_quality_scores(labels, probabilities / probabilities.sum(1, keepdims=True), verbose=False)[0]


def loop(options: argparse.Namespace) -> None:
    """Audit and correct masks with the commands, train on every set, and print test Dice."""
    noisy, out = options.network.parent, options.network / "loop"
    truth = {record["item"]: record for record in json.loads((noisy / "manifest.json").read_text())["items"]}
    if not options.only_table:
        write_test_images(options.data, out / "test", read_mask(next((noisy / "truth").iterdir()), "mask").shape[0])
        correct_masks(noisy, options.network / "predictions", out)
        for name in options.sets:
            for loss in options.losses:
                retrain(noisy, out, name, loss, options)
    print("| masks | loss | images | wrong | test Dice | by seed |\n|---|---|---|---|---|---|")
    for name in options.sets:
        items = [path.stem for path in mask_folder(noisy, out, name).iterdir()]
        suspected = {} if name in ("noisy", "clean") else read_changes(out / name)
        wrong = 0 if name == "clean" else sum(truth[item]["realised"] > 0 for item in {*items} - {*suspected})
        for loss in options.losses:
            paths = sorted((out / "runs" / f"{name}-{loss}").rglob("summary.json"))  # one per seed
            dice = [json.loads(path.read_text())["metrics"]["test/dice"]["last_k_mean"] for path in paths]
            if dice:
                spread = f" ± {np.std(dice, ddof=1):.4f}" if len(dice) > 1 else ""
                by_seed = ", ".join(f"{value:.3f}" for value in dice)
                print(f"| {name} | {loss} | {len(items)} | {wrong} | {np.mean(dice):.4f}{spread} | {by_seed} |")


def mask_folder(noisy: Path, out: Path, name: str) -> Path:
    return {"noisy": noisy / "masks", "clean": noisy / "truth"}.get(name, out / name / "masks")


def read_changes(folder: Path) -> dict[str, Any]:
    changes = json.loads((folder / "manifest.json").read_text())["changes"]
    return {change["item"]: change for change in changes}


def write_test_images(data: Path, folder: Path, side: int) -> None:
    if (folder / "masks").is_dir():
        return
    (folder / "images").mkdir(parents=True, exist_ok=True)
    pairs = find_pairs("isic2017", 0, root=data).test
    masks = {pair.item: resize_pair(pair, side, folder / "images") for pair in pairs}
    (folder / "masks").mkdir()
    for item, mask in masks.items():
        cv2.imwrite(str(folder / "masks" / f"{item}.png"), mask * 255)


def correct_masks(noisy: Path, predictions: Path, out: Path) -> None:
    command = [sys.executable, "-m", "seg_anl.audit.command"]
    folders = ["--masks", str(noisy / "masks"), "--images", str(noisy / "images")]
    subprocess.run([*command, "masks", str(predictions), str(out / "audit"), *folders], check=True)
    for name, action in (("dropped", "--drop"), ("ignored", "--ignore"), ("replaced", "--replace")):
        if not (out / name).is_dir():
            subprocess.run([*command, "apply", str(out / "audit"), str(out / name), action], check=True)


def retrain(noisy: Path, out: Path, name: str, loss: str, options: argparse.Namespace) -> None:
    masks = mask_folder(noisy, out, name)
    # The same number of steps on fewer images.
    epochs = round(options.epochs * len(list((noisy / "masks").iterdir())) / len(list(masks.iterdir())))
    settings = {
        "data": "folder", "data.root": out, "data.masks": masks, "data.images": noisy / "images",
        "data.test_images": "test/images", "data.test_masks": "test/masks", "preset": "small", "loss": loss,
        "epochs": epochs, "seed": options.seeds, "noise.alpha": 0, "run_root": out / "runs" / f"{name}-{loss}",
        "model.base_filters": options.filters, "model.max_filters": 8 * options.filters,
        "workers": 1, "progress": "false", "evaluation.train_every": epochs, "precision": "bf16",
    }  # fmt: skip
    if name not in ("noisy", "clean"):
        settings["data.images"] = out / name / "images"
    if name == "ignored":
        settings["data.ignore"] = 254  # written by `seg-anl-audit apply --ignore` for masks of 0 and 255
    words = [f"{key}={value}" for key, value in settings.items()]
    subprocess.run([sys.executable, "-m", "seg_anl.segmentation.train", *words], check=True)


def volumes(options: argparse.Namespace) -> None:
    options.folder.mkdir(parents=True, exist_ok=True)
    masks, predictions, out = (options.folder / part for part in ("masks", "predictions", "out"))
    make_volumes(masks, predictions, options.cases, options.different)
    out.mkdir(exist_ok=True)
    source = open_source(predictions, masks, None, None)
    journal = out / JOURNAL
    done = journal.read_bytes().count(b"\n") - 1 if journal.exists() else 0
    start = clocks()
    score_cases(source, out, None, options.workers)
    print_speed(f"{options.cases} volumes, {options.workers} workers", options.cases - done, start)
    from cleanlab.segmentation.rank import get_label_quality_scores

    start, names = clocks(), [f"{case:04d}" for case in range(min(options.cleanlab, options.cases))]
    soft = np.stack([np.load(predictions / f"{name}.npz")["probabilities"].astype(np.float32) for name in names])
    labels = np.stack([np.load(masks / f"{name}.npy").astype(np.int64) for name in names])
    flat = soft.reshape(len(soft), soft.shape[1], 96 * 96, 64)  # cleanlab supports only 2-D images
    get_label_quality_scores(labels.reshape(len(labels), 96 * 96, 64), flat, verbose=False)
    print_speed(f"{len(names)} volumes, cleanlab, all in memory", len(names), start)
    shutil.rmtree(options.folder)


def make_volumes(masks: Path, predictions: Path, count: int, different: int) -> None:
    """Write volumes with three balls, moved in every fifth mask; those after ``different`` are hard links."""
    shape = (96, 96, 64)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    for folder in (masks, predictions):
        folder.mkdir(exist_ok=True)
    for case in range(count):
        mask, prediction = masks / f"{case:04d}.npy", predictions / f"{case:04d}.npz"
        if mask.exists():  # written last
            continue
        if case >= different:
            for path in (prediction, mask):
                path.unlink(missing_ok=True)
                path.hardlink_to(path.with_stem(f"{case % different:04d}"))
            continue
        generator = np.random.default_rng(case)
        centers = generator.uniform(20, 44, (3, 3)) * (1.5, 1.5, 1)
        radii = generator.uniform(8, 16, 3)
        moved = centers + (generator.normal(0, 3, (3, 3)) if case % 5 == 0 else 0)
        distance = [np.sqrt(((grid - c[:, None, None, None]) ** 2).sum(0)) for c in (*centers, *moved)]
        logits = np.stack([np.zeros(shape), *((r - d) for r, d in zip(radii, distance[:3], strict=True))])
        soft = np.exp(logits - logits.max(0))
        np.savez_compressed(prediction, probabilities=(soft / soft.sum(0)).astype(np.float16))
        labels = np.zeros(shape, np.uint8)
        for label, (radius, from_center) in enumerate(zip(radii, distance[3:], strict=True), 1):
            labels[from_center < radius] = label
        np.save(mask, labels)


def clocks() -> tuple[float, float]:
    """Wall-clock seconds, and CPU seconds of this process and its children."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return time.perf_counter(), sum(usage.ru_utime + usage.ru_stime for usage in usages)


def print_speed(title: str, count: int, start: tuple[float, float]) -> None:
    wall, cpu = (count / (now - before) for now, before in zip(clocks(), start, strict=True))
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    print(f"{title}: {wall:.2f} cases/s, {cpu:.2f} per CPU second, at most {peak:.0f} MiB per process", flush=True)


def predict(run: Path, images: Path, items: list[str], out: Path) -> None:
    import torch

    from seg_anl.engine.run_directory import RunDirectory
    from seg_anl.segmentation.augmentation import normalized
    from seg_anl.segmentation.networks import load_run_model

    directory = RunDirectory(run)
    model, _ = load_run_model(directory, directory.last, torch.device("cpu"))
    for item in items:
        image, _ = read_image(images / f"{item}.png", item)
        with torch.inference_mode():
            logits = model(normalized(torch.from_numpy(image.transpose(2, 0, 1).copy())[None]))
        np.savez_compressed(out / f"{item}.npz", probabilities=logits.softmax(1)[0].numpy().astype(np.float16))


if __name__ == "__main__":
    main()
