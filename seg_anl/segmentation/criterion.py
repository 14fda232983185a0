"""The training criterion: a robust loss, optionally with Dice, over all deep-supervision heads."""

from __future__ import annotations

from typing import Any

from monai.losses import DiceLoss
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from seg_anl.engine.method import AroundLoss
from seg_anl.engine.optimization import loss_from_config
from seg_anl.engine.settings import plain
from seg_anl.losses import RobustLoss


class SegmentationCriterion(AroundLoss):
    """``loss`` plus ``dice_weight`` times MONAI's Dice loss (softmax, foreground only).

    Takes logits ``(B, C, *S)``, or ``(B, heads, C, *S)`` with the full resolution first; heads weigh 1, 1/2, 1/4, ...,
    normalized. ``multi_hot`` ``(256, C)`` maps class indices to targets of overlapping regions.
    """

    multi_hot: Tensor | None

    def __init__(self, loss: RobustLoss, dice_weight: float = 0.0, multi_hot: Tensor | None = None) -> None:
        super().__init__(loss)
        self.dice_weight = dice_weight
        regions = multi_hot is not None
        kind = {"sigmoid": True} if regions else {"softmax": True, "to_onehot_y": True, "include_background": False}
        self.dice = DiceLoss(**kind) if dice_weight else None
        self.register_buffer("multi_hot", multi_hot, persistent=False)

    def numbers(self) -> dict[str, float]:
        """The robust loss's numbers."""
        return self.loss.numbers()

    def forward(self, output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The scalar criterion of class indices ``(B, *S)`` or float probabilities ``(B, C, *S)``; ``weight``
        ``(B,)``.
        """
        of_one_head = output.ndim == target.ndim + (not target.is_floating_point())
        if self.multi_hot is not None:
            target = self.multi_hot[target.long()].movedim(-1, 1)
        if of_one_head:
            return self._one(output, target, weight)
        weights = [0.5**i for i in range(output.shape[1])]
        parts = [w * self._one(head, target, weight) for w, head in zip(weights, output.unbind(dim=1), strict=True)]
        return sum(parts[1:], parts[0]) / sum(weights)

    def _one(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        value = self.loss(logits, target, weight)
        if self.dice is not None:
            value = value + self.dice_weight * self.dice(
                logits.float(), target if target.ndim == logits.ndim else target.unsqueeze(1)
            )
        return value


def build_criterion(
    config: DictConfig, dice_weight: float, multi_hot: Tensor | None = None, **decided: Any
) -> SegmentationCriterion:
    """The criterion of a ``loss`` configuration; ``decided`` are keywords that follow from the data."""
    loss = loss_from_config(OmegaConf.create({**plain(config), **decided}), "dice_weight")
    return SegmentationCriterion(loss, float(dice_weight), multi_hot)
