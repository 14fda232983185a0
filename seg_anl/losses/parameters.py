"""What a loss's parameters are called, default to and may be: read off its signature, checked once, when it is built.

A loss annotates each keyword with one of the types below, for instance ``q: Fraction = 0.7``.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from seg_anl.records.errors import nearest_names


@dataclass(frozen=True)
class Interval:
    """Finite numbers between bounds: ``above`` and ``below`` exclude the bound, ``least`` and ``most`` include it."""

    above: float = -math.inf
    least: float = -math.inf
    below: float = math.inf
    most: float = math.inf
    whole: bool = False

    def holds(self, value: Any) -> bool:
        """Whether ``value`` is a number of the interval."""
        if isinstance(value, bool) or not isinstance(value, Integral if self.whole else Real):
            return False
        number = float(value)
        return math.isfinite(number) and self.above < number < self.below and self.least <= number <= self.most

    def __str__(self) -> str:
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (
                (">", self.above),
                (">=", self.least),
                ("<", self.below),
                ("<=", self.most),
            )
            if math.isfinite(bound)
        ]
        return " ".join(["a whole number" if self.whole else "a number", " and ".join(bounds)]).strip()


Number = Annotated[float, Interval()]
NonNegative = Annotated[float, Interval(least=0)]
Positive = Annotated[float, Interval(above=0)]
Negative = Annotated[float, Interval(below=0)]
AboveOne = Annotated[float, Interval(above=1)]
Fraction = Annotated[float, Interval(least=0, most=1)]
PositiveFraction = Annotated[float, Interval(above=0, most=1)]
OpenFraction = Annotated[float, Interval(above=0, below=1)]
Count = Annotated[int, Interval(least=1, whole=True)]
EpochCount = Annotated[int, Interval(least=0, whole=True)]


def keyword_parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a loss function or class, in the order they are written."""
    signature = inspect.signature(function, eval_str=True)
    return {p.name: p for p in signature.parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def checked_parameters(
    owner: str, known: Mapping[str, inspect.Parameter], given: Mapping[str, Any], common: Iterable[str] = ()
) -> dict[str, Any]:
    """Defaults overlaid with what was given; ``common`` are keywords taken elsewhere, named where they come near.

    Raises:
        ValueError: for an unknown name, with the nearest valid ones, or a value outside what the annotation allows.
    """
    for name, value in given.items():
        if name not in known:
            hint = nearest_names(name, [*known, *common])
            raise ValueError(f"loss {owner!r} has no parameter {name!r}; {hint}")
        expected = _violation(known[name].annotation, value)
        if expected:
            raise ValueError(f"loss {owner!r}: {name} must be {expected}, got {value!r}")
    return {name: given.get(name, parameter.default) for name, parameter in known.items()}


def _violation(annotation: Any, value: Any) -> str | None:
    """What ``value`` should have been, or None where it fits."""
    if get_origin(annotation) is Annotated:
        interval = next(extra for extra in get_args(annotation)[1:] if isinstance(extra, Interval))
        return None if interval.holds(value) else str(interval)
    if get_origin(annotation) in (Union, UnionType):
        if value is None and type(None) in get_args(annotation):
            return None
        return _violation(get_args(annotation)[0], value)
    if get_origin(annotation) is Literal:
        choices = get_args(annotation)
        return None if value in choices else "one of " + ", ".join(repr(choice) for choice in choices)
    if annotation is bool:
        return None if isinstance(value, bool) else "true or false"
    return None
