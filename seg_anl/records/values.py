"""What kind of thing a setting's value is, as YAML and the command line give it."""

from __future__ import annotations

import math
from typing import Any, TypeGuard


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a finite number; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf


def is_whole_number(value: Any) -> TypeGuard[int]:
    """Whether it is a whole number, written without a point; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)
