"""When does a robust loss help wrong masks? A screening design on real ISIC-2017 images.

    python benchmarks/mask_study.py run ISIC RUNS [--losses ce anl_ce]
    python benchmarks/mask_study.py analyze RUNS --picture study.png

Nine factors at two levels each, and four kinds of noise, in a Plackett-Burman design of 12 settings and its mirror
image: 24 settings in which no main effect is mixed up with another or with the interaction of two. In each, cross
entropy and the robust loss are trained from the same weights on the same images, masks and batches; the response is the
difference of their test Dice. ``run`` does what is missing and can be stopped at any time; ``analyze`` fits the main
effects by least squares, prints them with 95 % intervals, and draws them.
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

from seg_anl.records.foreign_files import read_json

BATCH = 16
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("run").add_argument
    add("data", type=Path, help="a folder in the layout of ISIC-2017, with masks that are right")
    add("runs", type=Path)
    add("--losses", nargs="+", default=["ce", "anl_ce"])
    add("--seed", type=int, default=1, help="of the networks; the images and masks have the number of the setting")
    add = commands.add_parser("analyze").add_argument
    add("runs", type=Path)
    add("--losses", nargs="+", default=["anl_ce"])
    add("--picture", type=Path, help="where to draw the effects")
    arguments = parser.parse_args()
    {"run": run, "analyze": analyze}[arguments.command](arguments)


def design() -> pd.DataFrame:
    """A row for each of the 24 settings, a column of -1 and 1 for each factor."""
    half = np.array([np.roll(GENERATOR, shift) for shift in range(11)] + [[-1] * 11])
    return pd.DataFrame(np.vstack([half, -half]), columns=list(LEVELS))


def setting(signs: pd.Series) -> dict[str, Any]:
    """The levels of one row of the design, by factor."""
    return {name: LEVELS[name][int(sign > 0)] for name, sign in signs.items()}


def words(number: int, signs: pd.Series, loss: str, options: argparse.Namespace) -> list[str]:
    """The command line of one run."""
    levels = setting(signs)
    epochs = round(levels["steps"] / (levels["images"] // BATCH))
    kinds = KINDS[int(signs["kind, first bit"]), int(signs["kind, second bit"])]
    decay = (
        ["optim.schedule=exponential", "optim.gamma=0.8"] if "0.8" in levels["schedule"] else ["optim.schedule=cosine"]
    )
    given = {
        "data": "isic2017", "data.root": options.data, "data.size": 64, "data.limit": levels["images"],
        "noise.alpha": levels["alpha"], "noise.beta": levels["beta"], "noise.kinds": f"[{','.join(kinds)}]",
        "noise.mode": levels["mode"], "noise.seed": number, "preset": "small", "epochs": epochs, "batch_size": BATCH,
        "evaluation.last_k": max(2, epochs // 10), "evaluation.train_every": epochs, "precision": levels["precision"],
        "loss": loss, "seed": options.seed, "run_dir": options.runs / f"{number:02}-{loss}-seed{options.seed}",
        "progress": "false", "logger": "null", "workers": 1, "checkpoint_every": 5,
    }  # fmt: skip
    if loss == "anl_ce":
        alpha, beta = levels["ANL's alpha, beta"]
        given |= {"loss.alpha": alpha, "loss.beta": beta, "optim.l1": levels["ANL's delta"]}
    return [f"{key}={value}" for key, value in given.items()] + decay


def run(options: argparse.Namespace) -> None:
    for number, signs in design().iterrows():
        for loss in options.losses:
            line = words(int(str(number)), signs, loss, options)
            subprocess.run([sys.executable, "-m", "seg_anl.segmentation.train", *line], check=True)


def analyze(options: argparse.Namespace) -> None:
    results = gains(options.runs, options.losses)
    fits = {loss: effects(results[loss]) for loss in options.losses}
    for loss in options.losses:
        print(table(loss, results, fits[loss]), end="\n\n")
    if options.picture:
        draw(results, fits, options.picture)


def gains(runs: Path, losses: Sequence[str]) -> pd.DataFrame:
    """The design, what cross entropy reaches, and each loss's gain over it, in points of Dice; means over seeds."""
    results = design()
    for number in results.index:
        scores = {
            loss: [dice(run) for run in sorted(runs.glob(f"{number:02}-{loss}-seed*"))] for loss in ("ce", *losses)
        }
        results.loc[number, "ce"] = np.mean(scores["ce"])
        for loss in losses:
            # Seeds in pairs: the same weights, images, masks and batches.
            results.loc[number, loss] = np.mean(np.subtract(scores[loss], scores["ce"]))
    return results


