"""Methods that are more than a loss.

A new one is a file and a line here, its settings in ``settings.py``, and a YAML in ``configs/method``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seg_anl.engine.co_teaching import CoTeaching
from seg_anl.engine.method import Method

from .. import settings
from .d2l import DimensionalityDriven
from .elr import EarlyLearning
from .forward import ForwardEstimated

__all__ = ["Method", "build_method"]

_OF_SETTINGS: dict[type, Callable[[Any], Method]] = {
    settings.CoTeaching: CoTeaching,
    settings.DimensionalityDriven: DimensionalityDriven,
    settings.EarlyLearning: EarlyLearning,
    settings.ForwardEstimated: ForwardEstimated,
    settings.Plain: lambda _: Method(),
}


def build_method(its: settings.MethodSettings) -> Method:
    """The method that has these settings."""
    return _OF_SETTINGS[type(its)](its)
