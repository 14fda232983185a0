"""NLNL: learn what an image is not, then from the samples this has made believable."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import RobustLoss
from .inputs import LabelledLogits, LabelledLogProbs
from .parameters import Count, EpochCount, Fraction


class NegativeLearningLoss(RobustLoss):
    """Negative learning in three stages, moved by :meth:`set_epoch`.

    1. NL: -log(1 - p_c) for random complementary classes c other than the label.
    2. SelNL: the same, for elements with p_y above ``selnl_threshold`` (None: 1 / C).
    3. SelPL: cross entropy, for elements with p_y above ``selpl_threshold``; lasts until training ends.

    Elements that a stage leaves out do not count. Complementary classes come from torch's generator of the device.

    Args:
        nl_epochs, selnl_epochs: lengths of the first two stages; the paper has 720 epochs for each.
        complements: complementary classes per element (the paper: 1 for 10 classes, 110 for 100), averaged.

    Reference: Kim et al., NLNL: Negative Learning for Noisy Labels, ICCV 2019, Eq. 2 and Algorithm 1.
    """

    draws = True
    stage: Tensor

    def __init__(
        self,
        *,
        nl_epochs: EpochCount = 720,
        selnl_epochs: EpochCount = 720,
        selnl_threshold: Fraction | None = None,
        selpl_threshold: Fraction = 0.5,
        complements: Count = 1,
        reduction: str = "mean",
        ignore_index: int | None = None,
        activation: str = "softmax",
    ) -> None:
        super().__init__(reduction=reduction, ignore_index=ignore_index, activation=activation)
        self.nl_epochs, self.selnl_epochs = nl_epochs, selnl_epochs
        self.selnl_threshold, self.selpl_threshold = selnl_threshold, selpl_threshold
        self.complements = complements
        self.register_buffer("stage", torch.tensor(1))
        self.set_epoch(0)
        self.hyperparameters = {
            "nl_epochs": nl_epochs,
            "selnl_epochs": selnl_epochs,
            "selnl_threshold": selnl_threshold,
            "selpl_threshold": selpl_threshold,
            "complements": complements,
        }

    def set_epoch(self, epoch: int) -> None:
        """Enter the stage of ``epoch`` (from 0)."""
        self.stage.fill_(1 + (epoch >= self.nl_epochs) + (epoch >= self.nl_epochs + self.selnl_epochs))

    def evaluate(self, batch: LabelledLogits) -> tuple[Tensor, Tensor | None]:
        """The stage's values; which elements count depends on the stage's threshold."""
        pred = batch.log_probs()
        # All stages are evaluated and one is chosen, so that a compiled step is the same in every epoch.
        positive = self.stage == 3
        values = torch.where(positive, -pred.target_log_prob, self._negative(pred))
        probability = pred.target_log_prob.detach().exp()
        selnl = 1 / pred.num_classes if self.selnl_threshold is None else self.selnl_threshold
        threshold = torch.where(positive, self.selpl_threshold, selnl)
        counted = (self.stage == 1) | (probability > threshold)
        return values, counted if batch.counted is None else counted & batch.counted

    def _negative(self, pred: LabelledLogProbs) -> Tensor:
        if pred.num_classes == 2:  # no choice: what is not the complementary class is the label
            return -pred.target_log_prob
        total = torch.zeros_like(pred.target_log_prob)
        classes = torch.arange(pred.num_classes, device=total.device).view(-1, *(1,) * (pred.labels.ndim - 1))
        for _ in range(self.complements):
            shift = torch.randint(1, pred.num_classes, pred.labels.shape, device=total.device)
            complement = ((pred.labels + shift) % pred.num_classes).unsqueeze(1)
            # log(1 - p_c) as the log of what the other classes hold together: finite also where p_c rounds to 1.
            others = pred.log_probs.masked_fill(classes == complement, float("-inf"))
            total = total - torch.logsumexp(others, dim=1)
        return total / self.complements