def dice(run: Path) -> float:
    """100 times the test Dice, the mean over the last epochs."""
    summary = read_json(run / "summary.json")
    return 100 * float(summary["metrics"]["test/dice"]["last_k_mean"])


def effects(gain: pd.Series) -> pd.DataFrame:
    """Least squares of the gain on all factors: the change from the low to the high level, with its 95 % interval."""
    signs = design()
    signs["kind, both bits"] = signs["kind, first bit"] * signs["kind, second bit"]
    columns = np.column_stack([np.ones(len(signs)), signs])
    coefficients, *_ = np.linalg.lstsq(columns, gain.to_numpy(), rcond=None)
    freedom = len(signs) - columns.shape[1]
    variance = ((gain.to_numpy() - columns @ coefficients) ** 2).sum() / freedom
    # The columns but for the kind's last are orthogonal.
    errors = np.sqrt(variance * np.diag(np.linalg.inv(columns.T @ columns)))
    reach = stats.t.ppf(0.975, freedom) * errors
    found = pd.DataFrame({"effect": 2 * coefficients, "half": 2 * reach}, index=["mean", *signs.columns])
    found.loc["mean"] /= 2
    return found


def named(factor: str) -> str:
    low, high = LEVELS[factor]
    return f"{factor}: {low} to {high}"


def table(loss: str, results: pd.DataFrame, fit: pd.DataFrame) -> str:
    """What was found of one loss, in Markdown."""
    gain = results[loss]
    mean = fit.loc["mean"]
    lines = [
        f"{loss}: gain over cross entropy {mean.effect:.1f} +- {mean.half:.1f} points of Dice in the mean of "
        f"{len(gain)} settings, from {gain.min():.1f} to {gain.max():.1f}; above 2 points in {(gain > 2).sum()}, "
        f"below -2 in {(gain < -2).sum()}",
        "",
        "| factor | changes the gain by | 95 % interval |",
        "|---|---:|---|",
    ]
    for factor in [name for name in LEVELS if not name.startswith("kind")]:
        effect, half = fit.loc[factor]
        lines.append(f"| {named(factor)} | {effect:+.1f} | {effect - half:+.1f} to {effect + half:+.1f} |")
    lines += ["", "| kind of noise | settings | mean gain | from | to |", "|---|---:|---:|---:|---:|"]
    for kind, of_kind in by_kind(results, loss):
        lines.append(
            f"| {kind} | {len(of_kind)} | {of_kind.mean():+.1f} | {of_kind.min():+.1f} | {of_kind.max():+.1f} |"
        )
    return "\n".join(lines)


def by_kind(results: pd.DataFrame, loss: str) -> list[tuple[str, pd.Series]]:
    bits = ["kind, first bit", "kind, second bit"]
    return [(" + ".join(kinds), results.loc[(results[bits] == key).all(axis=1), loss]) for key, kinds in KINDS.items()]


def draw(results: pd.DataFrame, fits: dict[str, pd.DataFrame], path: Path) -> None:
    """The factors' effects with their intervals, beside the gain in each setting by kind of noise."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained", width_ratios=(3, 2))
    factors = [name for name in LEVELS if not name.startswith("kind")]
    for place, (loss, fit) in enumerate(fits.items()):
        rows = np.arange(len(factors)) + 0.2 * place
        found = fit.loc[factors]
        left.errorbar(found.effect, rows, xerr=found.half, fmt="o", capsize=3, color=f"C{place}", label=loss)
        for row, (_, of_kind) in enumerate(by_kind(results, loss)):
            right.plot(of_kind, np.full(len(of_kind), row + 0.2 * place), "o", alpha=0.6, color=f"C{place}")
            right.plot([of_kind.mean()] * 2, [row - 0.25, row + 0.25], color=f"C{place}", linewidth=3)
    left.set_yticks(range(len(factors)), [named(factor) for factor in factors])
    right.set_yticks(range(len(KINDS)), [" + ".join(kinds) for kinds in KINDS.values()])
    left.set_xlabel("changes the gain by (points of Dice, 95 % interval)")
    right.set_xlabel("gain over cross entropy (points of Dice)")
    for axes in (left, right):
        axes.axvline(0, color="gray", linewidth=0.8)
        axes.invert_yaxis()
    left.legend(loc="best")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
