"""The bi-tempered logistic loss: a bounded logarithm of a heavy-tailed softmax."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from seg_anl.records.ranges import Fraction, FractionBelowOne, Interval

from .declarations import loss
from .inputs import LabeledLogProbs

NEWTON_STEPS, NEWTON_STEPS_FOR_LIGHT_TAILS = 8, 4  # up to t = 1.5
LABEL_OFFSET = 1e-10  # which the published code adds to a label's probability


@loss(
    "bi_tempered",
    title="Bi-Tempered",
    class_name="BiTemperedLoss",
    formula=r"\sum_k u_k (\log_{t_1} u_k - \log_{t_1} q_k) - \frac{u_k^{2 - t_1} - q_k^{2 - t_1}}{2 - t_1}",
)
def bi_tempered(
    pred: LabeledLogProbs,
    *,
    t1: Fraction = 0.8,
    t2: Annotated[float, Interval(least=1, most=10)] = 1.2,
    label_smoothing: FractionBelowOne = 0.0,
) -> Tensor:
    """Bi-tempered logistic loss of q = exp_t2(z - lambda(z)), with u the label smoothed; t1 = t2 = 1 is cross entropy.

    ``t1`` < 1 bounds the loss of outliers; ``t2`` > 1 gives q a heavy tail, which bounds the influence of labels near
    the boundary. lambda, which makes q sum to 1, is solved to machine precision; the published code stops after five
    steps of a slower iteration.

    Reference: Amid et al., Robust Bi-Tempered Logistic Loss Based on Bregman Divergences, NeurIPS 2019.
    """
    classes = pred.num_classes
    q = pred.replaced(_tempered_log_softmax(pred.log_probs, t2))
    others = label_smoothing / (classes - 1)
    labeled = 1 - label_smoothing
    own = labeled * _log_t(labeled + LABEL_OFFSET, t1) + label_smoothing * _log_t(others + LABEL_OFFSET, t1)
    own -= (labeled ** (2 - t1) + (classes - 1) * others ** (2 - t1)) / (2 - t1)
    values = own + torch.exp((2 - t1) * q.log_probs).sum(dim=1) / (2 - t1)
    values = values - (labeled - others) * _log_t_of_exp(q.target_log_prob, t1)
    return values - others * _log_t_of_exp(q.log_probs, t1).sum(dim=1) if others else values


def _tempered_log_softmax(log_probs: Tensor, t: float) -> Tensor:
    """log exp_t(z - lambda), sum exp_t(z - lambda) = 1, over dimension 1, for t >= 1; shifts of z cancel."""
    if t == 1:
        return log_probs
    below = log_probs.detach().amax(dim=1, keepdim=True) - log_probs
    shift = torch.zeros_like(below[:, :1])
    for _ in range(NEWTON_STEPS if t > 1.5 else NEWTON_STEPS_FOR_LIGHT_TAILS):
        shift = _newton_step(below.detach(), shift, t, rough=True)
    # One more step makes the gradient exact, as the equation is solved, and another second derivatives.
    for _ in range(2):
        shift = _newton_step(below, shift, t)
    return -torch.log1p((t - 1) * (below + shift)) / (t - 1)


def _newton_step(below: Tensor, shift: Tensor, t: float, *, rough: bool = False) -> Tensor:
    """Newton's method for log_t(sum exp_t(-below - shift)) = 0, which is linear in the shift for equal logits.

    The slope is sum q^t = sum q / u with u = q^(1 - t), taken relative to the smallest u, as all may be large.
    ``rough``: with ``log`` instead of ``log1p``, which takes several times as long on a CPU.
    """
    excess, smallest = (t - 1) * (below + shift), 1 + (t - 1) * shift
    q = torch.exp((torch.log(1 + excess) if rough else torch.log1p(excess)) / (1 - t))
    slope = (q * (smallest / (1 + excess))).sum(dim=1, keepdim=True)
    log_sum = q.sum(dim=1, keepdim=True).log()
    return (shift + _log_t_of_exp(log_sum, t) * torch.exp(t * log_sum) * (smallest / slope)).clamp(min=0)


def _log_t(value: float, t: float) -> float:
    """log_t of a number."""
    return math.log(value) if t == 1 else math.expm1((1 - t) * math.log(value)) / (1 - t)


def _log_t_of_exp(log_value: Tensor, t: float) -> Tensor:
    """log_t(x) = (x^(1 - t) - 1) / (1 - t) from log x."""
    return log_value if t == 1 else torch.expm1((1 - t) * log_value) / (1 - t)
