"""Random crop, flip and rotation of whole batches on the device, as torchvision's transforms of single images.

What is drawn (:class:`Draws`) is apart from what is done with it (:func:`apply`). For images in files see
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
    """What was drawn for a batch of B images; ``None`` for what is not done at all.

    Attributes:
        offset: ``(2, B)`` int64, row and column of the crop's first pixel, from that of the image: from minus to plus
            the padding.
        mirrored: ``(B,)`` bool.
        angle: ``(B,)`` float32, degrees counter-clockwise.
    """

    offset: Tensor | None = None
    mirrored: Tensor | None = None
    angle: Tensor | None = None

    def __getitem__(self, index: slice) -> Draws:
        """What was drawn for some of the images."""
        return Draws(*(None if drawn is None else drawn[..., index] for drawn in self._each))

    @staticmethod
    def joined(parts: Sequence[Draws], device: torch.device) -> Draws:
        """What was drawn for several batches, one behind the other, on ``device``."""
        each = zip(*(part._each for part in parts), strict=True)
        return Draws(*(None if drawn[0] is None else moved(torch.cat(drawn, dim=-1), device) for drawn in each))

    @property
    def _each(self) -> tuple[Tensor | None, ...]:
        return self.offset, self.mirrored, self.angle


@dataclass(frozen=True)
class CropFlipRotate:
    """Random crop, flip and rotation as the settings say, then normalization by ``mean`` and ``std`` per channel."""

    settings: Augmentation
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def draw(self, count: int, generator: torch.Generator) -> Draws:
        """Parameters for ``count`` images, from ``generator``, which is on the CPU."""
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
        """uint8 images ``(B, C, H, W)`` to float32, changed as drawn; labels stay unchanged."""
        return normalized(apply(images, draws), self.mean, self.std), labels


def apply(images: Tensor, draws: Draws) -> Tensor:
    """Images ``(B, C, H, W)``, uint8: cropped, then mirrored, then rotated, without waiting for the device.

    The order is that of the papers' code. Every pixel of the result is one pixel of the source, or black: one look-up,
    whatever is done. The images themselves stay unchanged.
    """
    if draws.offset is None and draws.mirrored is None and draws.angle is None:
        return images
    count, channels, height, width = images.shape
    device = images.device
    # Where a pixel of the result comes from: backwards through rotation, flip and crop.
    if draws.angle is None:
        row = torch.arange(height, device=device)[None, :, None]
        column = torch.arange(width, device=device)[None, None, :]
        turned = torch.ones((), dtype=torch.bool, device=device)
    else:
        row, column = _rotated(draws.angle.to(device, non_blocking=True), height, width)
        turned = (row == row.clamp(0, height - 1)) & (column == column.clamp(0, width - 1))
    if draws.mirrored is not None:
        mirrored = draws.mirrored.to(device, non_blocking=True)[:, None, None]
        column = torch.where(mirrored, width - 1 - column, column)
    if draws.offset is not None:
        down, right = draws.offset.to(device, non_blocking=True)[:, :, None, None]
        row, column = row + down, column + right
    nearest_row, nearest_column = row.clamp(0, height - 1), column.clamp(0, width - 1)
    inside = turned & (row == nearest_row) & (column == nearest_column)
    source = nearest_row * width + nearest_column
    source = source.expand(count, height, width).reshape(count, 1, -1).expand(-1, channels, -1)
    pixels = images.flatten(2).gather(2, source).view(images.shape)
    return pixels * inside.expand(count, height, width)[:, None]


def _rotated(angle: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Rows and columns ``(B, H, W)``, int64, that rotated images take their pixels from; some lie outside.

    Rotation is about the middle of the image, and the nearest pixel is taken, ties to the even one.
    """
    radians = angle * (math.pi / 180)
    cosine, sine = radians.cos()[:, None, None], radians.sin()[:, None, None]
    down = torch.arange(height, device=angle.device)[None, :, None] - (height - 1) / 2
    right = torch.arange(width, device=angle.device)[None, None, :] - (width - 1) / 2
    row = sine * right + cosine * down + (height - 1) / 2
    column = cosine * right - sine * down + (width - 1) / 2
    return row.round().long(), column.round().long()


def normalized(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 images ``(B, C, H, W)`` to float32: ``(images / 255 - mean) / std``, channel by channel."""
    scale, shift = _scale_and_shift(tuple(mean), tuple(std), images.device)
    return torch.addcmul(shift, images, scale)


@cache
@torch.inference_mode(False)
def _scale_and_shift(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """``1 / (255 std)`` and ``-mean / std``, each ``(C, 1, 1)``: moved once, for each copy would stop a GPU's queue."""
    scale = torch.tensor([1 / (255 * s) for s in std]).to(device)[:, None, None]
    return scale, torch.tensor([-m / s for m, s in zip(mean, std, strict=True)]).to(device)[:, None, None]
