"""Maps of what a network has learned to tell apart: t-SNE of its features (Zhou et al. 2021, Figs. 1 and 5)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from seg_anl.records import UserError
from seg_anl.reporting.run_directories import Run

from .drawing import COLORS, Composed, Figure, caption, panels
from .recorded_arrays import FEATURES, lacks_record, read_epoch, recorded_epochs
from .run_selection import by_condition, by_method, seeds_of_one_setting, select, split_by

KIND = "features"
WANTED = "classification runs with record=[features]"
MOST_SAMPLES = 2000  # t-SNE takes seconds for these, minutes for all of MNIST
MOST_CLASSES = 10
PERPLEXITY = 30.0
CLASS_COLORS = (*COLORS, "#8c6d31", "#332288")


def feature_maps(runs: Sequence[Run]) -> Composed:
    """Rows by method, columns by noise: a t-SNE map of the test features after the last epoch, classes as numerals.

    Of several seeds the first is shown, of more than 2000 samples evenly spaced ones, and of many classes the first 10.
    """
    runs, notes = select(runs, lambda run: lacks_record(run, KIND), WANTED)
    columns, rows = list(split_by(runs, by_condition)), split_by(runs, by_method)
    drawing, grid = panels(len(rows), len(columns), height=min(2.1, 6.6 / len(columns)), extra=0.45)
    for line, (method, some) in zip(grid, rows.items(), strict=True):
        cells = split_by(some, by_condition)
        line[0].set_ylabel(method.text)
        for axes, column in zip(line, columns, strict=True):
            axes.set(xticks=[], yticks=[])
            if axes.get_subplotspec().is_first_row():
                axes.set_title(column.text)
            if column in cells:
                seeds = seeds_of_one_setting(cells[column], f"the panel {method.text!r}, {column.text!r}")
                _draw(axes, seeds[0])
                if len(seeds) > 1:
                    notes.append(f"{method.text}, {column.text}: seed {seeds[0].seed} of {len(seeds)} is shown")
    caption(
        drawing,
        f"t-SNE (perplexity {PERPLEXITY:g}) of the last layer's inputs on the test set at the end; numerals are "
        "the true classes.",
    )
    return Composed(drawing, notes)


def _embedded(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """A t-SNE map ``(n, 2)`` of ``features`` ``(n, D)``; the same features give the same map."""
    from sklearn.manifold import TSNE  # takes a second to import, and only this figure needs it

    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    plan = TSNE(perplexity=perplexity, init="pca", learning_rate="auto", random_state=0)
    return np.asarray(plan.fit_transform(features.astype(np.float64)))


def _draw(axes: Axes, run: Run) -> None:
    """Draw the map of one run."""
    record = read_epoch(run, KIND, recorded_epochs(run, KIND)[-1], FEATURES)
    kept = np.flatnonzero(record["labels"] < MOST_CLASSES)
    if len(kept) < 4:
        raise UserError(f"{run.path}: records/{KIND} has {len(kept)} samples to map; t-SNE needs at least 4")
    kept = kept[np.linspace(0, len(kept) - 1, min(len(kept), MOST_SAMPLES)).round().astype(int)]
    places, labels = _embedded(record["features"][kept]), record["labels"][kept]
    size = 14.0 if len(kept) <= 500 else 7.0
    for k in np.unique(labels):
        x, y = places[labels == k].T
        axes.scatter(x, y, s=size, marker=f"${k}$", color=CLASS_COLORS[k], linewidths=0.2, label=str(k))


FEATURE_MAPS = Figure(
    "t-SNE maps of learned features by method and noise (Zhou et al. 2021, Figs. 1 and 5)",
    "records/features. seg-anl-classify -m loss=ce,ce_sr noise.rate=0,0.4,0.8 record=[features]",
    feature_maps,
)
