"""Augmentation of whole batches on the device: mirroring, flipping and gamma, as for ISIC-2017 in the paper."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from seg_anl.records import UserError, is_number


@dataclass(frozen=True)
class Augmentation:
    """Random mirroring along both axes and random gamma.

    Attributes:
        flip: probability of mirroring, for each axis by itself.
        gamma: range of the exponent; drawn below and above 1 with equal probability where the range holds 1.
        gamma_probability: probability that an image is changed by it.

    Reference: Ye et al., Active Negative Loss, Section VI-B; gamma acts on intensities in [0, 1].
    """

    flip: float = 0.5
    gamma: tuple[float, float] = (0.7, 1.5)
    gamma_probability: float = 0.3

    @classmethod
    def from_config(cls, config: DictConfig) -> Augmentation:
        """Check the ``augmentation`` settings."""
        for name in ("flip", "gamma_probability"):
            if not is_number(config[name]) or not 0 <= config[name] <= 1:
                raise UserError(f"augmentation.{name} must be from 0 to 1, got {config[name]!r}")
        bounds = list(config.gamma) if OmegaConf.is_list(config.gamma) else []
        if len(bounds) != 2 or not all(map(is_number, bounds)) or not 0 < bounds[0] <= bounds[1]:
            raise UserError(f"augmentation.gamma must be two numbers, 0 < lowest <= highest; got {config.gamma}")
        return cls(float(config.flip), (float(bounds[0]), float(bounds[1])), float(config.gamma_probability))

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Uniform numbers for ``count`` images, ``(5, count)``: what happens to an image is decided by its column."""
        return torch.rand(5, count, generator=generator, device=generator.device)

    def __call__(self, images: Tensor, masks: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Images ``(B, 3, H, W)`` and masks ``(B, H, W)``, uint8, to images in [-1, 1] and masks, changed alike.

        Args:
            draws: ``(5, B)``, of :meth:`draw`.
        """
        draws = draws.to(images.device, non_blocking=True)
        for axis in (1, 2):
            mirror = draws[axis - 1] < self.flip
            images = torch.where(mirror[:, None, None, None], images.flip(axis + 1), images)
            masks = torch.where(mirror[:, None, None], masks.flip(axis), masks)
        exponent = torch.where(draws[2] < self.gamma_probability, self._exponent(draws[3], draws[4]), 1.0)
        unit = images.float().div_(255).pow_(exponent[:, None, None, None])
        return unit.mul_(2).sub_(1), masks

    def _exponent(self, side: Tensor, position: Tensor) -> Tensor:
        low, high = self.gamma
        if not low < 1 < high:
            return low + (high - low) * position
        return torch.where(side < 0.5, low + (1 - low) * position, 1 + (high - 1) * position)


def normalized(images: Tensor) -> Tensor:
    """uint8 images to float in [-1, 1], without augmentation."""
    return images.float().div_(127.5).sub_(1)
