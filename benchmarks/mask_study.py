"""When does a robust loss help with wrong masks? A screening design on real ISIC-2017 images.

    python benchmarks/mask_study.py run ISIC RUNS [--losses ce anl_ce]
    python benchmarks/mask_study.py analyze RUNS --picture study.png
    python benchmarks/mask_study.py confirm ISIC RUNS --picture confirmed.png

Nine two-level factors and four kinds of noise in a folded-over Plackett-Burman design: 24 settings in which no main
effect is aliased with another one or with a two-factor interaction. In each, cross entropy and the robust loss are
trained from the same weights on the same images, masks and batches; the response is the difference of their test Dice.
``run`` trains missing runs and can be interrupted at any time; ``analyze`` fits the main effects by least squares,
prints them with 95 % intervals, and draws them.

The best regime of a screening looks better than it is, since it is selected from many. ``confirm`` trains the regimes
with the largest and the smallest predicted gain, and the published one, with three seeds each, and tests on 300
held-out training images on which no result was measured before.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats

from data_prep.layouts import find_pairs
from seg_anl.records import chosen_items
from seg_anl.reporting.run_directories import FINISHED, read_runs

BATCH = 16
CONFIRM_SEED = 2017  # for the held-out images, the training images and the mask noise
# Duplicates of other images, according to `seg-anl-prep isic2017`.
COPIES = ("ISIC_0012970", "ISIC_0000171", "ISIC_0014846", "ISIC_0013594", "ISIC_0012673", "ISIC_0013184")
GENERATOR = (1, 1, -1, 1, 1, 1, -1, -1, -1, 1, -1)  # Plackett and Burman, 1946, for 12 settings
KINDS = {(-1, -1): ["erode"], (-1, 1): ["dilate"], (1, -1): ["affine"], (1, 1): ["erode", "dilate", "affine"]}
LEVELS: dict[str, tuple[Any, Any]] = {
    "images": (200, 600),
    "steps": (400, 1200),
    "alpha": (0.3, 0.7),
    "beta": (0.3, 0.7),
    "mode": ("corrected", "official"),
    "schedule": ("cosine", "x0.8 per epoch"),
    "ANL's alpha, beta": ((1, 1), (5, 5)),
    "ANL's delta": (0.0, 5e-6),
    "precision": ("fp32", "bf16"),
    "kind, first bit": (-1, 1),
    "kind, second bit": (-1, 1),
}
BITS = ("kind, first bit", "kind, second bit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("run").add_argument
    add("data", type=Path, help="folder in the layout of ISIC-2017, with clean masks")
    add("runs", type=Path)
    add("--losses", nargs="+", default=["ce", "anl_ce"])
    add(
        "--seed",
        type=int,
        default=1,
        help="seed of the networks; images and masks are seeded by the number of the setting",
    )
    add = commands.add_parser("analyze").add_argument
    add("runs", type=Path, help="folder of runs, or its archive: docs/results/mask-study.zip")
    add("--losses", nargs="+", default=["anl_ce"])
    add("--picture", type=Path, help="image file for a plot of the effects")
    add = commands.add_parser("confirm").add_argument
    add("data", type=Path, help="as for run")
    add("runs", type=Path)
    add("--losses", nargs="+", default=["ce", "anl_ce"])
    add("--seeds", nargs="+", type=int, default=[1, 2, 3])
    add("--picture", type=Path, help="image file for a plot of the means")
    arguments = parser.parse_args()
    {"run": run, "analyze": analyze, "confirm": confirm}[arguments.command](arguments)


def design() -> pd.DataFrame:
    """The design: a row per setting (24), a column of -1 and 1 per factor."""
    half = np.array([np.roll(GENERATOR, shift) for shift in range(11)] + [[-1] * 11])
    return pd.DataFrame(np.vstack([half, -half]), columns=list(LEVELS))


def setting(signs: pd.Series) -> dict[str, Any]:
    """The levels of one row of the design by factor, with the kinds of noise."""
    levels = {name: LEVELS[name][int(sign > 0)] for name, sign in signs.items() if name not in BITS}
    return levels | {"kinds": KINDS[signs[BITS[0]], signs[BITS[1]]]}


def train(levels: dict[str, Any], loss: str, seed: int, noise_seed: int, run_dir: Path, data: dict[str, Any]) -> None:
    """Train one run, unless it is finished."""
    epochs = round(levels["steps"] / (levels["images"] // BATCH))
    overrides = {
        **data, "data.size": 64, "data.limit": levels["images"],
        "noise.alpha": levels["alpha"], "noise.beta": levels["beta"], "noise.kinds": f"[{','.join(levels['kinds'])}]",
        "noise.mode": levels["mode"], "noise.seed": noise_seed, "preset": "small", "epochs": epochs,
        "batch_size": BATCH, "evaluation.last_k": max(2, epochs // 10), "evaluation.train_every": epochs,
        "precision": levels["precision"], "optim.schedule": "cosine", "loss": loss, "seed": seed, "run_dir": run_dir,
        "progress": "false", "logger": "null", "workers": 1, "checkpoint_every": 5,
    }  # fmt: skip
    if "0.8" in levels["schedule"]:
        overrides |= {"optim.schedule": "exponential", "optim.gamma": 0.8}
    if loss == "anl_ce":
        alpha, beta = levels["ANL's alpha, beta"]
        overrides |= {"loss.alpha": alpha, "loss.beta": beta, "optim.l1": levels["ANL's delta"]}
    words = [f"{key}={value}" for key, value in overrides.items()]
    subprocess.run([sys.executable, "-m", "seg_anl.segmentation.train", *words], check=True)


def run(options: argparse.Namespace) -> None:
    data = {"data": "isic2017", "data.root": options.data}
    for number, signs in design().iterrows():
        for loss in options.losses:
            run_dir = options.runs / f"{number:02}-{loss}-seed{options.seed}"
            train(setting(signs), loss, options.seed, int(str(number)), run_dir, data)


def confirm(options: argparse.Namespace) -> None:
    """Train the three regimes, test them on held-out images, and print the Dice of each loss."""
    data = link_data(options.data, options.runs / "data")
    rows = []
    for regime, levels in regimes(gains(read_scores(options.runs), ["anl_ce"])).items():
        for loss in options.losses:
            name = f"confirm-{regime}-{loss}"
            for seed in options.seeds:
                train(levels, loss, seed, CONFIRM_SEED, options.runs / f"{name}-seed{seed}", data)
            rows.append({"regime": regime, "loss": loss, "dice": by_seed(read_scores(options.runs), name)})
    scores = pd.DataFrame(rows)
    print(confirmation_table(scores))
    if options.picture:
        draw_confirmation(scores, options.picture)


def link_data(source: Path, target: Path) -> dict[str, Any]:
    """Link the training images without duplicates, 300 of them as test images; returns the data settings."""
    pairs = [pair for pair in find_pairs("isic2017", 0, root=source).train if pair.item not in COPIES]
    test = chosen_items([pair.item for pair in pairs], 300 / len(pairs), CONFIRM_SEED, "confirm")
    for pair in pairs:
        split = "test" if pair.item in test else "train"
        for file, kind in ((pair.image, "images"), (pair.mask, "masks")):
            link = target / kind / split / f"{pair.item}{Path(file.name).suffix}"
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(Path(file.name).absolute())
    return {"data": "folder", "data.root": target}


def regimes(results: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The levels with the largest and smallest predicted gain of ANL-CE, and those closest to the published setting."""
    fit = effects(results["anl_ce"])
    factors = [name for name in LEVELS if name not in BITS]
    best = fit.loc[factors, "effect"] > 0
    kinds = sorted(by_kind(results, "anl_ce"), key=lambda kind: kind[1].mean())
    most = {name: LEVELS[name][int(best[name])] for name in factors} | {"kinds": kinds[-1][0].split(" + ")}
    least = {name: LEVELS[name][int(not best[name])] for name in factors} | {"kinds": kinds[0][0].split(" + ")}
    published = {name: LEVELS[name][1] for name in factors} | {"kinds": KINDS[1, 1]}
    by_regime = {"most": most, "least": least, "published": published}
    return {regime: levels | {"precision": "bf16"} for regime, levels in by_regime.items()}


