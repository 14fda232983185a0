"""Augmentation of whole batches on the device: random crop, horizontal flip and rotation, as torchvision's transforms.

What is drawn is apart from what is done with it: :meth:`Augmentation.draw` and :func:`apply`. Images decoded from files
are augmented where they are decoded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from omegaconf import DictConfig
from torch import Tensor

from seg_anl.records import UserError, is_number, is_whole_number


@dataclass(frozen=True, eq=False)
class Draws:
    """What was drawn for a batch of B images; ``None`` for what is not done at all.

    Attributes:
        offset: ``(2, B)`` int64, row and column of the crop's first pixel, from that of the image: from minus to plus
            the padding.
        mirrored: ``(B,)`` bool.
        angle: ``(B,)`` float32, degrees counter-clockwise.
    """

    offset: Tensor | None
    mirrored: Tensor | None
    angle: Tensor | None

    def __getitem__(self, index: slice) -> Draws:
        """What was drawn for some of the images."""
        return Draws(
            *(None if drawn is None else drawn[..., index] for drawn in (self.offset, self.mirrored, self.angle))
        )


@dataclass(frozen=True)
class Augmentation:
    """Random crop, then flip, then rotation: the order of the papers' code.

    Attributes:
        crop_padding: black pixels put around an image before a crop of its own size, ``RandomCrop(size, padding)``.
        flip: probability of mirroring left and right, ``RandomHorizontalFlip``.
        rotation: degrees; the angle is uniform from minus to plus so much, ``RandomRotation``: nearest neighbor, the
            same size, black where nothing was.
    """

    crop_padding: int = 0
    flip: float = 0.0
    rotation: float = 0.0

    @classmethod
    def from_config(cls, config: DictConfig) -> Augmentation:
        """Check the ``augmentation`` settings that concern images in memory."""
        padding = config.crop_padding
        if not is_whole_number(padding) or padding < 0:
            raise UserError(f"augmentation.crop_padding must be a whole number of pixels >= 0, got {padding!r}")
        for name, highest in (("flip", 1), ("rotation", 180)):
            value = config[name]
            if not is_number(value) or not 0 <= value <= highest:
                raise UserError(f"augmentation.{name} must be from 0 to {highest}, got {value!r}")
        return cls(padding, float(config.flip), float(config.rotation))

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images ``(B, C, H, W)``, uint8, to such images; draws from ``generator``, on the CPU, without waiting."""
        return apply(images, self.draw(len(images), generator))

    def draw(self, count: int, generator: torch.Generator) -> Draws:
        """Parameters for ``count`` images."""
        offset = mirrored = angle = None
        if self.crop_padding:
            offset = torch.randint(-self.crop_padding, self.crop_padding + 1, (2, count), generator=generator)
        if self.flip:
            mirrored = torch.rand(count, generator=generator) < self.flip
        if self.rotation:
            angle = torch.empty(count).uniform_(-self.rotation, self.rotation, generator=generator)
        return Draws(offset, mirrored, angle)


def apply(images: Tensor, draws: Draws) -> Tensor:
    """Images ``(B, C, H, W)``, uint8, changed as drawn; the images themselves stay as they are.

    Every pixel of the result is one pixel of the source, or black: one look-up, whatever is done.
    """
    if draws.offset is None and draws.mirrored is None and draws.angle is None:
        return images
    count, channels, height, width = images.shape
    device = images.device
    # Where a pixel of the result comes from: backwards through rotation, flip and crop.
    if draws.angle is None:
        row = torch.arange(height, device=device)[None, :, None]
        column = torch.arange(width, device=device)[None, None, :]
        inside = torch.ones((), dtype=torch.bool, device=device)
    else:
        row, column = _rotated(draws.angle.to(device, non_blocking=True), height, width)
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    if draws.mirrored is not None:
        mirrored = draws.mirrored.to(device, non_blocking=True)[:, None, None]
        column = torch.where(mirrored, width - 1 - column, column)
    if draws.offset is not None:
        down, right = draws.offset.to(device, non_blocking=True)[:, :, None, None]
        row, column = row + down, column + right
        inside = inside & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    source = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
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
    scale = torch.tensor([1 / (255 * s) for s in std]).to(images.device, non_blocking=True)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)]).to(images.device, non_blocking=True)
    return torch.addcmul(shift[:, None, None], images, scale[:, None, None])
