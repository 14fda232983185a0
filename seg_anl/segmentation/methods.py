"""Training methods for masks. A new one is a file and a line here, settings in ``settings.py``, and a YAML in
``configs/method``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from seg_anl.engine import method_settings
from seg_anl.engine.method import Method

from . import settings
from .adele import AdaptiveCorrection
from .clslsr import ConfidentLearning
from .dast import DivergenceAware
from .several_networks import CoTeachingOfMasks, TriNetwork

_OF_SETTINGS: dict[type, Callable[[Any], Method]] = {
    method_settings.CoTeaching: CoTeachingOfMasks,
    method_settings.Plain: lambda _: Method(),
    settings.Adele: AdaptiveCorrection,
    settings.ConfidentSmoothing: ConfidentLearning,
    settings.Dast: DivergenceAware,
    settings.TriNet: TriNetwork,
}


def build_method(its: method_settings.MethodSettings) -> Method:
    """The method of some settings."""
    return _OF_SETTINGS[type(its)](its)
