"""Converts logits and targets of any accepted form to the log-probabilities that all losses are written in.

Shapes, target forms, weights, ignored elements, activation and precision are handled here, once, for all losses.
Below, ``E`` is the shape of one sample's elements: ``(*spatial)`` for softmax, ``(C, *spatial)`` for sigmoid, where
each channel is a two-class problem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .powers import one_minus_exp

# Very distant logits have a log-probability of -inf in float32. A finite floor keeps sums over classes, pixels and
# batches finite; no real network comes near it.
LOWEST_LOG_PROB = -1e30
SUM_TOLERANCE = 2e-3  # of class probabilities that sum to 1 in half precision


@dataclass(frozen=True)
class LabeledLogits:
    """A batch: logits, labels and weights.

    Attributes:
        scores: float32 or float64, ``(B, K, *E)``; for sigmoid, unless ``normalized``, ``(B, *E)``, the logit of the
            positive class.
        labels: ``(B, *E)`` in ``[0, K)``, 0 for ignored elements; None for soft labels.
        probabilities: soft labels, ``(B, K, *E)``; for sigmoid ``(B, *E)``, those of the positive class; 0 for ignored
            elements; None for hard labels.
        weight: ``(B, *E)``, a Boolean mask or a number for each element; None when all weights are 1.
        class_weights: ``(K,)``, for soft labels only: those of hard labels are in ``weight``.
        sigmoid: whether the K = 2 classes are absence and presence of a channel.
        normalized: whether ``scores`` are log-probabilities already.
    """

    scores: Tensor
    labels: Tensor | None
    probabilities: Tensor | None
    weight: Tensor | None
    class_weights: Tensor | None
    sigmoid: bool
    normalized: bool = False

    @property
    def logits(self) -> Tensor:
        """Logits ``(B, K, *E)``."""
        if self.sigmoid and not self.normalized:
            return torch.stack((torch.zeros_like(self.scores), self.scores), dim=1)
        return self.scores

    @property
    def element_dims(self) -> int:
        """The number of dimensions of ``(B, *E)``."""
        return self.scores.ndim - (not self.sigmoid or self.normalized)

    def with_log_probs(self, log_probs: Tensor) -> LabeledLogits:
        """The same labels with other predictions: normalized log-probabilities ``(B, K, *E)``."""
        return replace(self, scores=log_probs, normalized=True)

    def with_one_logit_per_channel(self) -> LabeledLogits:
        """The same batch; under sigmoid with ``scores`` ``(B, *E)`` also where they are log-probabilities."""
        if not (self.sigmoid and self.normalized):
            return self
        return replace(self, scores=self.scores[:, 1] - self.scores[:, 0], normalized=False)

    def log_probs(self) -> LabeledLogProbs:
        """The batch as log-probabilities; for soft labels, with each class as the label in turn."""
        log_probs = self.scores if self.normalized else class_log_probs(self.logits)
        if self.labels is not None:
            return LabeledLogProbs(log_probs, self.labels, _of_label(log_probs, self.labels))
        every = torch.arange(log_probs.shape[1], device=log_probs.device).view(-1, *(1,) * self.element_dims)
        return LabeledLogProbs(log_probs, every, log_probs.movedim(1, 0))

    def shares(self) -> Tensor:
        """The weight of each class as the label of a soft element, ``(K, B, *E)``: probability times weights."""
        assert self.probabilities is not None
        present = self.probabilities
        shares = torch.stack((1 - present, present)) if self.sigmoid else present.movedim(1, 0)
        if self.class_weights is not None:
            shares = shares * self.class_weights.view(-1, *(1,) * self.element_dims)
        return shares if self.weight is None else shares * self.weight

    def full_weight(self) -> Tensor | None:
        """``weight`` times the class weights of soft labels, ``(B, *E)``."""
        if self.class_weights is None or self.probabilities is None:
            return self.weight
        each = torch.tensordot(self.probabilities, self.class_weights, dims=([1], [0]))
        return each if self.weight is None else each * self.weight

    def total_weight(self) -> Tensor | int:
        """The sum of all weights, which a mean divides by."""
        weight = self.full_weight()
        if weight is not None:
            return weight.sum()
        return self.scores.numel() if self.sigmoid else self.scores[:, :1].numel()

    def flat(self) -> LabeledLogits:
        """The batch with its spatial dimensions flattened into one."""
        return self._map(
            lambda tensor, leading: tensor.flatten(leading) if tensor.ndim > leading else tensor[..., None]
        )

    def chunk(self, index: Any) -> LabeledLogits:
        """A slice of a flat batch, by an index ``(samples, ..., elements)``."""
        return self._map(lambda tensor, _: tensor[index])

    def _map(self, function: Callable[[Tensor, int], Tensor]) -> LabeledLogits:
        """Apply ``function`` to each tensor and its number of dimensions before the spatial ones."""
        leading = {"scores": 2, "probabilities": 2, "labels": 1 + self.sigmoid, "weight": 1 + self.sigmoid}
        tensors = {name: getattr(self, name) for name in leading}
        changed: dict[str, Any] = {n: function(tensors[n], d) for n, d in leading.items() if tensors[n] is not None}
        return replace(self, **changed)


@dataclass(frozen=True)
class LabeledLogProbs:
    """Log-probabilities ``(B, K, *E)``, labels ``(B, *E)`` and the label's log-probability ``(B, *E)``.

    For soft labels each class is the label in turn, on a leading axis: labels ``(K, 1, *1)`` and their
    log-probabilities ``(K, B, *E)``. A sum over the classes, ``(B, *E)``, broadcasts against either.
    """

    log_probs: Tensor
    labels: Tensor
    target_log_prob: Tensor

    @property
    def num_classes(self) -> int:
        """K."""
        return self.log_probs.shape[1]

    def detach(self) -> LabeledLogProbs:
        """The same values, detached from the graph."""
        return LabeledLogProbs(self.log_probs.detach(), self.labels, self.target_log_prob.detach())

    def replaced(self, log_probs: Tensor) -> LabeledLogProbs:
        """The same labels with other log-probabilities."""
        return LabeledLogProbs(log_probs, self.labels, self.of_label(log_probs))

    def of_label(self, values: Tensor) -> Tensor:
        """The label's of values ``(B, K, *E)`` of all classes, in the shape of ``target_log_prob``."""
        return values.movedim(1, 0) if self.target_log_prob.ndim == values.ndim else _of_label(values, self.labels)

    def miss(self) -> Tensor:
        """1 - p of the label, in the shape of ``target_log_prob``; accurate for p close to 1."""
        return one_minus_exp(self.target_log_prob)

    def misses(self) -> Tensor:
        """1 - p of every class, ``(B, K, *E)``; accurate for p close to 1."""
        if self.num_classes == 2:  # 1 - p is the other class's p, and compiled exp is much faster than expm1
            return self.log_probs.flip(1).exp()
        return one_minus_exp(self.log_probs)


