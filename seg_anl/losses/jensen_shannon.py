"""The Jensen-Shannon divergence between label and prediction, and its general form for several views of an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import torch
from torch import Tensor
from typing_extensions import Unpack

from seg_anl.records.ranges import Interval

from .base import RobustLoss
from .declarations import Common, loss
from .inputs import LabeledLogProbs

LabelWeight = Annotated[float, Interval(least=1e-6, most=1 - 1e-6)]


@loss("js", formula=r"\text{JS}_\pi(y, p) \,/ \left(-(1 - \pi) \log(1 - \pi)\right)")
def js(pred: LabeledLogProbs, *, pi: LabelWeight = 0.5, scaled: bool = True) -> Tensor:
    """Jensen-Shannon divergence with weight ``pi`` of the label; pi -> 0 is CE, pi -> 1 MAE.

    Without ``scaled`` it is not divided by -(1 - pi) log(1 - pi), as published for WebVision.

    Reference: Englesson and Azizpour, Generalized Jensen-Shannon Divergence Loss for Learning with Noisy Labels,
    NeurIPS 2021.
    """
    # Of the mixture m = pi [k = y] + (1 - pi) p only m_y matters: log p_k / m_k is the same for all other classes.
    log_mixture = torch.log1p((1 - pi) / pi * pred.target_log_prob.exp()) + math.log(pi)
    of_prediction = pred.target_log_prob.exp() * (pred.target_log_prob - log_mixture) - pred.miss() * math.log1p(-pi)
    return (-pi * log_mixture + (1 - pi) * of_prediction) / (_scale(pi) if scaled else 1)


def generalized_js(views: Sequence[LabeledLogProbs], *, pi: float, scaled: bool) -> Tensor:
    """Divergence of the label, with weight ``pi``, and of the predictions for all views, which share the rest."""
    share = (1 - pi) / len(views)
    others = torch.logsumexp(torch.stack([view.log_probs for view in views]), dim=0) + math.log(share)
    without = views[0].replaced(others).target_log_prob  # of the labeled class, the label itself left out
    with_label = torch.logaddexp(without, without.new_tensor(math.log(pi)))
    value = -pi * with_label
    for view in views:
        probs = view.log_probs.exp()
        apart = (probs * (view.log_probs - others)).sum(dim=1)
        value = value + share * (apart - view.target_log_prob.exp() * (with_label - without))
    return value / (_scale(pi) if scaled else 1)


def _scale(pi: float) -> float:
    return -(1 - pi) * math.log1p(-pi)


class GJSLoss(RobustLoss):
    """Generalized Jensen-Shannon divergence: label and predictions for several augmentations of one image agree.

    A loss of its own shape, not among those of :func:`build_loss`: it takes the logits of several views. The gradient
    flows into all of them. With one view it is ``js``.

    Args:
        pi: weight of the label; the views share the rest evenly.
        scaled: divide by -(1 - pi) log(1 - pi).

    Shape:
        - input: a sequence of logits ``(B, C, *spatial)``, one for each view, whose pixels correspond.
        - target, weight, output: as of every loss.

    Reference: Englesson and Azizpour, Generalized Jensen-Shannon Divergence Loss for Learning with Noisy Labels,
    NeurIPS 2021.
    """

    def __init__(self, *, pi: LabelWeight = 0.5, scaled: bool = True, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self.pi, self.scaled = pi, scaled

    def forward(  # type: ignore[override]
        self, input: Sequence[Tensor], target: Tensor, weight: Tensor | None = None
    ) -> Tensor:
        """The divergence of ``target`` and all views."""
        with torch.autocast(device_type=input[0].device.type, enabled=False):
            batch = self.labeled(input[0], target, weight)
            if any(view.shape != input[0].shape for view in input):
                raise ValueError(f"views must have one shape, got {[tuple(view.shape) for view in input]}")
            views = [replace(batch, scores=view.to(batch.scores.dtype)).log_probs() for view in input]
            return self.reduce(batch, generalized_js(views, pi=self.pi, scaled=self.scaled), batch.weight)
