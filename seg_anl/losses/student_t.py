"""T-Loss: the negative log-likelihood of a Student-t distribution over all pixels of an image, with a learned tail."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from seg_anl.records.ranges import Interval

from .base import RobustLoss, positive_or_one
from .chunked import chunked_sums
from .declarations import Common, loss
from .inputs import LabeledLogits

MAX_LOG_NU = 60  # above, the likelihood is that of a normal distribution to machine precision; below -60, useless
MANY_DEGREES = 1e5  # above, the difference of two log-gammas loses precision


@loss("t_loss", title="T-Loss", formula=r"-\log \operatorname{St}_{\nu}(\delta), \quad \delta = p - g", order=16)
class TLoss(RobustLoss):
    """T-Loss of each image; its only parameter, log nu, is trained along with the network.

    Two classes: delta is foreground probability minus label, D the number of pixels. More classes: the
    squared distance to the one-hot label is summed over classes, D stays. Sigmoid: squared deltas are summed over
    channels, D is the number of pixels. Ignored pixels are left out of both. ``reduction="none"`` gives ``(B,)``.

    Soft labels replace the one-hot label in the distance (not an expectation over labels). Weights of pixels and
    classes multiply the squared distances, relative to the image's mean weight, which is the weight of the image.

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
        nu: Annotated[float, Interval(least=-50, most=50)] = 1.0,
        sigma: Literal["official", "identity"] = "official",
        per_pixel: bool = False,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(**common)
        self.log_nu = nn.Parameter(torch.tensor(float(nu)))
        self.sigma = sigma
        self.per_pixel = per_pixel

    def evaluate(self, batch: LabeledLogits) -> tuple[Tensor, Tensor | None]:
        """One value per image, ``(B,)``."""
        batch = batch.with_one_logit_per_channel()
        distance, weight = chunked_sums(batch, _weighted_squares)[:, 0], batch.full_weight()
        if weight is None:
            dimensions = distance.new_full((len(distance),), float(batch.scores[:1, :1].numel()))
            images = None
        else:
            there = weight > 0
            pixels = (there.any(dim=1) if batch.sigmoid else there).reshape(len(there), -1)
            dimensions = pixels.sum(dim=1).to(distance.dtype)
            images = dimensions > 0
            if weight.is_floating_point():  # relative to their mean, the weight of the image
                each = there.reshape(len(there), -1).sum(dim=1)
                images = weight.reshape(len(weight), -1).sum(dim=1) / positive_or_one(each)
                distance = distance / positive_or_one(images)
        value = student_t_nll(distance, dimensions.clamp(min=1), self.log_nu, sigma=self.sigma)
        if self.per_pixel:
            value = value / dimensions.clamp(min=1)
        return value.to(distance.dtype), images


def _weighted_squares(batch: LabeledLogits) -> Tensor:
    """|delta|^2 times its weight, ``(B, 1, *E)``."""
    squared, weight = _squared_differences(batch), batch.full_weight()
    if weight is not None:
        squared = squared * weight if weight.is_floating_point() else torch.where(weight, squared, 0)
    return squared.unsqueeze(1)


def _squared_differences(batch: LabeledLogits) -> Tensor:
    """|delta|^2 of every pixel, ``(B, *E)``."""
    probs, soft = torch.softmax(batch.logits, dim=1), batch.probabilities
    if probs.shape[1] == 2:
        present = soft if soft is None or batch.sigmoid else soft[:, 1]
        return (probs[:, 1] - (batch.labels if present is None else present)).square()  # type: ignore[operator]
    if soft is not None:
        return (probs - soft).square().sum(dim=1)
    assert batch.labels is not None
    target = probs.gather(1, batch.labels.unsqueeze(1)).squeeze(1)
    return probs.square().sum(dim=1) - 2 * target + 1


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
    log_nu = log_nu.clamp(-MAX_LOG_NU, MAX_LOG_NU)
    nu = log_nu.exp()
    half_degrees = (nu + dimensions) / 2
    tail = half_degrees * torch.log1p(math.exp(log_precision) * squared_distance / nu)
    exact = (
        torch.lgamma(nu / 2)
        - torch.lgamma(half_degrees)
        + dimensions / 2 * (math.log(math.pi) + log_nu - log_precision)
    )
    return torch.where(nu > MANY_DEGREES, _normalizer_of_many_degrees(nu, dimensions, log_precision), exact) + tail


def _normalizer_of_many_degrees(nu: Tensor, dimensions: Tensor, log_precision: float) -> Tensor:
    """The same by Stirling's series of the two log-gammas, whose large parts cancel; nu -> infinity is the normal's."""
    half, ratio = dimensions / 2, torch.log1p(dimensions / nu)
    series = 1 / (6 * nu) - 1 / (6 * (nu + dimensions))
    return half * (math.log(2 * math.pi) - log_precision + 1) - ((nu + dimensions - 1) / 2) * ratio + series
