"""Evaluates large batches chunk by chunk, computing the gradient in the forward pass.

Autograd keeps every intermediate tensor of a loss until the backward pass: up to four times the memory of cross
entropy, and most of the time goes into moving it. Here each chunk, small enough for a processor's cache, goes forward
and backward at once; only its values and its gradient are kept. The result differs from one pass by rounding alone.

Used in eager mode only: ``torch.compile`` does better by itself. Under ``torch.func`` and forward-mode differentiation
the loss is evaluated in one pass; second derivatives are, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .inputs import LabeledLogits, class_log_probs, is_wrapped_by_functorch

CHUNK_SIZE = 2**18  # logits, at least; smaller chunks spend their time on launching operations
MAX_CHUNKS = 16
# Launching an operation on a GPU takes longer than running it, so only what is worth the memory is split. Not measured.
CHUNK_SIZE_ON_GPU = 2**22
MAX_CHUNKS_ON_GPU = 8


@dataclass(frozen=True)
class ChunkEvaluation:
    """How to evaluate a chunk.

    Attributes:
        weighted_values: a function from a batch to its weighted values ``(B, *E)``, each of its own element alone.
        uses_log_probs_only: whether the logits enter through their log-probabilities alone. These are then computed
            outside autograd, followed by the gradient of the softmax in closed form.
        derivatives: the loss's ``values_and_derivatives``, to use instead of autograd.
    """

    weighted_values: Callable[[LabeledLogits], Tensor]
    uses_log_probs_only: bool
    derivatives: Callable[[LabeledLogits, Tensor], tuple[Tensor, Tensor]] | None


def can_be_chunked(batch: LabeledLogits, others: Iterable[Tensor], of_any_size: bool) -> bool:
    """Whether a batch is large (or ``of_any_size``) and needs only first derivatives in the logits.

    ``others`` are further tensors that the loss depends on, such as its buffers.
    """
    if torch.compiler.is_compiling() or not (of_any_size or _work(batch) > _chunk_size(batch)):
        return False
    given = [batch.labels, batch.probabilities, batch.weight, batch.class_weights, *others]
    others = [tensor for tensor in given if tensor is not None]
    if any(tensor.requires_grad for tensor in others):  # learned weights or labels
        return False
    if any(is_wrapped_by_functorch(tensor) for tensor in (batch.scores, *others)):
        return False
    return forward_ad.unpack_dual(batch.scores).tangent is None


def chunked_mean(batch: LabeledLogits, divisor: Tensor | int, evaluation: ChunkEvaluation) -> Tensor:
    """The sum of all weighted values, divided by ``divisor``."""
    flat = batch.flat()
    return _ChunkedMean.apply(flat.scores, flat, divisor, evaluation)


class _ChunkedMean(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, scores: Tensor, batch: LabeledLogits, divisor: Tensor | int, evaluation: ChunkEvaluation
    ) -> Tensor:
        with_gradient = ctx.needs_input_grad[0]
        values, ctx.gradient = _values_and_gradient(batch, divisor, evaluation, with_gradient=with_gradient)
        ctx.save_for_backward(scores)
        ctx.batch, ctx.divisor, ctx.evaluation = batch, divisor, evaluation
        return values.sum() / divisor

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (scores,) = ctx.saved_tensors
        batch = replace(ctx.batch, scores=scores)
        if torch.is_grad_enabled():  # create_graph=True: the gradient must itself be differentiable
            value = ctx.evaluation.weighted_values(batch).sum() / ctx.divisor
            (gradient,) = torch.autograd.grad(value, scores, grad, create_graph=True)
            return gradient, None, None, None
        gradient, ctx.gradient = ctx.gradient, None  # handed over without a copy; recomputed if needed again
        if gradient is None:
            _, gradient = _values_and_gradient(batch, ctx.divisor, ctx.evaluation, with_gradient=True)
        return gradient.mul_(grad), None, None, None


def chunked_sums(batch: LabeledLogits, function: Callable[..., Tensor], *along: Tensor) -> Tensor:
    """The values of ``function`` for a batch, ``(B, M, *E)``, summed over the elements of each sample: ``(B, M)``.

    A large batch is evaluated in chunks; the backward pass evaluates each again, keeping only the gradient.

    Args:
        function: of a batch and its chunk of ``along``; differentiable in the scores alone.
        along: ``(B, *E)``, further inputs that are split like the batch.
    """
    if not can_be_chunked(batch, along, of_any_size=False):
        return _summed(function(batch, *along))
    flat = batch.flat()
    return _ChunkedSums.apply(flat.scores, flat, function, [each.reshape(len(each), -1) for each in along])


class _ChunkedSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, scores: Tensor, batch: LabeledLogits, function: Callable[..., Tensor], along: list[Tensor]
    ) -> Tensor:
        ctx.save_for_backward(scores)
        ctx.batch, ctx.function, ctx.along = batch, function, along
        totals: dict[int, Tensor] = {}  # by the first sample of a chunk
        for index in _chunk_indices(batch):
            found = _summed(function(batch.chunk(index), *(each[index] for each in along)))
            first = index[0].start
            totals[first] = totals[first] + found if first in totals else found
        return torch.cat(list(totals.values()))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (scores,) = ctx.saved_tensors
        batch = replace(ctx.batch, scores=scores)
        if torch.is_grad_enabled():  # as above
            found = _summed(ctx.function(batch, *ctx.along))
            return torch.autograd.grad(found, scores, grad, create_graph=True)[0], None, None, None
        gradient = torch.empty_like(scores)
        for index in _chunk_indices(batch):
            chunk = batch.chunk(index)
            leaf = chunk.scores.detach().requires_grad_()
            with torch.enable_grad():
                found = _summed(ctx.function(replace(chunk, scores=leaf), *(each[index] for each in ctx.along)))
            gradient[index] = torch.autograd.grad(found, leaf, grad[index[0]])[0]
        return gradient, None, None, None


def _summed(values: Tensor) -> Tensor:
    """``(B, M, *E)`` to ``(B, M)``."""
    return values.flatten(2).sum(dim=2) if values.ndim > 2 else values


def _values_and_gradient(
    batch: LabeledLogits, divisor: Tensor | int, evaluation: ChunkEvaluation, *, with_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """The weighted values of a flat batch, and the gradient of their sum over ``divisor``."""
    scores = batch.scores
    elements = batch.labels if batch.labels is not None else scores if batch.sigmoid else scores[:, 0]
    values = torch.empty(elements.shape, dtype=scores.dtype, device=scores.device)
    gradient = torch.empty_like(scores) if with_gradient else None
    scale = scores.new_ones(()) / divisor
    # Closed-form derivatives keep little besides the gradient: on a GPU a single chunk launches the fewest operations.
    in_one = evaluation.derivatives is not None and scores.is_cuda
    for index in [...] if in_one else _chunk_indices(batch):
        chunk = batch.chunk(index)
        if gradient is None:
            values[index] = evaluation.weighted_values(chunk)
        else:
            _fill(values[index], gradient[index], chunk, scale, evaluation)
    return values, gradient


def _fill(values_out: Tensor, gradient_out: Tensor, chunk: LabeledLogits, scale: Tensor, by: ChunkEvaluation) -> None:
    """Write the weighted values of a chunk and the gradient of ``scale`` times their sum."""
    if by.uses_log_probs_only:
        chunk = chunk.with_log_probs(class_log_probs(chunk.logits))
    if by.derivatives is not None:
        weight = chunk.weight
        values, derivatives = by.derivatives(chunk, scale if weight is None else scale * weight)
        values = values if weight is None else values * weight
    else:
        leaf = chunk.scores.detach().requires_grad_()
        with torch.enable_grad():
            values = by.weighted_values(replace(chunk, scores=leaf))
            (derivatives,) = torch.autograd.grad(values, leaf, scale.expand_as(values))
    values_out.copy_(values.detach())
    if not by.uses_log_probs_only:
        gradient_out.copy_(derivatives)
        return
    # The gradient of the softmax; under sigmoid that of the positive class's logit alone.
    total, probs = derivatives.sum(dim=1, keepdim=True), chunk.scores.exp_()
    one = (slice(None), 1) if chunk.sigmoid else slice(None)
    torch.addcmul(
        derivatives[one], probs[one], total.squeeze(1) if chunk.sigmoid else total, value=-1, out=gradient_out
    )


def _chunk_size(batch: LabeledLogits) -> int:
    return CHUNK_SIZE if batch.scores.device.type == "cpu" else CHUNK_SIZE_ON_GPU


def _copies(batch: LabeledLogits) -> int:
    """How many copies of a logit a loss may hold: both classes of a channel; for soft labels one per label."""
    return 2 if batch.sigmoid else 1 if batch.labels is not None else batch.scores.shape[1]


def _work(batch: LabeledLogits) -> int:
    return batch.scores.numel() * _copies(batch)


def _chunk_indices(batch: LabeledLogits) -> Iterator[Any]:
    """The index of each chunk of a flat batch: several whole samples, or a range of elements of one."""
    samples, channels, elements = batch.scores.shape
    each, work = channels * _copies(batch), _work(batch)
    most = MAX_CHUNKS if batch.scores.device.type == "cpu" else MAX_CHUNKS_ON_GPU
    size = work if work <= _chunk_size(batch) else max(CHUNK_SIZE, work // most)
    length = min(elements, max(1, size // max(each, 1)))
    together = max(1, size // max(each * elements, 1))
    for first in range(0, samples, together):
        for start in range(0, elements, max(length, 1)):
            yield slice(first, first + together), ..., slice(start, start + length)
