"""Transforms of the predictions that wrap any loss: epsilon-softmax, clipped, biased and sharpened logits.

Each is a pure function and a wrapper, ``build_loss("logit_clip", base="anl_ce", alpha=2.0)``. The base loss receives
the transformed predictions as log-probabilities.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from seg_anl.records.ranges import FractionBelowOne, Interval

from .base import RobustLoss, checked_parameters, own_parameters
from .declarations import COMMON, loss
from .inputs import LabeledLogits, class_log_probs, most_probable
from .registry import loss_class

MIN_NORM = 1e-3  # of logits to normalize; published code has 1e-12, which overflows in half precision
BUMP = 1e4
Bump = Annotated[float, Interval(least=0, most=1e12)]
Temperature = Annotated[float, Interval(least=1e-6, most=1e6)]


def epsilon_softmax(log_probs: Tensor, *, m: float, clamp: float) -> Tensor:
    """log q with q = (p + m [most probable class]) / (m + 1), not below ``clamp``; classes are dimension 1.

    No gradient flows through the choice of the class.
    """
    best = most_probable(log_probs.detach(), keepdim=True)
    raised = torch.log1p(torch.expm1(log_probs.gather(1, best)) / (m + 1))
    log_q = (log_probs - math.log1p(m)).scatter(1, best, raised)
    return log_q.clamp(min=math.log(clamp)) if clamp else log_q


def clipped(logits: Tensor, *, max_norm: float, lp: float, official: bool) -> Tensor:
    """Scale down logits whose lp-norm over dimension 1 exceeds ``max_norm``.

    ``official``: compare the norm (plus 1e-7) with 1 / ``max_norm`` instead, like the published code.
    """
    size = logits.detach().abs().amax(dim=1, keepdim=True).clamp(min=1)  # the square of large logits overflows
    unit = logits / size
    tiny = torch.finfo(unit.dtype).tiny
    if lp == 2:
        norm = _squared_length(unit).clamp(min=tiny).sqrt()
    else:
        norm = torch.linalg.vector_norm(unit, lp, dim=1, keepdim=True).clamp(min=tiny**0.5)
    if not official:
        return unit * torch.minimum(size, max_norm / norm)
    norm = norm + 1e-7 / size
    return unit * torch.where(norm > 1 / (max_norm * size), max_norm / norm, size)


def sharpened(logits: Tensor, *, temperature: float, normalize: bool) -> Tensor:
    """Logits divided by ``temperature``; ``normalize`` first scales them to unit length over dimension 1."""
    if normalize:
        logits = _unit_length(logits)
    highest = torch.finfo(logits.dtype).max  # large logits over a small temperature overflow
    return (logits / temperature).clamp(-highest, highest)


def _unit_length(logits: Tensor) -> Tensor:
    """Logits divided by their l2 norm over the classes, without overflow.

    The gradient grows as 1 / norm, up to 1 / MIN_NORM.
    """
    size = logits.detach().abs().amax(dim=1, keepdim=True).clamp(min=1)
    unit = logits / size
    return unit * _squared_length(unit).clamp(min=MIN_NORM**2).rsqrt()


def _squared_length(logits: Tensor) -> Tensor:
    """``(B, 1, *E)``; on a CPU ``torch.linalg.vector_norm`` takes half of a loss's time."""
    return logits.square().sum(dim=1, keepdim=True)


class TransformedLoss(RobustLoss):
    """The loss ``base`` of transformed predictions; further keywords go to the base.

    A keyword of both is this wrapper's own. Schedules, learned parameters, and the treatment of soft labels and weights
    are the base's.
    """

    def __init__(self, *, base: str, **keywords: Any) -> None:
        common = {name: keywords.pop(name) for name in COMMON if name in keywords}
        super().__init__(**common)
        made, own = loss_class(base), self.hyperparameters
        known, takes_others = own_parameters(made)  # type: ignore[arg-type]
        if not takes_others:
            checked_parameters(self.loss_name, known, keywords, (*own, *COMMON))
        self.base = made(**common, **keywords)
        self.hyperparameters = {**own, **{k: v for k, v in self.base.hyperparameters.items() if k not in own}}
        self.draws, self.per_image = self.base.draws, self.base.per_image  # type: ignore[misc]
        self.elementwise = self.base.elementwise

    def transform(self, batch: LabeledLogits) -> LabeledLogits:
        """The batch with transformed predictions."""
        raise NotImplementedError(f"{type(self).__name__} must define transform()")

    def labeled(self, input: Tensor, target: Tensor, weight: Tensor | None = None) -> LabeledLogits:
        """The batch as the base prepares it."""
        return self.base.labeled(input, target, weight)

    def set_epoch(self, epoch: int) -> None:
        """Start ``epoch`` (from 0) of the base."""
        self.base.set_epoch(epoch)

    def evaluate(self, batch: LabeledLogits) -> tuple[Tensor, Tensor | None]:
        """The base's values of the transformed batch."""
        return self.base.evaluate(self.transform(batch))


