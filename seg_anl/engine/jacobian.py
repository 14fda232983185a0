"""The Jacobian penalty on how fast a network's output changes with its input."""

from __future__ import annotations

import torch
from torch import Tensor


def squared_jacobian_norm(inputs: Tensor, output: Tensor) -> Tensor:
    """Estimate the batch's mean squared Frobenius norm of d output / d input from one projection, without bias.

    Args:
        inputs: ``(B, ...)``, requiring a gradient.
        output: ``(B, ...)``, computed from ``inputs`` sample by sample.

    Returns:
        A differentiable scalar. The projection comes from torch's global generator.

    Reference: Hoffman et al., Robust Learning with Jacobian Regularization, 2019, Algorithm 1 with one projection.
    """
    flat = output.float().flatten(1)
    direction = torch.randn_like(flat)
    direction = direction / direction.norm(dim=1, keepdim=True)
    (gradient,) = torch.autograd.grad(flat, inputs, direction, create_graph=True)
    # The mean over unit vectors is 1 / K of the squared norm of all K rows.
    return flat.shape[1] * gradient.float().square().sum() / len(inputs)
