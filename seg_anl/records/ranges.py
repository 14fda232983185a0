"""Types and ranges of settings, declared as annotations and checked by one function.

A loss annotates its keywords (``q: PositiveFraction = 0.7``), a settings dataclass its fields (``lr: Positive``).
:func:`complaint` checks a value, :func:`checked` a whole group.
"""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from numbers import Integral, Real
from types import UnionType
from typing import Annotated, Any, Literal, TypeGuard, TypeVar, Union, get_args, get_origin

from .errors import UserError, nearest_names

T = TypeVar("T")


def is_number(value: Any) -> TypeGuard[float]:
    """Whether ``value`` is a finite number; booleans are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf


def is_whole_number(value: Any) -> TypeGuard[int]:
    """Whether ``value`` is an integer; booleans and 1.0 are not."""
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True, repr=False)
class Interval:
    """A range of finite numbers: ``above`` and ``below`` are exclusive bounds, ``least`` and ``most`` inclusive."""

    above: float = -math.inf
    least: float = -math.inf
    below: float = math.inf
    most: float = math.inf
    whole: bool = False

    def holds(self, value: Any) -> bool:
        """Whether ``value`` is a number in the interval."""
        if isinstance(value, bool) or not isinstance(value, Integral if self.whole else Real):
            return False
        try:
            number = float(value)
        except OverflowError:
            return False
        return math.isfinite(number) and self.above < number < self.below and self.least <= number <= self.most

    def __repr__(self) -> str:
        return f"<{self}>"

    def __str__(self) -> str:
        bounds = [
            f"{word} {bound:.10g}"
            for word, bound in ((">", self.above), (">=", self.least), ("<", self.below), ("<=", self.most))
            if math.isfinite(bound)
        ]
        return " ".join(["a whole number" if self.whole else "a number", " and ".join(bounds)]).strip()


Number = Annotated[float, Interval()]
NonNegative = Annotated[float, Interval(least=0)]
Positive = Annotated[float, Interval(above=0)]
Negative = Annotated[float, Interval(below=0)]
Fraction = Annotated[float, Interval(least=0, most=1)]
PositiveFraction = Annotated[float, Interval(above=0, most=1)]
OpenFraction = Annotated[float, Interval(above=0, below=1)]
FractionBelowOne = Annotated[float, Interval(least=0, below=1)]
Weight = Annotated[float, Interval(least=0, most=1e12)]  # of a loss term; float32 can hold the sum
Count = Annotated[int, Interval(least=1, whole=True)]
WholeNumber = Annotated[int, Interval(least=0, whole=True)]
Seed = Annotated[int, Interval(least=0, most=2**32 - 1, whole=True)]  # NumPy's range


def complaint(name: str, annotation: Any, value: Any) -> str | None:
    """An error message if ``value``, of the setting ``name``, does not fit ``annotation``; otherwise None.

    >>> complaint("optim.lr", Positive, -1)
    'optim.lr must be a number > 0, got -1'
    >>> complaint("precision", Literal["fp32", "bf16"], "bf61")
    "precision=bf61: did you mean 'bf16'?"
    """
    choices = get_args(annotation) if get_origin(annotation) is Literal else ()
    if choices and isinstance(value, str) and all(isinstance(choice, str) for choice in choices):
        return None if value in choices else f"{name}={value}: {nearest_names(value, choices)}"
    wanted = _expected(annotation, value)
    return f"{name} must be {wanted}, got {value!r}" if wanted else None


def expected(annotation: Any) -> str | None:
    """A description of the values that ``annotation`` allows; None if it allows any.

    >>> expected(PositiveFraction)
    'a number > 0 and <= 1'
    """
    return _expected(annotation, object())


def checked(schema: type[T], given: Mapping[str, Any], group: str = "") -> T:
    """An instance of the dataclass ``schema`` from the settings ``given`` in ``group``; lists become tuples.

    Raises:
        UserError: naming a setting that is unknown, missing or out of range.
    """
    prefix = f"{group}." if group else ""
    annotations = typing.get_type_hints(schema, include_extras=True)
    known = {field.name: field for field in fields(schema) if field.init}  # type: ignore[arg-type]
    for name in given:
        if name not in known:
            raise UserError(f"{prefix}{name}: no such setting; {nearest_names(str(name), known)}")
    values = {}
    for name, field in known.items():
        if name not in given:
            if field.default is MISSING and field.default_factory is MISSING:
                raise UserError(f"the setting {prefix}{name} is needed")
            continue
        value = given[name]
        wrong = complaint(prefix + name, annotations[name], value)
        if wrong:
            raise UserError(wrong)
        values[name] = tuple(value) if isinstance(value, list) else value
    return schema(**values)


def keyword_parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a function or class, in source order."""
    signature = inspect.signature(function, eval_str=True)
    return {p.name: p for p in signature.parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _expected(annotation: Any, value: Any) -> str | None:
    """What ``value`` should have been, or None if it fits."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        interval = next((extra for extra in arguments[1:] if isinstance(extra, Interval)), None)
        if interval is None:
            return _expected(arguments[0], value)
        return None if interval.holds(value) else str(interval)
    if origin in (Union, UnionType):
        tried = [_expected(argument, value) for argument in arguments if argument is not type(None)]
        if (value is None and type(None) in arguments) or None in tried:
            return None
        return " or ".join([*filter(None, tried), *(["null"] if type(None) in arguments else [])])
    if origin is Literal:
        return None if value in arguments else "one of " + ", ".join(repr(choice) for choice in arguments)
    if origin in (tuple, list) or (isinstance(origin, type) and issubclass(origin, Sequence)):
        return _expected_list(arguments, value)
    if annotation is bool:
        return None if isinstance(value, bool) else "true or false"
    if annotation is str:
        return None if isinstance(value, str) else "text"
    return None


def _expected_list(arguments: tuple[Any, ...], value: Any) -> str | None:
    each = arguments[:1] if arguments[1:] in ((), (Ellipsis,)) else arguments
    if not isinstance(value, (list, tuple)) or (len(each) > 1 and len(value) != len(each)):
        return f"a list of {len(each)} values" if len(each) > 1 else "a list"
    pairs = zip(each if len(each) > 1 else each * len(value), value, strict=True)
    wrong = next(filter(None, (_expected(annotation, entry) for annotation, entry in pairs)), None)
    return f"a list in which each is {wrong}" if wrong else None
