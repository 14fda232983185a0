"""Early-learning regularization: each sample's predictions are remembered, and later ones are kept near them."""

from __future__ import annotations

import torch
from torch import Tensor

from seg_anl.engine.distribution import Process
from seg_anl.engine.method import AroundLoss, Method
from seg_anl.losses import RobustLoss, ScheduledLoss

from .. import settings

LEAST = 1e-4  # probabilities are kept this far from 0 and 1, as in the published code


class RememberedPredictions(AroundLoss):
    """``loss`` + lambda * mean log(1 - <p, t>), where t remembers the predictions for each sample.

    t <- beta t + (1 - beta) p at every visit, without gradient, from t = 0. The term falls as p nears t: a wrong label
    has to pull against what the network said before it learned labels by heart.

    Args:
        loss: any loss of the registry; the paper has cross entropy.
        its: ``strength`` (lambda) and ``momentum`` (beta).
        samples, classes: N and K of the memory ``(N, K)``, a buffer that checkpoints hold.
        process: where it is one of several, each remembers what all have seen.

    Shape:
        - output: logits ``(B, K)``; target: ``(B,)``; index: ``(B,)``, the positions of the samples.

    Reference: Liu et al., Early-Learning Regularization Prevents Memorization of Noisy Labels, NeurIPS 2020,
    Equations 6 and 8; the authors' repository for the bounds of p.
    """

    memory: Tensor

    def __init__(
        self, loss: RobustLoss, its: settings.EarlyLearning, samples: int, classes: int, process: Process
    ) -> None:
        super().__init__(loss)
        self.its, self.process = its, process
        self.register_buffer("memory", torch.zeros(samples, classes))

    def forward(self, output: Tensor, target: Tensor, index: Tensor) -> Tensor:
        """The scalar criterion; remembers the predictions."""
        probabilities = output.float().softmax(dim=1).clamp(LEAST, 1 - LEAST)
        self._remember(probabilities.detach(), index)
        agreement = (self.memory[index] * probabilities).sum(dim=1)
        value: Tensor = self.loss(output, target) + self.its.strength * torch.log(1 - agreement).mean()
        return value

    def _remember(self, probabilities: Tensor, index: Tensor) -> None:
        size = len(index) * self.process.world_size
        seen, index = self.process.gathered(probabilities, size), self.process.gathered(index, size)
        seen = seen / seen.sum(dim=1, keepdim=True)
        self.memory[index] = self.its.momentum * self.memory[index] + (1 - self.its.momentum) * seen


class EarlyLearning(Method):
    """Trains on :class:`RememberedPredictions`."""

    indexed = True

    def __init__(self, its: settings.EarlyLearning) -> None:
        self.its = its

    def criterion(
        self, loss: RobustLoss, *, epochs: int, process: Process, samples: int = 0, classes: int = 0
    ) -> ScheduledLoss:
        """``loss`` with the memory of all samples."""
        return RememberedPredictions(loss, self.its, samples, classes, process)