def most_probable(scores: Tensor, dim: int = 1, *, keepdim: bool = False) -> Tensor:
    """``scores.argmax(dim)``, which takes seven times as long on a CPU."""
    return scores.max(dim, keepdim=keepdim).indices


def class_log_probs(logits: Tensor) -> Tensor:
    """``log_softmax`` over dimension 1, always finite."""
    log_probs = F.log_softmax(logits, dim=1)
    return log_probs.clamp(min=LOWEST_LOG_PROB) if torch.is_grad_enabled() else log_probs.clamp_(min=LOWEST_LOG_PROB)


def labeled_log_probs(logits: Tensor, labels: Tensor) -> LabeledLogProbs:
    """One ``log_softmax`` over dimension 1 and one gather, shared by all terms of a loss."""
    log_probs = class_log_probs(logits)
    return LabeledLogProbs(log_probs, labels, _of_label(log_probs, labels))


def _of_label(values: Tensor, labels: Tensor) -> Tensor:
    index = labels.unsqueeze(1)
    if torch.compiler.is_compiling() and values.is_cuda:
        return gather_by_sum(values, index)
    return values.gather(1, index).squeeze(1)


def gather_by_sum(log_probs: Tensor, index: Tensor) -> Tensor:
    """``log_probs.gather(1, index).squeeze(1)`` as a masked sum, which the compiler fuses with other operations."""
    classes = torch.arange(log_probs.shape[1], device=log_probs.device).view(-1, *(1,) * (log_probs.ndim - 2))
    return torch.where(classes == index, log_probs, 0).sum(dim=1)


