"""Losses and their gradients against the probability of the label (Cui et al. 2022, Figs. 2 and 3). Needs no runs.

Values come from the losses themselves: only here do figures import torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray

from seg_anl.reporting.names import loss_name, number
from seg_anl.reporting.palette import method_color
from seg_anl.reporting.run_directories import Run

from .drawing import Figure, legend_and_caption, line_style, panels

CLASSES = 10  # of no influence: all losses shown are functions of p_y alone
EQUAL_LOSSES: list[tuple[str, dict[str, float]]] = [("el", {"epsilon": epsilon}) for epsilon in (0.1, 0.5, 2.0)]
SHOWN: list[tuple[str, dict[str, float]]] = [("ce", {}), *EQUAL_LOSSES, ("gce", {"q": 0.7}), ("mae", {})]
SYMBOLS = {"epsilon": "ε", "q": "q"}
LABEL = r"probability $p_y$ of the given label"
NORM = r"$\|\partial L / \partial z\|_1$"


def is_pointwise(name: str) -> bool:
    """Whether a loss is a function of each sample's softmax alone."""
    from seg_anl.losses import PointwiseLoss, build_loss

    return isinstance(build_loss(name), PointwiseLoss)


def values_and_gradients(
    name: str, probabilities: NDArray[np.floating], labels: NDArray[np.integer], **parameters: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A loss and the L1 norm of its gradient with respect to the logits, for each sample: two arrays ``(N,)``.

    Args:
        name: a loss that is a function of each sample's softmax.
        probabilities: softmax ``(N, K)``; zeros count as the smallest number of float16.
        labels: ``(N,)``.
        parameters: of the loss.

    Raises:
        ValueError: for an unknown loss or parameter.
    """
    import torch

    from seg_anl.losses import build_loss

    smallest = float(np.finfo(np.float16).smallest_subnormal)
    logits = torch.from_numpy(probabilities.astype(np.float64)).clamp(min=smallest).log().requires_grad_()
    values = build_loss(name, reduction="none", **parameters)(logits, torch.from_numpy(labels.astype(np.int64)))
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    return values.detach().double().numpy(), gradient.abs().sum(dim=1).double().numpy()


def probabilities() -> NDArray[np.float64]:
    """The values of p_y: closely spaced near 0, where CE is steep."""
    return np.concatenate((np.geomspace(1e-3, 0.04, 40), np.linspace(0.05, 0.995, 96)))


def curves_of_losses() -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64], dict[str, Any]]]:
    """Values, gradient norms (at :func:`probabilities`) and looks of each loss shown.

    MAE is 1 - p_y, EL's limit for a large epsilon.
    """
    p = probabilities()
    softmax = np.tile(((1 - p) / (CLASSES - 1))[:, None], (1, CLASSES))
    softmax[:, 0] = p
    labels = np.zeros(len(p), dtype=np.int64)
    found = {}
    for i, (name, parameters) in enumerate(SHOWN):
        texts = [loss_name({"name": name}), *(f"{SYMBOLS[key]} = {number(value)}" for key, value in parameters.items())]
        looks = line_style(i, len(SHOWN), method_color({"loss": {"name": name}}).light)
        looks["markevery"] = (42 + 3 * i, 22)
        found[", ".join(texts)] = (*values_and_gradients(name, softmax, labels, **parameters), looks)
    return found


def loss_curves(_: list[Run], __: list[str]) -> Drawing:
    """CE, EL, GCE and MAE against p_y."""
    drawing, ((axes,),) = panels(1, 1, height=2.3)
    drawn = {
        text: axes.plot(probabilities(), values, **looks)[0] for text, (values, _, looks) in curves_of_losses().items()
    }
    axes.set(ylim=(0, 5), xlabel=LABEL, ylabel="loss")
    legend_and_caption(drawing, drawn)
    return drawing


def gradient_curves(_: list[Run], __: list[str]) -> Drawing:
    """L1 norm of the gradient with respect to the logits (left), and its ratio to that of CE (right), against p_y."""
    drawing, ((left, right),) = panels(1, 2, height=2.3, sharex=True)
    curves = curves_of_losses()
    for _values, norms, looks in curves.values():
        left.plot(probabilities(), norms, **looks)
        right.plot(probabilities(), norms / curves["CE"][1], **looks)
    left.set(xlabel=LABEL, ylabel=NORM)
    right.set(xlabel=LABEL, ylabel=f"{NORM}, relative to CE")
    for axes in (left, right):
        axes.set_ylim(bottom=0)
    legend_and_caption(
        drawing,
        dict(zip(curves, left.get_lines(), strict=True)),
        "Values and gradients of this project's losses themselves.",
    )
    return drawing


NO_RUN = "no run: it is drawn from the losses themselves"
LOSS_CURVES = Figure(
    "CE, EL, GCE and MAE against the probability of the label (Cui et al. 2022, Fig. 2)", NO_RUN, loss_curves
)
GRADIENT_CURVES = Figure(
    "Gradients of CE, EL, GCE and MAE against the probability of the label (Cui et al. 2022, Fig. 3)",
    NO_RUN,
    gradient_curves,
)
