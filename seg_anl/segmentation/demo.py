"""``make demo``: cross entropy and ANL-CE on mostly wrong masks of real skin lesions.

    python -m seg_anl.segmentation.demo [FOLDER]

Trains both on 200 of the embedded ISIC-2017 images at 64 pixels, 70 % of them with a mask that is wrong by 70 % of the
lesion's area, and compares them on the 150 validation images with clean masks. Some minutes on two cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data_prep.drawing import CLEAN_COLOR, NOISY_COLOR, PREDICTED_COLOR, save_picture
from data_prep.layouts import find_pairs
from seg_anl.engine.command import compose
from seg_anl.engine.run_directory import RunDirectory
from seg_anl.records import read_metrics, run_command
from seg_anl.records.runs import METRICS_FILE

from .datasets import ImageSet, load_images, read_noise
from .dice import dice_per_image
from .experiment import train
from .networks import load_run_model, predict_labels
from .run_picture import draw_curve, draw_panel
from .settings import data_settings

LOSSES = {"ce": "cross entropy", "anl_ce": "ANL-CE"}
# Few images, seen often, so wrong masks are memorized. With all 600 images for 20 epochs both losses are equal;
# docs/isic2017.md has both, and more seeds.
SETTINGS = ["noise.alpha=0.7", "noise.beta=0.7", "preset=small", "data.limit=200", "epochs=60"]
QUANTILES = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)


def demo(folder: Path, overrides: list[str]) -> None:
    """Train both losses below ``folder``, and print and draw their results."""
    runs = {}
    for number, (loss, name) in enumerate(LOSSES.items(), start=1):
        print(f"\n[{number}/{len(LOSSES)}] {name}")
        config = compose("segmentation", [*SETTINGS, f"loss={loss}", f"run_root={folder}", *overrides])
        (runs[loss],) = train(config)
    picture = folder / "demo.png"
    _draw(picture, runs)
    print("\nDice on 150 real lesions against clean masks, mean over the last epochs")
    print("(one seed; training masks: 30 % right, 70 % eroded, dilated or shifted by 70 % of the lesion's area)\n")
    scores = {}
    for loss, name in LOSSES.items():
        summary = runs[loss].summary
        assert summary is not None
        result = summary["metrics"]["test/dice"]
        scores[loss] = result["last_k_mean"]
        print(f"  {name:<16}{result['last_k_mean']:.3f}")
    print(f"\n  ANL-CE - cross entropy: {scores['anl_ce'] - scores['ce']:+.3f}")
    print("\nOne seed may be off by a point. docs/isic2017.md has three, and a setting in which the two are equal.")
    print(f"\nLook at   {picture}")
    for loss, name in LOSSES.items():
        print(f"          {runs[loss].path / 'report.png'}   ({name})")


def _draw(path: Path, runs: dict[str, RunDirectory]) -> None:
    """Draw noisy masks, predictions of each loss from hard to easy test images, and the curves."""
    device = torch.device("cpu")
    config = next(iter(runs.values())).config()
    data = data_settings(config)
    pairs = find_pairs(seed=config.noise.seed, **data.pairing)
    test, clean = (load_images(part, data, workers=2, progress=False) for part in (pairs.test, pairs.train))
    predictions = {}
    with torch.inference_mode():
        for loss, run in runs.items():
            model, _ = load_run_model(run, run.last, device)
            predictions[loss] = predict_labels(model, test.images, device)
    dice = {loss: dice_per_image(labels, test.masks, config.data.classes) for loss, labels in predictions.items()}
    order = torch.stack(list(dice.values())).mean(dim=0).argsort(stable=True)
    chosen = [int(order[round(q * (len(order) - 1))]) for q in QUANTILES]

    lines = 3 + len(runs)
    figure = Figure(figsize=(10, 1.62 * lines + 2.4), layout="constrained")
    grid = figure.add_gridspec(lines, len(chosen), height_ratios=[1] * (lines - 1) + [1.7])
    _draw_noise([figure.add_subplot(grid[0, column]) for column in range(len(chosen))], clean, runs)
    for column, index in enumerate(chosen):
        axes = figure.add_subplot(grid[1, column])
        draw_panel(axes, test.images[index], outline=test.masks[index])
        axes.set_ylabel("" if column else "test image,\nclean outline", fontsize=9)
        for row, loss in enumerate(runs, start=2):
            axes = figure.add_subplot(grid[row, column])
            draw_panel(axes, test.images[index], (predictions[loss][index], PREDICTED_COLOR), test.masks[index])
            axes.set_title(f"Dice {dice[loss][index]:.2f}", fontsize=8)
            axes.set_ylabel("" if column else LOSSES[loss], fontsize=9)
    curve = figure.add_subplot(grid[lines - 1, :])
    for (loss, run), color in zip(runs.items(), (NOISY_COLOR, CLEAN_COLOR), strict=True):
        rows = read_metrics(run.path / METRICS_FILE)
        draw_curve(curve, rows, "test", "dice", label=f"{LOSSES[loss]}, 150 test images", color=color)
    save_picture(figure, path)


def _draw_noise(panels: list[Axes], clean: ImageSet, runs: dict[str, RunDirectory]) -> None:
    """Draw training images with their noisy masks, two of each kind of noise."""
    run = next(iter(runs.values()))
    noisy, records = read_noise(run.path / "noise", clean)
    by_kind: dict[str, list[int]] = {}
    for index, record in enumerate(records):
        area = int((clean.masks[index] > 0).sum())
        if record.realised > 0 and area > 0.05 * clean.masks[index].numel():  # large enough to see
            by_kind.setdefault(record.kind, []).append(index)
    examples = [(kind, index) for kind in sorted(by_kind) for index in by_kind[kind][:2]]
    for axes, (kind, index) in zip(panels, examples, strict=False):
        draw_panel(axes, clean.images[index], (noisy.masks[index], NOISY_COLOR), clean.masks[index])
        axes.set_title(kind, fontsize=8)
    panels[0].set_ylabel("trained on\n(orange)", fontsize=9)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("demo"), help="where to write (default: demo)")
    parser.add_argument("overrides", nargs="*", help="further settings of seg-anl-train, such as epochs=5")
    args = parser.parse_args()
    run_command("seg_anl.segmentation.demo", lambda: demo(args.folder, args.overrides))


if __name__ == "__main__":
    main()
