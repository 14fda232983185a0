"""Train the parameters of a loss (T-Loss's nu) in step with the network's optimizer."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed, nn


class LossOptimizer:
    """Adam over a loss's parameters that steps whenever the network's optimizer does.

    A second parameter group does not work: nnU-Net's schedule sets one learning rate for all groups, and plain SGD
    either stalls or diverges, because the gradient of nu grows with the number of pixels.

    Args:
        loss: module with at least one parameter.
        network_optimizer: its steps are followed; steps skipped by a gradient scaler are skipped here too.
        learning_rate: constant. The published T-Loss code trains nu with Adam at 1e-3.
        scaler: the gradient scaler of the network's optimizer, or None.
    """

    def __init__(
        self, loss: nn.Module, network_optimizer: torch.optim.Optimizer, *, learning_rate: float, scaler: Any = None
    ) -> None:
        self.parameters = list(loss.parameters())
        # With fused Adam the scaler's overflow check stays on the GPU instead of synchronizing at every step.
        self.adam = torch.optim.Adam(
            self.parameters, lr=learning_rate, fused=all(parameter.is_cuda for parameter in self.parameters)
        )
        self.scaler = scaler
        network_optimizer.register_step_pre_hook(self._follow)

    def _follow(self, *_: object) -> None:
        average_gradients(self.parameters)
        if self.scaler is None:
            self.adam.step()
        else:
            self.scaler.step(self.adam)  # a scaler tracks each optimizer separately until update()


def average_gradients(parameters: list[nn.Parameter]) -> None:
    """Average gradients over all processes, to keep parameters outside the DDP wrapper in sync."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    for parameter in parameters:
        if parameter.grad is not None:
            distributed.all_reduce(parameter.grad)
            parameter.grad /= distributed.get_world_size()
