"""Does training on several raters beat training on their vote? Skin lesions, three raters with different biases.

    python benchmarks/raters.py OUT [--images 400] [--seeds 1 2 3] [--beta 0.5] [--set SETTING=VALUE ...]

On the embedded ISIC-2017 training images, the raters draw too large (dilated), too small (eroded) and in the wrong
place (shifted and rotated), each by the fraction beta of the lesion's area. Their masks are fused by vote and by
STAPLE, averaged to soft labels, or one rater is drawn for each image and epoch. Networks are trained on each with every
loss and seed (preset=small unless overridden) and tested on clean masks. Rerunning the command resumes it. The result
is OUT/raters.csv.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep import raters_command
from data_prep.layouts import find_pairs
from data_prep.mask_files import load_mask, mask_paths
from data_prep.mask_folder import MaskFolderSettings, run_mask_noise
from data_prep.pairing import Pair
from seg_anl.engine.command import compose
from seg_anl.records import item_id, make_directory, run_command, write_bytes, write_csv
from seg_anl.records.command_line import OneLineParser, positive_int
from seg_anl.segmentation.experiment import train

RATERS = {"over": "dilate", "under": "erode", "shifted": "affine"}
FUSED = ("vote", "staple", "mean")
SEED = 2017  # for the choice of images and the raters' errors


def experiment(
    out: Path, count: int, beta: float, seeds: Sequence[int], losses: Sequence[str], overrides: list[str]
) -> None:
    """Write the raters' and fused masks below ``out``, train, and write the table."""
    truth, data = out / "truth", out / "data"
    pairs = find_pairs("embedded", SEED, limit=count)
    write_pairs(pairs.train, data / "images", truth)
    write_pairs(pairs.test, data / "test_images", data / "test_masks")
    folders = []
    for number, (name, kind) in enumerate(RATERS.items()):
        noise = MaskFolderSettings(alpha=1.0, beta=beta, kinds=(kind,), seed=SEED + number)
        run_mask_noise(truth, data / name, noise, manifest_folder=out / "manifests" / name)
        folders.append(data / name)
    rows = [mask_row(name, data / name, truth) for name in RATERS]
    for by in FUSED:
        options = argparse.Namespace(
            sources=folders, target=data / by, by=by, classes=2, ignore=None, seed=SEED, workers=1
        )
        raters_command.run(options)
    rows += [mask_row(by, data / by / raters_command.MASKS, truth) for by in FUSED if by != "mean"]
    common = ["preset=small", "data=folder", f"data.root={data}", "data.images=images", "data.masks=vote/masks"]
    common += ["data.test_images=test_images", "data.test_masks=test_masks", f"run_root={out / 'runs'}", *overrides]
    ways = {
        "vote": [],
        "staple": ["data.masks=staple/masks"],
        "mean as soft labels": [f"data.soft={data / 'mean' / raters_command.SOFT}"],
        "random rater each epoch": [f"data.raters=[{','.join(map(str, folders))}]"],
    }
    for way, settings in ways.items():
        for loss in losses:
            scores = []
            for seed in seeds:
                (run,) = train(compose("segmentation", [*common, *settings, f"loss={loss}", f"seed={seed}"]))
                assert run.summary is not None
                scores.append(run.summary["metrics"]["test/dice"]["last_k_mean"])
            spread = statistics.stdev(scores) if len(scores) > 1 else None
            each = " ".join(f"{score:.4f}" for score in scores)
            rows.append({"way": way, "loss": loss, "dice": statistics.fmean(scores), "std": spread, "seeds": each})
            write_csv(out / "raters.csv", ["way", "loss", "dice", "std", "seeds"], rows)
    for row in rows:
        spread_text = "" if row.get("std") is None else f" +- {row['std']:.4f}   {row['seeds']}"
        print(f"{row['way']:26}{row['loss']:12}{row['dice']:.4f}{spread_text}")


def write_pairs(pairs: Sequence[Pair], images: Path, masks: Path) -> None:
    """Extract files of the embedded archive that do not exist yet."""
    for pair in pairs:
        for file, folder in ((pair.image, images), (pair.mask, masks)):
            path = make_directory(folder) / f"{pair.item}{Path(file.name).suffix}"
            if not path.exists():
                assert file.content is not None
                write_bytes(path, file.content)


def mask_row(name: str, folder: Path, truth: Path) -> dict[str, Any]:
    """Mean Dice of a folder's masks with the true ones."""
    true_paths, paths = ({item_id(path, root): path for path in mask_paths(root)} for root in (truth, folder))
    dice = []
    for item, path in true_paths.items():
        t, p = load_mask(path).array != 0, load_mask(paths[item]).array != 0
        dice.append(2 * np.count_nonzero(p & t) / max(np.count_nonzero(p) + np.count_nonzero(t), 1))
    return {"way": f"masks: {name}", "loss": "", "dice": float(np.mean(dice))}


def main() -> None:
    parser = OneLineParser(prog="benchmarks/raters.py", description=__doc__)
    parser.add_argument("out", type=Path, help="folder for masks, runs and the table")
    parser.add_argument("--images", type=positive_int, default=400, help="training images (default 400)")
    parser.add_argument(
        "--beta", type=float, default=0.5, help="fraction of the lesion's area that is wrong (default 0.5)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--losses", nargs="+", default=["ce", "anl_ce"])
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="SETTING=VALUE", help="settings of seg-anl-train, such as epochs=2"
    )
    args = parser.parse_args()
    run_command(
        parser.prog,
        lambda: experiment(args.out.absolute(), args.images, args.beta, args.seeds, args.losses, args.set),
    )


if __name__ == "__main__":
    main()
