"""A robust loss on what nnU-Net hands its losses: one resolution's logits and target, of labels or of regions.

nnU-Net marks what is not labeled by a label of its own (the highest plus one), and for region-based data, whose
targets are multi-hot, by a last channel. Deep supervision stays with nnU-Net's wrapper.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seg_anl.losses import build_loss

from .settings import LossChoice

UNLABELED_REGION = -1  # beside the 0 and 1 of a multi-hot target


class NNUNetCriterion(nn.Module):
    """A robust loss plus ``dice_weight`` times nnU-Net's Dice loss.

    Args:
        choice: the loss and the weight of Dice.
        has_regions: overlapping regions (sigmoid, multi-hot targets) in the place of labels (softmax).
        ignore_label: nnU-Net's ignore label, or None; with regions only whether there is one matters.
        dice: nnU-Net's Dice loss ``(logits, target, loss_mask)``; needed where the choice gives it a weight.

    Shape:
        - logits: ``(B, C, *spatial)``, float16 or float32.
        - target: ``(B, 1, *spatial)`` labels, or ``(B, C, *spatial)`` regions, with an ignore label ``C + 1`` channels.
        - output: scalar; the robust term in float32 also under autocast.
    """

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
        ignore_index = ignore_label
        if has_regions and ignore_label is not None:
            ignore_index = UNLABELED_REGION
        self.loss = build_loss(
            choice.name,
            ignore_index=ignore_index,
            activation="sigmoid" if has_regions else "softmax",
            **choice.parameters,
        )

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The criterion of one resolution."""
        known = self._labeled(target)
        if self.has_regions:
            target = target if known is None else target[:, :-1]
            robust_target = target.long() if known is None else torch.where(known, target.long(), UNLABELED_REGION)
        else:
            robust_target = target
        value = self.loss(logits, robust_target)
        if self.dice is None:
            return value
        # Any label will do where the mask takes the pixel out.
        dice_target = target if known is None or self.has_regions else torch.where(known, target, 0)
        return value + self.dice_weight * self.dice(logits, dice_target, loss_mask=known)

    def check(self, channels: int) -> None:
        """Evaluate the robust term once, on two elements.

        Raises:
            ValueError: when the loss does not fit ``channels`` logits, a transition matrix for instance.
        """
        target = torch.zeros(1, channels if self.has_regions else 1, 2)
        with torch.random.fork_rng(devices=[]):  # some losses draw
            self.loss(torch.zeros(1, channels, 2), target)

    def _labeled(self, target: Tensor) -> Tensor | None:
        """Which pixels are labeled, ``(B, 1, *spatial)``; None: all."""
        if self.ignore_label is None:
            return None
        return target[:, -1:] == 0 if self.has_regions else target != self.ignore_label
