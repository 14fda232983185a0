"""Weighted sums of two losses: active + passive (APL), active + negative (ANL), symmetric cross entropy."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor

from .base import PointwiseFunction
from .inputs import LabelledLogProbs
from .parameters import NonNegative, keyword_parameters


def weighted_sum(
    first: PointwiseFunction, second: PointwiseFunction, *, alpha: float = 1.0, beta: float = 1.0
) -> PointwiseFunction:
    """The function alpha * first + beta * second; its keywords are alpha, beta and the parts' own.

    A keyword that both parts know goes to both. The parts share the batch's log-probabilities.
    """
    first_names, second_names = keyword_parameters(first), keyword_parameters(second)

    def combined(pred: LabelledLogProbs, **parameters: Any) -> Tensor:
        first_value = first(pred, **{name: parameters[name] for name in first_names})
        second_value = second(pred, **{name: parameters[name] for name in second_names})
        return parameters["alpha"] * first_value + parameters["beta"] * second_value

    weights = {
        name: inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=NonNegative)
        for name, default in (("alpha", alpha), ("beta", beta))
    }
    combined.__name__ = f"{first.__name__}_{second.__name__}"
    combined.__doc__ = f"alpha * {first.__name__} + beta * {second.__name__}."
    combined.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter("pred", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=LabelledLogProbs),
            *{**weights, **first_names, **second_names}.values(),
        ]
    )
    return combined
