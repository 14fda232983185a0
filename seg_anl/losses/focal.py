"""Focal loss and its normalized form."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from seg_anl.records.ranges import Interval

from .declarations import loss
from .inputs import LabeledLogProbs
from .powers import positive_power

# A higher power of 1 - p underflows in float32 for uniform predictions.
Gamma = Annotated[float, Interval(least=0, most=50)]


@loss("focal", title="FL", class_name="FocalLoss", formula=r"-(1 - p_y)^\gamma \log p_y", order=2)
def focal(pred: LabeledLogProbs, *, gamma: Gamma = 0.5, detach_modulation: bool = True) -> Tensor:
    """Focal loss: -(1 - p_y)^gamma log p_y.

    ``detach_modulation`` stops the gradient through (1 - p_y)^gamma, as all published noisy-label code does; False is
    the gradient of the formula.

    Reference: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, Eq. 4.
    """
    known = pred.detach() if detach_modulation else pred
    return -modulation(known.miss(), gamma, detach_modulation) * pred.target_log_prob


@loss("nfl", formula=r"\text{FL}(p_y) \,/ \sum_k \text{FL}(p_k)", symmetric=True)
def nfl(pred: LabeledLogProbs, *, gamma: Gamma = 0.5, detach_modulation: bool = True) -> Tensor:
    """Normalized focal loss: focal loss of the label over its sum for all labels, in [0, 1]; symmetric.

    Reference: Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, ICML 2020, Eq. 5.
    """
    return normalized_focal(pred, modulations(pred, gamma, detach_modulation))


def normalized_focal(pred: LabeledLogProbs, modulations: Tensor) -> Tensor:
    """NFL, given (1 - p_k)^gamma of every class."""
    focal_of_all = -modulations * pred.log_probs
    return pred.of_label(focal_of_all) / focal_of_all.sum(dim=1)


def modulations(pred: LabeledLogProbs, gamma: float, detach: bool) -> Tensor:
    """(1 - p_k)^gamma of every class, ``(B, K, *E)``."""
    known = pred.detach() if detach else pred
    return modulation(known.misses(), gamma, detach)


def modulation(miss: Tensor, gamma: float, detach: bool) -> Tensor:
    """(1 - p)^gamma of ``miss`` = 1 - p, with a finite derivative also at p = 1 when gamma < 1."""
    if detach:
        return positive_power(miss.detach(), gamma)
    return positive_power(miss.clamp(min=torch.finfo(miss.dtype).tiny), gamma)
