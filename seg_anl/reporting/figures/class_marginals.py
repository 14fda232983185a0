"""How often each class is given, and how often it is predicted (Ye et al. 2024, Fig. 2)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from seg_anl.records import UserError
from seg_anl.reporting.archives import read_text
from seg_anl.reporting.run_directories import Run

from .drawing import BLACK, PAGE, Composed, Figure, caption, color_of, legend_above, panels
from .run_selection import by_condition, by_method, seeds_of_one_setting, seeds_text, select, split_by

CONFUSION = "noise/confusion.csv"
WANTED = "classification runs under label noise, with train/marginal_0 and so on in metrics.csv (up to 100 classes)"
GIVEN, TRUE = "labels as given", "true labels"
LIGHT_GRAY = "#c8c8c8"
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++")
MOST_BARS = 20  # classes; more are too narrow for bars and are drawn as points


def marginal_probabilities(runs: Sequence[Run]) -> Composed:
    """Share of each class among the given training labels, and mean predicted probability on the training set.

    Predictions are those of the last epoch with such columns. Over seeds: the mean, and a line from the lowest to the
    highest.
    """
    runs, notes = select(runs, _reason_against, WANTED)
    conditions = split_by(runs, by_condition)
    drawing, grid = panels(len(conditions), 1, height=2.0, width=PAGE, sharey=True)
    colors = {GIVEN: LIGHT_GRAY, **{method.text: color_of(some) for method, some in split_by(runs, by_method).items()}}
    handles: dict[str, Any] = {}
    counts = set()
    for axes, (condition, some) in zip(grid[:, 0], conditions.items(), strict=True):
        labels = [_label_shares(run) for run in some]
        groups = {GIVEN: np.array([given for given, _ in labels])}
        for method, of_method in split_by(some, by_method).items():
            seeds = seeds_of_one_setting(of_method, f"the bars {method.text!r}")
            counts.add(len(seeds))
            groups[method.text] = np.array([_predicted(run) for run in seeds])
        if len({group.shape[1] for group in groups.values()}) > 1:
            raise UserError(
                f"{some[0].path}: {CONFUSION} and the marginals in metrics.csv are about different numbers of classes"
            )
        handles |= _draw(axes, groups, colors)
        true = 100 * np.array([true for _, true in labels]).mean(axis=0)
        style = {"color": BLACK, "linestyle": "none", "marker": "_", "markersize": 9, "markeredgewidth": 1.3}
        (handles[TRUE],) = axes.plot(np.arange(len(true)), true, **style)
        axes.set_title(condition.text)
        axes.set_ylabel("share of the class (%)")
    grid[-1, 0].set_xlabel("class")
    legend_above(drawing, list(handles.values()), list(handles))
    behind = seeds_text(counts, "bar", "lines")
    caption(drawing, f"Predictions: mean probability on the training set at the end. {behind}")
    return Composed(drawing, notes)


def _predicted(run: Run) -> NDArray[np.float64]:
    """Mean predicted probability of each class on the training set, ``(K,)``, at the last epoch that has it."""
    classes = sum(name.startswith("marginal_") and run.has("train", name) for name in run.metrics)
    return np.array([run.curve("train", f"marginal_{k}").values[-1] for k in range(classes)])


def _reason_against(run: Run) -> str | None:
    if not run.has("train", "marginal_0"):
        return "has no train/marginal_0 in its metrics.csv: train it with evaluation.train_every=1, up to 100 classes"
    if not (run.folder / CONFUSION).is_file():
        return f"has no {CONFUSION}: it was trained without label noise, or the folder was not copied with it"
    return None


def _label_shares(run: Run) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares of the classes among the given and among the true training labels: ``(K,)`` each."""
    path = run.folder / CONFUSION
    try:
        rows = [[int(cell) for cell in row[1:]] for row in list(csv.reader(read_text(path).splitlines()))[1:]]
        counts = np.array(rows, dtype=np.float64)
        if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.sum() <= 0 or counts.min() < 0:
            raise ValueError("expected a square table of counts")
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: damaged ({error}); delete the run's folder and train it again") from error
    return counts.sum(axis=0) / counts.sum(), counts.sum(axis=1) / counts.sum()


def _draw(axes: Axes, groups: dict[str, NDArray[np.float64]], colors: dict[str, str]) -> dict[str, Any]:
    """Draw the groups ``(runs, K)`` beside each other in each class; returns what the legend shows."""
    handles: dict[str, Any] = {}
    width = 0.84 / len(groups)
    for i, (name, values) in enumerate(groups.items()):
        place = [*colors].index(name)
        x = np.arange(values.shape[1]) + (i - (len(groups) - 1) / 2) * width
        mean = 100 * values.mean(axis=0)
        # The mean of equal values may lie beside them by a rounding error.
        spread = np.maximum((mean - 100 * values.min(axis=0), 100 * values.max(axis=0) - mean), 0)
        if values.shape[1] > MOST_BARS:
            (handles[name],) = axes.plot(x, mean, color=colors[name], linestyle="none", marker="os^DvP"[place % 6])
        else:
            hatch = HATCHES[place % len(HATCHES)]
            handles[name] = axes.bar(x, mean, width, color=colors[name], hatch=hatch, edgecolor="white", linewidth=0)
        if len(values) > 1:
            axes.errorbar(x, mean, spread, linestyle="none", ecolor="#303030", elinewidth=0.7)
    axes.grid(axis="x", visible=False)
    axes.set_xticks(range(0, values.shape[1], max(1, values.shape[1] // 20)))
    return handles


MARGINALS = Figure(
    "Share of each class among the labels, and mean predicted probability of each (Ye et al. 2024, Fig. 2)",
    "metrics.csv with train/marginal_k, and noise/confusion.csv. "
    "seg-anl-classify -m loss=anl_ce,anl_ce_er noise=asymmetric noise.rate=0.4 data=cifar10",
    marginal_probabilities,
)
