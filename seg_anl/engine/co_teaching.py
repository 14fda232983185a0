"""Co-teaching: two networks, each taught by the samples, or pixels, that the other finds easy."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from seg_anl.losses import RobustLoss, ScheduledLoss

from .distribution import Process
from .method import Method
from .method_settings import CoTeaching as Settings


class NetworkPair(nn.Module):
    """Two networks side by side; outputs ``(B, K, ...)`` become ``(B, 2, K, ...)``."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, images: Tensor) -> Tensor:
        """Both outputs for the same images."""
        return torch.stack([self.first(images), self.second(images)], dim=1)


class CrossedSmallLoss(ScheduledLoss):
    """The sum of both networks' mean loss over the units for which the *other* network's loss is smallest.

    Units are samples, or pixels of all masks of the batch. The share left out rises from 0 to ``forget_rate`` over the
    first ``gradual_epochs`` epochs.

    Args:
        loss: any loss of the registry; its reduction is taken over.
        its: ``forget_rate``, the noise rate as far as it is known, and ``gradual_epochs``, T_k of the paper.
        process: where it is one of several, the losses of the whole batch are compared, over all of them.

    Shape:
        - output: logits ``(B, 2, K, *S)``; target: ``(B, *S)``, or probabilities ``(B, K, *S)``.

    Reference: Han et al., Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy Labels, NeurIPS
    2018, Algorithm 1. Pixels in place of samples: PyMIC (Wang et al., 2023).
    """

    def __init__(self, loss: RobustLoss, its: Settings, process: Process) -> None:
        super().__init__()
        loss.reduction = "none"
        self.loss, self.its, self.process, self.draws = loss, its, process, loss.draws
        self.kept = 1.0

    def set_epoch(self, epoch: int) -> None:
        """Set the share of samples that are learned from in ``epoch``."""
        self.loss.set_epoch(epoch)
        self.kept = 1 - self.its.forget_rate * min(1.0, epoch / max(self.its.gradual_epochs - 1, 1))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """The scalar criterion of both networks; their gradients do not mix."""
        first, second = (self._units(self.loss(output[:, network], target)) for network in (0, 1))
        size = len(first) * self.process.world_size
        count = max(1, int(self.kept * size))
        easy_for_first, easy_for_second = (self._smallest(values.detach(), count, size) for values in (first, second))
        total = first.where(easy_for_second, 0).sum() + second.where(easy_for_first, 0).sum()
        return total * self.process.world_size / count  # the processes' gradients are averaged

    def _units(self, values: Tensor) -> Tensor:
        """The loss of each unit, of ``(B,)`` or ``(B, *S)`` values."""
        if self.its.unit == "pixel" or values.ndim == 1:
            return values.flatten()
        return values.flatten(1).mean(dim=1)

    def _smallest(self, values: Tensor, count: int, size: int) -> Tensor:
        """Which of this process's units are among the ``count`` of the smallest values of all ``size``."""
        batch = self.process.gathered(values, size)
        indices = batch.topk(count, largest=False, sorted=False).indices
        return torch.zeros_like(batch, dtype=torch.bool).scatter(0, indices, True)[self.process.share(size)]


class CoTeaching(Method):
    """Trains a :class:`NetworkPair` on :class:`CrossedSmallLoss`; the loop and the optimizer serve both networks.

    A bound on the gradient's norm (``optim.clip_norm``) holds for both together.
    """

    def __init__(self, its: Settings) -> None:
        self.its = its

    def network(self, build: Callable[[], nn.Module]) -> nn.Module:
        """Two networks that start from different weights."""
        return NetworkPair(build(), build())

    def criterion(self, loss: RobustLoss, *, epochs: int, process: Process, **sizes: int) -> ScheduledLoss:
        """The crossed small-loss criterion over ``loss``."""
        return CrossedSmallLoss(loss, self.its, process)
