"""Weighted sums of two losses: active + passive (APL), active + negative (ANL), symmetric cross entropy."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor

from seg_anl.records.ranges import NonNegative, keyword_parameters

from .base import PointwiseFunction
from .inputs import LabeledLogProbs


class WeightedSum:
    """The function alpha * first + beta * second; its keywords are alpha, beta and the parts' own.

    The parts share the batch's log-probabilities, and a keyword that both know goes to both. ``alpha`` and ``beta`` are
    always the weights: a part with parameters of these names keeps its own defaults for them.
    """

    def __init__(
        self, first: PointwiseFunction, second: PointwiseFunction, *, alpha: float = 1.0, beta: float = 1.0
    ) -> None:
        self.first, self.second = first, second
        weights = {
            name: inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=NonNegative)
            for name, default in (("alpha", alpha), ("beta", beta))
        }
        first_own, second_own = (
            {name: known for name, known in keyword_parameters(part).items() if name not in weights}
            for part in (first, second)
        )
        self.alpha, self.beta = alpha, beta
        self.first_names, self.second_names = tuple(first_own), tuple(second_own)
        self.__name__ = f"{first.__name__}_{second.__name__}"
        self.__doc__ = f"alpha * {first.__name__} + beta * {second.__name__}."
        self.__signature__ = inspect.Signature(
            [
                inspect.Parameter("pred", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=LabeledLogProbs),
                *{**weights, **first_own, **second_own}.values(),
            ]
        )

    def __call__(self, pred: LabeledLogProbs, **parameters: Any) -> Tensor:
        """The value at every element; a parameter that is not given has its default."""
        first = self.first(pred, **{name: parameters[name] for name in self.first_names if name in parameters})
        second = self.second(pred, **{name: parameters[name] for name in self.second_names if name in parameters})
        return parameters.get("alpha", self.alpha) * first + parameters.get("beta", self.beta) * second
