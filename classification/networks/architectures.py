"""Networks by name. To add one, add a line here, and a file if it is not in torchvision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from seg_anl.records import UserError, nearest_names

from .initial_weights import load_weights
from .small_images import PaddedIdentity, PlainNetwork, Projection, ResidualNetwork


@dataclass(frozen=True)
class Architecture:
    """A network that can be built by name.

    Attributes:
        build: (number of classes, image channels, image size) -> network.
        halvings: number of times it halves the resolution; the minimum image side is ``2 ** halvings``.
    """

    build: Callable[[int, int, tuple[int, int]], nn.Module]
    halvings: int


def _torchvision(name: str) -> Architecture:
    """torchvision's network for photographs, with torchvision's initialization.

    VGG-19 pools its last feature map to 7x7 for any image size; smaller maps (2x2 for Animal-10N's 64x64 images) are
    upsampled, so that its linear layers keep their published width.
    """

    def build(num_classes: int, in_channels: int, _: tuple[int, int]) -> nn.Module:
        if in_channels != 3:
            raise UserError(
                f"model.name={name} takes color images, the data has {in_channels} channel(s); use cnn8, resnet18, ..."
            )
        import torchvision  # imported late, because the other networks do not need it

        return getattr(torchvision.models, name)(num_classes=num_classes)  # type: ignore[no-any-return]

    return Architecture(build, 5)


MODELS: dict[str, Architecture] = {
    # Two convolutions for MNIST, six for CIFAR-10, and two linear layers.
    "cnn4": Architecture(lambda *images: PlainNetwork([[32], [64]], 128, *images), 2),
    "cnn8": Architecture(lambda *images: PlainNetwork([[64, 64], [128, 128], [196, 196]], 256, *images), 3),
    # CIFAR-100: resnet34 in most papers, resnet44 in Equal Loss (Cui et al.). ResNet-44 has 6n + 2 layers with n = 7
    # (He et al., Section 4.2, with normal initial weights; here they are uniform with the same variance).
    "resnet18": Architecture(
        lambda *images: ResidualNetwork((2, 2, 2, 2), (64, 128, 256, 512), Projection, *images), 3
    ),
    "resnet34": Architecture(
        lambda *images: ResidualNetwork((3, 4, 6, 3), (64, 128, 256, 512), Projection, *images), 3
    ),
    "resnet44": Architecture(lambda *images: ResidualNetwork((7, 7, 7), (16, 32, 64), PaddedIdentity, *images), 2),
    # WebVision, Clothing1M, ImageNet: resnet50; ImageNet: resnet101; Animal-10N: vgg19_bn.
    **{name: _torchvision(name) for name in ("resnet50", "resnet101", "vgg19_bn")},
}


def build_model(
    name: str, num_classes: int, in_channels: int, image_size: tuple[int, int], weights: str | None = None
) -> nn.Module:
    """Build the network ``name`` with weights drawn from torch's global generator.

    Args:
        name: one of ``MODELS``.
        num_classes: K, the number of logits.
        in_channels: image channels.
        image_size: input size ``(H, W)``.
        weights: a file of weights, or ``imagenet``; see :func:`~classification.networks.initial_weights.load_weights`.

    Raises:
        UserError: for an unknown name, too small images, a wrong number of channels, or weights of another network.
    """
    if name not in MODELS:
        raise UserError(f"model.name={name}: {nearest_names(name, MODELS)}")
    architecture = MODELS[name]
    smallest = 2**architecture.halvings
    if min(image_size) < smallest:
        suitable = [other for other, entry in MODELS.items() if 2**entry.halvings <= min(image_size)]
        raise UserError(
            f"model.name={name} needs images of {smallest} x {smallest} pixels or more, got "
            f"{image_size[0]} x {image_size[1]}; suitable networks: {', '.join(suitable) or 'none'}"
        )
    model = architecture.build(num_classes, in_channels, image_size)
    if weights is not None:
        load_weights(model, name, weights)
    return model


def trains_on_one(model: nn.Module, image_shape: tuple[int, int, int]) -> bool:
    """Whether ``model`` can train on a batch of one image ``(C, H, W)``: batch norm needs two values per channel."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    try:  # on the meta device, which computes shapes only
        shapes = {name: tensor.to("meta") for name, tensor in tensors.items()}
        torch.func.functional_call(model, shapes, torch.empty(1, *image_shape, device="meta"))
    except ValueError:
        return False
    return True