def labeled_logits(
    logits: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    class_weights: Tensor | None = None,
    ignore_index: int | None = None,
    activation: str = "softmax",
) -> LabeledLogits:
    """Convert logits and target to the form that losses work on.

    Args:
        logits: ``(B, C, *spatial)``, floating point, zero to three spatial dimensions.
        target: class indices ``(B, *spatial)`` or ``(B, 1, *spatial)``, integer or integral float; one-hot (with
            sigmoid: multi-hot) ``(B, C, *spatial)``; or probabilities ``(B, C, *spatial)``, floating point, over the
            classes (with sigmoid: of each channel, also in the shapes of indices where C = 1).
        weight: of samples or pixels: ``(B,)``, ``(B, *spatial)`` or ``(B, 1, *spatial)``, not negative.
        class_weights: ``(C,)``, for the elements of each class (with sigmoid: of each channel).
        ignore_index: label value of ignored elements. In a target with channels it marks ignored elements by its
            value in all channels, and names a class to ignore.
        activation: ``"softmax"`` or ``"sigmoid"``.

    Raises:
        ValueError: for shapes that do not fit, naming both; on the CPU in eager mode also for labels out of range,
            invalid probabilities and negative weights, except under ``torch.func.vmap``.
    """
    sigmoid = activation == "sigmoid"
    _check_shapes(logits, target, sigmoid)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    readable = logits.device.type == "cpu" and not torch.compiler.is_compiling()
    checked = readable and _has_values(target)
    with_channels = target.ndim == logits.ndim and target.shape[1] == logits.shape[1]
    weight = _element_weights(weight, logits, readable)
    if class_weights is not None:
        class_weights = matching_class_weights(class_weights, logits)
    if sigmoid:
        target = target if target.ndim == logits.ndim else target.unsqueeze(1)
        weight = weight if weight is None else weight.unsqueeze(1).expand_as(logits)
        if class_weights is not None:
            by_channel = class_weights.view(-1, *(1,) * (logits.ndim - 2)).expand_as(logits)
            weight, class_weights = by_channel if weight is None else weight * by_channel, None
    elif not with_channels and target.ndim == logits.ndim:
        target = target.squeeze(1)
    # Where values cannot be read, floating-point channels are taken as probabilities, even if all are 0 or 1.
    if target.is_floating_point() and (sigmoid or with_channels) and not (checked and _are_whole(target)):
        probabilities, mask = _soft_labels(target.to(logits.dtype), ignore_index, sigmoid, checked)
        if not sigmoid and ignore_index is not None and 0 <= ignore_index < logits.shape[1]:
            class_weights = logits.new_ones(logits.shape[1]) if class_weights is None else class_weights.clone()
            class_weights[ignore_index] = 0
        return LabeledLogits(logits, None, probabilities, _masked_weight(mask, weight), class_weights, sigmoid)
    from_target = _from_one_hot if with_channels and not sigmoid else _labels_and_mask
    labels, mask = from_target(target, ignore_index, checked)
    if checked and labels.numel():
        lowest, highest = (int(bound) for bound in labels.aminmax())
        classes = 2 if sigmoid else logits.shape[1]
        if lowest < 0 or highest >= classes:
            expected = "0 or 1 per channel" if sigmoid else f"classes 0 to {classes - 1}"
            hint = "" if ignore_index is not None else "; if a value marks unlabeled elements, pass it as ignore_index"
            raise ValueError(f"target holds values from {lowest} to {highest}, expected {expected}{hint}")
    if class_weights is not None:
        weight = class_weights[labels] if weight is None else weight * class_weights[labels]
    return LabeledLogits(logits, labels, None, _masked_weight(mask, weight), None, sigmoid)


