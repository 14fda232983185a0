"""Which values of YAML and the command line are numbers."""

from __future__ import annotations

import math

from seg_anl.records.values import is_number, is_whole_number


def test_kinds_of_values() -> None:
    numbers = [(1, True), (1.5, False), (-0.0, False), (10**400, True)]
    for value, whole in numbers:
        assert is_number(value)
        assert is_whole_number(value) == whole
    for other in (True, math.inf, -math.inf, math.nan, "1", None, [1], 1j):
        assert not is_number(other)
        assert not is_whole_number(other)
