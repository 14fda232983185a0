"""Random crop, flip and rotation of whole batches on the device, equivalent to torchvision's per-image transforms.

Random parameters (:class:`Draws`) are separate from their application (:func:`apply`). For images in files see
:mod:`classification.decoded_batches`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from seg_anl.engine.batches import moved

from .settings import Augmentation


@dataclass(frozen=True, eq=False)
class Draws:
    """Random parameters for a batch of B images; ``None`` for a transform that is off.

    Attributes:
        offset: ``(2, B)`` int64, row and column of the crop's first pixel relative to the image, within the padding.
        mirrored: ``(B,)`` bool.
        angle: ``(B,)`` float32, degrees counterclockwise.
    """

    offset: Tensor | None = None
    mirrored: Tensor | None = None
    angle: Tensor | None = None

    def __getitem__(self, index: slice) -> Draws:
        """The parameters of some of the images."""
        return Draws(*(None if values is None else values[..., index] for values in self._fields))

    @staticmethod
    def joined(parts: Sequence[Draws], device: torch.device) -> Draws:
        """The concatenated parameters of several batches, on ``device``."""
        fields = zip(*(part._fields for part in parts), strict=True)
        return Draws(*(None if values[0] is None else moved(torch.cat(values, dim=-1), device) for values in fields))

    @property
    def _fields(self) -> tuple[Tensor | None, ...]:
        return self.offset, self.mirrored, self.angle


@dataclass(frozen=True)
class CropFlipRotate:
    """Random crop, flip and rotation, then normalization by ``mean`` and ``std`` per channel."""

    settings: Augmentation
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def draw(self, count: int, generator: torch.Generator) -> Draws:
        """Draw parameters for ``count`` images from a CPU generator."""
        padding, rotation = self.settings.crop_padding, self.settings.rotation
        offset = mirrored = angle = None
        if padding:
            offset = torch.randint(-padding, padding + 1, (2, count), generator=generator)
        if self.settings.flip:
            mirrored = torch.rand(count, generator=generator) < self.settings.flip
        if rotation:
            angle = torch.empty(count).uniform_(-rotation, rotation, generator=generator)
        return Draws(offset, mirrored, angle)

    def __call__(self, images: Tensor, labels: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Augment and normalize uint8 images ``(B, C, H, W)`` to float32; labels are unchanged."""
        return normalize(apply(images, draws), self.mean, self.std), labels


def apply(images: Tensor, draws: Draws) -> Tensor:
    """Crop, then mirror, then rotate uint8 images ``(B, C, H, W)``, without synchronizing with the device.

    The order is that of the papers' code. A single gather does all three: each output pixel is one source pixel or
    black. The input is not modified.
    """
    if draws.offset is None and draws.mirrored is None and draws.angle is None:
        return images
    count, channels, height, width = images.shape
    device = images.device
    # The source of each output pixel, backward through rotation, flip and crop.
    if draws.angle is None:
        row = torch.arange(height, device=device)[None, :, None]
        column = torch.arange(width, device=device)[None, None, :]
        inside = torch.ones((), dtype=torch.bool, device=device)
    else:
        row, column = _rotation_source(draws.angle.to(device, non_blocking=True), height, width)
        inside = (row == row.clamp(0, height - 1)) & (column == column.clamp(0, width - 1))
    if draws.mirrored is not None:
        mirrored = draws.mirrored.to(device, non_blocking=True)[:, None, None]
        column = torch.where(mirrored, width - 1 - column, column)
    if draws.offset is not None:
        down, right = draws.offset.to(device, non_blocking=True)[:, :, None, None]
        row, column = row + down, column + right
    nearest_row, nearest_column = row.clamp(0, height - 1), column.clamp(0, width - 1)
    inside = inside & (row == nearest_row) & (column == nearest_column)
    source = nearest_row * width + nearest_column
    source = source.expand(count, height, width).reshape(count, 1, -1).expand(-1, channels, -1)
    pixels = images.flatten(2).gather(2, source).view(images.shape)
    return pixels * inside.expand(count, height, width)[:, None]


def _rotation_source(angle: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Source rows and columns ``(B, H, W)``, int64, of rotated images; some are outside the image.

    Rotation is about the center, with nearest-neighbor sampling (ties to even).
    """
    radians = angle * (math.pi / 180)
    cosine, sine = radians.cos()[:, None, None], radians.sin()[:, None, None]
    down = torch.arange(height, device=angle.device)[None, :, None] - (height - 1) / 2
    right = torch.arange(width, device=angle.device)[None, None, :] - (width - 1) / 2
    row = sine * right + cosine * down + (height - 1) / 2
    column = cosine * right - sine * down + (width - 1) / 2
    return row.round().long(), column.round().long()


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 images ``(B, C, H, W)`` to float32: ``(images / 255 - mean) / std`` per channel."""
    scale, shift = _scale_and_shift(tuple(mean), tuple(std), images.device)
    return torch.addcmul(shift, images, scale)


@cache
@torch.inference_mode(False)
def _scale_and_shift(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """``1 / (255 std)`` and ``-mean / std``, each ``(C, 1, 1)``; cached, because each copy to a GPU synchronizes."""
    scale = torch.tensor([1 / (255 * s) for s in std]).to(device)[:, None, None]
    return scale, torch.tensor([-m / s for m, s in zip(mean, std, strict=True)]).to(device)[:, None, None]
