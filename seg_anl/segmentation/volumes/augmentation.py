"""Augmentation of batches of patches on the device: nnU-Net's changes, in its order, with its probabilities.

Each change befalls a patch by a number drawn on the CPU, so nothing waits for the device, and the same numbers give the
same patches on any of them, up to rounding. Values are those after scaling of intensities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from monai.networks.layers import GaussianFilter
from torch import Tensor

from .settings import VolumeAugmentationSettings

ANISOTROPIC = 3  # times the finest spacing: such volumes are turned about their coarse axis alone, as in nnU-Net
_FIXED = 32  # columns of draws that do not go by channel
_SEED = 2**53


class VolumeAugmentation:
    """Random changes of patches, see :class:`VolumeAugmentationSettings`.

    Args:
        settings: ranges and probabilities.
        spacing: mm along each axis: rotations are of the body, not of the grid.
        channels: of the images.
    """

    def __init__(self, settings: VolumeAugmentationSettings, spacing: Sequence[float], channels: int) -> None:
        self.settings, self.spacing, self.channels = settings, tuple(spacing), channels

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Uniform numbers ``(count, 32 + 8 channels)``, float64: a row decides what happens to a patch."""
        return torch.rand(count, _FIXED + 8 * self.channels, generator=generator, dtype=torch.float64)

    def __call__(self, images: Tensor, masks: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Images ``(B, C, *S)`` float and masks ``(B, *S)`` uint8, changed alike.

        Args:
            draws: ``(B, ...)`` on the CPU, of :meth:`draw`.
        """
        s, fixed = self.settings, draws[:, :_FIXED]
        of_channel = draws[:, _FIXED:].view(len(draws), self.channels, 8)
        images, masks = self._moved(images, masks, fixed)
        for row in _chosen(fixed[:, 10], s.noise_probability):
            generator = torch.Generator(images.device).manual_seed(int(fixed[row, 11] * _SEED))
            noise = torch.empty_like(images[row]).normal_(generator=generator)
            images[row] += noise * math.sqrt(s.noise_variance * float(fixed[row, 12]))
        self._each_channel(
            images, fixed[:, 13], s.blur_probability, of_channel[..., 0], of_channel[..., 1], s.blur, _blurred
        )
        brightness = _within(s.brightness, of_channel[..., 2])
        images = images * _at(_where(fixed[:, 14], s.brightness_probability, brightness), images)
        for row in _chosen(fixed[:, 15], s.contrast_probability):
            factor = _at(_within(s.contrast, of_channel[row, :, 3])[None], images[None, row])[0]
            images[row] = _contrasted(images[row], factor)
        low = s.low_resolution
        self._each_channel(
            images, fixed[:, 16], s.low_resolution_probability, of_channel[..., 4], of_channel[..., 5], low, _coarse
        )
        for column, probability, sign in ((17, s.inverted_gamma_probability, -1), (18, s.gamma_probability, 1)):
            for row in _chosen(fixed[:, column], probability):
                exponent = _within_either_side(s.gamma, of_channel[row, :, 6], of_channel[row, :, 7])
                images[row] = sign * _with_gamma(sign * images[row], _at(exponent[None], images[None, row])[0])
        for axis in range(len(self.spacing)):
            rows = _chosen(fixed[:, 20 + axis], s.mirror)
            if rows:
                images[rows], masks[rows] = images[rows].flip(axis + 2), masks[rows].flip(axis + 1)
        return images, masks

    def _moved(self, images: Tensor, masks: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Turned and scaled about the middle; zeros and background come in from outside."""
        s = self.settings
        turned = draws[:, 0] < s.rotation_probability
        zoomed = draws[:, 1] < s.scaling_probability
        rows = (turned | zoomed).nonzero()[:, 0].tolist()
        if not rows:
            return images, masks
        # In the coordinates of grid_sample an axis is from -1 to 1, and the last one comes first.
        length = torch.tensor([n * step for n, step in zip(images.shape[2:], self.spacing, strict=True)]).double()
        matrices = torch.stack([self._matrix(draws[row], bool(turned[row]), bool(zoomed[row])) for row in rows])
        matrices = (matrices * length / length[:, None]).flip(1, 2)
        theta = F.pad(matrices, (0, 1)).to(images.device, images.dtype)
        grid = F.affine_grid(theta, [len(rows), 1, *images.shape[2:]], align_corners=False)
        images, masks = images.clone(), masks.clone()
        images[rows] = F.grid_sample(images[rows], grid, mode="bilinear", align_corners=False)
        moved = F.grid_sample(masks[rows].unsqueeze(1).to(images.dtype), grid, mode="nearest", align_corners=False)
        masks[rows] = moved.squeeze(1).to(masks.dtype)
        return images, masks

    def _matrix(self, draw: Tensor, turned: bool, zoomed: bool) -> Tensor:
        """From where in mm a voxel comes, ``(d, d)``."""
        dimensions = len(self.spacing)
        matrix = torch.eye(dimensions, dtype=torch.float64)
        planes = [(0, 1)] if dimensions == 2 else [(1, 2), (0, 2), (0, 1)]  # across the axis of that number
        coarse = max(range(dimensions), key=lambda axis: self.spacing[axis])
        if dimensions == 3 and self.spacing[coarse] > ANISOTROPIC * min(self.spacing):
            planes = [planes[coarse]]
        for number, (first, second) in enumerate(planes if turned else ()):
            angle = math.radians(self.settings.rotation) * (2 * float(draw[2 + number]) - 1)
            turn = torch.eye(dimensions, dtype=torch.float64)
            turn[first, first] = turn[second, second] = math.cos(angle)
            turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
            matrix = matrix @ turn
        return matrix / _within_either_side(self.settings.scaling, draw[5], draw[6]) if zoomed else matrix

    def _each_channel(
        self,
        images: Tensor,
        draws: Tensor,
        probability: float,
        sides: Tensor,
        amounts: Tensor,
        bounds: tuple[float, float],
        change: Callable[[Tensor, float], Tensor],
    ) -> None:
        """Change each channel of the chosen patches with one half."""
        for row in _chosen(draws, probability):
            for channel in _chosen(sides[row], 0.5):
                amount = float(_within(bounds, amounts[row, channel]))
                images[row, channel] = change(images[row, channel][None, None], amount)[0, 0]


def _chosen(draws: Tensor, probability: float) -> list[int]:
    return [row for row, draw in enumerate(draws.tolist()) if draw < probability]


def _where(draws: Tensor, probability: float, factors: Tensor) -> Tensor:
    """``factors`` (B, C) of the chosen rows, 1 of the others."""
    return torch.where((draws < probability)[:, None], factors, 1.0)


def _within(bounds: tuple[float, float], draws: Tensor) -> Tensor:
    return bounds[0] + (bounds[1] - bounds[0]) * draws


def _within_either_side(bounds: tuple[float, float], side: Tensor, draws: Tensor) -> Tensor:
    """Below and above 1 with equal probability, where 1 is between the bounds."""
    low, high = bounds
    if not low < 1 < high:
        return _within(bounds, draws)
    return torch.where(side < 0.5, _within((low, 1), draws), _within((1, high), draws))


def _at(numbers: Tensor, images: Tensor) -> Tensor:
    """``numbers`` (B, C) shaped to go with ``images``."""
    return numbers.to(images.device, images.dtype).view(*numbers.shape, *[1] * (images.ndim - 2))


def _blurred(channel: Tensor, sigma: float) -> Tensor:
    filtered: Tensor = GaussianFilter(channel.ndim - 2, sigma).to(channel.device)(channel)
    return filtered


def _coarse(channel: Tensor, scale: float) -> Tensor:
    small = [max(1, round(n * scale)) for n in channel.shape[2:]]
    down = F.interpolate(channel, size=small, mode="nearest-exact")
    return F.interpolate(down, size=channel.shape[2:], mode="bilinear" if channel.ndim == 4 else "trilinear")


def _contrasted(image: Tensor, factor: Tensor) -> Tensor:
    """``(C, *S)``: further from, or nearer to, each channel's mean, within its range before."""
    axes = tuple(range(1, image.ndim))
    mean = image.mean(axes, keepdim=True)
    return ((image - mean) * factor + mean).clamp(image.amin(axes, keepdim=True), image.amax(axes, keepdim=True))


def _with_gamma(image: Tensor, exponent: Tensor) -> Tensor:
    """``(C, *S)``: a power of each channel's values in [0, 1], mean and standard deviation kept."""
    axes = tuple(range(1, image.ndim))
    low, high = image.amin(axes, keepdim=True), image.amax(axes, keepdim=True)
    std, mean = torch.std_mean(image, axes, keepdim=True)
    changed = ((image - low) / (high - low).clamp(min=1e-7)) ** exponent
    changed_std, changed_mean = torch.std_mean(changed, axes, keepdim=True)
    return (changed - changed_mean) / changed_std.clamp(min=1e-7) * std + mean
