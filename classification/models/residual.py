"""Residual networks for 32x32 images: a 3x3 stem that keeps the resolution, no max pooling."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .initialization import initialize


class PaddedIdentity(nn.Module):
    """A shortcut without parameters: every ``stride``-th pixel, and channels of zeros on both sides up to ``width``.

    Option A of He et al., Deep Residual Learning for Image Recognition, CVPR 2016, Section 3.3.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride
        self.before = (width - channels) // 2
        self.after = width - channels - self.before

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, H, W)`` to ``(B, width, ceil(H / stride), ceil(W / stride))``."""
        # By groups of channels: several networks may lie side by side.
        fewer = x[:, :, :: self.stride, :: self.stride].unflatten(1, (-1, self.channels))
        return F.pad(fewer, (0, 0, 0, 0, self.before, self.after)).flatten(1, 2)


class Projection(nn.Sequential):
    """A shortcut through a 1x1 convolution and batch norm: option B of the same section."""

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
    """A 3x3 stem, stages of basic blocks that halve the resolution from the second on, global average, linear layer.

    Shape: ``(B, in_channels, H, W)`` to logits ``(B, num_classes)``, for any ``H`` and ``W``.

    Args:
        blocks: number of blocks of each stage.
        widths: channels of each stage; the stem has those of the first.
        shortcut: what stands beside a block that changes the resolution or the width.
        num_classes: K.
        in_channels: channels of the images.

    Reference: He et al., Deep Residual Learning for Image Recognition, CVPR 2016.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        widths: Sequence[int],
        shortcut: type[PaddedIdentity] | type[Projection],
        num_classes: int,
        in_channels: int,
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
                unchanged = stride == 1 and channels == width
                beside = nn.Identity() if unchanged else shortcut(channels, width, stride)
                stages.append(BasicBlock(channels, width, stride, beside))
                channels = width
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(channels, num_classes)
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, num_classes)``."""
        return self.head(self.stages(self.stem(images)).mean(dim=(2, 3)))


def resnet18(num_classes: int, in_channels: int, image_size: tuple[int, int]) -> ResidualNetwork:
    """ResNet-18 with projections, four stages of 64 to 512 channels."""
    return ResidualNetwork([2, 2, 2, 2], [64, 128, 256, 512], Projection, num_classes, in_channels)


def resnet34(num_classes: int, in_channels: int, image_size: tuple[int, int]) -> ResidualNetwork:
    """ResNet-34 with projections, four stages of 64 to 512 channels: CIFAR-100 in most of the papers."""
    return ResidualNetwork([3, 4, 6, 3], [64, 128, 256, 512], Projection, num_classes, in_channels)


def resnet44(num_classes: int, in_channels: int, image_size: tuple[int, int]) -> ResidualNetwork:
    """ResNet-44 (6n + 2 layers, n = 7; He et al., Section 4.2): CIFAR-100 in Equal Loss (Cui et al.).

    He et al. draw convolutions from a normal distribution; here they are uniform with the same variance.
    """
    return ResidualNetwork([7, 7, 7], [16, 32, 64], PaddedIdentity, num_classes, in_channels)
