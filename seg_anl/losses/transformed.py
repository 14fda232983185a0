"""What changes predictions before any loss: epsilon-softmax, clipped, biased and sharpened logits.

Each is a pure function, and a loss around any other, ``build_loss("logit_clip", base="anl_ce", alpha=2.0)``. The
changed predictions reach the base as log-probabilities.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from seg_anl.records.ranges import FractionBelowOne, Interval

from .base import RobustLoss, checked_parameters, own_parameters
from .declarations import COMMON, loss
from .inputs import LabeledLogits, class_log_probs
from .registry import loss_class

SHORTEST = 1e-3  # of logits that are scaled to unit length; published code: 1e-12, at which half precision overflows
BUMP = 1e4
Bump = Annotated[float, Interval(least=0, most=1e12)]
Temperature = Annotated[float, Interval(least=1e-6, most=1e6)]


def epsilon_softmax(log_probs: Tensor, *, m: float, clamp: float) -> Tensor:
    """log q with q = (p + m [most probable class]) / (m + 1), not below ``clamp``; classes are dimension 1.

    The bump is a constant: no gradient flows through the choice of the class.
    """
    best = log_probs.argmax(dim=1, keepdim=True)
    raised = torch.log1p(torch.expm1(log_probs.gather(1, best)) / (m + 1))
    log_q = (log_probs - math.log1p(m)).scatter(1, best, raised)
    return log_q.clamp(min=math.log(clamp)) if clamp else log_q


def clipped(logits: Tensor, *, max_norm: float, lp: float, official: bool) -> Tensor:
    """Logits whose lp-norm over dimension 1 is above ``max_norm`` scaled down to it.

    ``official``: as published code has it, the norm (plus 1e-7) is compared with 1 / ``max_norm`` instead.
    """
    size = logits.detach().abs().amax(dim=1, keepdim=True).clamp(min=1)  # whose square might overflow
    unit = logits / size
    tiny = torch.finfo(unit.dtype).tiny
    norm = torch.linalg.vector_norm(unit, lp, dim=1, keepdim=True).clamp(min=tiny**0.5)
    if not official:
        return unit * torch.minimum(size, max_norm / norm)
    norm = norm + 1e-7 / size
    return unit * torch.where(norm > 1 / (max_norm * size), max_norm / norm, size)


def sharpened(logits: Tensor, *, temperature: float, normalize: bool) -> Tensor:
    """Logits over ``temperature``, first scaled to unit length over dimension 1 where ``normalize``."""
    if normalize:
        logits = _unit_length(logits)
    highest = torch.finfo(logits.dtype).max  # a small temperature sends large logits beyond what their type holds
    return (logits / temperature).clamp(-highest, highest)


def _unit_length(logits: Tensor) -> Tensor:
    """Logits divided by their l2 norm over the classes; first by their size where their square would overflow.

    The gradient grows as 1 / norm. It stops at 1 / SHORTEST, so that equal logits do not end in a step of 1e12.
    """
    size = logits.detach().abs().amax(dim=1, keepdim=True).clamp(min=1)
    return F.normalize(logits / size, dim=1, eps=SHORTEST)


class TransformedLoss(RobustLoss):
    """A loss of predictions that were changed before; further keywords are those of the loss that is named ``base``.

    A keyword that both know is this loss's own. Schedules, learned parameters and definitions of soft labels and
    weights are the base's.
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
        """The same batch with other predictions."""
        raise TypeError(f"{type(self).__name__} does not say what it changes")

    def labeled(self, input: Tensor, target: Tensor, weight: Tensor | None = None) -> LabeledLogits:
        """The batch as the base wants it."""
        return self.base.labeled(input, target, weight)

    def set_epoch(self, epoch: int) -> None:
        """The base's epoch."""
        self.base.set_epoch(epoch)

    def evaluate(self, batch: LabeledLogits) -> tuple[Tensor, Tensor | None]:
        """The base's values of the changed batch."""
        return self.base.evaluate(self.transform(batch))


@loss(
    "epsilon_softmax",
    title="eps-Softmax",
    class_name="EpsilonSoftmaxLoss",
    formula=r"L(q), \quad q = (p + m \, [k = \operatorname{argmax} p]) / (m + 1)",
)
class EpsilonSoftmaxLoss(TransformedLoss):
    """Any loss of nearly one-hot predictions: the most probable class gets ``m`` more, and all are scaled down.

    ``clamp`` is the least a probability becomes; below, there is no gradient.

    Reference: Wang et al., ε-Softmax: Approximating One-Hot Vectors for Mitigating Label Noise, NeurIPS 2024.
    """

    def __init__(self, *, base: str = "ce", m: Bump = BUMP, clamp: FractionBelowOne = 1e-8, **keywords: Any) -> None:
        super().__init__(base=base, **keywords)
        self.m, self.clamp = m, clamp
        self.of_log_probs = self.base.of_log_probs

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
    """Any loss of logits whose norm over the classes is at most ``max_norm``, the paper's tau.

    Args:
        lp: which norm.
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
    """Any loss of logits over their length and ``temperature``: sparse regularization without its norm.

    Without ``normalize`` logits keep their length; under sigmoid a channel has one logit and nothing to normalize.

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
    """Any loss of logits whose labeled one is raised by ``bias``, the paper's epsilon, which depends on C alone.

    Around MAE this is the paper's MAE*: with many classes MAE alone learns nothing, for no label is believed at first.
    Soft labels are an expectation here too, so the base has to be a loss of single elements for them.

    Reference: Staats, Thamm and Rosenow, Enhancing Noise-Robust Losses for Large-Scale Noisy Data Learning, AAAI 2025.
    """

    def __init__(
        self, *, base: str = "mae", bias: Annotated[float, Interval(least=-1e3, most=1e3)] = 1.0, **keywords: Any
    ) -> None:
        super().__init__(base=base, **keywords)
        self.bias = bias
        self.of_log_probs = self.base.of_log_probs

    def evaluate(self, batch: LabeledLogits) -> tuple[Tensor, Tensor | None]:
        """The base's values; of soft labels those of every class as the label, each with its own logits."""
        if batch.labels is not None:
            return self.base.evaluate(self._biased(batch, batch.labels))
        if not self.elementwise:
            raise ValueError(f"loss 'logit_bias': around {self.hyperparameters['base']!r} it takes hard labels only")
        logits, dims = batch.logits, batch.element_dims
        classes, samples = logits.shape[1], len(logits)
        every = torch.arange(classes, device=logits.device).view(-1, *(1,) * dims)
        labels = every.expand(classes, *logits[:, 0].shape).flatten(0, 1)
        repeated = logits.expand(classes, *logits.shape).flatten(0, 1)
        alone = replace(batch, labels=labels, probabilities=None, counted=None, class_weights=None)
        values, _ = self.base.evaluate(self._biased(alone.with_log_probs(repeated), labels))
        return values.unflatten(0, (classes, samples)), batch.counted

    def _biased(self, batch: LabeledLogits, labels: Tensor) -> LabeledLogits:
        logits = batch.logits
        added = logits.new_full((), self.bias).expand(labels.shape).unsqueeze(1)
        return batch.with_log_probs(class_log_probs(logits.scatter_add(1, labels.unsqueeze(1), added)))
