"""Type checks for values from YAML, JSON and the command line."""

from __future__ import annotations

import math
from typing import Any, TypeGuard


def is_number(value: Any) -> TypeGuard[float]:
    """Whether ``value`` is a finite number; booleans are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf


def is_whole_number(value: Any) -> TypeGuard[int]:
    """Whether ``value`` is an integer; booleans and 1.0 are not."""
    return isinstance(value, int) and not isinstance(value, bool)
