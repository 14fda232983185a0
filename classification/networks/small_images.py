"""Networks for small images: plain convolutional networks, and residual networks with a 3x3 stem."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class PlainNetwork(nn.Module):
    """Stages of 3x3 convolutions with batch norm and ReLU, each followed by 2x2 max pooling, and two linear layers.

    Shape: ``(B, in_channels, H, W)`` to logits ``(B, num_classes)``; each stage halves both sides, rounding down.

    Args:
        stages: channels of the convolutions in each stage.
        hidden: width of the penultimate layer.
        num_classes: number of classes.
        in_channels: image channels.
        image_size: ``(H, W)`` in pixels; determines the width of the first linear layer.

    Reference: Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, ICML 2020, Section 5.2, with
    the widths of its repository.
    """

    def __init__(
        self,
        stages: Sequence[Sequence[int]],
        hidden: int,
        num_classes: int,
        in_channels: int,
        image_size: tuple[int, int],
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for stage in stages:
            for width in stage:
                layers += [
                    nn.Conv2d(channels, width, kernel_size=3, padding=1),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ]
                channels = width
            layers.append(nn.MaxPool2d(2))
        height, width = (side >> len(stages) for side in image_size)
        self.convolutions = nn.Sequential(*layers)
        self.hidden = nn.Sequential(
            nn.Linear(channels * height * width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)
        )
        self.head = nn.Linear(hidden, num_classes)
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, num_classes)``."""
        return self.head(self.hidden(self.convolutions(images).flatten(1)))


class PaddedIdentity(nn.Module):
    """A shortcut without parameters: subsampled by ``stride``, with zero channels on both sides up to ``width``.

    Option A of He et al., Deep Residual Learning for Image Recognition, CVPR 2016, Section 3.3.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride
        self.before = (width - channels) // 2
        self.after = width - channels - self.before

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, H, W)`` to ``(B, width, ceil(H / stride), ceil(W / stride))``."""
        # In groups of channels, because several networks may be trained side by side.
        subsampled = x[:, :, :: self.stride, :: self.stride].unflatten(1, (-1, self.channels))
        return F.pad(subsampled, (0, 0, 0, 0, self.before, self.after)).flatten(1, 2)


class Projection(nn.Sequential):
    """A shortcut with a 1x1 convolution and batch norm: option B of the same section."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__(nn.Conv2d(channels, width, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(width))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, added to ``shortcut`` of the input."""

    def __init__(self, channels: int, width: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, width, kernel_size=3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, H, W)`` to ``(B, width, ceil(H / stride), ceil(W / stride))``."""
        return F.relu(self.convolutions(x) + self.shortcut(x))


class ResidualNetwork(nn.Module):
    """A 3x3 stem, stages of basic blocks, global average pooling and a linear layer.

    All stages but the first halve the resolution.

    Shape: ``(B, in_channels, H, W)`` to logits ``(B, num_classes)``, for any ``H`` and ``W``.

    Args:
        blocks: number of blocks in each stage.
        widths: channels of each stage; the stem has those of the first.
        shortcut: shortcut of blocks that change the resolution or width.
        num_classes: number of classes.
        in_channels: image channels.
        image_size: unused; for the same signature as other networks.

    Reference: He et al., Deep Residual Learning for Image Recognition, CVPR 2016.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        widths: Sequence[int],
        shortcut: type[PaddedIdentity] | type[Projection],
        num_classes: int,
        in_channels: int,
        image_size: tuple[int, int],
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )
        stages: list[nn.Module] = []
        channels = widths[0]
        for index, (count, width) in enumerate(zip(blocks, widths, strict=True)):
            for block in range(count):
                stride = 2 if index > 0 and block == 0 else 1
                same_shape = stride == 1 and channels == width
                block_shortcut = nn.Identity() if same_shape else shortcut(channels, width, stride)
                stages.append(BasicBlock(channels, width, stride, block_shortcut))
                channels = width
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(channels, num_classes)
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, num_classes)``."""
        return self.head(self.stages(self.stem(images)).mean(dim=(2, 3)))


def initialize(model: nn.Module) -> None:
    """Initialize weights in place from torch's global generator; biases and batch norm keep torch's defaults.

    Convolutions are uniform with variance ``2 / fan_in`` (He et al., Delving Deep into Rectifiers, ICCV 2015), linear
    layers uniform with variance ``2 / (fan_in + fan_out)`` (Glorot and Bengio, AISTATS 2010), as in the repositories of
    Active Passive Losses and Active Negative Loss for their plain networks and, in the latter, for ResNets.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, mode="fan_in", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
