"""Methods that are more than a loss.

A new one is a file and a line here, its settings in ``settings.py``, and a YAML in ``configs/method``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import settings
from .base import Method
from .co_teaching import CoTeaching
from .d2l import DimensionalityDriven
from .forward import ForwardEstimated

__all__ = ["Method", "build_method"]

_OF_SETTINGS: dict[type, Callable[[Any], Method]] = {
    settings.CoTeaching: CoTeaching,
    settings.DimensionalityDriven: DimensionalityDriven,
    settings.ForwardEstimated: ForwardEstimated,
    settings.Plain: lambda _: Method(),
}


def build_method(its: settings.MethodSettings) -> Method:
    """The method that has these settings."""
    return _OF_SETTINGS[type(its)](its)
