"""ANL-CE with its gradient written out, for eager mode.

Written with autograd, ANL-CE's ten operations on every pixel cost five times cross entropy, most of it in allocating
their intermediates. Here value and gradient of some samples at a time are made together, in place. The function
``anl_ce`` stays the definition: this file must equal it (a test holds it to that), and it takes over under
``torch.compile`` and ``torch.func``, for second and forward-mode derivatives and for the variant without the clamp.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad

from .base import PointwiseFunction, PointwiseLoss
from .inputs import LOWEST_LOG_PROB, LabeledLogits, labeled_log_probs, under_transform
from .normalized_negative import check_floor


class FusedANLCE(PointwiseLoss):
    """ANL-CE, whose function is the definition."""

    def evaluate(self, batch: LabeledLogits) -> tuple[Tensor, Tensor | None]:
        """The function's value at every element."""
        if torch.compiler.is_compiling() or batch.labels is None:
            return super().evaluate(batch)
        return fused_anl_ce(self.function, batch.logits, batch.labels, **self.hyperparameters), batch.counted


def fused_anl_ce(
    definition: PointwiseFunction,
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: float,
    beta: float,
    p_min: float,
    exact_official: bool,
) -> Tensor:
    """What ``definition`` gives for the log-probabilities of ``logits`` ``(B, K, *E)`` and ``labels`` ``(B, *E)``."""
    if not exact_official or _differentiated_elsewhere(logits, labels):
        pred = labeled_log_probs(logits, labels)
        return definition(pred, alpha=alpha, beta=beta, p_min=p_min, exact_official=exact_official)
    check_floor(p_min, logits.shape[1])
    return _FusedANLCE.apply(logits, labels, alpha, beta, p_min, definition)


def _differentiated_elsewhere(logits: Tensor, labels: Tensor) -> bool:
    """Whether something other than the backward pass asks for derivatives, or ``vmap`` for many batches at once."""
    forward_mode = forward_ad.unpack_dual(logits).tangent is not None
    return forward_mode or under_transform(logits) or under_transform(labels)


# As many samples at a time as stay in a processor's cache and are still worth starting its threads for.
LOGITS_AT_ONCE = 2**19


class _FusedANLCE(torch.autograd.Function):
    """Values ``(B, *E)`` from logits ``(B, K, *E)`` and labels ``(B, *E)``."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, labels: Tensor, alpha: float, beta: float, p_min: float, definition: PointwiseFunction
    ) -> Tensor:
        values = torch.empty(labels.shape, dtype=logits.dtype, device=logits.device)
        gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        size = max(1, LOGITS_AT_ONCE // max(logits[:1].numel(), 1))
        for start in range(0, logits.shape[0], size):
            part = slice(start, start + size)
            _evaluate(
                logits[part],
                labels[part],
                alpha,
                beta,
                p_min,
                values[part],
                None if gradient is None else gradient[part],
            )
        ctx.save_for_backward(logits, labels, gradient)
        ctx.parameters = {"alpha": alpha, "beta": beta, "p_min": p_min, "exact_official": True}
        ctx.definition = definition
        return values

    @staticmethod
    def backward(ctx: Any, grad_values: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        logits, labels, gradient = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: the derivative must itself be differentiable
            values = ctx.definition(labeled_log_probs(logits, labels), **ctx.parameters)
            (grad,) = torch.autograd.grad(values, logits, grad_values, create_graph=True)
        else:
            grad = gradient * grad_values.unsqueeze(1)
        return grad, None, None, None, None, None


def _evaluate(
    logits: Tensor, labels: Tensor, alpha: float, beta: float, p_min: float, values: Tensor, gradient: Tensor | None
) -> None:
    """Fill ``values`` and, where it is wanted, ``gradient``.

    With t = log p_y, s = sum_k log p_k, [.] the floor at log p_min and D = K A + sum_k [log p_k]:

        value            = alpha t / s + beta (1 - (A + [t]) / D)
        d value/d log p_k = (k = y) (alpha / s - beta (t > log p_min) / D)
                            - alpha t / s^2 + beta (log p_k > log p_min) (A + [t]) / D^2

    and d value / d logits is that, less p_k times its sum over k.
    """
    highest = -math.log(p_min)
    index = labels.unsqueeze(1)
    log_probs = F.log_softmax(logits, dim=1).clamp_(min=LOWEST_LOG_PROB)
    floored = log_probs.clamp(min=-highest)
    target = log_probs.gather(1, index)
    inverse_sum = log_probs.sum(dim=1, keepdim=True).reciprocal_()
    inverse_flipped = floored.sum(dim=1, keepdim=True).add_(log_probs.shape[1] * highest).reciprocal_()
    flipped_target = target.clamp(min=-highest).add_(highest)
    active = target * inverse_sum
    negative = flipped_target.mul_(inverse_flipped)  # (A + [t]) / D
    if gradient is None:
        values.copy_(active.mul_(alpha).sub_(negative, alpha=beta).add_(beta).squeeze(1))
        return
    on_target = (target > -highest).to(logits.dtype).mul_(inverse_flipped).mul_(-beta).add_(inverse_sum, alpha=alpha)
    everywhere = inverse_sum.mul_(active).mul_(-alpha)
    on_unclamped = inverse_flipped.mul_(negative).mul_(beta)
    torch.gt(log_probs, -highest, out=floored).mul_(on_unclamped).add_(everywhere).scatter_add_(1, index, on_target)
    total = floored.sum(dim=1, keepdim=True)
    torch.addcmul(floored, log_probs.exp_(), total, value=-1, out=gradient)
    values.copy_(active.mul_(alpha).sub_(negative, alpha=beta).add_(beta).squeeze(1))
