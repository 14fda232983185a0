"""NLNL: negative learning, then positive learning from the samples it has made confident."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import Unpack

from seg_anl.records.ranges import Count, Fraction, WholeNumber

from .base import RobustLoss, positive_or_one, weighted
from .chunked import chunked_sums
from .declarations import Common, loss
from .inputs import LOWEST_LOG_PROB, LabeledLogits


@loss("nlnl", formula=r"-\log(1 - p_c), \quad c \ne y \text{ drawn at random}", order=12)
class NLNLLoss(RobustLoss):
    """Negative learning in three stages, moved by :meth:`set_epoch`.

    1. NL: -log(1 - p_c) for random complementary classes c other than the label.
    2. SelNL: the same, for elements with p_y above ``selnl_threshold`` (None: 1 / C).
    3. SelPL: cross entropy, for elements with p_y above ``selpl_threshold``; lasts until training ends.

    A stage ignores all other elements. Complementary classes come from torch's generator of the device; so do labels
    of soft targets, drawn for each element in every call.

    Args:
        nl_epochs, selnl_epochs: lengths of the first two stages; the paper has 720 epochs for each.
        complements: complementary classes per element (the paper: 1 for 10 classes, 110 for 100), averaged.

    Reference: Kim et al., NLNL: Negative Learning for Noisy Labels, ICCV 2019, Eq. 2 and Algorithm 1.
    """

    has_state = True
    draws = True
    stage: Tensor

    def __init__(
        self,
        *,
        nl_epochs: WholeNumber = 720,
        selnl_epochs: WholeNumber = 720,
        selnl_threshold: Fraction | None = None,
        selpl_threshold: Fraction = 0.5,
        complements: Count = 1,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(**common)
        self.nl_epochs, self.selnl_epochs = nl_epochs, selnl_epochs
        self.selnl_threshold, self.selpl_threshold = selnl_threshold, selpl_threshold
        self.complements = complements
        self.register_buffer("stage", torch.tensor(1))
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Enter the stage of ``epoch`` (from 0)."""
        self.stage.fill_(1 + (epoch >= self.nl_epochs) + (epoch >= self.nl_epochs + self.selnl_epochs))

    def evaluate(self, batch: LabeledLogits) -> tuple[Tensor, Tensor | None]:
        """The stage's values and weights; elements below its threshold are ignored."""
        batch = _with_hard_labels(batch)
        return self._values(batch, *self._drawn_complements(batch))

    def reduced(self, batch: LabeledLogits) -> Tensor:
        """The reduced loss; of a large batch from sums over chunks."""
        if self.reduction == "none":
            return super().reduced(batch)
        batch = _with_hard_labels(batch)
        total, weight = chunked_sums(batch, self._values_and_weights, *self._drawn_complements(batch)).sum(dim=0)
        return total / positive_or_one(weight) if self.reduction == "mean" else total

    def _values_and_weights(self, batch: LabeledLogits, *complements: Tensor) -> Tensor:
        values, weight = self._values(batch, *complements)
        return torch.stack([weighted(batch, values, weight)[0], weight.to(values.dtype)], dim=1)

    def _values(self, batch: LabeledLogits, *complements: Tensor) -> tuple[Tensor, Tensor]:
        # All stages are evaluated and one is selected, so that a compiled step stays valid in every epoch.
        positively = self.stage == 3
        target_log_prob, negative = _positive_and_negative(batch, complements)
        values = torch.where(positively, -target_log_prob, negative)
        selnl = 1 / batch.logits.shape[1] if self.selnl_threshold is None else self.selnl_threshold
        threshold = torch.where(positively, self.selpl_threshold, selnl)
        weight = (self.stage == 1) | (target_log_prob.detach().exp() > threshold)
        return values, weight if batch.weight is None else weight * batch.weight

    def _drawn_complements(self, batch: LabeledLogits) -> list[Tensor]:
        """Random complementary classes, ``complements`` times ``(B, *E)``."""
        assert batch.labels is not None
        labels, classes = batch.labels, 2 if batch.sigmoid else batch.scores.shape[1]
        if classes == 2:  # there is only one
            return []
        shifts = (torch.randint(1, classes, labels.shape, device=labels.device) for _ in range(self.complements))
        return [((labels + shift) % classes).int() for shift in shifts]


def _positive_and_negative(batch: LabeledLogits, complements: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """log p_y, and -log(1 - p_c) averaged over the complementary classes c, both ``(B, *E)``.

    With r the log-sum-exp of all logits z but z_c: log(1 - p_c) = logsigmoid(r - z_c), finite also where p_c rounds
    to 1, and log p_y = z_y - r + log(1 - p_c). So one sum over the classes gives both.
    """
    logits, labels = batch.logits, batch.labels
    assert labels is not None
    if not complements:  # two classes: what is not the complementary class is the label
        target_log_prob = batch.log_probs().target_log_prob
        return target_log_prob, -target_log_prob
    # Shifting all logits changes nothing, but keeps the precision of the smaller ones in r.
    logits = (logits - logits.detach().amax(dim=1, keepdim=True)).clamp(min=LOWEST_LOG_PROB)
    classes = torch.arange(logits.shape[1], device=logits.device).view(-1, *(1,) * (labels.ndim - 1))
    target_logit = logits.gather(1, labels.unsqueeze(1)).squeeze(1)
    total = torch.zeros_like(target_logit)
    for complement in complements:
        index = complement.long().unsqueeze(1)
        rest = torch.logsumexp(logits.masked_fill(classes == index, float("-inf")), dim=1)
        log_miss = F.logsigmoid((rest - logits.gather(1, index).squeeze(1)).clamp(min=LOWEST_LOG_PROB))
        total = total - log_miss
    return (target_logit - rest + log_miss).clamp(min=LOWEST_LOG_PROB), total / len(complements)


def _with_hard_labels(batch: LabeledLogits) -> LabeledLogits:
    """The batch with hard labels, drawn at random from soft ones."""
    probabilities, weight = batch.probabilities, batch.weight
    if probabilities is None:
        return batch
    if batch.sigmoid:
        labels = (torch.rand(probabilities.shape, device=probabilities.device) < probabilities).long()
    else:
        drawn = torch.rand(probabilities[:, :1].shape, device=probabilities.device)
        labels = (probabilities[:, :-1].cumsum(dim=1) <= drawn).sum(dim=1)
    if batch.class_weights is not None:
        of_label = batch.class_weights[labels]
        weight = of_label if weight is None else of_label * weight
    return replace(batch, labels=labels, probabilities=None, weight=weight, class_weights=None)
