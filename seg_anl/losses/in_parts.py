"""A large batch reduced part by part, with its gradient made on the way; sums that a loss is a function of, likewise.

A loss written with autograd keeps every intermediate result of every pixel until the backward pass, up to four times
what cross entropy keeps, and spends most of its time in fetching that memory. Here some pixels at a time, as many as
stay in a processor's cache, go forward and backward at once; of each part its values and its gradient remain. The loss
stays what its function says; value and gradient differ in the rounding of single operations at the ends of parts.

Only in eager mode: ``torch.compile`` does better by itself. ``torch.func`` and forward-mode derivatives take the plain
way, second derivatives come from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .inputs import LabeledLogits, class_log_probs, under_transform

AT_ONCE = 2**18  # logits in a part, at least: below, the time goes into starting operations
MOST_PARTS = 16
# A GPU takes longer to start an operation than to do it, so there only what is worth the memory is split. Not measured.
AT_ONCE_ON_GPU = 2**22
MOST_PARTS_ON_GPU = 8


@dataclass(frozen=True)
class HowInParts:
    """How a part is evaluated.

    Attributes:
        weighted: from a batch to its values times what they count, ``(B, *E)``, each a function of its element alone.
        of_log_probs: whether that is a function of the log-probabilities. Then these are made without a history, and
            the gradient of the softmax is written out.
        written: a loss's ``values_and_slopes`` instead of autograd.
    """

    weighted: Callable[[LabeledLogits], Tensor]
    of_log_probs: bool
    written: Callable[[LabeledLogits, Tensor], tuple[Tensor, Tensor]] | None


def may_be_split(batch: LabeledLogits, others: Iterable[Tensor], of_any_size: bool) -> bool:
    """Whether a batch is large, or ``of_any_size``, and plain tensors are differentiated backwards.

    ``others`` are what the loss needs besides.
    """
    if torch.compiler.is_compiling() or not (of_any_size or _work(batch) > _one_piece(batch)):
        return False
    given = [batch.labels, batch.probabilities, batch.counted, batch.class_weights, *others]
    others = [tensor for tensor in given if tensor is not None]
    if any(tensor.requires_grad for tensor in others):  # weights or labels that are learned
        return False
    if any(under_transform(tensor) for tensor in (batch.scores, *others)):
        return False
    return forward_ad.unpack_dual(batch.scores).tangent is None


def mean_in_parts(batch: LabeledLogits, divisor: Tensor | int, how: HowInParts) -> Tensor:
    """The sum of all weighted values over ``divisor``."""
    flat = batch.flat()
    return _MeanInParts.apply(flat.scores, flat, divisor, how)


class _MeanInParts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, batch: LabeledLogits, divisor: Tensor | int, how: HowInParts) -> Tensor:
        values, ctx.gradient = _values_and_gradient(batch, divisor, how, with_gradient=ctx.needs_input_grad[0])
        ctx.save_for_backward(scores)
        ctx.batch, ctx.divisor, ctx.how = batch, divisor, how
        return values.sum() / divisor

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (scores,) = ctx.saved_tensors
        batch = replace(ctx.batch, scores=scores)
        if torch.is_grad_enabled():  # create_graph=True: the derivative must itself be differentiable
            value = ctx.how.weighted(batch).sum() / ctx.divisor
            (gradient,) = torch.autograd.grad(value, scores, grad, create_graph=True)
            return gradient, None, None, None
        gradient, ctx.gradient = ctx.gradient, None  # handed on, not copied; a second time it is made anew
        if gradient is None:
            _, gradient = _values_and_gradient(batch, ctx.divisor, ctx.how, with_gradient=True)
        return gradient.mul_(grad), None, None, None


def sums(batch: LabeledLogits, of_elements: Callable[..., Tensor], *along: Tensor) -> Tensor:
    """What ``of_elements`` makes of a batch, ``(B, M, *E)``, summed over each sample's elements: ``(B, M)``.

    Of a large batch part by part; the backward pass makes each part a second time, and keeps the gradient alone.

    Args:
        of_elements: of a batch and its part of ``along``; differentiable in the scores alone.
        along: ``(B, *E)``, what the elements have besides.
    """
    if not may_be_split(batch, along, of_any_size=False):
        return _summed(of_elements(batch, *along))
    flat = batch.flat()
    return _SumsInParts.apply(flat.scores, flat, of_elements, [each.reshape(len(each), -1) for each in along])


class _SumsInParts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, scores: Tensor, batch: LabeledLogits, of_elements: Callable[..., Tensor], along: list[Tensor]
    ) -> Tensor:
        ctx.save_for_backward(scores)
        ctx.batch, ctx.of_elements, ctx.along = batch, of_elements, along
        total: dict[int, Tensor] = {}  # by the first sample of a part
        for place in _parts(batch):
            found = _summed(of_elements(batch.part(place), *(each[place] for each in along)))
            start = place[0].start
            total[start] = total[start] + found if start in total else found
        return torch.cat(list(total.values()))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (scores,) = ctx.saved_tensors
        batch = replace(ctx.batch, scores=scores)
        if torch.is_grad_enabled():  # as above
            found = _summed(ctx.of_elements(batch, *ctx.along))
            return torch.autograd.grad(found, scores, grad, create_graph=True)[0], None, None, None
        gradient = torch.empty_like(scores)
        for place in _parts(batch):
            part = batch.part(place)
            leaf = part.scores.detach().requires_grad_()
            with torch.enable_grad():
                found = _summed(ctx.of_elements(replace(part, scores=leaf), *(each[place] for each in ctx.along)))
            gradient[place] = torch.autograd.grad(found, leaf, grad[place[0]])[0]
        return gradient, None, None, None


def _summed(values: Tensor) -> Tensor:
    """``(B, M, *E)`` to ``(B, M)``."""
    return values.flatten(2).sum(dim=2) if values.ndim > 2 else values


def _values_and_gradient(
    batch: LabeledLogits, divisor: Tensor | int, how: HowInParts, *, with_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """The weighted values of a flat batch, and the gradient of their sum over ``divisor``."""
    scores = batch.scores
    elements = batch.labels if batch.labels is not None else scores if batch.sigmoid else scores[:, 0]
    values = torch.empty(elements.shape, dtype=scores.dtype, device=scores.device)
    gradient = torch.empty_like(scores) if with_gradient else None
    share = scores.new_ones(()) / divisor
    # Written out, a loss keeps little beside the gradient: on a GPU one part has the fewest operations to start.
    whole = how.written is not None and scores.is_cuda
    for place in [...] if whole else _parts(batch):
        part = batch.part(place)
        if gradient is None:
            values[place] = how.weighted(part)
        else:
            _fill_in(part, share, how, values[place], gradient[place])
    return values, gradient


def _fill_in(part: LabeledLogits, share: Tensor, how: HowInParts, values_out: Tensor, gradient_out: Tensor) -> None:
    """The weighted values of a part and the gradient of ``share`` times their sum."""
    if how.of_log_probs:
        part = part.with_log_probs(class_log_probs(part.logits))
    if how.written is not None:
        counted = part.counted
        values, slopes = how.written(part, share if counted is None else share * counted)
        values = values if counted is None else values * counted
    else:
        leaf = part.scores.detach().requires_grad_()
        with torch.enable_grad():
            values = how.weighted(replace(part, scores=leaf))
            (slopes,) = torch.autograd.grad(values, leaf, share.expand_as(values))
    values_out.copy_(values.detach())
    if not how.of_log_probs:
        gradient_out.copy_(slopes)
        return
    # Through the softmax; under sigmoid to the logit of "present" alone.
    total, probs = slopes.sum(dim=1, keepdim=True), part.scores.exp_()
    one = (slice(None), 1) if part.sigmoid else slice(None)
    torch.addcmul(slopes[one], probs[one], total.squeeze(1) if part.sigmoid else total, value=-1, out=gradient_out)


def _one_piece(batch: LabeledLogits) -> int:
    return AT_ONCE if batch.scores.device.type == "cpu" else AT_ONCE_ON_GPU


def _copies(batch: LabeledLogits) -> int:
    """How often a loss may hold a logit: both classes of a channel; with soft labels once for each label."""
    return 2 if batch.sigmoid else 1 if batch.labels is not None else batch.scores.shape[1]


def _work(batch: LabeledLogits) -> int:
    return batch.scores.numel() * _copies(batch)


def _parts(batch: LabeledLogits) -> Iterator[Any]:
    """The index of each part of a flat batch: several whole samples, or places of one."""
    samples, channels, places = batch.scores.shape
    each, work = channels * _copies(batch), _work(batch)
    most = MOST_PARTS if batch.scores.device.type == "cpu" else MOST_PARTS_ON_GPU
    at_once = work if work <= _one_piece(batch) else max(AT_ONCE, work // most)
    length = min(places, max(1, at_once // max(each, 1)))
    together = max(1, at_once // max(each * places, 1))
    for first in range(0, samples, together):
        for start in range(0, places, max(length, 1)):
            yield slice(first, first + together), ..., slice(start, start + length)