@loss(
    "epsilon_softmax",
    title="eps-Softmax",
    class_name="EpsilonSoftmaxLoss",
    formula=r"L(q), \quad q = (p + m \, [k = \operatorname{argmax} p]) / (m + 1)",
)
class EpsilonSoftmaxLoss(TransformedLoss):
    """Any loss of nearly one-hot predictions: ``m`` is added to the most probable class, then all are renormalized.

    ``clamp`` is the smallest probability; below it there is no gradient.

    Reference: Wang et al., ε-Softmax: Approximating One-Hot Vectors for Mitigating Label Noise, NeurIPS 2024.
    """

    def __init__(self, *, base: str = "ce", m: Bump = BUMP, clamp: FractionBelowOne = 1e-8, **keywords: Any) -> None:
        super().__init__(base=base, **keywords)
        self.m, self.clamp = m, clamp
        self.uses_log_probs_only = self.base.uses_log_probs_only

    def transform(self, batch: LabeledLogits) -> LabeledLogits:
        """Epsilon-softmax instead of softmax."""
        return batch.with_log_probs(epsilon_softmax(batch.log_probs().log_probs, m=self.m, clamp=self.clamp))


@loss(
    "logit_clip",
    title="LogitClip",
    class_name="LogitClipLoss",
    formula=r"L\left(z \min(1, \tau / \lVert z \rVert)\right)",
)
class LogitClipLoss(TransformedLoss):
    """Any loss of logits clipped to a norm of ``max_norm``, the paper's tau, over the classes.

    Args:
        lp: the order of the norm.
        threshold: ``"paper"`` clips norms above ``max_norm``; ``"official"`` those above 1 / ``max_norm``, as the
            published code does, whose parameter is 1 / ``max_norm`` (the two agree at 1).

    Reference: Wei et al., Mitigating Memorization of Noisy Labels by Clipping the Model Prediction, ICML 2023.
    """

    def __init__(
        self,
        *,
        base: str = "ce",
        max_norm: Annotated[float, Interval(least=1e-6, most=1e6)] = 1.0,
        lp: Annotated[float, Interval(least=1, most=100)] = 2.0,
        threshold: Literal["paper", "official"] = "paper",
        **keywords: Any,
    ) -> None:
        super().__init__(base=base, **keywords)
        self.max_norm, self.lp, self.threshold = max_norm, lp, threshold

    def transform(self, batch: LabeledLogits) -> LabeledLogits:
        """Clipped logits."""
        logits = clipped(batch.logits, max_norm=self.max_norm, lp=self.lp, official=self.threshold == "official")
        return batch.with_log_probs(class_log_probs(logits))


@loss("sharpened", title="Sharpened", formula=r"L\left(z \,/\, (\tau \lVert z \rVert_2)\right)")
class SharpenedLoss(TransformedLoss):
    """Any loss of logits divided by their l2 norm and ``temperature``: sparse regularization without its penalty.

    ``normalize=False`` keeps the norm. Under sigmoid there is one logit per channel, and nothing to normalize.

    Reference: Zhou et al., Learning with Noisy Labels via Sparse Regularization, ICCV 2021, Section 2.3, Eq. 7.
    """

    def __init__(
        self, *, base: str = "ce", temperature: Temperature = 0.5, normalize: bool = True, **keywords: Any
    ) -> None:
        super().__init__(base=base, **keywords)
        self.temperature, self.normalize = temperature, normalize

    def transform(self, batch: LabeledLogits) -> LabeledLogits:
        """Sharpened logits."""
        normalize = self.normalize and not batch.sigmoid
        logits = sharpened(batch.logits, temperature=self.temperature, normalize=normalize)
        return batch.with_log_probs(class_log_probs(logits))


@loss("logit_bias", title="Logit bias", class_name="LogitBiasLoss", formula=r"L(z + \epsilon \, [k = y])")
class LogitBiasLoss(TransformedLoss):
    """Any loss of logits with ``bias`` (the paper's epsilon, a function of C alone) added to the label's.

    With MAE it is the paper's MAE*: with many classes MAE alone does not learn, as its gradient vanishes while all
    classes are equally probable. The loss of soft labels is an expectation, which needs an elementwise base.

    Reference: Staats, Thamm and Rosenow, Enhancing Noise-Robust Losses for Large-Scale Noisy Data Learning, AAAI 2025.
    """

    def __init__(
        self, *, base: str = "mae", bias: Annotated[float, Interval(least=-1e3, most=1e3)] = 1.0, **keywords: Any
    ) -> None:
        super().__init__(base=base, **keywords)
        self.bias = bias
        self.uses_log_probs_only = self.base.uses_log_probs_only

    def evaluate(self, batch: LabeledLogits) -> tuple[Tensor, Tensor | None]:
        """The base's values; for soft labels with each class as the label, and biased logits of its own."""
        if batch.labels is not None:
            return self.base.evaluate(self._biased(batch, batch.labels))
        if not self.elementwise:
            raise ValueError(f"loss 'logit_bias': around {self.hyperparameters['base']!r} it takes hard labels only")
        logits, dims = batch.logits, batch.element_dims
        classes, samples = logits.shape[1], len(logits)
        every = torch.arange(classes, device=logits.device).view(-1, *(1,) * dims)
        labels = every.expand(classes, *logits[:, 0].shape).flatten(0, 1)
        repeated = logits.expand(classes, *logits.shape).flatten(0, 1)
        alone = replace(batch, labels=labels, probabilities=None, weight=None, class_weights=None)
        values, _ = self.base.evaluate(self._biased(alone.with_log_probs(repeated), labels))
        return values.unflatten(0, (classes, samples)), batch.weight

    def _biased(self, batch: LabeledLogits, labels: Tensor) -> LabeledLogits:
        logits = batch.logits
        added = logits.new_full((), self.bias).expand(labels.shape).unsqueeze(1)
        return batch.with_log_probs(class_log_probs(logits.scatter_add(1, labels.unsqueeze(1), added)))
