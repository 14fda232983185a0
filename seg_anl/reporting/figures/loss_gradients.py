"""Losses and the length of their gradients, from the loss registry itself. Only here do figures import torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def is_pointwise(name: str) -> bool:
    """Whether a loss is a function of each sample's softmax alone."""
    from seg_anl.losses import PointwiseLoss, build_loss

    return isinstance(build_loss(name), PointwiseLoss)


def values_and_gradients(
    name: str, probabilities: NDArray[np.floating], labels: NDArray[np.integer], **parameters: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A loss and the L1 norm of its gradient with respect to the logits, for each sample.

    Args:
        name: a loss of the registry that is a function of each sample's softmax.
        probabilities: softmax ``(N, K)``; zeros count as the smallest number of float16.
        labels: ``(N,)``.
        parameters: of the loss.

    Returns:
        Two arrays ``(N,)``.

    Raises:
        ValueError: for an unknown loss or parameter.
    """
    import torch

    from seg_anl.losses import build_loss

    smallest = float(np.finfo(np.float16).smallest_subnormal)
    logits = torch.from_numpy(probabilities.astype(np.float64)).clamp(min=smallest).log().requires_grad_()
    values = build_loss(name, reduction="none", **parameters)(logits, torch.from_numpy(labels.astype(np.int64)))
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    return values.detach().double().numpy(), gradient.abs().sum(dim=1).double().numpy()
