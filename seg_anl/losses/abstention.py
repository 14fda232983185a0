"""Losses that let a network abstain from a label, at a price.

They need a channel or a head for the abstention, so :func:`~seg_anl.losses.build_loss` does not list them. Drop the
abstention for prediction.

Reference: Moustafa et al., Generalizing Abstention for Noise-Robust Learning in Medical Image Segmentation, MIDL 2026;
Thulasidasan et al., Combating Label Noise in Deep Learning Using Abstention, ICML 2019, for DAC.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from seg_anl.records.errors import nearest_names

from .base import ScheduledLoss, positive_or_one
from .inputs import labeled_logits
from .registry import build_loss

MAX_ABSTENTION = 1 - 1e-7


@dataclass(frozen=True)
class Kind:
    """A published combination of a base loss, a price of abstention and its schedule."""

    base: str
    price: str
    alpha: float
    gamma: float
    warmup: int
    parameters: dict[str, Any] = field(default_factory=dict)


KINDS = {
    "gac": Kind("gce", "distance", 2.0, 2.0, 15, {"q": 0.1, "exact_official": False}),
    "sac": Kind("sce", "distance", 1.0, 3.0, 20, {"alpha": 0.5, "beta": 1.0}),
    "idac": Kind("ce", "square", 1.0, 0.0, 10),
    "dac": Kind("ce", "logarithm", 2.0, 0.0, 20),
}


class _Abstention(ScheduledLoss):
    """The schedule: no abstention during warm-up, then a price whose weight grows with the epochs."""

    weight_of_price: Tensor
    abstains: Tensor

    def __init__(self, *, epochs: int, warmup: int, alpha: float, gamma: float) -> None:
        super().__init__()
        if not 0 < warmup < epochs:
            raise ValueError(f"abstention needs 0 < warmup < epochs, got warmup={warmup} and epochs={epochs}")
        if not (0 <= alpha <= 1e12 and 0 <= gamma <= 100):
            raise ValueError(f"abstention needs alpha >= 0 and gamma from 0 to 100, got {alpha} and {gamma}")
        self.epochs, self.warmup, self.alpha, self.gamma = epochs, warmup, alpha, gamma
        self.register_buffer("weight_of_price", torch.tensor(0.0, dtype=torch.float64))
        self.register_buffer("abstains", torch.tensor(False))
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """The weight is alpha ((epoch - warmup + 1) / (epochs - warmup))^gamma from the epoch ``warmup`` on."""
        share = min(1.0, max(0, epoch - self.warmup + 1) / (self.epochs - self.warmup))
        self.weight_of_price.fill_(self.alpha * share**self.gamma)
        self.abstains.fill_(epoch >= self.warmup)


class AbstentionLoss(_Abstention):
    """(1 - a) B + alpha price(a): B is the mean of a loss, a that of one more class, abstention.

    ``"gac"`` is around GCE and ``"sac"`` around symmetric cross entropy, with price |log((1 - noise_rate) / (1 - a))|;
    ``"idac"``, price (noise_rate - a)^2, and ``"dac"``, -log(1 - a), around cross entropy with a constant alpha (DAC's
    own schedule of alpha follows the loss of the warm-up). Further keywords are the loss's own, and the common ones but
    for ``reduction``: the value is that of the batch. Before the warm-up ends and in evaluation mode it is B alone.

    Shape:
        - input: logits ``(B, C + 1, *spatial)``, the last channel for the abstention. B is of the first C alone.
        - target, weight: as of every loss, for C classes.
        - output: a scalar.
    """

    def __init__(
        self,
        kind: str,
        *,
        noise_rate: float | None = None,
        epochs: int = 50,
        warmup: int | None = None,
        alpha: float | None = None,
        gamma: float | None = None,
        **keywords: Any,
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"unknown kind of abstention {kind!r}; {nearest_names(kind, KINDS)}")
        its = KINDS[kind]
        super().__init__(
            epochs=epochs,
            warmup=its.warmup if warmup is None else warmup,
            alpha=its.alpha if alpha is None else alpha,
            gamma=its.gamma if gamma is None else gamma,
        )
        if its.price != "logarithm" and (noise_rate is None or not 0 <= noise_rate < 1):
            raise ValueError(f"abstention {kind!r} needs noise_rate=, from 0 to below 1, got {noise_rate!r}")
        self.kind, self.noise_rate = kind, noise_rate
        self.base = build_loss(its.base, **{**its.parameters, **keywords})
        if self.base.activation != "softmax" or self.base.reduction != "mean":
            raise ValueError("abstention is a class of a softmax, and its value the mean of a batch")

    def forward(self, input: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss of ``input`` with its abstention channel against ``target``."""
        with torch.autocast(device_type=input.device.type, enabled=False):  # as in every loss
            return self._value(input if input.dtype == torch.float64 else input.float(), target, weight)

    def _value(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        batch = self.base.labeled(logits[:, :-1], target, weight)
        value = self.base.reduced(batch)
        if not self.training:
            return value
        each, element_weight = torch.softmax(logits, dim=1)[:, -1], batch.full_weight()
        if self.kind != "idac":
            each = each.clamp(max=MAX_ABSTENTION)
        abstained = (
            each.mean()
            if element_weight is None
            else (each * element_weight).sum() / positive_or_one(element_weight.sum())
        )
        price = self.weight_of_price.to(value.dtype) * _price(KINDS[self.kind].price, abstained, self.noise_rate)
        return torch.where(self.abstains, (1 - abstained) * value + price, value)


def _price(kind: str, abstained: Tensor, noise_rate: Any) -> Tensor:
    if kind == "square":
        return (noise_rate - abstained).square()
    learned = torch.log1p(-abstained.clamp(max=MAX_ABSTENTION))
    return -learned if kind == "logarithm" else (math.log1p(-noise_rate) - learned).abs()


class ADSLoss(_Abstention):
    """Abstaining Dice segmenter: abstention from a class of an image.

    The mean over images and classes of (1 - a) (1 - Dice) + alpha |log((1 - noise_rate) / (1 - a))|.

    Args:
        noise_rate: of all classes, or one for each.

    Shape:
        - input: logits ``(B, C, *spatial)``.
        - target: as of every loss; soft labels replace the one-hot ones.
        - head: ``(B, C)``, the network's logits for abstaining from a class of an image. The published head pools the
          decoder's features to 16 x 16 and has one linear layer.
        - output: a scalar.
    """

    def __init__(
        self,
        *,
        noise_rate: float | list[float],
        epochs: int = 50,
        warmup: int = 10,
        alpha: float = 4.0,
        gamma: float = 1.5,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(epochs=epochs, warmup=warmup, alpha=alpha, gamma=gamma)
        rates = torch.as_tensor(noise_rate, dtype=torch.float64)
        if rates.ndim > 1 or not ((rates >= 0) & (rates < 1)).all():
            raise ValueError(f"noise_rate must be from 0 to below 1, one for all or one for each class, got {rates}")
        self.rates, self.ignore_index = rates.tolist(), ignore_index

    def forward(self, input: Tensor, target: Tensor, head: Tensor) -> Tensor:
        """The loss of ``input`` and of the abstentions ``head`` against ``target``."""
        if head.shape != input.shape[:2]:
            raise ValueError(f"head of shape {tuple(head.shape)} does not fit input of shape {tuple(input.shape)}")
        batch = labeled_logits(input, target, ignore_index=self.ignore_index)
        probs, truth = torch.softmax(batch.logits, dim=1), batch.probabilities
        if batch.labels is not None:
            truth = torch.zeros_like(probs).scatter_(1, batch.labels.unsqueeze(1), 1)
        assert truth is not None
        if batch.weight is not None:
            probs, truth = probs * batch.weight.unsqueeze(1), truth * batch.weight.unsqueeze(1)
        shared, predicted, labeled = ((part.flatten(2).sum(dim=2)) for part in (probs * truth, probs, truth))
        dice = 1 - 2 * shared / (predicted.clamp(min=1e-7) + labeled)
        if not self.training:
            return dice.mean()
        abstained = torch.sigmoid(head.to(dice.dtype)).clamp(max=MAX_ABSTENTION)
        learned, rates = torch.log1p(-abstained), dice.new_tensor(self.rates)
        priced = (1 - abstained) * dice + self.weight_of_price.to(dice.dtype) * (torch.log1p(-rates) - learned).abs()
        return torch.where(self.abstains, priced, dice).mean()
