"""Spatial label smoothing: smooths the labels of pixels that are probably wrong."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from typing_extensions import Unpack

from seg_anl.records.ranges import Fraction

from .base import RobustLoss
from .declarations import Common, loss
from .inputs import LabeledLogits, check_shape


@loss("slsr", title="SLSR", formula=r"-\sum_k t_k \log(0.999 \, p_k + 0.0005)", order=17)
class SLSRLoss(RobustLoss):
    """Spatial label-smoothing regularization: cross entropy with labels smoothed inside a mask.

    The mask, ``loss(input, target, noisy=mask)``, holds the pixels whose labels confident learning suspects. There t is
    1 - ``epsilon`` for the label and ``epsilon`` for *each* other class, as in the published code; elsewhere it is
    one-hot. Without a mask no label is smoothed.

    Shape:
        - noisy: ``(B, *spatial)`` or ``(B, 1, *spatial)``, nonzero where labels are suspected. Labels must be hard.

    Reference: Zhang et al., Characterizing Label Errors: Confident Learning for Noisy-Labeled Image Segmentation,
    MICCAI 2020; the authors' PyMIC for the constants.
    """

    elementwise = True
    uses_log_probs_only = True

    def __init__(self, *, epsilon: Fraction = 0.25, **common: Unpack[Common]) -> None:
        super().__init__(**common)
        self.epsilon = epsilon

    def forward(
        self, input: Tensor, target: Tensor, weight: Tensor | None = None, noisy: Tensor | None = None
    ) -> Tensor:
        """The loss, with smoothed labels where ``noisy`` is nonzero."""
        if noisy is None:
            return super().forward(input, target, weight)
        with torch.autocast(device_type=input.device.type, enabled=False):
            batch = self.labeled(input, target, weight)
            if batch.labels is None:
                raise ValueError("loss 'slsr' smooths hard labels; soft ones are taken without noisy=")
            samples, _, *spatial = input.shape
            check_shape("noisy", noisy, input, {(samples, *spatial), (samples, 1, *spatial)})
            mask = noisy.reshape(samples, *([1] if batch.sigmoid else []), *spatial)
            return self.reduced(self._smoothed(batch, batch.labels, mask != 0))

    def evaluate(self, batch: LabeledLogits) -> tuple[Tensor, Tensor | None]:
        """Cross entropy of probabilities kept away from 0 and 1."""
        return -torch.log(0.999 * batch.log_probs().target_log_prob.exp() + 5e-4), batch.weight

    def _smoothed(self, batch: LabeledLogits, labels: Tensor, noisy: Tensor) -> LabeledLogits:
        """The batch with smoothed labels, which need not sum to 1."""
        other = (self.epsilon * noisy.to(batch.scores.dtype)).expand(labels.shape)
        label = 1 - other
        if batch.sigmoid:
            return replace(batch, labels=None, probabilities=torch.where(labels == 1, label, other))
        classes = torch.arange(batch.scores.shape[1], device=labels.device).view(-1, *(1,) * (labels.ndim - 1))
        soft = torch.where(labels.unsqueeze(1) == classes, label.unsqueeze(1), other.unsqueeze(1))
        return replace(batch, labels=None, probabilities=soft)
