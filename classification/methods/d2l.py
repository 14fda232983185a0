"""Dimensionality-driven learning: labels give way to predictions once the features' dimension begins to grow."""

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

BATCH, BATCHES, NEIGHBORS = 128, 10, 20  # of the published estimate


def local_intrinsic_dimensionality(features: Tensor, neighbors: int = NEIGHBORS) -> Tensor:
    """Maximum-likelihood estimate of the dimension of the space around each sample, from its nearest neighbors.

    With r_i the distance to the i-th of k neighbors, -1 / mean_i log(r_i / r_k). Samples that coincide with their
    neighbors have none and give NaN.

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
    """Cross entropy against alpha * label + (1 - alpha) * the most probable class; alpha is set from outside."""

    alpha: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("alpha", torch.tensor(1.0))

    def evaluate(self, batch: LabeledLogits) -> tuple[Tensor, Tensor | None]:
        """Hard bootstrapping with the alpha of the epoch."""
        pred = batch.log_probs()
        most_probable = pred.log_probs.max(dim=1).values
        return -(self.alpha * pred.target_log_prob + (1 - self.alpha) * most_probable), batch.weight


@dataclass
class _Memory:
    """What the method remembers from epoch to epoch, in the form of a checkpoint's part."""

    dimensions: list[float] = field(default_factory=list)
    turned: bool = False
    weights: dict[str, Tensor] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


class DimensionalityDriven(Method):
    """Watches the local intrinsic dimensionality (LID) of the last hidden layer, and paces the labels by it.

    The turning point is the first epoch after ``init_epochs + window`` whose LID exceeds the mean of the ``window``
    epochs before by more than two of their standard deviations. The network goes back to its weights of the epoch
    before; from then on alpha = exp(-(epoch / epochs) LID / lowest LID so far).

    Reference: Ma et al., ICML 2018, Section 4 and Algorithm 1; the authors' repository for the window, the size of the
    estimate (10 batches of 128 samples, 20 neighbors) and the weights that are put back.
    """

    def __init__(self, its: settings.DimensionalityDriven) -> None:
        self.its = its
        self.paced = PacedCrossEntropy()
        self.memory = _Memory()
        self.epochs = 1

    def criterion(self, loss: RobustLoss, *, epochs: int, process: Process, **sizes: int) -> ScheduledLoss:
        """Cross entropy whose labels are paced."""
        self.epochs = epochs
        return self.paced

    def after_epoch(self, model: nn.Module, epoch: int, samples: Samples) -> dict[str, float]:
        """Measure the dimension, look for the turning point, set the pace of the next epoch."""
        memory = self.memory
        memory.dimensions.append(self._dimension(model, epoch, samples))
        if not memory.turned and self._turns(memory.dimensions):
            memory.turned = True
            model.load_state_dict(memory.weights)
            memory.weights = {}  # checkpoints need not carry them on
        if memory.turned:
            expansion = memory.dimensions[-1] / min(memory.dimensions)
            self.paced.alpha.fill_(math.exp(-(epoch + 1) / self.epochs * expansion))
        else:
            memory.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
        return {"lid": memory.dimensions[-1], "label_weight": self.paced.alpha.item()}

    @property
    def state(self) -> dict[str, Any]:
        """Dimensions so far, and the weights to go back to."""
        return {"dimensionality": self.memory}

    def _turns(self, dimensions: list[float]) -> bool:
        if len(dimensions) <= self.its.init_epochs + self.its.window:
            return False
        before = dimensions[-self.its.window - 1 : -1]
        return dimensions[-1] - statistics.fmean(before) > 2 * statistics.pstdev(before)

    def _dimension(self, model: nn.Module, epoch: int, samples: Samples) -> float:
        """Mean LID within batches of training samples; where there is none to measure, the last one stands."""
        with torch.inference_mode():
            features = torch.cat([penultimate_features(model, images) for images in samples(epoch, BATCH * BATCHES)])
        batches = [batch for batch in features.cpu().split(BATCH) if len(batch) > NEIGHBORS]
        found = torch.cat([local_intrinsic_dimensionality(batch) for batch in batches]) if batches else features[:0, 0]
        mean = found.nanmean().item()
        if math.isfinite(mean):
            return mean
        return self.memory.dimensions[-1] if self.memory.dimensions else 1.0
