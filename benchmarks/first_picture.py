"""Draw the README's first picture: what wrong annotations cost and what helps, from recorded runs.

    python benchmarks/first_picture.py docs/images/first.webp

Top: embedded ISIC-2017 images with corrupted masks. Bottom: MNIST at 80 % symmetric noise (mnist-published), the gain
of ANL-CE over cross entropy in each setting of the mask study (mask-study), and cross entropy on noisy, audited and
clean masks (audit-loop). All three archives are in docs/results.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import mask_study
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes

from data_prep.drawing import CLEAN_COLOR, NOISY_COLOR
from data_prep.layouts import find_pairs
from data_prep.mask_noise import add_mask_noise
from seg_anl.reporting.published import find_table, published_numbers
from seg_anl.reporting.run_directories import read_runs
from seg_anl.segmentation.datasets import load_images
from seg_anl.segmentation.run_picture import draw_panel
from seg_anl.segmentation.settings import DataSettings

RESULTS = Path(__file__).parents[1] / "docs" / "results"
TABLES = {
    "ce": "MNIST-SR-1",
    "gce": "MNIST-SR-1",
    "nce_rce": "MNIST-RE-3",
    "anl_ce": "MNIST-RE-3",
    "ce_sr": "MNIST-SR-1",
}
NAMES = {"ce": "cross entropy", "gce": "GCE", "nce_rce": "NCE+RCE", "anl_ce": "ANL-CE", "ce_sr": "CE+SR"}
MASKS = {"noisy": "noisy,\n120 of 400 wrong", "ignored": "audited, suspicious\npixels ignored", "clean": "clean"}
LESIONS = {"erode": "eroded", "dilate": "dilated", "affine": "shifted and rotated"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    figure = plt.figure(figsize=(11, 5.6), layout="constrained")
    rows = figure.add_gridspec(2, 1, height_ratios=(2.2, 3))
    top, bottom = figure.add_subfigure(rows[0]), figure.add_subfigure(rows[1])
    top.suptitle("Wrong masks in orange, true outlines in blue", fontsize=11)
    draw_lesions(top.subplots(1, 6))
    labels, gains, corrected = bottom.subplots(1, 3, width_ratios=(1, 1, 0.9))
    draw_labels(labels)
    draw_gains(gains)
    draw_corrected(corrected)
    figure.savefig(parser.parse_args().picture, dpi=130, pil_kwargs={"quality": 88, "method": 6})


def draw_lesions(panels: Any) -> None:
    """Two large lesions per kind of noise: the wrong mask in orange, the outline of the true one in blue."""
    data = DataSettings(name="embedded", size=96)
    clean = load_images(find_pairs("embedded", 0, limit=60).train, data, workers=1, progress=False)
    area = (clean.masks > 0).float().mean(dim=(1, 2))
    large = [int(index) for index in torch.nonzero((area > 0.12) & (area < 0.4)).flatten()[: len(panels)]]
    for column, (axes, index) in enumerate(zip(panels, large, strict=True)):
        kind = [*LESIONS][column // 2]
        mask, _ = add_mask_noise(clean.masks[index].numpy(), 0.7, [kind], item_id=clean.items[index])
        draw_panel(axes, clean.images[index], (torch.from_numpy(mask), NOISY_COLOR), clean.masks[index])
        axes.set_title(LESIONS[kind], fontsize=10)


def draw_labels(axes: Axes) -> None:
    """Test accuracy on MNIST, with the published values where available."""
    runs = [run for run in read_runs([RESULTS / "mnist-published.zip"]) if run.noise_name == "symmetric 0.8"]
    accuracy = {run.config["loss"]["name"]: 100 * run.headline.value for run in runs}
    for row, loss in enumerate(NAMES):
        axes.barh(row, accuracy[loss], color=NOISY_COLOR if loss == "ce" else CLEAN_COLOR, height=0.6)
        published = published_numbers(find_table(TABLES[loss]))
        of_loss = published[(published.loss == loss) & (published.noise == "symmetric 0.8")]
        axes.plot(of_loss.published_mean, [row] * len(of_loss), "D", color="black", markersize=4)
    axes.plot([], [], "D", color="black", markersize=4, label="published")
    axes.set_yticks(range(len(NAMES)), [*NAMES.values()])
    axes.set(title="80 % of the class labels wrong:\nthe loss decides", xlabel="accuracy on MNIST, %", xlim=(0, 100))
    axes.invert_yaxis()
    axes.legend(loc="upper right", fontsize=8)


def draw_gains(axes: Axes) -> None:
    """The gain of ANL-CE over cross entropy in each setting of the mask study."""
    results = mask_study.gains(mask_study.read_scores(RESULTS / "mask-study.zip"), ["anl_ce"])
    kinds = mask_study.by_kind(results, "anl_ce")
    for row, (_, gain) in enumerate(kinds):
        axes.plot(gain, [row] * len(gain), "o", color=CLEAN_COLOR, alpha=0.6)
        axes.plot([gain.mean()] * 2, [row - 0.3, row + 0.3], color="black", linewidth=2)
    axes.axvline(0, color="gray", linewidth=0.8)
    names = [LESIONS.get(kind, "all three").split(" and")[0] for kind, _ in kinds]
    axes.set_yticks(range(len(kinds)), names)
    axes.set(
        title="30 or 70 % of the masks wrong:\nthe loss rarely helps",
        xlabel="ANL-CE ahead of cross entropy, points of Dice",
    )
    axes.invert_yaxis()


def draw_corrected(axes: Axes) -> None:
    """Cross entropy on noisy, audited and clean masks: three seeds, mean and standard deviation."""
    scores = mask_study.read_scores(RESULTS / "audit-loop.zip")
    for row, (masks, color) in enumerate(zip(MASKS, (NOISY_COLOR, CLEAN_COLOR, "#009E73"), strict=True)):
        dice = mask_study.by_seed(scores, f"{masks}-ce")
        axes.errorbar(np.mean(dice), row, xerr=np.std(dice, ddof=1), fmt="o", capsize=3, markersize=7, color=color)
        axes.plot(dice, [row + 0.15] * len(dice), ".", color=color, alpha=0.6)
    axes.set_yticks(range(len(MASKS)), [*MASKS.values()])
    axes.set(title="wrong masks found and\ncorrected: as good as clean", xlabel="Dice of cross entropy, %")
    axes.set_ylim(len(MASKS) - 0.5, -0.5)


if __name__ == "__main__":
    main()
