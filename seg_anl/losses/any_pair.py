"""Weighted sums of two losses chosen by name: any active with any passive or negative loss."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from seg_anl.records.errors import nearest_names
from seg_anl.records.ranges import Weight, keyword_parameters

from .base import PointwiseFunction, PointwiseLoss, checked_parameters
from .declarations import COMMON, list_losses, loss
from .inputs import LabeledLogProbs
from .registry import pointwise_function

WEIGHTS = ("alpha", "beta")


class PairLoss(PointwiseLoss):
    """alpha * first + beta * second; further keywords go to the parts.

    A keyword of both parts goes to both. ``alpha`` and ``beta`` are always the weights: a part with parameters of these
    names keeps its own defaults.
    """

    def __init__(self, parts: dict[str, str], *, alpha: float, beta: float, **keywords: Any) -> None:
        super().__init__(**{name: keywords.pop(name) for name in COMMON if name in keywords})
        self.parts = [_part(role, name) for role, name in parts.items()]
        self.own_names = [[name for name in keyword_parameters(part) if name not in WEIGHTS] for part in self.parts]
        known = {
            name: own for part in self.parts for name, own in keyword_parameters(part).items() if name not in WEIGHTS
        }
        self.part_parameters = checked_parameters(self.loss_name, known, keywords, (*parts, *WEIGHTS, *COMMON))
        self.alpha, self.beta = alpha, beta
        self.hyperparameters = {**parts, "alpha": alpha, "beta": beta, **self.part_parameters}

    def values(self, pred: LabeledLogProbs) -> Tensor:
        """The weighted sum at every element; the parts share the batch's log-probabilities."""
        first, second = (
            part(pred, **{name: self.part_parameters[name] for name in names})
            for part, names in zip(self.parts, self.own_names, strict=True)
        )
        return self.alpha * first + self.beta * second


def _part(role: str, name: str) -> PointwiseFunction:
    function = pointwise_function(name)
    if function is None:
        pointwise = [known for known in list_losses() if pointwise_function(known)]
        raise ValueError(f"{role}={name!r} is no pointwise loss; {nearest_names(str(name), pointwise)}")
    return function


@loss("active_passive", title="Active+Passive", formula=r"\alpha \, \text{Active} + \beta \, \text{Passive}")
class ActivePassiveLoss(PairLoss):
    """Any active plus any passive loss, by name; further keywords go to the parts.

    Reference: Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, ICML 2020, Eq. 6.
    """

    def __init__(
        self,
        *,
        active: str = "nce",
        passive: str = "mae",
        alpha: Weight = 1.0,
        beta: Weight = 1.0,
        **keywords: Any,
    ) -> None:
        super().__init__({"active": active, "passive": passive}, alpha=alpha, beta=beta, **keywords)


@loss("active_negative", title="Active+Negative", formula=r"\alpha \, \text{Active} + \beta \, \text{Negative}")
class ActiveNegativeLoss(PairLoss):
    """Any active plus any negative loss, by name; further keywords go to the parts.

    Reference: Ye et al., Active Negative Loss: A Robust Framework for Learning with Noisy Labels.
    """

    def __init__(
        self,
        *,
        active: str = "nce",
        negative: str = "nnce",
        alpha: Weight = 5.0,
        beta: Weight = 5.0,
        **keywords: Any,
    ) -> None:
        super().__init__({"active": active, "negative": negative}, alpha=alpha, beta=beta, **keywords)