def analyze(options: argparse.Namespace) -> None:
    results = gains(read_scores(options.runs), options.losses)
    fits = {loss: effects(results[loss]) for loss in options.losses}
    for loss in options.losses:
        print(table(loss, results, fits[loss]), end="\n\n")
    if options.picture:
        draw(results, fits, options.picture)


def gains(scores: dict[str, float], losses: Sequence[str]) -> pd.DataFrame:
    """The design with the Dice of cross entropy and each loss's gain over it, in points; means over seeds."""
    results = design()
    for number in results.index:
        dice = {loss: by_seed(scores, f"{number:02}-{loss}") for loss in ("ce", *losses)}
        results.loc[number, "ce"] = np.mean(dice["ce"])
        for loss in losses:
            # Paired by seed: the same weights, images, masks and batches.
            results.loc[number, loss] = np.mean(np.subtract(dice[loss], dice["ce"]))
    return results


def read_scores(runs: Path) -> dict[str, float]:
    """Test Dice in percent, averaged over the last epochs, by run name; ``runs`` is a folder or an archive."""
    return {Path(run.path).name: 100 * run.headline.value for run in read_runs([runs]) if run.status == FINISHED}


def by_seed(scores: dict[str, float], name: str) -> list[float]:
    """The scores of runs that differ only in the seed."""
    return [score for run, score in sorted(scores.items()) if run.startswith(f"{name}-seed")]


