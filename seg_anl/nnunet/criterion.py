"""A robust loss on what nnU-Net passes to its losses: one resolution's logits and target, of labels or of regions.

nnU-Net marks unlabeled pixels by a label of its own (the highest plus one), and for region-based data, whose
targets are multi-hot, by a last channel. Deep supervision stays with nnU-Net's wrapper.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seg_anl.losses import build_loss

from .environment_settings import LossChoice

UNLABELED_REGION = -1  # a multi-hot target holds 0 and 1


class NNUNetCriterion(nn.Module):
    """A robust loss plus ``dice_weight`` times nnU-Net's Dice loss.

    Args:
        choice: the loss and the weight of Dice.
        has_regions: overlapping regions (sigmoid, multi-hot targets) instead of labels (softmax).
        ignore_label: nnU-Net's ignore label, or None; with regions only whether there is one matters.
        dice: nnU-Net's Dice loss ``(logits, target, loss_mask)``; needed where the choice gives it a weight.

    Attributes:
        case_weights: what the cases of the next batch count, ``(B,)``; its value is then the mean over cases of weight
            times loss, so that a case counts alike whatever others it meets.

    Shape:
        - logits: ``(B, C, *spatial)``, float16 or float32.
        - target: ``(B, 1, *spatial)`` labels, or ``(B, C, *spatial)`` regions, with an ignore label ``C + 1`` channels.
          Soft: ``(B, C, *spatial)`` floating-point probabilities, the ignore label in all channels of unlabeled pixels;
          of regions as above.
        - output: scalar; the robust term in float32 also under autocast.
    """

    case_weights: Tensor | None = None  # (B,) of the batch that comes; None: all count 1

    def __init__(
        self, choice: LossChoice, *, has_regions: bool, ignore_label: int | None, dice: nn.Module | None = None
    ) -> None:
        super().__init__()
        if choice.dice_weight and dice is None:
            raise ValueError(f"dice_weight={choice.dice_weight} needs a Dice loss")
        self.has_regions = has_regions
        self.ignore_label = ignore_label
        self.dice = dice if choice.dice_weight else None
        self.dice_weight = choice.dice_weight
        self.loss = build_loss(
            choice.name,
            ignore_index=UNLABELED_REGION if has_regions and ignore_label is not None else ignore_label,
            activation="sigmoid" if has_regions else "softmax",
            **choice.parameters,
        )

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The criterion of one resolution."""
        if self.ignore_label is None:
            labeled = None
            robust_target = dice_target = target
        elif self.has_regions:
            labeled = target[:, -1:] == 0
            dice_target = target[:, :-1]
            robust_target = torch.where(labeled, _numbers(dice_target), UNLABELED_REGION)
        else:
            labeled = target[:, :1] != self.ignore_label  # of probabilities, all channels are marked
            robust_target, dice_target = target, torch.where(labeled, target, 0)  # any label: the mask excludes it
        weights = self.case_weights
        value = self.loss(logits, _numbers(robust_target) if self.has_regions else robust_target, weights)
        if weights is not None:
            value = value * weights.mean()  # the loss has divided by their sum, which is another in every batch
        if self.dice is None:
            return value
        return value + self.dice_weight * self._dice_value(logits, dice_target, labeled)

    def _dice_value(self, logits: Tensor, target: Tensor, labeled: Tensor | None) -> Tensor:
        """nnU-Net's Dice loss; of weighted cases their weighted mean or, pooled, that of weighted pixels."""
        assert self.dice is not None
        weights = self.case_weights
        if weights is None:
            return self.dice(logits, target, loss_mask=labeled)
        if not self.dice.batch_dice:
            masks = [None] * len(logits) if labeled is None else labeled.split(1)
            each = zip(logits.split(1), target.split(1), masks, strict=True)
            return (torch.stack([self.dice(x, y, loss_mask=mask) for x, y, mask in each]) * weights).mean()
        mask = weights.view(-1, *(1,) * (logits.ndim - 1))
        return weights.mean() * self.dice(logits, target, loss_mask=mask if labeled is None else mask * labeled)

    def check(self, channels: int) -> None:
        """Evaluate the robust term once, on two elements.

        Raises:
            ValueError: when the loss does not fit ``channels`` logits, a transition matrix for instance.
        """
        target = torch.zeros(1, channels if self.has_regions else 1, 2)
        with torch.random.fork_rng(devices=[]):  # some losses draw
            self.loss(torch.zeros(1, channels, 2), target)


def _numbers(target: Tensor) -> Tensor:
    """Regions as numbers: probabilities as they are, present and absent as 1 and 0."""
    return target if target.is_floating_point() else target.long()
