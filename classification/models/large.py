"""torchvision's networks for photographs: ResNet-50, ResNet-101 and VGG-19 with batch norm, as torchvision starts them.

VGG-19 averages its last feature map to 7x7 whatever the image's size; a map that is smaller (2x2 for Animal-10N's
64x64 images) is repeated instead, so that its linear layers keep their published width.
"""

from __future__ import annotations

import torchvision
from torch import nn

from seg_anl.records import UserError


def resnet50(num_classes: int, in_channels: int, image_size: tuple[int, int]) -> nn.Module:
    """ResNet-50: WebVision, Clothing1M, ImageNet."""
    _check_color("resnet50", in_channels)
    return torchvision.models.resnet50(num_classes=num_classes)


def resnet101(num_classes: int, in_channels: int, image_size: tuple[int, int]) -> nn.Module:
    """ResNet-101: ImageNet."""
    _check_color("resnet101", in_channels)
    return torchvision.models.resnet101(num_classes=num_classes)


def vgg19_bn(num_classes: int, in_channels: int, image_size: tuple[int, int]) -> nn.Module:
    """VGG-19 with batch norm: Animal-10N."""
    _check_color("vgg19_bn", in_channels)
    return torchvision.models.vgg19_bn(num_classes=num_classes)


def _check_color(name: str, in_channels: int) -> None:
    if in_channels != 3:
        raise UserError(
            f"model.name={name} takes color images, the data have {in_channels} channel(s); take cnn8, resnet18, ..."
        )
