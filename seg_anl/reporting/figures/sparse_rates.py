"""How many outputs are as good as one-hot, and the test accuracy beside it (Zhou et al. 2021, Fig. 3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from seg_anl.reporting.run_directories import Run

from .drawing import Composed, Figure, caption, color_of, drawn_band, finish_panels, legend_above, line_style, panels
from .epoch_curves import TEST, series
from .recorded_arrays import PROBABILITIES, lacks_record, read_epoch, recorded_epochs
from .run_selection import by_condition, by_method, seeds_of_one_setting, seeds_text, select, setting, split_by

KIND = "probabilities"
TEMPERATURE, CLOSENESS = 0.1, 0.01  # tau of the paper's Section 3.1, and how near to 1 the largest output must be
WANTED = "classification runs with record=[probabilities]"


def sparse_rate(probabilities: NDArray[np.floating]) -> float:
    """Share of samples whose output, sharpened with tau = 0.1, has an entry above 0.99.

    The softmax of z / tau is softmax(z) to the power of 1 / tau, normalized, so the recorded softmax ``(N, K)`` is
    enough. Only classes within 0.63 of the largest decide, where float16 is exact to a thousandth.

    Reference: Zhou et al., Learning with Noisy Labels via Sparse Regularization, ICCV 2021, Section 3.1.
    """
    relative = probabilities.astype(np.float64) / probabilities.max(axis=1, keepdims=True)
    largest = 1 / (relative ** (1 / TEMPERATURE)).sum(axis=1)
    return float((largest > 1 - CLOSENESS).mean())


def sparse_rates(runs: Sequence[Run]) -> Composed:
    """Sparse rate of the training samples (left) and test accuracy (right) over the epochs, a line for each method."""
    runs, notes = select(runs, _reason_against, WANTED)
    conditions, methods = split_by(runs, by_condition), split_by(runs, by_method)
    styles = {method: line_style(i, len(methods), color_of(some)) for i, (method, some) in enumerate(methods.items())}
    drawing, grid = panels(len(conditions), 2, height=2.1, sharex=True)
    counts = set()
    for row, (condition, some) in zip(grid, conditions.items(), strict=True):
        for axes, name in zip(row, ("sparse rate", "test accuracy"), strict=True):
            axes.set_title(condition.text if len(conditions) > 1 else "")
            axes.set(ylabel=f"{name} (%)", ylim=(-3, 103))
        for place, (method, of_method) in enumerate(split_by(some, by_method).items()):
            seeds = seeds_of_one_setting(of_method, f"the line {method.text!r}")
            counts.add(len(seeds))
            drawn_band(row[0], *_rates(seeds), place, len(methods), **styles[method])
            drawn_band(row[1], *series(seeds, TEST), place, len(methods), **styles[method])
    finish_panels(grid, "epoch")
    legend_above(drawing, [Line2D([], [], **style) for style in styles.values()], [place.text for place in methods])
    caption(
        drawing,
        f"{'; '.join(place.text for place in conditions)}. Sparse rate: share of training samples whose largest "
        f"output, sharpened with τ = 0.1, is above 0.99. {seeds_text(counts)}",
    )
    normalized = [run for run in runs if setting(run, "loss.normalize") is True]
    if normalized:
        notes.append(
            f"{normalized[0].path} was trained on normalized outputs (loss.normalize=true); its sparse rate is that of "
            "the outputs as they are, which the paper's figure (MNIST, not normalized) is about"
        )
    return Composed(drawing, notes)


def _reason_against(run: Run) -> str | None:
    there = run.has(TEST.split, TEST.name)
    return lacks_record(run, KIND) if there else "has no test/accuracy in its metrics.csv"


def _rates(runs: Sequence[Run]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    epochs = sorted(set.intersection(*(set(recorded_epochs(run, KIND)) for run in runs)))
    shapes = {"softmax": PROBABILITIES["softmax"]}
    rates = [[sparse_rate(read_epoch(run, KIND, epoch, shapes)["softmax"]) for epoch in epochs] for run in runs]
    return np.array(epochs, np.int64), np.array(rates)


SPARSE_RATE = Figure(
    "Share of one-hot outputs and test accuracy, with and without sparse regularization (Zhou et al. 2021, Fig. 3)",
    "records/probabilities and metrics.csv. seg-anl-classify -m loss=ce,focal,gce noise.rate=0.8 "
    "record=[probabilities] record_every=1; and loss=ce_sr loss.tau=0.1 loss.normalize=false",
    sparse_rates,
)
