"""Methods with several networks for masks: Co-teaching, and TriNet, where two networks select for the third.

Their criterion is :class:`~seg_anl.engine.co_teaching.CrossedSmallLoss`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor, nn

from seg_anl.engine.co_teaching import CoTeaching, Networks


class MaskNetworks(Networks):
    """Networks whose output in evaluation is the logarithm of their mean probabilities, ``(B, C, H, W)``."""

    def forward(self, images: Tensor) -> Tensor:
        """All outputs in training, ``(B, n, C, H, W)``."""
        outputs = super().forward(images)
        return outputs if self.training else together(outputs)


def together(outputs: Tensor) -> Tensor:
    """The logarithm ``(B, C, H, W)`` of the mean probabilities of logits ``(B, n, C, H, W)``."""
    return outputs.log_softmax(dim=2).logsumexp(dim=1) - math.log(outputs.shape[1])


class CoTeachingOfMasks(CoTeaching):
    """Co-teaching whose two networks predict together."""

    def network(self, build: Callable[[], nn.Module]) -> nn.Module:
        """Networks with different initial weights."""
        return MaskNetworks(*(build() for _ in range(self.networks)))


class TriNetwork(CoTeachingOfMasks):
    """TriNet: a network learns from what *both* others find easy.

    Reference: Zhang et al., Robust Medical Image Segmentation from Non-expert Annotations with Tri-network, MICCAI
    2020, as in PyMIC (Wang et al., 2023), with the sum over the networks in place of the mean.
    """

    networks = 3
