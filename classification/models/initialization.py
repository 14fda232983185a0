"""The initial weights that the published numbers of the small networks start from."""

from __future__ import annotations

from torch import nn


def initialize(model: nn.Module) -> None:
    """Draw weights anew, in place, from torch's global generator; biases and batch norm stay as torch made them.

    Convolutions are uniform with variance ``2 / fan_in`` (He et al., Delving Deep into Rectifiers, ICCV 2015), linear
    layers uniform with variance ``2 / (fan_in + fan_out)`` (Glorot and Bengio, AISTATS 2010): what the repositories of
    Active Passive Losses and Active Negative Loss do for their plain networks and, the latter, for its ResNets.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, mode="fan_in", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
