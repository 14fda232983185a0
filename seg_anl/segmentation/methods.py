"""Methods for masks that are more than a loss.

A new one is a file and a line here, its settings in ``settings.py``, and a YAML in ``configs/method``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from seg_anl.engine import co_teaching, method_settings
from seg_anl.engine.method import Method

from . import settings
from .adele import AdaptiveCorrection


class MaskPair(co_teaching.NetworkPair):
    """Two networks, which in evaluation are one: the logarithm of their mean probabilities, ``(B, C, H, W)``."""

    def forward(self, images: Tensor) -> Tensor:
        """Both outputs in training, ``(B, 2, C, H, W)``."""
        both = super().forward(images)
        return both if self.training else both.softmax(dim=2).mean(dim=1).log()


class CoTeachingOfMasks(co_teaching.CoTeaching):
    """Co-teaching whose two networks predict together."""

    def network(self, build: Callable[[], nn.Module]) -> nn.Module:
        """Two networks that start from different weights."""
        return MaskPair(build(), build())


_OF_SETTINGS: dict[type, Callable[[Any], Method]] = {
    method_settings.CoTeaching: CoTeachingOfMasks,
    method_settings.Plain: lambda _: Method(),
    settings.Adele: AdaptiveCorrection,
}


def build_method(its: method_settings.MethodSettings) -> Method:
    """The method that has these settings."""
    return _OF_SETTINGS[type(its)](its)
