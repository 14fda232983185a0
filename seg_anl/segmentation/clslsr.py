"""CLSLSR: smooths the labels that confident learning suspects, by the predictions of a first network."""

from __future__ import annotations

from torch import Tensor, nn

from seg_anl.engine.distribution import Process
from seg_anl.engine.method import AroundLoss, Batches, Method, Samples
from seg_anl.losses import RobustLoss, ScheduledLoss

from .confident_learning import suspected_labels
from .settings import ConfidentSmoothing


class SmoothedWhereSuspected(AroundLoss):
    """``slsr`` on masks ``(B, *S)`` that hold label + C where the label is suspected; logits are ``(B, C, *S)``."""

    def forward(self, output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The scalar criterion."""
        classes = output.shape[1]
        value: Tensor = self.loss(output, target % classes, weight, noisy=target >= classes)
        return value


class ConfidentLearning(Method):
    """A first network learns the masks with cross entropy; a second one learns them with ``loss=slsr``.

    Pixels are suspected by the first network's predictions for its own training images, all images together.

    Reference: Zhang et al., Characterizing Label Errors: Confident Learning for Noisy-Labeled Image Segmentation,
    MICCAI 2020; predictions, pruning and smoothing as in PyMIC (Wang et al., 2023).
    """

    first_loss = "ce"

    def __init__(self, its: ConfidentSmoothing) -> None:
        self.probabilities: Tensor
        self.share = 0.0

    def learn(self, probabilities: Tensor) -> None:
        """Keep the first network's predictions."""
        self.probabilities = probabilities

    def criterion(self, loss: RobustLoss, *, epochs: int, process: Process, **sizes: int) -> ScheduledLoss:
        """``loss``, smoothing suspected labels."""
        return SmoothedWhereSuspected(loss)

    def prepare(self, batches: Batches) -> None:
        """Mark suspected labels in the masks, so that they are augmented, too."""
        masks = batches.targets
        suspected = suspected_labels(self.probabilities, masks.cpu()).to(masks.device)
        batches.targets = masks.short() + self.probabilities.shape[1] * suspected
        self.share = suspected.float().mean().item()
        del self.probabilities

    def after_epoch(self, model: nn.Module, epoch: int, samples: Samples) -> dict[str, float]:
        """The share of suspected labels."""
        return {"suspected": self.share}
