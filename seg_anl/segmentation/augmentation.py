"""Augmentation of whole batches on the device: mirroring, flipping and gamma, as for ISIC-2017 in the paper."""

from __future__ import annotations

import torch
from torch import Tensor

from .settings import AugmentationSettings


class Augmentation:
    """Random mirroring along both axes and random gamma of whole batches, see :class:`AugmentationSettings`."""

    def __init__(self, settings: AugmentationSettings) -> None:
        self.settings = settings

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Uniform numbers ``(count, 5)``, a row for each image."""
        return torch.rand(5, count, generator=generator, device=generator.device).t()

    def __call__(self, images: Tensor, masks: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 images ``(B, 3, H, W)`` and masks ``(B, H, W)`` or class probabilities ``(B, C, H, W)`` to images in
        [-1, 1] and masks; ``draws`` ``(B, 5)`` are those of :meth:`draw`."""
        draws = draws.t().to(images.device, non_blocking=True)
        for axis in (1, 2):
            mirror = draws[axis - 1] < self.settings.flip
            images = torch.where(mirror[:, None, None, None], images.flip(axis + 1), images)
            masks = torch.where(mirror.view(-1, *(1,) * (masks.ndim - 1)), masks.flip(axis - 3), masks)
        exponent = torch.where(draws[2] < self.settings.gamma_probability, self._exponent(draws[3], draws[4]), 1.0)
        unit = images.float().div_(255).pow_(exponent[:, None, None, None])
        return unit.mul_(2).sub_(1), masks

    def _exponent(self, side: Tensor, position: Tensor) -> Tensor:
        low, high = self.settings.gamma
        if not low < 1 < high:
            return low + (high - low) * position
        return torch.where(side < 0.5, low + (1 - low) * position, 1 + (high - 1) * position)


def normalized(images: Tensor) -> Tensor:
    """uint8 images to float in [-1, 1], without augmentation."""
    return images.float().div_(127.5).sub_(1)
