"""Forward correction: cross entropy of the prediction after the noise's transition matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from .base import RobustLoss
from .declarations import Common, loss
from .inputs import LOWEST_LOG_PROB, LabeledLogits


@loss("forward", title="Forward", formula=r"-\log \sum_i T_{iy} \, p_i", order=11)
class ForwardLoss(RobustLoss):
    """Forward correction, cross entropy of T' p: -log sum_i T[i, y] p_i.

    Args:
        transition: ``(C, C)``, T[i, j] = P(noisy label j given true class i); rows sum to 1. For sigmoid ``(2, 2)``,
            the same for every channel. It is a buffer: in the ``state_dict``, not trained.

    Reference: Patrini et al., Making Deep Neural Networks Robust to Label Noise: A Loss Correction Approach, CVPR 2017,
    Theorem 2.
    """

    has_state = True
    elementwise = True
    transition: Tensor

    def __init__(self, *, transition: Any = None, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        if transition is None:
            raise ValueError("loss 'forward' needs transition=, a (C, C) matrix with rows P(noisy label | true class)")
        try:
            matrix = torch.as_tensor(transition, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"loss 'forward': transition must be a square matrix of numbers: {error}") from error
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"loss 'forward': transition must be a square matrix, got shape {tuple(matrix.shape)}")
        if (
            not torch.isfinite(matrix).all()
            or matrix.min() < 0
            or not torch.allclose(matrix.sum(dim=1), torch.ones(len(matrix)), atol=1e-4)
        ):
            raise ValueError("loss 'forward': transition must hold probabilities, each row summing to 1")
        self.register_buffer("transition", matrix)
        self.hyperparameters = {"transition": matrix}

    def evaluate(self, batch: LabeledLogits) -> tuple[Tensor, Tensor | None]:
        """-log of the corrected probability of the label."""
        log_probs = batch.log_probs().log_probs
        if len(self.transition) != log_probs.shape[1]:
            raise ValueError(
                f"loss 'forward': transition is for {len(self.transition)} classes, input has {log_probs.shape[1]}"
            )
        into_class = self.transition.to(log_probs.dtype).log().clamp(min=LOWEST_LOG_PROB).t()
        if batch.labels is not None:
            into_label = into_class[batch.labels].movedim(-1, 1)
            return -torch.logsumexp(log_probs + into_label, dim=1), batch.weight
        every = into_class.view(len(into_class), 1, -1, *(1,) * (log_probs.ndim - 2))
        return -torch.logsumexp(log_probs + every, dim=2), batch.weight
