"""One checker of settings: which values an annotation lets through, and the line a person reads about the others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from seg_anl.records import UserError
from seg_anl.records.ranges import (
    Count,
    Fraction,
    FractionBelowOne,
    Interval,
    Negative,
    NonNegative,
    Number,
    OpenFraction,
    Positive,
    PositiveFraction,
    Seed,
    WholeNumber,
    checked,
    complaint,
    expected,
    is_number,
    is_whole_number,
    keyword_parameters,
)

NEVER = [math.nan, math.inf, -math.inf, 10**400, True, "1", None, [1], 1j]
EDGES = (-1, -1e-300, 0, 1e-300, 0.5, 1 - 1e-15, 1, 1 + 1e-15, 2)


def test_which_numbers_fit() -> None:
    for kind, fits in (
        (Number, EDGES),
        (NonNegative, EDGES[2:]),
        (Positive, EDGES[3:]),
        (Negative, EDGES[:2]),
        (Fraction, EDGES[2:7]),
        (PositiveFraction, EDGES[3:7]),
        (OpenFraction, EDGES[3:6]),
        (FractionBelowOne, EDGES[2:6]),
        (Count, (1, 2)),
        (WholeNumber, (0, 1, 2)),
        (Seed, (0, 1, 2)),
    ):
        assert tuple(value for value in EDGES if complaint("x", kind, value) is None) == fits, kind
        for value in NEVER:
            assert complaint("x", kind, value) == f"x must be {expected(kind)}, got {value!r}"


def test_numbers_of_numpy_are_numbers() -> None:
    assert complaint("x", Count, np.int64(3)) is None
    assert complaint("x", Positive, np.float32(3)) is None
    assert complaint("x", Count, np.float32(3)) is not None


def test_the_largest_seed_is_numpys() -> None:
    np.random.seed(2**32 - 1)
    assert complaint("seed", Seed, 2**32 - 1) is None
    assert complaint("seed", Seed, 2**32) == "seed must be a whole number >= 0 and <= 4294967295, got 4294967296"


def test_other_kinds() -> None:
    kinds: list[tuple[Any, list[Any], list[Any], str]] = [
        (Positive | None, [1, None], [0, "x"], "a number > 0 or null"),
        (bool, [True, False], [1, "true", None], "true or false"),
        (str, ["", "x"], [1, None], "text"),
        (bool | str, [True, "x"], [1], "true or false or text"),
        (Literal[1, 2], [1, 2], [3, "1"], "one of 1, 2"),
        (tuple[Count, ...], [[], [1], (1, 2)], ["12", 3], "a list"),
        (tuple[Count, ...], [[1]], [[0], [1, 0], [1, "x"]], "a list in which each is a whole number >= 1"),
        (tuple[Count, Fraction], [[3, 0.5]], [[3], [3, 0.5, 1]], "a list of 2 values"),
        (tuple[Count, Fraction], [[3, 0.5]], [[3, 2]], "a list in which each is a number >= 0 and <= 1"),
        (tuple[Fraction, Count], [[0.5, 3]], [[2, 3]], "a list in which each is a number >= 0 and <= 1"),
        (Annotated[bool, "no interval"], [True], [1], "true or false"),
        (Annotated[int, Interval(above=2, most=5, whole=True)], [3, 5], [2, 6], "a whole number > 2 and <= 5"),
    ]
    for kind, good, bad, words in kinds:
        for value in good:
            assert complaint("x", kind, value) is None, kind
        for value in bad:
            assert complaint("x", kind, value) == f"x must be {words}, got {value!r}"


def test_a_misspelled_choice_names_the_nearest() -> None:
    assert complaint("precision", Literal["fp32", "bf16"], "bf61") == "precision=bf61: did you mean 'bf16'?"
    assert complaint("precision", Literal["fp32", "bf16"], "bf16") is None
    assert complaint("precision", Literal["fp32", "bf16"], 16) == "precision must be one of 'fp32', 'bf16', got 16"


def test_what_says_nothing_takes_anything() -> None:
    assert all(complaint("x", Any, value) is None for value in NEVER)
    assert expected(Any) is None


@dataclass(frozen=True)
class Settings:
    lr: Positive
    steps: tuple[Count, ...] = ()


def test_a_group_is_read_or_refused_by_name() -> None:
    assert checked(Settings, {"lr": 1, "steps": [1, 2]}) == Settings(1, (1, 2))
    for given, message in (
        ({"steps": []}, "the setting optim.lr is needed"),
        ({"lr": 1, "step": []}, "optim.step: no such setting; did you mean 'steps'?"),
        ({"lr": 0}, "optim.lr must be a number > 0, got 0"),
        ({"lr": 1, "steps": 3}, "optim.steps must be a list, got 3"),
    ):
        with pytest.raises(UserError) as refused:
            checked(Settings, given, "optim")
        assert str(refused.value) == message
    with pytest.raises(UserError, match=r"^the setting lr is needed"):
        checked(Settings, {})


def test_keyword_parameters_are_those_after_the_star() -> None:
    def function(pred: object, *, q: Positive = 0.7, tau: float = 1) -> None: ...

    assert [(p.name, p.default) for p in keyword_parameters(function).values()] == [("q", 0.7), ("tau", 1)]


def test_kinds_of_values() -> None:
    numbers = [(1, True), (1.5, False), (-0.0, False), (10**400, True)]
    for value, whole in numbers:
        assert is_number(value)
        assert is_whole_number(value) == whole
    for other in (True, math.inf, -math.inf, math.nan, "1", None, [1], 1j):
        assert not is_number(other)
        assert not is_whole_number(other)
