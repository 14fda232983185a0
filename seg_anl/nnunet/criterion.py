"""A robust loss with the signature of nnU-Net's losses, for label or region targets at one resolution.

nnU-Net marks unlabeled pixels with a label of their own (the highest plus one) or, for region-based (multi-hot)
targets, with an extra last channel. Deep supervision is handled by nnU-Net's wrapper.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from seg_anl.losses import build_loss
from seg_anl.records import UserError

from .environment_settings import AUTO, LossChoice

if TYPE_CHECKING:
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

UNLABELED_REGION = -1  # multi-hot targets are 0 or 1


class NNUNetCriterion(nn.Module):
    """A robust loss plus ``dice_weight`` times nnU-Net's Dice loss.

    Args:
        choice: the loss and the weight of Dice.
        has_regions: overlapping regions (sigmoid, multi-hot targets) instead of labels (softmax).
        ignore_label: nnU-Net's ignore label, or None; with regions its value is not used.
        dice: nnU-Net's Dice loss ``(logits, target, loss_mask)``; required if ``choice`` gives Dice a weight.

    Attributes:
        case_weights: weights ``(B,)`` of the cases in the next batch. The contribution of a case is then its weight
            times that without weights, whatever those of the others. None for no weights.

    Shape:
        - logits: ``(B, C, *spatial)``, float16 or float32.
        - target: labels ``(B, 1, *spatial)``, or regions ``(B, C, *spatial)``, with an ignore label ``C + 1`` channels.
          Soft labels: floating-point probabilities ``(B, C, *spatial)``, with the ignore label in all channels of
          unlabeled pixels; for regions as above.
        - output: scalar; the robust term is float32 even under autocast.
    """

    case_weights: Tensor | None = None

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
        """Compute the loss at one resolution."""
        if self.ignore_label is None:
            labeled = None
            robust_target = dice_target = target
        elif self.has_regions:
            labeled = target[:, -1:] == 0
            dice_target = target[:, :-1]
            robust_target = torch.where(labeled, _to_numeric(dice_target), UNLABELED_REGION)
        else:
            labeled = target[:, :1] != self.ignore_label  # soft labels have it in all channels
            robust_target = target
            dice_target = torch.where(labeled, target, 0)  # any valid label; loss_mask excludes it
        weights = self.case_weights
        robust_target = _to_numeric(robust_target) if self.has_regions else robust_target
        value = self.loss(logits, robust_target, weights)
        if weights is not None:
            # Undo the division by the sum of weights, which varies between batches.
            value = value * self._mean_weight(logits.detach(), robust_target, weights)
        if self.dice is None:
            return value
        return value + self.dice_weight * self._dice_value(logits, dice_target, labeled)

    def _mean_weight(self, logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        """The mean case weight of what the loss takes the mean of: images, or labeled pixels by their class weight."""
        if self.loss.per_image:
            return weights.mean()
        with torch.autocast(device_type=logits.device.type, enabled=False):
            total, without = (self.loss.labeled(logits, target, each).total_weight() for each in (weights, None))
        return (total / torch.as_tensor(without)).nan_to_num()  # 0 where nothing is labeled, as the loss

    def _dice_value(self, logits: Tensor, target: Tensor, labeled: Tensor | None) -> Tensor:
        """nnU-Net's Dice loss. With case weights: the weighted mean over cases, or batch Dice of weighted pixels."""
        assert self.dice is not None
        weights = self.case_weights
        if weights is None:
            return self.dice(logits, target, loss_mask=labeled)
        if not self.dice.batch_dice:
            masks = [None] * len(logits) if labeled is None else labeled.split(1)
            cases = zip(logits.split(1), target.split(1), masks, strict=True)
            return (torch.stack([self.dice(x, y, loss_mask=mask) for x, y, mask in cases]) * weights).mean()
        mask = weights.view(-1, *(1,) * (logits.ndim - 1))
        return weights.mean() * self.dice(logits, target, loss_mask=mask if labeled is None else mask * labeled)


def check_loss(choice: LossChoice, labels: LabelManager) -> None:
    """Evaluate the robust term once on two elements.

    Raises:
        UserError: if the loss does not take these labels, for example because of a transition matrix or class weights.
    """
    automatic = {"class_weights": None} if choice.parameters.get("class_weights") == AUTO else {}
    robust = replace(choice, dice_weight=0, parameters={**choice.parameters, **automatic})
    channels = labels.num_segmentation_heads
    try:
        criterion = NNUNetCriterion(robust, has_regions=labels.has_regions, ignore_label=labels.ignore_label)
        with torch.random.fork_rng(devices=[]):  # some losses draw random numbers
            criterion.loss(torch.zeros(1, channels, 2), torch.zeros(1, channels if labels.has_regions else 1, 2))
    except ValueError as error:
        raise UserError(str(error)) from error


def _to_numeric(target: Tensor) -> Tensor:
    """Boolean regions as 0 and 1; probabilities are unchanged."""
    return target if target.is_floating_point() else target.long()
