"""Normalized negative losses: a vertically flipped active loss of the classes other than the label."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from seg_anl.records.ranges import Interval

from .declarations import loss
from .focal import Gamma, modulation, modulations
from .inputs import LabeledLogProbs
from .powers import one_minus_exp

P_MIN = 1e-7
Floor = Annotated[float, Interval(least=1e-30, below=1)]
LOG_P_MAX = math.log1p(-1e-7)


@loss("nnce", formula=r"1 - \frac{A + \log p_y}{\sum_k (A + \log p_k)}, \quad A = -\log p_{min}", symmetric=True)
def nnce(pred: LabeledLogProbs, *, p_min: Floor = P_MIN, exact_official: bool = True) -> Tensor:
    """Normalized negative cross entropy: lowers the other classes, most where the label is already confident.

    NNCE = 1 - (A + log p_y) / sum_k (A + log p_k) with A = -log p_min, in [0, 1]; symmetric.

    ``p_min`` < 1 / C is the smallest probability: with ``exact_official`` by a clamp, which cuts the gradient,
    otherwise smoothly, as p_min + (1 - p_min) p.

    Reference: Ye et al., Active Negative Loss, Eq. 8.
    """
    check_floor(p_min, pred.num_classes)
    floored_target = floor_log_prob(pred.target_log_prob, p_min, exact_official)
    return flipped_share(floored_target, floor_log_prob(pred.log_probs, p_min, exact_official), -math.log(p_min))


def nnce_cut(pred: LabeledLogProbs, *, p_min: Floor = P_MIN, exact_official: bool = True) -> Tensor:
    """NNCE as in the published code of ANL-CE*, which also clamps probabilities at 1 - 1e-7."""
    if exact_official:
        log_probs, target_log_prob = (part.clamp(max=LOG_P_MAX) for part in (pred.log_probs, pred.target_log_prob))
        pred = LabeledLogProbs(log_probs, pred.labels, target_log_prob)
    return nnce(pred, p_min=p_min, exact_official=exact_official)


@loss("nnfl", formula=r"1 - \frac{A - \text{FL}(p_y)}{\sum_k (A - \text{FL}(p_k))}", symmetric=True)
def nnfl(
    pred: LabeledLogProbs,
    *,
    gamma: Gamma = 0.5,
    detach_modulation: bool = True,
    p_min: Floor = P_MIN,
    exact_official: bool = True,
) -> Tensor:
    """Normalized negative focal loss: as NNCE, with the focal loss instead of cross entropy.

    A is the focal loss at ``p_min``: (1 - p_min)^gamma (-log p_min).

    Reference: Ye et al., Active Negative Loss, Eq. 9.
    """
    return negative_focal(
        pred, modulations(pred, gamma, detach_modulation), gamma, detach_modulation, p_min, exact_official
    )


def negative_focal(
    pred: LabeledLogProbs, modulations: Tensor, gamma: float, detach: bool, p_min: float, exact_official: bool
) -> Tensor:
    """NNFL, given (1 - p_k)^gamma of every class."""
    check_floor(p_min, pred.num_classes)
    highest_modulation = (1 - p_min) ** gamma
    floored = floor_log_prob(pred.log_probs, p_min, exact_official)
    if exact_official:
        rewards = modulations.clamp(max=highest_modulation) * floored
    else:
        rewards = modulation(one_minus_exp(floored), gamma, detach) * floored
    return flipped_share(pred.of_label(rewards), rewards, -highest_modulation * math.log(p_min))


def flipped_share(target_reward: Tensor, rewards: Tensor, highest: float) -> Tensor:
    """1 - (A - L_y) / sum_k (A - L_k), the normalized negative form of a loss L = -reward with maximum A (Eq. 7)."""
    return 1 - (highest + target_reward) / (rewards.shape[1] * highest + rewards.sum(dim=1))


def check_floor(p_min: float, num_classes: int) -> None:
    """Raise ``ValueError`` unless ``p_min`` < 1 / C, which keeps the normalizer positive."""
    if p_min * num_classes >= 1:
        raise ValueError(f"p_min must be below 1 / C, got {p_min} for {num_classes} classes")


def floor_log_prob(log_prob: Tensor, p_min: float, clamp: bool) -> Tensor:
    """log p, at least log p_min."""
    if clamp:
        return log_prob.clamp(min=math.log(p_min))
    return torch.log(p_min + (1 - p_min) * log_prob.exp())
