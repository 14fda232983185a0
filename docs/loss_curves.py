"""Drawings of the losses for their pages: value, and pull at the labeled logit, against the label's probability.

Everything is computed by the losses when the site is built, so a drawing cannot disagree with the code. The curves
are inline SVG in the colors of the page: no file, no script, legible in the light and the dark scheme.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from seg_anl.losses import build_loss

CLASSES = 10
POINTS = 101
LOWEST, HIGHEST = 0.005, 0.995
# Of a loss that looks at a whole image one pixel is varied, the others are predicted with this probability.
IMAGE_PIXELS, OTHER_PIXELS = 64 * 64, 0.9

# What a loss cannot do without, or what makes it a function of p_y alone; the pages say so.
SETTINGS: dict[str, dict[str, Any]] = {
    "forward": {"transition": 0.6 * torch.eye(CLASSES) + 0.4 / (CLASSES - 1) * (1 - torch.eye(CLASSES))},
    **{name: {"normalize": False} for name in ("ce_sr", "fl_sr", "gce_sr", "sharpened")},
}

# A panel in SVG units, and the room around it for numbers.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 230, 130, 46, 8, 24, 34


@dataclass(frozen=True)
class Curve:
    """A loss at default parameters, C = 10, the other nine classes equally probable (per image: C = 2).

    Attributes:
        probability: p_y, the horizontal axis.
        value: the loss of one element, or of the image.
        pull: -dL/dz_y, what a step of gradient descent adds to the labeled logit.
    """

    probability: list[float]
    value: list[float]
    pull: list[float]


def loss_curve(name: str) -> Curve:
    """Value and pull of a loss over p_y, in float64."""
    probability = torch.linspace(LOWEST, HIGHEST, POINTS, dtype=torch.float64)
    loss = build_loss(name, reduction="none", **SETTINGS.get(name, {}))
    value, pull = (_image_of_pixels if loss.per_image else _batch_of_elements)(loss, probability)
    return Curve(probability.tolist(), value.tolist(), pull.tolist())


def _batch_of_elements(loss: torch.nn.Module, probability: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    # Every point once with every label: the batch's mean prediction is uniform, where entropy regularization is nil.
    labels = torch.arange(CLASSES).repeat(len(probability))
    logits = torch.zeros(len(labels), CLASSES, dtype=torch.float64)
    labeled = (probability / (1 - probability)).log() + math.log(CLASSES - 1)
    logits[torch.arange(len(labels)), labels] = labeled.repeat_interleave(CLASSES)
    logits.requires_grad_()
    values = loss(logits, labels)
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    first = torch.arange(len(probability)) * CLASSES  # those with label 0
    return values.detach()[first], -gradient[first, 0]


def _image_of_pixels(loss: torch.nn.Module, probability: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    foreground = torch.full((len(probability), IMAGE_PIXELS), OTHER_PIXELS, dtype=torch.float64)
    foreground[:, 0] = probability
    logits = torch.stack((torch.zeros_like(foreground), torch.logit(foreground)), dim=1).requires_grad_()
    values = loss(logits, torch.ones(foreground.shape, dtype=torch.long))
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    return values.detach(), -gradient[:, 1, 0]


def curve_figure(name: str) -> str:
    """The two panels of a loss as one line of HTML."""
    curve = loss_curve(name)
    scale = max(*curve.pull, 0.0)
    reference = None if name == "ce" else [scale * (1 - p) for p in curve.probability]
    panels = _panel("loss", curve.probability, curve.value, None)
    panels += _panel("pull −∂L/∂z of the label", curve.probability, curve.pull, reference)
    caption = f"<code>{name}</code>" + ("" if reference is None else "; dashed: cross entropy, scaled")
    return (
        f'<figure class="loss-curve" aria-label="loss and gradient of {name} against the probability of the label">'
        f"{panels}<figcaption>{caption}</figcaption></figure>"
    )


def _panel(title: str, x: list[float], y: list[float], reference: list[float] | None) -> str:
    shown = y if reference is None else y + reference
    low, high = min(shown), max(shown)
    if -0.02 * high < low < high / 2:  # an axis from 0, unless the curve lies far above or below it
        low = 0.0
    ticks = ticks_between(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    def at(p: float, value: float) -> str:
        return f"{LEFT + WIDTH * p:.1f},{TOP + HEIGHT * (1 - (value - low) / (high - low)):.1f}"

    parts = [f'<text class="title" x="{LEFT}" y="{TOP - 10}">{title}</text>']
    for tick in ticks:
        _, height = at(0, tick).split(",")
        parts.append(f'<path class="grid" d="M{LEFT} {height}h{WIDTH}"/>')
        label = f"{tick:g}".replace("-", "−")
        parts.append(f'<text class="y" x="{LEFT - 6}" y="{float(height) + 4:.1f}">{label}</text>')
    for p in (0, 0.5, 1):
        parts.append(f'<text class="x" x="{LEFT + WIDTH * p:.0f}" y="{TOP + HEIGHT + 16}">{p:g}</text>')
    parts.append(f'<text class="x" x="{LEFT + WIDTH / 2:.0f}" y="{TOP + HEIGHT + 31}">probability of the label</text>')
    lines = [("curve", y)] if reference is None else [("reference", reference), ("curve", y)]
    for kind, values in lines:
        points = " ".join(at(p, value) for p, value in zip(x, values, strict=True))
        parts.append(f'<polyline class="{kind}" points="{points}"/>')
    box = f"0 0 {LEFT + WIDTH + RIGHT} {TOP + HEIGHT + BOTTOM}"
    return f'<svg viewBox="{box}" role="img" aria-label="{title}">{"".join(parts)}</svg>'


def ticks_between(low: float, high: float) -> list[float]:
    """Three to six round numbers that span ``low`` to ``high``, at most one step beyond either end."""
    if not low < high:
        raise ValueError(f"an axis needs low < high, got {low} and {high}")
    raw = (high - low) / 4
    unit = 10 ** math.floor(math.log10(raw))
    step = next(factor * unit for factor in (1, 2, 2.5, 5, 10) if factor * unit >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]
