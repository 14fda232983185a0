"""How probable a network finds the given labels, and where its gradient comes from (Cui et al. 2022, Fig. 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from seg_anl.reporting.run_directories import Run

from .drawing import (
    BLUE,
    DASHES,
    VERMILLION,
    Composed,
    Figure,
    caption,
    color_of,
    finish_panels,
    legend_above,
    line_style,
    panels,
)
from .loss_shapes import is_pointwise, values_and_gradients
from .recorded_arrays import PROBABILITIES, Arrays, lacks_record, read_epoch, recorded_epochs, wrong_labels
from .run_selection import by_condition, by_method, seeds_of_one_setting, select, setting, split_by

KIND = "probabilities"
WANTED = "classification runs under label noise with record=[probabilities]"
EDGES = np.linspace(0.0, 1.0, 26)
MIDDLE = 0.5  # of the training: where the paper looks, and where the peaks of clean and noisy samples stand apart
SPLIT = {
    "right labels": {"color": BLUE, "linestyle": DASHES[0]},
    "wrong labels": {"color": VERMILLION, "linestyle": DASHES[1]},
}


def target_probabilities(runs: Sequence[Run]) -> Composed:
    """A panel for each method: densities of p_y of right and of wrong labels. The last panel: gradient densities.

    p_y is the probability of the given label, on the training set, at the recorded epoch nearest to half of the
    training. The gradient density is the density of p_y over all samples times the mean L1 norm of the loss's gradient
    with respect to the logits. Seeds are pooled.
    """
    runs, notes = select(runs, lambda run: lacks_record(run, KIND), WANTED)
    conditions, methods = split_by(runs, by_condition), split_by(runs, by_method)
    styles = {
        method: line_style(i + 2, len(methods), color_of(some)) for i, (method, some) in enumerate(methods.items())
    }
    for style in styles.values():
        del style["marker"]
    drawing, grid = panels(len(conditions), len(methods) + 1, height=2.1, sharex=True)
    shown: set[int] = set()
    for line, (condition, some) in zip(grid, conditions.items(), strict=True):
        cells = split_by(some, by_method)
        for axes, method in zip(line, methods, strict=False):
            if method not in cells:
                continue
            seeds = seeds_of_one_setting(cells[method], f"the panel {method.text!r}")
            middle = MIDDLE * seeds[0].epochs - 1
            epoch = min(recorded_epochs(seeds[0], KIND), key=lambda epoch: (abs(epoch - middle), epoch))
            shown.add(epoch + 1)
            records = [read_epoch(run, KIND, epoch, PROBABILITIES) for run in seeds]
            axes.set_title(method.text)
            for name, style in SPLIT.items():
                parts = [record["p_label"][wrong_labels(record) == (name == "wrong labels")] for record in records]
                pooled = np.concatenate(parts)
                if len(pooled):
                    _draw_steps(axes, _density(pooled, len(pooled)), **style)
            if is_pointwise(str(setting(seeds[0], "loss.name"))):
                _draw_steps(line[-1], _gradient_density(seeds[0], records), **styles[method])
            else:
                notes.append(f"{method.text}: no gradient density, its loss is more than a function of the softmax")
        line[0].set_ylabel(f"{condition.text}\ndensity" if len(conditions) > 1 else "density")
        line[-1].set(title="gradient", ylabel=r"density $\times\ \|\partial L / \partial z\|_1$")
    finish_panels(grid, "$p_y$", whole=False)
    entries = {**SPLIT, **{f"gradient, {method.text}": style for method, style in styles.items()}}
    legend_above(drawing, [Line2D([], [], **style) for style in entries.values()], list(entries))
    caption(
        drawing,
        f"{'; '.join(place.text for place in conditions)}, epoch {' or '.join(map(str, sorted(shown)))}. $p_y$: "
        "probability of the given label; training samples, not augmented. The densities of right and of wrong labels "
        "each have area 1.",
    )
    return Composed(drawing, notes)


def _density(values: NDArray[Any], count: int, weights: NDArray[Any] | None = None) -> NDArray[np.float64]:
    """Histogram of ``values`` in [0, 1], per sample of ``count`` and unit of length."""
    return np.asarray(np.histogram(values, EDGES, weights=weights)[0] / (count * np.diff(EDGES)))


def _gradient_density(run: Run, records: Sequence[Arrays]) -> NDArray[np.float64]:
    """Density of p_y over all samples, each weighted with the L1 norm of the gradient of the run's loss."""
    loss = {name: value for name, value in run.config["loss"].items() if name not in ("name", "dice_weight")}
    softmax, labels, p_label = (
        np.concatenate([record[name] for record in records]) for name in ("softmax", "labels", "p_label")
    )
    norms = values_and_gradients(run.config["loss"]["name"], softmax, labels, **loss)[1]
    return _density(p_label, len(labels), norms)


def _draw_steps(axes: Axes, heights: NDArray[np.float64], **style: Any) -> None:
    axes.stairs(heights, EDGES, baseline=None, linewidth=1.3, **style)
    axes.stairs(heights, EDGES, fill=True, alpha=0.12, color=style["color"], linewidth=0)


TARGET_PROBABILITY = Figure(
    "Density of the given label's probability for right and wrong labels, and of the gradient "
    "(Cui et al. 2022, Fig. 1)",
    "records/probabilities. seg-anl-classify -m loss=ce,el noise.rate=0.4 record=[probabilities] record_every=5",
    target_probabilities,
)
