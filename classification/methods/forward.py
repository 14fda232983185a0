"""Forward correction with a transition matrix estimated by a first network."""

from __future__ import annotations

from torch import Tensor

from seg_anl.engine.distribution import Process
from seg_anl.engine.method import Method
from seg_anl.losses import RobustLoss, ScheduledLoss, build_loss

from .. import settings


def estimate_transition(probabilities: Tensor, percentile: float) -> Tensor:
    """Estimate the transition matrix from the predictions for the most typical sample of each class.

    Row i is the prediction for the sample at the given percentile of the probability of class i over all samples; 100
    is the sample with the largest probability.

    Args:
        probabilities: ``(N, K)`` of the training samples, from a network trained on the noisy labels.
        percentile: in (0, 100]; 97 excludes outliers.

    Returns:
        ``(K, K)``, T[i, j] = P(noisy label j given true class i); rows sum to 1.

    Reference: Patrini et al., Making Deep Neural Networks Robust to Label Noise: A Loss Correction Approach, CVPR 2017,
    Equations 12 and 13; 97 for all but CIFAR-100, Section 6.
    """
    rank = min(len(probabilities) - 1, max(0, round(len(probabilities) * percentile / 100) - 1))
    typical = probabilities.argsort(dim=0, stable=True)[rank]
    rows = probabilities[typical].double()
    return (rows / rows.sum(dim=1, keepdim=True)).float()


class ForwardEstimated(Method):
    """Trains a first network with cross entropy to estimate the transition matrix, and a second with that matrix."""

    first_loss = "ce"

    def __init__(self, options: settings.ForwardEstimated) -> None:
        self.options = options
        self.transition: Tensor | None = None

    def learn(self, probabilities: Tensor) -> None:
        """Estimate the transition matrix."""
        self.transition = estimate_transition(probabilities.cpu(), self.options.percentile)

    def criterion(self, loss: RobustLoss, *, epochs: int, process: Process, **sizes: int) -> ScheduledLoss:
        """Forward-corrected cross entropy."""
        return build_loss("forward", transition=self.transition)
