"""What a training method may change of a run: its network, its criterion, its batches, what happens after an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from seg_anl.losses import RobustLoss, ScheduledLoss

from .batches import shuffled
from .distribution import Process

Samples = Callable[..., Iterator[Tensor]]
"""Training images, normalized and not augmented. Classification: (epoch, count) -> so many, or all there are, drawn for
the epoch. Segmentation: () -> this process's share of all, in order."""


class AroundLoss(ScheduledLoss):
    """A criterion around a loss, whose schedule and random numbers are the loss's."""

    def __init__(self, loss: RobustLoss) -> None:
        super().__init__()
        self.loss, self.draws = loss, loss.draws

    def set_epoch(self, epoch: int) -> None:
        """Pass the epoch on to the loss."""
        self.loss.set_epoch(epoch)


class Batches(Protocol):
    """What training batches are cut from: ``targets`` ``(N, ...)`` of the training set, which a method may change."""

    targets: Tensor


class Method:
    """The network is trained on the given loss, and that is all; a method overrides what it changes.

    Attributes:
        first_loss: the loss of a network that is trained before, on the same labels, or None. Its probabilities of the
            training samples go to :meth:`learn`.
        one_process: whether it works in one process alone.
        indexed: whether the criterion is given, last, the positions ``(B,)`` of a batch's samples.
    """

    first_loss: str | None = None
    one_process = False
    indexed = False

    def network(self, build: Callable[[], nn.Module]) -> nn.Module:
        """What is trained; ``build`` returns a new network each time."""
        return build()

    def identify(self, items: Sequence[str], known: Sequence[str]) -> None:
        """Take the ids of the images to learn from, and of all that files may name, before anything is written.

        Segmentation alone does this.
        """

    def order(self, samples: int, sizes: Sequence[int], generator: torch.Generator) -> Tensor:
        """Which masks the batches of an epoch hold, see :data:`~seg_anl.engine.batches.Order`."""
        return shuffled(samples, sizes, generator)

    def learn(self, probabilities: Tensor) -> None:
        """Take the ``(N, K)`` probabilities of the first network; of masks ``(N, K, H, W)``, float16."""

    def criterion(
        self, loss: RobustLoss, *, epochs: int, process: Process, samples: int = 0, classes: int = 0
    ) -> ScheduledLoss:
        """What it is trained on; ``samples`` and ``classes`` are the training set's. Its buffers are in checkpoints."""
        return loss

    def prepare(self, batches: Batches) -> None:
        """Look at, or change, what the batches are cut from: before training, and before a checkpoint is loaded."""

    def after_epoch(self, model: nn.Module, epoch: int, samples: Samples) -> dict[str, float]:
        """Look at, or change, the network (in evaluation mode) after ``epoch``; returns metrics of the training."""
        return {}

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of the method, by name: objects with ``state_dict`` and ``load_state_dict``."""
        return {}
