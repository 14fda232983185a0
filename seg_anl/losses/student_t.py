"""T-Loss: the negative log-likelihood of a Student-t distribution over all pixels of an image, with a learned tail."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from seg_anl.records.ranges import Number

from .base import RobustLoss
from .declarations import loss
from .inputs import LabeledLogits


@loss("t_loss", title="T-Loss", formula=r"-\log \operatorname{St}_{\nu}(\delta), \quad \delta = p - g", order=16)
class TLoss(RobustLoss):
    """T-Loss of each image; its only parameter, log nu, is trained along with the network.

    Two classes: delta is foreground probability minus label, D the number of pixels that count. More classes: the
    squared distance to the one-hot label is summed over classes, D stays. Sigmoid: squared deltas are summed over
    channels, D is the number of pixels with a channel that counts. ``reduction="none"`` gives ``(B,)``.

    Args:
        nu: the starting value of log nu (the published code calls it nu).
        sigma: ``"official"`` scales distances by e as the published code does, ``"identity"`` is the paper's formula.
        per_pixel: divide by D, which makes values of images of different size comparable.

    Reference: Gonzalez-Jimenez et al., Robust T-Loss for Medical Image Segmentation, MICCAI 2023, Eq. 5.
    """

    has_state = True
    per_image = True

    def __init__(
        self,
        *,
        nu: Number = 1.0,
        sigma: Literal["official", "identity"] = "official",
        per_pixel: bool = False,
        reduction: str = "mean",
        ignore_index: int | None = None,
        activation: str = "softmax",
    ) -> None:
        super().__init__(reduction=reduction, ignore_index=ignore_index, activation=activation)
        self.log_nu = nn.Parameter(torch.tensor(float(nu)))
        self.sigma = sigma
        self.per_pixel = per_pixel

    def evaluate(self, batch: LabeledLogits) -> tuple[Tensor, Tensor | None]:
        """One value per image, ``(B,)``."""
        pixels, counted = batch.labels, batch.counted
        probs = torch.softmax(batch.logits, dim=1)
        if probs.shape[1] == 2:
            squared = (probs[:, 1] - pixels).square()
        else:
            target = probs.gather(1, pixels.unsqueeze(1)).squeeze(1)
            squared = probs.square().sum(dim=1) - 2 * target + 1
        if counted is not None:
            squared = torch.where(counted, squared, 0)
        if batch.sigmoid:
            counted = None if counted is None else counted.any(dim=1)
            pixels = pixels[:, 0]
        distance = squared.flatten(1).sum(dim=1) if squared.ndim > 1 else squared
        if counted is None:
            dimensions = torch.full_like(distance, float(pixels[0].numel() if len(pixels) else 1))
        else:
            dimensions = counted.reshape(len(counted), -1).sum(dim=1).to(distance.dtype)
        value = student_t_nll(distance, dimensions.clamp(min=1), self.log_nu, sigma=self.sigma)
        if self.per_pixel:
            value = value / dimensions.clamp(min=1)
        return value.to(distance.dtype), None if counted is None else dimensions > 0


def t_loss(
    probability: Tensor, mask: Tensor, log_nu: Tensor, *, sigma: str = "official", per_pixel: bool = False
) -> Tensor:
    """T-Loss of foreground probabilities ``(B, *spatial)`` against masks of 0 and 1, one value per image ``(B,)``."""
    distance = (probability - mask).square().flatten(1).sum(dim=1)
    dimensions = torch.full_like(distance, float(probability[0].numel()))
    value = student_t_nll(distance, dimensions, log_nu, sigma=sigma)
    return (value / dimensions if per_pixel else value).to(distance.dtype)


def student_t_nll(squared_distance: Tensor, dimensions: Tensor, log_nu: Tensor, *, sigma: str) -> Tensor:
    """-log density of a D-dimensional Student-t with nu degrees of freedom at a squared distance from its center.

    All arguments ``(B,)`` or scalar. Evaluated in float64 where the device has it: two log-gamma values of the order of
    D log D are subtracted.
    """
    if squared_distance.device.type != "mps":
        squared_distance, dimensions, log_nu = squared_distance.double(), dimensions.double(), log_nu.double()
    log_precision = 1.0 if sigma == "official" else 0.0
    nu = log_nu.exp()
    half_degrees = (nu + dimensions) / 2
    return (
        torch.lgamma(nu / 2)
        - torch.lgamma(half_degrees)
        + dimensions / 2 * (math.log(math.pi) + log_nu - log_precision)
        + half_degrees * torch.log1p(math.exp(log_precision) * squared_distance / nu)
    )
