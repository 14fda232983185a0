"""Dimensionality-driven learning: replace labels with predictions once the dimension of the features grows."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from seg_anl.engine.distribution import Process
from seg_anl.engine.method import Method, Samples
from seg_anl.losses import RobustLoss, ScheduledLoss
from seg_anl.losses.inputs import LabeledLogits

from .. import settings
from ..networks import penultimate_features

BATCH, BATCHES, NEIGHBORS = 128, 10, 20  # as in the published code


def local_intrinsic_dimensionality(features: Tensor, neighbors: int = NEIGHBORS) -> Tensor:
    """Maximum-likelihood estimate of the local dimension around each sample, from its nearest neighbors.

    With r_i the distance to the i-th of k neighbors: -1 / mean_i log(r_i / r_k). NaN for samples that coincide with
    their neighbors.

    Args:
        features: ``(B, D)``.
        neighbors: k, fewer than B.

    Returns:
        ``(B,)``.

    Reference: Ma et al., Dimensionality-Driven Learning with Noisy Labels, ICML 2018, Equation 3.
    """
    distances = torch.cdist(features.double(), features.double())
    distances.fill_diagonal_(math.inf)
    nearest = distances.topk(neighbors, largest=False).values
    mean = (nearest / nearest[:, -1:]).log().mean(dim=1)
    return torch.where(mean.isfinite() & (mean < 0), -1 / mean, math.nan)


class PacedCrossEntropy(RobustLoss):
    """Cross entropy against alpha * label + (1 - alpha) * most probable class, with ``alpha`` set by the method."""

    alpha: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("alpha", torch.tensor(1.0))

    def evaluate(self, batch: LabeledLogits) -> tuple[Tensor, Tensor | None]:
        """Hard bootstrapping with the current alpha."""
        pred = batch.log_probs()
        most_probable = pred.log_probs.max(dim=1).values
        return -(self.alpha * pred.target_log_prob + (1 - self.alpha) * most_probable), batch.weight


@dataclass
class _Memory:
    """The method's state between epochs, stored in checkpoints."""

    dimensions: list[float] = field(default_factory=list)
    has_turned: bool = False
    weights: dict[str, Tensor] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


class DimensionalityDriven(Method):
    """Adapts the weight of the labels to the local intrinsic dimensionality (LID) of the last hidden layer.

    The turning point is the first epoch after ``init_epochs + window`` whose LID exceeds the mean of the previous
    ``window`` epochs by more than two standard deviations. The network is then reset to the weights of the epoch before
    it, and from there on alpha = exp(-(epoch / epochs) LID / lowest LID so far).

    Reference: Ma et al., ICML 2018, Section 4 and Algorithm 1. The window, the sample size of the estimate (10 batches
    of 128 samples, 20 neighbors) and the restored weights follow the authors' repository.
    """

    def __init__(self, options: settings.DimensionalityDriven) -> None:
        self.options = options
        self.paced = PacedCrossEntropy()
        self.memory = _Memory()
        self.epochs = 1

    def criterion(self, loss: RobustLoss, *, epochs: int, process: Process, **sizes: int) -> ScheduledLoss:
        """Cross entropy with weighted labels."""
        self.epochs = epochs
        return self.paced

    def after_epoch(self, model: nn.Module, epoch: int, samples: Samples) -> dict[str, float]:
        """Measure the dimension, check for the turning point, and set alpha for the next epoch."""
        memory = self.memory
        memory.dimensions.append(self._dimension(model, epoch, samples))
        if not memory.has_turned and self._is_turning_point(memory.dimensions):
            memory.has_turned = True
            model.load_state_dict(memory.weights)
            memory.weights = {}  # no longer needed in checkpoints
        if memory.has_turned:
            expansion = memory.dimensions[-1] / min(memory.dimensions)
            self.paced.alpha.fill_(math.exp(-(epoch + 1) / self.epochs * expansion))
        else:
            memory.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
        return {"lid": memory.dimensions[-1], "label_weight": self.paced.alpha.item()}

    @property
    def state(self) -> dict[str, Any]:
        """Dimensions so far, and the weights to restore."""
        return {"dimensionality": self.memory}

    def _is_turning_point(self, dimensions: list[float]) -> bool:
        if len(dimensions) <= self.options.init_epochs + self.options.window:
            return False
        previous = dimensions[-self.options.window - 1 : -1]
        return dimensions[-1] - statistics.fmean(previous) > 2 * statistics.pstdev(previous)

    def _dimension(self, model: nn.Module, epoch: int, samples: Samples) -> float:
        """Mean LID within batches of training samples; if it is undefined, the previous one."""
        with torch.inference_mode():
            features = torch.cat([penultimate_features(model, images) for images in samples(epoch, BATCH * BATCHES)])
        batches = [batch for batch in features.cpu().split(BATCH) if len(batch) > NEIGHBORS]
        values = torch.cat([local_intrinsic_dimensionality(batch) for batch in batches]) if batches else features[:0, 0]
        mean = values.nanmean().item()
        if math.isfinite(mean):
            return mean
        return self.memory.dimensions[-1] if self.memory.dimensions else 1.0
