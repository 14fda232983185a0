"""ANL-CE with its gradient in closed form, for eager mode, where autograd takes half as long again.

The function ``anl_ce`` is the definition; a test holds this file to it. It is used for hard labels and the published
clamp (:mod:`seg_anl.losses.chunked`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import PointwiseLoss
from .inputs import LabeledLogits
from .normalized_negative import check_floor


class FusedANLCE(PointwiseLoss):
    """ANL-CE: its function, with derivatives in closed form."""

    def has_derivatives(self, batch: LabeledLogits) -> bool:
        """True for hard labels and the published clamp."""
        return batch.labels is not None and self.hyperparameters["exact_official"]

    def values_and_derivatives(self, batch: LabeledLogits, scale: Tensor) -> tuple[Tensor, Tensor]:
        """With t = log p_y, s = sum_k log p_k, [.] the floor at log p_min and D = K A + sum_k [log p_k]:

        value            = alpha t / s + beta (1 - (A + [t]) / D)
        d value/d log p_k = (k = y) (alpha / s - beta (t > log p_min) / D)
                            - alpha t / s^2 + beta (log p_k > log p_min) (A + [t]) / D^2
        """
        alpha, beta, p_min = (self.hyperparameters[name] for name in ("alpha", "beta", "p_min"))
        log_probs, highest = batch.scores, -math.log(p_min)
        check_floor(p_min, log_probs.shape[1])
        assert batch.labels is not None
        index = batch.labels.unsqueeze(1)
        floored = log_probs.clamp(min=-highest)
        target = log_probs.gather(1, index)
        inverse_sum = log_probs.sum(dim=1, keepdim=True).reciprocal_()
        inverse_flipped = floored.sum(dim=1, keepdim=True).add_(log_probs.shape[1] * highest).reciprocal_()
        active = target * inverse_sum
        negative = target.clamp(min=-highest).add_(highest).mul_(inverse_flipped)  # (A + [t]) / D
        values = (alpha * active).sub_(negative, alpha=beta).add_(beta).squeeze(1)
        scale = scale.unsqueeze(1) if scale.ndim else scale
        inverse_sum.mul_(scale)
        inverse_flipped.mul_(scale)
        on_target = (
            (target > -highest).to(target.dtype).mul_(inverse_flipped).mul_(-beta).add_(inverse_sum, alpha=alpha)
        )
        everywhere = inverse_sum.mul_(active).mul_(-alpha)
        on_unclamped = inverse_flipped.mul_(negative).mul_(beta)
        derivatives = torch.gt(log_probs, -highest, out=floored).mul_(on_unclamped).add_(everywhere)
        return values, derivatives.scatter_add_(1, index, on_target)
