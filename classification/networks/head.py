"""What a network's last linear layer sees: the features that intrinsic dimension and t-SNE are computed from."""

from __future__ import annotations

from torch import Tensor, nn


def head_of(model: nn.Module) -> tuple[str, nn.Linear]:
    """The layer that makes the logits, and its name in ``model``: the linear layer registered last.

    Raises:
        ValueError: for a network without linear layers.
    """
    linear = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError(f"{type(model).__name__} has no linear layer, so no head")
    return linear[-1]


def penultimate_features(model: nn.Module, images: Tensor) -> Tensor:
    """Features ``(B, D)`` of images ``(B, C, H, W)``: the input of the head.

    Mode (training or evaluation) and gradients are the caller's; VGG's are those after its last dropout.

    Raises:
        ValueError: for a network without linear layers.
    """
    seen: list[Tensor] = []
    _, head = head_of(model)
    handle = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        model(images)
    finally:
        handle.remove()
    return seen[-1]
