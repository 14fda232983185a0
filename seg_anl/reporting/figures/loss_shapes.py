"""Losses and their gradients against the probability of the label (Cui et al. 2022, Figs. 2 and 3). Needs no runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seg_anl.reporting.names import loss_name, number
from seg_anl.reporting.palette import method_color
from seg_anl.reporting.run_directories import Run

from .drawing import Composed, Figure, caption, legend_above, line_style, panels
from .loss_gradients import values_and_gradients

CLASSES = 10  # of no influence: all losses shown are functions of p_y alone
SHOWN: tuple[tuple[str, dict[str, float]], ...] = (
    ("ce", {}),
    ("el", {"epsilon": 0.1}),
    ("el", {"epsilon": 0.5}),
    ("el", {"epsilon": 2.0}),
    ("gce", {"q": 0.7}),
    ("mae", {}),
)
SYMBOLS = {"epsilon": "ε", "q": "q"}


def loss_curves(_: Sequence[Run]) -> Composed:
    """CE, EL, GCE and MAE (as 1 - p_y, EL's limit for a large epsilon) against p_y."""
    drawing, grid = panels(1, 1, height=2.3)
    axes = grid[0, 0]
    handles = []
    for i, (text, values, _norms) in enumerate(curves_of_losses()):
        handles += axes.plot(probabilities(), values, label=text, **_style(i))
    axes.set_ylim(0, 5)
    axes.set_xlabel(r"probability $p_y$ of the given label")
    axes.set_ylabel("loss")
    legend_above(drawing, handles, [str(handle.get_label()) for handle in handles])
    return Composed(drawing)


def gradient_curves(_: Sequence[Run]) -> Composed:
    """L1 norm of the gradient with respect to the logits (left), and its ratio to that of CE (right), against p_y."""
    drawing, grid = panels(1, 2, height=2.3, sharex=True)
    left, right = grid[0]
    curves = curves_of_losses()
    handles = []
    for i, (text, _values, norms) in enumerate(curves):
        handles += left.plot(probabilities(), norms, label=text, **_style(i))
        right.plot(probabilities(), norms / curves[0][2], **_style(i))
    left.set_ylabel(r"$\|\partial L / \partial z\|_1$")
    right.set_ylabel(r"$\|\partial L / \partial z\|_1$, relative to CE")
    for axes in (left, right):
        axes.set_xlabel(r"probability $p_y$ of the given label")
        axes.set_ylim(bottom=0)
    legend_above(drawing, handles, [str(handle.get_label()) for handle in handles])
    caption(drawing, "Values and gradients of this project's losses themselves.")
    return Composed(drawing)


def probabilities() -> NDArray[np.float64]:
    """The values of p_y: closely spaced near 0, where CE is steep."""
    return np.concatenate((np.geomspace(1e-3, 0.04, 40), np.linspace(0.05, 0.995, 96)))


def curves_of_losses() -> list[tuple[str, NDArray[np.float64], NDArray[np.float64]]]:
    """Name, values and gradient norms of each loss shown, at :func:`probabilities`."""
    p = probabilities()
    softmax = np.tile(((1 - p) / (CLASSES - 1))[:, None], (1, CLASSES))
    softmax[:, 0] = p
    labels = np.zeros(len(p), dtype=np.int64)
    found = []
    for name, parameters in SHOWN:
        shown = ", ".join(f"{SYMBOLS[key]} = {number(value)}" for key, value in parameters.items())
        text = loss_name({"name": name}) + (f", {shown}" if shown else "")
        found.append((text, *values_and_gradients(name, softmax, labels, **parameters)))
    return found


def _style(place: int) -> dict[str, object]:
    color = method_color({"loss": {"name": SHOWN[place][0]}}).light
    return {**line_style(place, len(SHOWN), color), "markevery": (42 + 3 * place, 22)}


LOSS_FIGURES = {
    "loss-curves": Figure(
        "CE, EL, GCE and MAE against the probability of the label (Cui et al. 2022, Fig. 2)",
        "no run: it is drawn from the losses themselves",
        loss_curves,
    ),
    "gradient-curves": Figure(
        "Gradients of CE, EL, GCE and MAE against the probability of the label (Cui et al. 2022, Fig. 3)",
        "no run: it is drawn from the losses themselves",
        gradient_curves,
    ),
}
