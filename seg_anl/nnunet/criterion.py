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
            robust_target = torch.where(labeled, dice_target.long(), UNLABELED_REGION)
        else:
            labeled = target != self.ignore_label
            robust_target, dice_target = target, torch.where(labeled, target, 0)  # any label: the mask excludes it
        value = self.loss(logits, robust_target.long() if self.has_regions else robust_target)
        return (
            value if self.dice is None else value + self.dice_weight * self.dice(logits, dice_target, loss_mask=labeled)
        )

    def check(self, channels: int) -> None:
        """Evaluate the robust term once, on two elements.

        Raises:
            ValueError: when the loss does not fit ``channels`` logits, a transition matrix for instance.
        """
        target = torch.zeros(1, channels if self.has_regions else 1, 2)
        with torch.random.fork_rng(devices=[]):  # some losses draw
            self.loss(torch.zeros(1, channels, 2), target)
