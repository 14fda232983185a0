"""The Jacobian penalty: how fast a network's output changes with its input."""

from __future__ import annotations

import torch
from torch import Tensor


def squared_jacobian_norm(inputs: Tensor, output: Tensor) -> Tensor:
    """An unbiased estimate of the batch's mean squared Frobenius norm of d output / d input, from one projection.

    Args:
        inputs: ``(B, ...)``, requiring a gradient.
        output: ``(B, ...)``, computed from ``inputs``, sample by sample in what counts.

    Returns:
        A scalar that can be differentiated again. Directions come from torch's global generator.

    Reference: Hoffman et al., Robust Learning with Jacobian Regularization, 2019, Algorithm 1 with one projection.
    """
    flat = output.float().flatten(1)
    direction = torch.randn_like(flat)
    direction = direction / direction.norm(dim=1, keepdim=True)
    (gradient,) = torch.autograd.grad(flat, inputs, direction, create_graph=True)
    # A unit vector catches on average 1 / K of the K rows' squared norm.
    return flat.shape[1] * gradient.float().square().sum() / len(inputs)
