"""The 4-layer and the 8-layer convolutional networks for MNIST and CIFAR-10."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .initialization import initialize


class PlainNetwork(nn.Module):
    """Stages of 3x3 convolutions with batch norm and ReLU, each closed by 2x2 max pooling; two linear layers.

    Shape: ``(B, in_channels, H, W)`` to logits ``(B, num_classes)``; every stage halves both sides, rounding down.

    Args:
        stages: channels of the convolutions, stage by stage.
        hidden: width of the penultimate layer.
        num_classes: K.
        in_channels: channels of the images.
        image_size: ``(H, W)`` in pixels; fixes the width of the first linear layer.

    Reference: Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, ICML 2020, Section 5.2; the
    widths are those of its repository.
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


def cnn4(num_classes: int, in_channels: int, image_size: tuple[int, int]) -> PlainNetwork:
    """Two convolutions and two linear layers, for MNIST."""
    return PlainNetwork([[32], [64]], 128, num_classes, in_channels, image_size)


def cnn8(num_classes: int, in_channels: int, image_size: tuple[int, int]) -> PlainNetwork:
    """Six convolutions and two linear layers, for CIFAR-10."""
    return PlainNetwork([[64, 64], [128, 128], [196, 196]], 256, num_classes, in_channels, image_size)
