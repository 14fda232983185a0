"""Which values of YAML and the command line are numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest

from seg_anl.records.values import is_number, is_whole_number


@pytest.mark.parametrize(
    ("value", "number", "whole"),
    [(1, True, True), (1.5, True, False), (-0.0, True, False), (10**400, True, True), (True, False, False)]
    + [(value, False, False) for value in (math.inf, -math.inf, math.nan, "1", None, [1], 1j)],
)
def test_kinds_of_values(value: Any, number: bool, whole: bool) -> None:
    assert (is_number(value), is_whole_number(value)) == (number, whole)