def is_wrapped_by_functorch(tensor: Tensor) -> bool:
    """Whether ``tensor`` is wrapped by a transform of ``torch.func`` (``vmap``, ``grad``, ``jvp``).

    torch has no public query for it; but a wrapper has no storage, so asking for its address raises an error.
    """
    try:
        tensor.data_ptr()
    except RuntimeError:
        return True
    return False


def _has_values(tensor: Tensor) -> bool:
    """Whether the values of ``tensor`` can be read; not under ``vmap``."""
    if not is_wrapped_by_functorch(tensor):
        return True
    try:
        tensor.sum().item()
    except RuntimeError:
        return False
    return True


def _check_shapes(logits: Tensor, target: Tensor, sigmoid: bool) -> None:
    if not logits.is_floating_point():
        raise ValueError(f"input must be floating-point logits, got {logits.dtype}")
    if target.is_complex():
        raise ValueError(f"target must hold labels or class probabilities, got {target.dtype}")
    if not 2 <= logits.ndim <= 5:
        raise ValueError(
            f"input must be (B, C, *spatial) with zero to three spatial dimensions, got shape {tuple(logits.shape)}"
        )
    batch, classes, *spatial = logits.shape
    if classes == 1 and not sigmoid:
        raise ValueError(
            f"input of shape {tuple(logits.shape)} has one channel: softmax over one class is constant; "
            "pass activation='sigmoid', or logits of two classes"
        )
    accepted = {(batch, classes, *spatial)}
    if tuple(target.shape) == (batch, classes + 1, *spatial):
        raise ValueError(
            f"target of shape {tuple(target.shape)} does not fit input of shape {tuple(logits.shape)}: where its last "
            f"channel marks what to ignore, give labels, target.argmax(1), and ignore_index={classes}"
        )
    if not sigmoid or classes == 1:
        accepted |= {(batch, *spatial), (batch, 1, *spatial)}
    check_shape("target", target, logits, accepted)


def check_shape(name: str, tensor: Tensor, logits: Tensor, accepted: set[tuple[int, ...]]) -> None:
    """Raise ``ValueError`` for a shape that is not accepted, or a tensor on another device."""
    if tuple(tensor.shape) not in accepted:
        raise ValueError(
            f"{name} of shape {tuple(tensor.shape)} does not fit input of shape {tuple(logits.shape)}; expected "
            + " or ".join(str(shape) for shape in sorted(accepted, key=len))
        )
    if tensor.device != logits.device:
        raise ValueError(f"{name} is on {tensor.device}, input on {logits.device}")


def _element_weights(weight: Tensor | None, logits: Tensor, readable: bool) -> Tensor | None:
    """Pixel weights ``(B, *spatial)``."""
    if weight is None:
        return None
    batch, _, *spatial = logits.shape
    check_shape(
        "weight", weight, logits, {(batch,), (batch, *spatial), (batch, 1, *spatial), (batch, *[1] * (logits.ndim - 1))}
    )
    if weight.is_complex():
        raise ValueError(f"weight must hold numbers >= 0, got {weight.dtype}")
    weight = weight.to(logits.dtype)
    if readable and weight.numel() and _has_values(weight):
        lowest, highest = (bound.item() for bound in weight.detach().aminmax())
        if not 0 <= lowest <= highest < float("inf"):
            raise ValueError(f"weight holds values from {lowest:g} to {highest:g}, expected finite numbers >= 0")
    if weight.ndim == logits.ndim:
        weight = weight.squeeze(1)
    return weight.view(batch, *weight.shape[1:], *[1] * (logits.ndim - 1 - weight.ndim)).expand(batch, *spatial)


