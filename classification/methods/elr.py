"""Early-learning regularization: keep predictions close to a moving average of earlier ones."""

from __future__ import annotations

import torch
from torch import Tensor

from seg_anl.engine.distribution import Process
from seg_anl.engine.method import AroundLoss, Method
from seg_anl.losses import RobustLoss, ScheduledLoss

from .. import settings

MIN_PROBABILITY = 1e-4  # probabilities are clamped to [1e-4, 1 - 1e-4], as in the published code


class EarlyLearningLoss(AroundLoss):
    """``loss`` + lambda * mean log(1 - <p, t>), where t is a moving average of each sample's predictions.

    t <- beta t + (1 - beta) p whenever a sample is seen, without gradient, starting from t = 0. The regularizer is
    smallest where p agrees with t, so wrong labels are opposed by the predictions from before they were memorized.

    Args:
        loss: any loss of the registry; cross entropy in the paper.
        options: ``strength`` (lambda) and ``momentum`` (beta).
        samples, classes: N and K of the memory ``(N, K)``, a buffer.
        process: with several processes, each memory includes the samples of all.

    Shape:
        - output: logits ``(B, K)``; target: ``(B,)``; index: ``(B,)``, the positions of the samples.

    Reference: Liu et al., Early-Learning Regularization Prevents Memorization of Noisy Labels, NeurIPS 2020,
    Equations 6 and 8; the authors' repository for the bounds of p.
    """

    memory: Tensor

    def __init__(
        self, loss: RobustLoss, options: settings.EarlyLearning, samples: int, classes: int, process: Process
    ) -> None:
        super().__init__(loss)
        self.options, self.process = options, process
        self.register_buffer("memory", torch.zeros(samples, classes))

    def forward(self, output: Tensor, target: Tensor, index: Tensor) -> Tensor:
        """Update the memory and compute the scalar loss."""
        probabilities = output.float().softmax(dim=1).clamp(MIN_PROBABILITY, 1 - MIN_PROBABILITY)
        self._update_memory(probabilities.detach(), index)
        agreement = (self.memory[index] * probabilities).sum(dim=1)
        value: Tensor = self.loss(output, target) + self.options.strength * torch.log(1 - agreement).mean()
        return value

    def _update_memory(self, probabilities: Tensor, index: Tensor) -> None:
        size = len(index) * self.process.world_size
        probabilities, index = self.process.gathered(probabilities, size), self.process.gathered(index, size)
        probabilities = probabilities / probabilities.sum(dim=1, keepdim=True)
        momentum = self.options.momentum
        self.memory[index] = momentum * self.memory[index] + (1 - momentum) * probabilities


class EarlyLearning(Method):
    """Trains with :class:`EarlyLearningLoss`."""

    indexed = True

    def __init__(self, options: settings.EarlyLearning) -> None:
        self.options = options

    def criterion(
        self, loss: RobustLoss, *, epochs: int, process: Process, samples: int = 0, classes: int = 0
    ) -> ScheduledLoss:
        """``loss`` with early-learning regularization."""
        return EarlyLearningLoss(loss, self.options, samples, classes, process)
