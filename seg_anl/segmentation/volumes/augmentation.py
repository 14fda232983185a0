"""Augmentation of batches of patches on the device: nnU-Net's changes, in its order.

A seed per patch, drawn on the CPU, decides everything, so nothing waits for the device, and all devices make the same
changes (but for the noise). Values are those after intensity scaling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from monai.networks.layers import GaussianFilter
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from .settings import VolumeAugmentationSettings

ANISOTROPIC = 3  # times the finest spacing: such volumes rotate only about their coarse axis, as in nnU-Net
_SEEDS = 2**62


class VolumeAugmentation:
    """Random changes of patches, see :class:`VolumeAugmentationSettings`.

    Args:
        settings: probabilities and ranges.
        spacing: mm along each axis.
        patch: voxels along each axis, for the margin; without it there is none.

    Attributes:
        margin: voxels on each side of a patch that are cut out as well, because they come into sight when it is turned
            or shrunk.
    """

    def __init__(
        self, settings: VolumeAugmentationSettings, spacing: Sequence[float], patch: Sequence[int] = ()
    ) -> None:
        self.settings, self.spacing = settings, tuple(spacing)
        self.margin = self._margin(np.array(patch)) if patch else (0,) * len(self.spacing)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """A seed for each of ``count`` patches, ``(count,)``."""
        return torch.randint(_SEEDS, (count,), generator=generator)

    def __call__(self, images: Tensor, masks: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Augmented images ``(B, C, *S)`` float and masks ``(B, *S)`` uint8, from ones with the margin; ``draws``
        ``(B,)`` are those of :meth:`draw`.
        """
        generators = map(np.random.default_rng, draws.tolist())
        changed = [self._changed(*each) for each in zip(images, masks, generators, strict=True)]
        return torch.stack([image for image, _ in changed]), torch.stack([mask for _, mask in changed])

    def _changed(self, image: Tensor, mask: Tensor, random: Generator) -> tuple[Tensor, Tensor]:
        """An image ``(C, *S)`` and its mask ``(*S)``."""
        s = self.settings

        def by_channel(bounds: tuple[float, float]) -> Tensor:
            return _for(random.uniform(*bounds, len(image)), image)

        turned, scaled = random.random() < s.rotation_probability, random.random() < s.scaling_probability
        if turned or scaled:
            image, mask = self._moved(image, mask, self._matrix(turned, scaled, random))
        else:
            middle = tuple(slice(m, n - m) for m, n in zip(self.margin, mask.shape, strict=True))
            every_channel = (slice(None), *middle)
            image, mask = image[every_channel], mask[middle]
        if random.random() < s.noise_probability:
            noise = torch.Generator(image.device).manual_seed(int(random.integers(_SEEDS)))
            strength = math.sqrt(random.uniform(0, s.noise_variance))
            image = image + strength * torch.randn(image.shape, generator=noise, device=image.device)
        if random.random() < s.blur_probability:
            image = _some_channels(image, random, s.blur, _blurred)
        if random.random() < s.brightness_probability:
            image = image * by_channel(s.brightness)
        if random.random() < s.contrast_probability:
            image = _contrasted(image, by_channel(s.contrast))
        if random.random() < s.low_resolution_probability:
            image = _some_channels(image, random, s.low_resolution, _coarse)
        for probability, sign in ((s.inverted_gamma_probability, -1), (s.gamma_probability, 1)):
            if random.random() < probability:
                image = sign * _with_gamma(sign * image, _for(_either_side(s.gamma, random, len(image)), image))
        axes = [axis for axis in range(mask.ndim) if random.random() < s.mirror]
        return image.flip([axis + 1 for axis in axes]), mask.flip(axes)

    def _moved(self, image: Tensor, mask: Tensor, matrix: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """Transformed about the center by a matrix in mm, without the margin; outside are zeros and background."""
        # grid_sample's coordinates run from -1 to 1 along each axis, the last axis first.
        patch = np.array(mask.shape) - 2 * np.array(self.margin)
        source, target = np.array(mask.shape) * self.spacing, patch * self.spacing
        between = (matrix * target / source[:, None])[::-1, ::-1]
        theta = F.pad(torch.from_numpy(between.copy()), (0, 1)).to(image.device, image.dtype)
        grid = F.affine_grid(theta[None], [1, 1, *patch.tolist()], align_corners=False)
        moved = F.grid_sample(mask[None, None].to(image.dtype), grid, mode="nearest", align_corners=False)
        return F.grid_sample(image[None], grid, align_corners=False)[0], moved[0, 0].to(mask.dtype)

    def _matrix(self, turned: bool, scaled: bool, random: Generator) -> NDArray[np.float64]:
        """The inverse transform ``(d, d)`` in mm."""
        dimensions = len(self.spacing)
        matrix = np.eye(dimensions)
        for first, second in self._planes() if turned else ():
            angle = math.radians(self.settings.rotation) * random.uniform(-1, 1)
            turn = np.eye(dimensions)
            turn[first, first] = turn[second, second] = math.cos(angle)
            turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
            matrix = matrix @ turn
        return matrix / _either_side(self.settings.scaling, random, 1) if scaled else matrix

    def _planes(self) -> list[tuple[int, int]]:
        """The pairs of axes that rotations turn."""
        if len(self.spacing) == 2:
            return [(0, 1)]
        planes = [(1, 2), (0, 2), (0, 1)]  # perpendicular to axis 0, 1, 2
        coarse = int(np.argmax(self.spacing))
        return [planes[coarse]] if self.spacing[coarse] > ANISOTROPIC * min(self.spacing) else planes

    def _margin(self, patch: NDArray[np.int64]) -> tuple[int, ...]:
        """That of rotations in one plane and of a moderate scaling: all of both would be many times the patch, so
        corners of the rest are zeros, as in nnU-Net.
        """
        size = patch * np.array(self.spacing, dtype=float)
        reach = size.copy()
        for plane in self._planes() if self.settings.rotation_probability else ():
            for axis, other in (plane, plane[::-1]):
                # A turned patch reaches farthest when its diagonal lies along the axis.
                angle = min(math.radians(self.settings.rotation), math.atan2(size[other], size[axis]))
                turned = math.cos(angle) * size[axis] + math.sin(angle) * size[other]
                reach[axis] = max(reach[axis], turned)
        if self.settings.scaling_probability:
            reach /= math.sqrt(min(1, self.settings.scaling[0]))
        return tuple(np.ceil((reach - size) / self.spacing / 2).astype(int).tolist())


def _for(numbers: NDArray[np.float64], image: Tensor) -> Tensor:
    """A number for each channel, shaped to broadcast to an image ``(C, *S)``."""
    return torch.from_numpy(numbers).to(image.device, image.dtype).view(-1, *[1] * (image.ndim - 1))


def _either_side(bounds: tuple[float, float], random: Generator, count: int) -> NDArray[np.float64]:
    """Uniform numbers; if 1 is between the bounds, below or above it with equal probability."""
    low, high = bounds
    if not low < 1 < high:
        return random.uniform(low, high, count)
    return np.where(random.random(count) < 0.5, random.uniform(low, 1, count), random.uniform(1, high, count))


def _some_channels(
    image: Tensor, random: Generator, bounds: tuple[float, float], change: Callable[[Tensor, float], Tensor]
) -> Tensor:
    """Change each channel with a probability of one half, by a strength of its own."""
    amounts = [random.uniform(*bounds) if random.random() < 0.5 else None for _ in image]
    channels = zip(image[:, None, None], amounts, strict=True)
    return torch.cat([channel[0] if by is None else change(channel, by)[0] for channel, by in channels])


def _blurred(channel: Tensor, sigma: float) -> Tensor:
    filtered: Tensor = GaussianFilter(channel.ndim - 2, sigma).to(channel.device)(channel)
    return filtered


def _coarse(channel: Tensor, scale: float) -> Tensor:
    small = [max(1, round(n * scale)) for n in channel.shape[2:]]
    down = F.interpolate(channel, size=small, mode="nearest-exact")
    return F.interpolate(down, size=channel.shape[2:], mode="bilinear" if channel.ndim == 4 else "trilinear")


def _contrasted(image: Tensor, factor: Tensor) -> Tensor:
    """``(C, *S)``: distances to each channel's mean times a factor, clipped to its range."""
    axes = tuple(range(1, image.ndim))
    mean = image.mean(axes, keepdim=True)
    return ((image - mean) * factor + mean).clamp(image.amin(axes, keepdim=True), image.amax(axes, keepdim=True))


def _with_gamma(image: Tensor, exponent: Tensor) -> Tensor:
    """``(C, *S)``: gamma of each channel's values in [0, 1], keeping mean and standard deviation."""
    axes = tuple(range(1, image.ndim))
    low, high = image.amin(axes, keepdim=True), image.amax(axes, keepdim=True)
    std, mean = torch.std_mean(image, axes, keepdim=True)
    changed = ((image - low) / (high - low).clamp(min=1e-7)) ** exponent
    changed_std, changed_mean = torch.std_mean(changed, axes, keepdim=True)
    return (changed - changed_mean) / changed_std.clamp(min=1e-7) * std + mean