def matching_class_weights(class_weights: Tensor, logits: Tensor) -> Tensor:
    """Class weights with dtype and device of ``logits`` ``(B, C, ...)``; raises ``ValueError`` unless there are C."""
    if len(class_weights) != logits.shape[1]:
        raise ValueError(
            f"class_weights has {len(class_weights)} numbers, input of shape {tuple(logits.shape)} has "
            f"{logits.shape[1]} classes"
        )
    return class_weights.to(logits)


def _masked_weight(mask: Tensor | None, weight: Tensor | None) -> Tensor | None:
    if mask is None or weight is None:
        return mask if weight is None else weight
    return torch.where(mask, weight, torch.zeros((), dtype=weight.dtype, device=weight.device))


def _are_whole(target: Tensor) -> bool:
    return torch.equal(target.trunc(), target)


def _soft_labels(
    target: Tensor, ignore_index: int | None, sigmoid: bool, checked: bool
) -> tuple[Tensor, Tensor | None]:
    """Probabilities, 0 for ignored elements, and the mask of the others."""
    mask = None
    if ignore_index is not None and (sigmoid or ignore_index not in (0, 1)):  # which are valid probabilities
        known = target != ignore_index
        mask = known if sigmoid else known.any(dim=1)
        target = torch.where(mask if sigmoid else mask.unsqueeze(1), target, 0)
    if checked and target.numel():
        lowest, highest = (bound.item() for bound in target.detach().aminmax())
        if not (lowest >= 0 and highest <= 1 + SUM_TOLERANCE):
            raise ValueError(f"target holds values from {lowest:g} to {highest:g}, expected labels or probabilities")
        off = torch.zeros(()) if sigmoid else (target.detach().sum(dim=1) - 1).abs()
        off = off if mask is None or sigmoid else torch.where(mask, off, 0)
        if off.max() > SUM_TOLERANCE:
            raise ValueError(
                f"class probabilities of target miss a sum of 1 by up to {off.max().item():.3g}; expected one-hot "
                "labels or probabilities over the classes (dimension 1) for each element"
            )
    return target, mask


def _labels_and_mask(target: Tensor, ignore_index: int | None, checked: bool) -> tuple[Tensor, Tensor | None]:
    labels = target.long()
    if checked and target.is_floating_point() and not torch.equal(labels.to(target.dtype), target):
        raise ValueError(
            "target holds fractions; expected class indices, or probabilities with a channel for each class"
        )
    if ignore_index is None:
        return labels, None
    mask = labels != ignore_index
    return labels.masked_fill(~mask, 0), mask


def _from_one_hot(target: Tensor, ignore_index: int | None, checked: bool) -> tuple[Tensor, Tensor | None]:
    if target.dtype == torch.bool:
        target = target.to(torch.uint8)
    labels = most_probable(target)
    mask = None
    if ignore_index is not None:
        mask = labels != ignore_index
        if ignore_index not in (0, 1):  # which are valid one-hot values
            mask &= (target != ignore_index).any(dim=1)
        labels = labels.masked_fill(~mask, 0)
    if checked and target.numel():
        wrong = target.sum(dim=1) != 1
        if target.amin() < 0:
            wrong |= (target < 0).any(dim=1)
        if mask is not None:
            wrong &= mask
        if wrong.any():
            raise ValueError(
                f"target of shape {tuple(target.shape)} looks one-hot by its shape, but its channels are not one 1 and "
                "otherwise 0; class probabilities are floating-point numbers that sum to 1"
            )
    return labels, mask
