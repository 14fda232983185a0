"""Cross entropy and the losses that bend it: normalized, smoothed, bootstrapped, huberized, truncated, equalized."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from seg_anl.records.ranges import Fraction, Interval

from .declarations import loss
from .inputs import LabeledLogProbs

Epsilon = Annotated[float, Interval(least=0, most=1e12)]


@loss("ce", formula=r"-\log p_y", order=1)
def ce(pred: LabeledLogProbs) -> Tensor:
    """Cross entropy: -log p_y. Fits fast, and fits wrong labels just as well."""
    return -pred.target_log_prob


@loss("nce", formula=r"\log p_y \,/ \sum_k \log p_k", symmetric=True)
def nce(pred: LabeledLogProbs) -> Tensor:
    """Normalized cross entropy: the share of the labeled class in the total surprise.

    NCE = log p_y / sum_k log p_k, in [0, 1]; symmetric, so noise tolerant below a noise rate of (C - 1) / C.
    Underfits alone: pair it with a passive or a negative loss.

    Reference: Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, ICML 2020, Eq. 2.
    """
    return pred.target_log_prob / pred.log_probs.sum(dim=1)


@loss("lsr", formula=r"-(1 - s) \log p_y - \frac{s}{C} \sum_k \log p_k", order=8)
def lsr(pred: LabeledLogProbs, *, smoothing: Fraction = 0.1) -> Tensor:
    """Label-smoothing regularization: cross entropy against (1 - s) one-hot + s / C.

    Reference: Szegedy et al., Rethinking the Inception Architecture, CVPR 2016, Section 7.
    """
    return (1 - smoothing) * ce(pred) - smoothing * pred.log_probs.mean(dim=1)


@loss(
    "bootstrap_soft",
    title="Bootstrap (soft)",
    class_name="BootstrapSoftLoss",
    formula=r"-\beta \log p_y - (1 - \beta) \sum_k p_k \log p_k",
    order=9,
)
def bootstrap_soft(pred: LabeledLogProbs, *, beta: Fraction = 0.95) -> Tensor:
    """Soft bootstrapping: cross entropy against beta * label + (1 - beta) * prediction.

    The gradient flows through both places of the prediction, which makes it entropy regularization, as in the source.

    Reference: Reed et al., Training Deep Neural Networks on Noisy Labels with Bootstrapping, ICLR workshop 2015, Eq. 6.
    """
    entropy = -(pred.log_probs.exp() * pred.log_probs).sum(dim=1)
    return beta * ce(pred) + (1 - beta) * entropy


@loss(
    "bootstrap_hard",
    title="Bootstrap (hard)",
    class_name="BootstrapHardLoss",
    formula=r"-\beta \log p_y - (1 - \beta) \log \max_k p_k",
    order=10,
)
def bootstrap_hard(pred: LabeledLogProbs, *, beta: Fraction = 0.8) -> Tensor:
    """Hard bootstrapping: cross entropy against beta * label + (1 - beta) * the most probable class.

    Reference: Reed et al., Training Deep Neural Networks on Noisy Labels with Bootstrapping, ICLR workshop 2015, Eq. 7.
    """
    return beta * ce(pred) - (1 - beta) * pred.log_probs.max(dim=1).values


@loss(
    "phuber_ce", title="PHCE", class_name="PHuberCELoss", formula=r"-\log p_y, \text{ linear below } 1 / \tau", order=6
)
def phuber_ce(pred: LabeledLogProbs, *, tau: Annotated[float, Interval(above=1, most=1e12)] = 2.0) -> Tensor:
    """Partially Huberized cross entropy: linear in p_y below 1 / tau, so that no sample pulls harder than tau.

    -log p_y where p_y > 1 / tau, else -tau p_y + log tau + 1.

    Reference: Menon et al., Can Gradient Clipping Mitigate Label Noise?, ICLR 2020, Eq. 5.
    """
    linear = math.log(tau) + 1 - tau * pred.target_log_prob.exp()
    return torch.where(pred.target_log_prob > -math.log(tau), ce(pred), linear)


@loss("taylor_ce", title="TCE", class_name="TaylorCELoss", formula=r"\sum_{i=1}^{t} (1 - p_y)^i / i", order=7)
def taylor_ce(pred: LabeledLogProbs, *, t: Annotated[int, Interval(least=1, most=10_000, whole=True)] = 2) -> Tensor:
    """Taylor cross entropy: the first t terms of -log p_y around p_y = 1; t = 1 is MAE, t -> infinity CE.

    Reference: Feng et al., Can Cross Entropy Loss Be Robust to Label Noise?, IJCAI 2020, Eq. 5.
    """
    miss = pred.miss()
    total = miss / t
    for order in range(t - 1, 0, -1):  # Horner's scheme of sum_i miss^i / i
        total = miss * (total + 1 / order)
    return total


@loss("el", formula=r"-(1 + \epsilon) \log \frac{p_y + \epsilon}{1 + \epsilon}", order=13)
def el(pred: LabeledLogProbs, *, epsilon: Epsilon = 0.1) -> Tensor:
    """Equal loss: cross entropy of (p_y + epsilon) / (1 + epsilon), times 1 + epsilon.

    Weighs CE's gradient by p_y / (p_y + epsilon); epsilon = 0 is CE, epsilon -> infinity MAE.

    Reference: Equal Loss: A Simple Loss Function for Noise Robust Learning, Eq. 1 and 2.
    """
    return _equal(pred.target_log_prob, epsilon)


@loss("el_lsr", title="LSR+EL", formula=r"(1 - s) \, \text{EL}(p_y) + \frac{s}{C} \sum_k \text{EL}(p_k)", order=14)
def el_lsr(pred: LabeledLogProbs, *, epsilon: Epsilon = 0.1, smoothing: Fraction = 0.1) -> Tensor:
    """Equal loss against smoothed labels: (1 - s) EL(p_y) + s / C sum_k EL(p_k).

    Reference: Equal Loss: A Simple Loss Function for Noise Robust Learning, Table 2 (LSR + EL).
    """
    return (1 - smoothing) * el(pred, epsilon=epsilon) + smoothing * _equal(pred.log_probs, epsilon).mean(dim=1)


def _equal(log_prob: Tensor, epsilon: float) -> Tensor:
    if epsilon == 0:
        return -log_prob
    if epsilon < 1:  # log(p + e) - log(1 + e): exact also where p is far below epsilon
        log_epsilon = torch.full((), math.log(epsilon), dtype=log_prob.dtype, device=log_prob.device)
        return -(1 + epsilon) * (torch.logaddexp(log_prob, log_epsilon) - math.log1p(epsilon))
    # The same as log1p(-(1 - p) / (1 + e)), which does not cancel for a large epsilon.
    return -(1 + epsilon) * torch.log1p(torch.expm1(log_prob) / (1 + epsilon))
