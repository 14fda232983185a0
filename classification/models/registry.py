"""Networks by name. A new one is a function in a file of its own and a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from seg_anl.records import UserError, nearest_names

from . import large, plain, residual
from .weights import load_weights


@dataclass(frozen=True)
class Architecture:
    """A network that can be built by name.

    Attributes:
        build: (number of classes, channels of the images, their size) -> network.
        halvings: how often it halves the resolution; a side of ``2 ** halvings`` pixels leaves one pixel.
    """

    build: Callable[[int, int, tuple[int, int]], nn.Module]
    halvings: int


MODELS: dict[str, Architecture] = {
    "cnn4": Architecture(plain.cnn4, 2),
    "cnn8": Architecture(plain.cnn8, 3),
    "resnet18": Architecture(residual.resnet18, 3),
    "resnet34": Architecture(residual.resnet34, 3),
    "resnet44": Architecture(residual.resnet44, 2),
    "resnet50": Architecture(large.resnet50, 5),
    "resnet101": Architecture(large.resnet101, 5),
    "vgg19_bn": Architecture(large.vgg19_bn, 5),
}


def build_model(
    name: str, num_classes: int, in_channels: int, image_size: tuple[int, int], weights: str | None = None
) -> nn.Module:
    """The network ``name``, its weights drawn from torch's global generator.

    Args:
        name: one of ``MODELS``.
        num_classes: K, the number of logits.
        in_channels: channels of the images.
        image_size: ``(H, W)`` of the images as the network gets them.
        weights: a file of weights, or ``imagenet``; see :func:`~classification.models.weights.load_weights`.

    Raises:
        UserError: for an unknown name, images that are too small or have the wrong channels, weights that do not fit.
    """
    if name not in MODELS:
        raise UserError(f"model.name={name}: {nearest_names(name, MODELS)}")
    architecture = MODELS[name]
    smallest = 2**architecture.halvings
    if min(image_size) < smallest:
        fitting = [other for other, entry in MODELS.items() if 2**entry.halvings <= min(image_size)]
        raise UserError(
            f"model.name={name} needs images of {smallest} x {smallest} pixels or more, got "
            f"{image_size[0]} x {image_size[1]}; {'fitting: ' + ', '.join(fitting) if fitting else 'none fits'}"
        )
    model = architecture.build(num_classes, in_channels, image_size)
    if weights is not None:
        load_weights(model, name, weights)
    return model
