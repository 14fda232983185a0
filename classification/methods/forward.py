"""Forward correction with a transition matrix that a first network estimates."""

from __future__ import annotations

from torch import Tensor

from seg_anl.engine.distribution import Process
from seg_anl.engine.method import Method
from seg_anl.losses import RobustLoss, ScheduledLoss, build_loss

from .. import settings


def estimated_transition(probabilities: Tensor, percentile: float) -> Tensor:
    """The transition matrix as the network's predictions for the most typical sample of each class.

    Row i is the prediction for the sample whose probability of class i is the largest below the given percentile of
    all samples: with 100, the very largest.

    Args:
        probabilities: ``(N, K)`` of the training samples, by a network trained on the noisy labels.
        percentile: in (0, 100]; 97 leaves outliers out.

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
    """A first network learns the noisy labels with cross entropy; a second one corrects by what the first says."""

    first_loss = "ce"

    def __init__(self, its: settings.ForwardEstimated) -> None:
        self.its = its
        self.transition: Tensor | None = None

    def learn(self, probabilities: Tensor) -> None:
        """Estimate the transition."""
        self.transition = estimated_transition(probabilities.cpu(), self.its.percentile)

    def criterion(self, loss: RobustLoss, *, epochs: int, process: Process, **sizes: int) -> ScheduledLoss:
        """Cross entropy, corrected."""
        return build_loss("forward", transition=self.transition)
