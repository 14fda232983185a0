"""By which mean and standard deviation images are normalized."""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from seg_anl.records import UserError

from .split import FileImages

_CHUNK = 4096  # images summed at once


def mean_and_deviation(images: Tensor | FileImages, data: DictConfig) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """``data.mean`` and ``data.std``; where they are null, those of all pixels of the training images, by channel.

    Both are on a scale where white is 1. A channel that is constant gets the deviation 1.

    Raises:
        UserError: one of the two without the other, numbers that do not fit the channels, or null where the images are
            in files.
    """
    channels = 3 if isinstance(images, FileImages) else images.shape[1]
    if (data.mean is None) != (data.std is None):
        raise UserError("data.mean and data.std must be given both, or neither (null)")
    if data.mean is not None:
        return _given(data.mean, "data.mean", channels), _given(data.std, "data.std", channels)
    if isinstance(images, FileImages):
        raise UserError(
            "data.mean and data.std must be given for images in files; ImageNet's are in data/imagenet.yaml"
        )
    return pixel_statistics(images)


def pixel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of all pixels of uint8 images ``(N, C, H, W)`` over 255, by channel.

    >>> pixel_statistics(torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 1, 1, 2))
    ((0.5,), (0.5,))
    """
    channels = images.shape[1]
    # Sums of whole numbers: the result does not depend on how the sum is cut into pieces.
    total, squares = torch.zeros(channels, dtype=torch.int64), torch.zeros(channels, dtype=torch.int64)
    for chunk in images.split(_CHUNK):
        values = chunk.to(torch.int64)
        total += values.sum(dim=(0, 2, 3))
        squares += values.square().sum(dim=(0, 2, 3))
    count = images.numel() // channels
    mean = total.double() / count
    deviation = (squares.double() / count - mean.square()).clamp(min=0).sqrt()
    deviation = torch.where(deviation > 0, deviation, torch.full_like(deviation, 255.0))
    return tuple((mean / 255).tolist()), tuple((deviation / 255).tolist())


def _given(values: Any, setting: str, channels: int) -> tuple[float, ...]:
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        numbers = ()
    lowest = 0.0 if setting.endswith("mean") else 1e-6
    if len(numbers) != channels or not all(lowest <= number <= 1 for number in numbers):
        raise UserError(f"{setting} must be {channels} number(s) in [0, 1], one a channel; got {values}")
    return numbers
