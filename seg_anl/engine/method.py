"""The parts of a run that a training method may change: network, criterion, batches, the end of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from seg_anl.losses import RobustLoss, ScheduledLoss

from .batches import shuffled
from .distribution import Process

Samples = Callable[..., Iterator[Tensor]]
"""Training images, normalized and not augmented. Classification: (epoch, count) -> ``count`` images drawn for the
epoch, or all if there are fewer. Segmentation: () -> this process's share of all, in order."""


class AroundLoss(ScheduledLoss):
    """A criterion that wraps a loss, with the loss's schedule."""

    def __init__(self, loss: RobustLoss) -> None:
        super().__init__()
        self.loss, self.draws = loss, loss.draws

    def set_epoch(self, epoch: int) -> None:
        """Pass the epoch on to the loss."""
        self.loss.set_epoch(epoch)


class Batches(Protocol):
    """A source of training batches; a method may change ``targets`` ``(N, ...)``."""

    targets: Tensor


class Method:
    """Plain training on the given loss; methods override what they change.

    Attributes:
        first_loss: the loss of a first network, trained on the same labels, or None; :meth:`learn` gets its output.
        one_process: whether the method works only in one process.
        indexed: whether the criterion's last argument is the positions ``(B,)`` of the samples.
    """

    first_loss: str | None = None
    one_process = False
    indexed = False

    def network(self, build: Callable[[], nn.Module]) -> nn.Module:
        """The network to train; ``build`` returns a new one each time."""
        return build()

    def identify(self, items: Sequence[str], known: Sequence[str]) -> None:
        """Take the ids of the training images, and of all that files may name, before anything is written.

        Only segmentation calls this.
        """

    def order(self, samples: int, sizes: Sequence[int], generator: torch.Generator) -> Tensor:
        """The samples of an epoch's batches, see :data:`~seg_anl.engine.batches.Order`."""
        return shuffled(samples, sizes, generator)

    def learn(self, probabilities: Tensor) -> None:
        """Take the first network's probabilities of the training set: ``(N, K)``, or ``(N, K, H, W)`` in float16."""

    def criterion(
        self, loss: RobustLoss, *, epochs: int, process: Process, samples: int = 0, classes: int = 0
    ) -> ScheduledLoss:
        """The training criterion; ``samples`` and ``classes`` are the sizes of the training set."""
        return loss

    def prepare(self, batches: Batches) -> None:
        """Inspect or change the source of the batches, before a checkpoint is loaded."""

    def after_epoch(self, model: nn.Module, epoch: int, samples: Samples) -> dict[str, float]:
        """Inspect or change the network (in eval mode) after ``epoch``; returns metrics of the training."""
        return {}

    @property
    def state(self) -> dict[str, Any]:
        """The method's parts of a checkpoint, by name: objects with ``state_dict`` and ``load_state_dict``."""
        return {}