def effects(gain: pd.Series) -> pd.DataFrame:
    """Effects of all factors on the gain by least squares: the change from low to high level, with a 95 % interval."""
    signs = design()
    signs["kind, both bits"] = signs["kind, first bit"] * signs["kind, second bit"]
    columns = np.column_stack([np.ones(len(signs)), signs])
    coefficients, *_ = np.linalg.lstsq(columns, gain.to_numpy(), rcond=None)
    degrees = len(signs) - columns.shape[1]
    variance = ((gain.to_numpy() - columns @ coefficients) ** 2).sum() / degrees
    # All columns except the last one, of the kind, are orthogonal.
    errors = np.sqrt(variance * np.diag(np.linalg.inv(columns.T @ columns)))
    half_widths = stats.t.ppf(0.975, degrees) * errors
    fit = pd.DataFrame({"effect": 2 * coefficients, "half": 2 * half_widths}, index=["mean", *signs.columns])
    fit.loc["mean"] /= 2
    return fit


def describe(factor: str) -> str:
    low, high = LEVELS[factor]
    return f"{factor}: {low} to {high}"


def table(loss: str, results: pd.DataFrame, fit: pd.DataFrame) -> str:
    """Summary and effects of one loss, in Markdown."""
    gain = results[loss]
    mean = fit.loc["mean"]
    lines = [
        f"{loss}: gain over cross entropy {mean.effect:.1f} +- {mean.half:.1f} points of Dice on average over "
        f"{len(gain)} settings, from {gain.min():.1f} to {gain.max():.1f}; above 2 points in {(gain > 2).sum()}, "
        f"below -2 in {(gain < -2).sum()}",
        "",
        "| factor | changes the gain by | 95 % interval |",
        "|---|---:|---|",
    ]
    for factor in [name for name in LEVELS if name not in BITS]:
        effect, half = fit.loc[factor]
        lines.append(f"| {describe(factor)} | {effect:+.1f} | {effect - half:+.1f} to {effect + half:+.1f} |")
    lines += ["", "| kind of noise | settings | mean gain | from | to |", "|---|---:|---:|---:|---:|"]
    for kind, gain in by_kind(results, loss):
        lines.append(f"| {kind} | {len(gain)} | {gain.mean():+.1f} | {gain.min():+.1f} | {gain.max():+.1f} |")
    return "\n".join(lines)


