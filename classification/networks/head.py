"""Penultimate features: the input of a network's last linear layer."""

from __future__ import annotations

from torch import Tensor, nn


def head_of(model: nn.Module) -> tuple[str, nn.Linear]:
    """Name and module of the layer that computes the logits: the last registered linear layer.

    Raises:
        ValueError: for a network without linear layers.
    """
    linear = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError(f"{type(model).__name__} has no linear layer, hence no head")
    return linear[-1]


def penultimate_features(model: nn.Module, images: Tensor) -> Tensor:
    """Features ``(B, D)`` of images ``(B, C, H, W)``: the input of the head.

    The caller sets the mode (training or evaluation) and gradient tracking. VGG's features are those after its last
    dropout.

    Raises:
        ValueError: for a network without linear layers.
    """
    features: list[Tensor] = []
    _, head = head_of(model)
    handle = head.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    try:
        model(images)
    finally:
        handle.remove()
    return features[-1]
