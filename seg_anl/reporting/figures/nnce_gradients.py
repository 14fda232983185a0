"""How hard NNCE pushes on clean and on mislabeled samples, epoch by epoch (Ye et al. 2024, Fig. 7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cbook import boxplot_stats
from matplotlib.patches import Patch
from numpy.typing import NDArray

from seg_anl.reporting.run_directories import Run

from .drawing import BLUE, VERMILLION, Composed, Figure, caption, legend_above, panels
from .recorded_arrays import GRADIENTS, lacks_record, read_epoch, recorded_epochs, wrong_labels
from .run_selection import by_condition, by_method, seeds_of_one_setting, select, split_by

KIND = "gradients"
MOST_EPOCHS = 8  # pairs of boxes that stay legible in a panel
WIDEST = 3
WANTED = "classification runs under label noise with record=[gradients]"
# Fill and edge: light against dark also in gray.
LOOKS = {"right labels": ("#9ecae8", BLUE, -0.2), "wrong labels": (VERMILLION, "#7a3500", 0.2)}
MEAN = {
    "marker": "^",
    "markersize": 3.6,
    "markerfacecolor": "white",
    "markeredgecolor": "black",
    "markeredgewidth": 0.6,
}
Box = dict[str, Any]


def nnce_gradients(runs: Sequence[Run]) -> Composed:
    """Box plots of max over j != y of d NNCE / d p_j, right and wrong labels beside each other, over the epochs.

    Boxes are quartiles, whiskers reach the last sample within 1.5 times the box, triangles are means; outliers are not
    drawn. Seeds are pooled.
    """
    runs, notes = select(runs, lambda run: lacks_record(run, KIND), WANTED)
    conditions = split_by(runs, by_condition)
    cells = {
        (condition, method): of_method
        for condition, some in conditions.items()
        for method, of_method in split_by(some, by_method).items()
    }
    width = min(len(cells), WIDEST)
    drawing, grid = panels(-(-len(cells) // width), width, height=2.1, sharey=True)
    for axes in grid.flat[len(cells) :]:
        axes.set_axis_off()
    counts: set[int] = set()
    boxes: list[Box] = []
    for axes, ((condition, method), some) in zip(grid.flat, cells.items(), strict=False):
        title = f"{method.text}\n{condition.text}" if len(conditions) > 1 else method.text
        seeds = seeds_of_one_setting(some, f"the panel {title!r}")
        counts.add(len(seeds))
        axes.set_title(title)
        boxes += _draw(axes, seeds)
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel(r"$\max_{j \neq y}\ \partial\,\mathrm{NNCE}\,/\,\partial\,p_j$")
    _scale(grid[0, 0], boxes)
    legend_above(drawing, [Patch(facecolor=fill, edgecolor=edge) for fill, edge, _ in LOOKS.values()], list(LOOKS))
    pooled = f" {' or '.join(map(str, sorted(counts)))} seeds pooled." if max(counts) > 1 else ""
    where = f"{next(iter(conditions)).text}. " if len(conditions) == 1 else ""  # else the titles say it
    caption(
        drawing,
        f"{where}Training samples, not augmented.{pooled} Boxes: quartiles; whiskers: within 1.5 times the box; "
        "triangles: means; outliers not drawn.",
    )
    return Composed(drawing, notes)


def _draw(axes: Axes, runs: Sequence[Run]) -> list[Box]:
    """Draw the boxes of one panel; returns their statistics."""
    drawn: list[Box] = []
    shared = sorted(set.intersection(*(set(recorded_epochs(run, KIND)) for run in runs)))
    places = np.unique(np.linspace(0, len(shared) - 1, min(MOST_EPOCHS, len(shared))).round().astype(int))
    epochs = [shared[i] for i in places]
    for name, (fill, edge, shift) in LOOKS.items():
        boxes = [boxplot_stats(_pooled(runs, epoch, wrong=name == "wrong labels"))[0] for epoch in epochs]
        drawn += boxes
        axes.bxp(
            boxes,
            positions=np.arange(len(epochs)) + shift,
            widths=0.34,
            showfliers=False,
            showmeans=True,
            patch_artist=True,
            manage_ticks=False,
            boxprops={"facecolor": fill, "edgecolor": edge, "linewidth": 0.8},
            medianprops={"color": "black", "linewidth": 1.2},
            whiskerprops={"color": edge, "linewidth": 0.8},
            capprops={"color": edge, "linewidth": 0.8},
            meanprops=MEAN,
        )
    axes.set_xticks(range(len(epochs)), [str(epoch + 1) for epoch in epochs])
    axes.set_xlabel("epoch")
    axes.grid(axis="x", visible=False)
    return drawn


def _scale(axes: Axes, boxes: Sequence[Box]) -> None:
    """Take a logarithmic scale, linear around 0, where a linear one would flatten all boxes."""
    highest = max(max(box["mean"], box["whishi"]) for box in boxes)
    if highest > 50 * min(box["med"] for box in boxes):
        lowest = min((box["q1"] for box in boxes if box["q1"] > 0), default=1.0)
        axes.set_yscale("symlog", linthresh=10.0 ** np.floor(np.log10(lowest)), linscale=0.4)
        axes.set_ylim(0, 2.5 * highest)


def _pooled(runs: Sequence[Run], epoch: int, *, wrong: bool) -> NDArray[Any]:
    records = [read_epoch(run, KIND, epoch, GRADIENTS) for run in runs]
    return np.concatenate([record["nnce"][wrong_labels(record) == wrong] for record in records])


NNCE_GRADIENTS = Figure(
    "Gradient of NNCE on samples with right and with wrong labels, over the epochs (Ye et al. 2024, Fig. 7)",
    "records/gradients. seg-anl-classify -m loss=anl_ce noise.rate=0.6,0.8 record=[gradients] record_every=5",
    nnce_gradients,
)