def by_kind(results: pd.DataFrame, loss: str) -> list[tuple[str, pd.Series]]:
    return [
        (" + ".join(kinds), results.loc[(results[[*BITS]] == list(key)).all(axis=1), loss])
        for key, kinds in KINDS.items()
    ]


def draw(results: pd.DataFrame, fits: dict[str, pd.DataFrame], path: Path) -> None:
    """Draw the effects of the factors with their intervals, and the gain in each setting by kind of noise."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained", width_ratios=(1, 1))
    factors = [name for name in LEVELS if name not in BITS]
    for number, (loss, fit) in enumerate(fits.items()):
        rows, color = np.arange(len(factors)) + 0.2 * number, f"C{number}"
        shown = fit.loc[factors]
        left.errorbar(shown.effect, rows, xerr=shown.half, fmt="o", capsize=3, color=color, label=loss)
        for row, (_, gain) in enumerate(by_kind(results, loss)):
            right.plot(gain, np.full(len(gain), row + 0.2 * number), "o", alpha=0.6, color=color)
            right.plot([gain.mean()] * 2, [row - 0.25, row + 0.25], color=color, linewidth=3)
    left.set_yticks(range(len(factors)), [describe(factor) for factor in factors])
    names = ["all three" if len(kinds) > 1 else kinds[0] for kinds in KINDS.values()]
    right.set_yticks(range(len(KINDS)), names)
    left.set(title="what changes the gain, with 95 % intervals", xlabel="points of Dice")
    right.set(title="the gain over cross entropy by kind", xlabel="points of Dice")
    for axes in (left, right):
        axes.axvline(0, color="gray", linewidth=0.8)
        axes.invert_yaxis()
    if len(fits) > 1:
        left.legend(loc="best")
    figure.savefig(path, dpi=110)


def confirmation_table(scores: pd.DataFrame) -> str:
    """Mean and standard deviation over seeds, and the paired gain over cross entropy with its 95 % interval."""
    lines = ["| regime | loss | test Dice | gain over cross entropy | by seed |", "|---|---|---:|---|---|"]
    for regime, rows in scores.groupby("regime", sort=False):
        base = np.array(rows.loc[rows.loss == "ce", "dice"].item())
        for loss, values in zip(rows.loss, rows.dice, strict=True):
            gain, half = np.mean(values - base), 0.0
            if len(base) > 1:
                half = stats.t.ppf(0.975, len(base) - 1) * stats.sem(values - base)
            gain_text = "" if loss == "ce" else f"{gain:+.1f} ({gain - half:+.1f} to {gain + half:+.1f})"
            lines.append(
                f"| {regime} | {loss} | {np.mean(values):.1f} +- {np.std(values, ddof=1):.1f} | {gain_text} | "
                f"{', '.join(f'{value:.1f}' for value in values)} |"
            )
    return "\n".join(lines)


def draw_confirmation(scores: pd.DataFrame, path: Path) -> None:
    """Draw the test Dice by regime: mean and standard deviation of every loss, and its seeds."""
    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    losses = list(dict.fromkeys(scores.loss))
    names = list(dict.fromkeys(scores.regime))
    for regime, loss, values in scores[["regime", "loss", "dice"]].itertuples(index=False):
        row = names.index(regime) + 0.8 * (losses.index(loss) + 0.5) / len(losses) - 0.4
        color = f"C{losses.index(loss)}"
        axes.errorbar(np.mean(values), row, xerr=np.std(values, ddof=1), fmt="o", capsize=3, color=color)
        axes.plot(values, [row] * len(values), "|", color=color, alpha=0.7)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("test Dice on clean masks (points; mean and standard deviation over seeds)")
    axes.legend(handles=[plt.Line2D([], [], color=f"C{i}", marker="o", label=loss) for i, loss in enumerate(losses)])
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
