"""Wrong masks made on purpose, and how well ``seg-anl-audit masks`` finds them.

    python benchmarks/audit_masks.py train ISIC RUNS --alpha 0.3 --beta 0.7 --loss anl_ce --folds 2
    python benchmarks/audit_masks.py score RUNS [--score NAME]

``train`` takes images of a folder in a layout of ``seg-anl-prep``, makes a share of their masks wrong at the size trained
on, trains networks on folds (``--folds 1``: one network on everything, in-sample) and writes class probabilities for
every image. A second call does only what is missing. ``score`` audits every set of probabilities below RUNS and compares
with the truth: average precision, AUROC, precision at the true count, diagnoses, the estimated share, and the same from
cleanlab's segmentation ranking and from plain Dice.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from data_prep.mask_noise import noisy_dataset
from data_prep.pairing import find_pairs
from data_prep.pictures import read_image, read_mask
from seg_anl.records import item_hash, write_manifest

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
    add("--seed", type=int, default=0, help="of the noise, the folds and the networks")
    arguments = parser.parse_args()
    train(arguments)


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
        trained = items if options.folds == 1 else sorted(set(items) - set(held_out))
        if all((out / f"{item}.npz").exists() for item in held_out):
            continue
        data, run = out.parent / f"data{fold}", out.parent / f"run{fold}"
        for split, names in (("train", trained), ("test", held_out)):
            for part in ("images", "masks"):
                (data / split / part).mkdir(parents=True, exist_ok=True)
                for item in names:
                    link = data / split / part / f"{item}.png"
                    if not link.is_symlink():
                        link.symlink_to((folder / part / f"{item}.png").resolve())
        settings = {
            "data": "folder", "data.root": data, "data.size": options.size, "loss": options.loss, "preset": "small",
            "epochs": options.epochs, "seed": options.seed + 1, "noise.alpha": 0, "run_dir": run, "workers": 1,
            "progress": "false", "evaluation.train_every": options.epochs,
        }  # fmt: skip
        words = [f"{key}={value}" for key, value in settings.items()]
        subprocess.run([sys.executable, "-m", "seg_anl.segmentation.train", *words], check=True)
        predict(run, folder / "images", held_out, out)


def make_data(folder: Path, options: argparse.Namespace) -> None:
    pairs = find_pairs("folder", options.seed, root=options.data, limit=options.images).train
    for part in ("images", "masks", "truth"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    size = (options.size, options.size)
    truth = []
    for pair in pairs:
        image, _ = read_image(pair.image.open(), pair.image.name)
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / "images" / f"{pair.item}.png"), small[..., ::-1])
        mask = read_mask(pair.mask.open(), pair.mask.name, threshold=127)
        truth.append(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST))
    settings = {"alpha": options.alpha, "beta": options.beta, "kinds": options.kinds, "seed": options.seed}
    noisy, records = noisy_dataset(truth, [pair.item for pair in pairs], **settings)
    for record, clean, wrong in zip(records, truth, noisy, strict=True):
        cv2.imwrite(str(folder / "truth" / f"{record.item}.png"), clean * 255)
        cv2.imwrite(str(folder / "masks" / f"{record.item}.png"), wrong * 255)
    write_manifest(folder, settings, records)


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
