"""What a method may change of a run: its network, its criterion, what happens after an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from seg_anl.engine.distribution import Process
from seg_anl.losses import RobustLoss, ScheduledLoss

SampleBatches = Callable[[int, int], Iterator[Tensor]]
"""(epoch, count) -> so many training images, or all there are, drawn for the epoch: normalized, not augmented."""


class Method:
    """The network is trained on the given loss, and that is all; a method overrides what it changes.

    Attributes:
        first_loss: the loss of a network that is trained before, on the same labels, or None. Its probabilities of the
            training samples go to :meth:`learn`.
    """

    first_loss: str | None = None

    def network(self, build: Callable[[], nn.Module]) -> nn.Module:
        """What is trained; ``build`` returns a new network each time."""
        return build()

    def learn(self, probabilities: Tensor) -> None:
        """Take the ``(N, K)`` probabilities of the first network."""

    def criterion(self, loss: RobustLoss, *, epochs: int, process: Process) -> ScheduledLoss:
        """What it is trained on."""
        return loss

    def after_epoch(self, model: nn.Module, epoch: int, samples: SampleBatches) -> dict[str, float]:
        """Look at, or change, the network (in evaluation mode) after ``epoch``; returns metrics of the training."""
        return {}

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of the method, by name: objects with ``state_dict`` and ``load_state_dict``."""
        return {}
