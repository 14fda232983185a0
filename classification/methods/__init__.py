"""Training methods that are more than a loss.

To add one, write a file and add a line here, add its settings to ``settings.py`` and a YAML file to ``configs/method``.
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

_METHODS: dict[type, Callable[[Any], Method]] = {
    settings.CoTeaching: CoTeaching,
    settings.DimensionalityDriven: DimensionalityDriven,
    settings.EarlyLearning: EarlyLearning,
    settings.ForwardEstimated: ForwardEstimated,
    settings.Plain: lambda _: Method(),
}


def build_method(method_settings: settings.MethodSettings) -> Method:
    """Build the method with these settings."""
    return _METHODS[type(method_settings)](method_settings)
