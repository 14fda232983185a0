"""From logits and targets of any accepted form to the log-probabilities every loss is a function of.

Shapes, target forms, weights, ignored elements, activation and precision are settled here, once, for all losses. ``E``
below is the shape of one sample's elements: ``(*spatial)`` for softmax, ``(C, *spatial)`` for sigmoid, where every
channel is its own two-class problem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Logits further apart than float32 reaches have a log-probability of -inf. Stopping short of it keeps sums over
# classes, pixels and batches finite; nothing that a network produces comes near.
LOWEST_LOG_PROB = -1e30
SUM_TOLERANCE = 2e-3  # of class probabilities: what half precision leaves of 1


@dataclass(frozen=True)
class LabeledLogits:
    """A batch: logits, what they should have been, and how much each element counts.

    Attributes:
        scores: float32 or float64, ``(B, K, *E)``; for sigmoid ``(B, *E)``, the logit of "present" against 0.
        labels: ``(B, *E)`` in ``[0, K)``, 0 where an element does not count; None for soft labels.
        probabilities: soft labels in the shape of ``scores``, 0 where an element does not count; None for hard ones.
        counted: mask ``(B, *E)`` of elements that count, or what each counts as numbers; None when all count 1.
        class_weights: ``(K,)``, of soft labels only: those of hard ones are in ``counted``.
        sigmoid: whether K = 2 stands for "absent, present" of one channel.
        normalized: whether ``scores`` are log-probabilities already.
    """

    scores: Tensor
    labels: Tensor | None
    probabilities: Tensor | None
    counted: Tensor | None
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
        """The same labels for other predictions: log-probabilities ``(B, K, *E)``, taken as they are."""
        return replace(self, scores=log_probs, normalized=True)

    def log_probs(self) -> LabeledLogProbs:
        """The same batch seen as log-probabilities; of soft labels with every class as the label in turn."""
        log_probs = self.scores if self.normalized else class_log_probs(self.logits)
        if self.labels is not None:
            return _labeled(log_probs, self.labels)
        every = torch.arange(log_probs.shape[1], device=log_probs.device).view(-1, *(1,) * self.element_dims)
        return LabeledLogProbs(log_probs, every, log_probs.movedim(1, 0))

    def shares(self) -> Tensor:
        """What each label of a soft element counts, ``(K, B, *E)``: probability times weights."""
        assert self.probabilities is not None
        present = self.probabilities
        shares = torch.stack((1 - present, present)) if self.sigmoid else present.movedim(1, 0)
        if self.class_weights is not None:
            shares = shares * self.class_weights.view(-1, *(1,) * self.element_dims)
        return shares if self.counted is None else shares * self.counted

    def element_counts(self) -> Tensor | None:
        """What each element counts, ``(B, *E)``, as ``counted`` but with the weights of soft labels' classes."""
        if self.class_weights is None or self.probabilities is None:
            return self.counted
        each = torch.tensordot(self.probabilities, self.class_weights, dims=([1], [0]))
        return each if self.counted is None else each * self.counted

    def total(self) -> Tensor | int:
        """What all elements count together: the number, or the sum, that a mean divides by."""
        counts = self.element_counts()
        if counts is not None:
            return counts.sum()
        return self.scores.numel() if self.sigmoid else self.scores[:, :1].numel()

    def flat(self) -> LabeledLogits:
        """The same elements with one spatial dimension."""
        return self._each(lambda tensor, before: tensor.flatten(before) if tensor.ndim > before else tensor[..., None])

    def part(self, place: Any) -> LabeledLogits:
        """Some samples and places of a flat batch by an index ``(samples, ..., places)``."""
        return self._each(lambda tensor, _: tensor[place])

    def _each(self, change: Callable[[Tensor, int], Tensor]) -> LabeledLogits:
        """Change all tensors of elements, knowing how many dimensions stand before the spatial ones."""
        before = {"scores": 2, "probabilities": 2, "labels": 1 + self.sigmoid, "counted": 1 + self.sigmoid}
        found = {name: getattr(self, name) for name in before}
        changed: dict[str, Any] = {n: change(found[n], d) for n, d in before.items() if found[n] is not None}
        return replace(self, **changed)


@dataclass(frozen=True)
class LabeledLogProbs:
    """Log-probabilities ``(B, K, *E)``, labels ``(B, *E)`` and the labeled class's log-probability ``(B, *E)``.

    For soft labels every class is the label in turn, on an axis in front: labels ``(K, 1, *1)`` and their
    log-probabilities ``(K, B, *E)``. What is a sum over the classes, ``(B, *E)``, goes with either.
    """

    log_probs: Tensor
    labels: Tensor
    target_log_prob: Tensor

    @property
    def num_classes(self) -> int:
        """K."""
        return self.log_probs.shape[1]

    def detach(self) -> LabeledLogProbs:
        """The same values without their history."""
        return LabeledLogProbs(self.log_probs.detach(), self.labels, self.target_log_prob.detach())

    def replaced(self, log_probs: Tensor) -> LabeledLogProbs:
        """Other log-probabilities with the same labels."""
        if self.target_log_prob.ndim == self.log_probs.ndim:
            return LabeledLogProbs(log_probs, self.labels, log_probs.movedim(1, 0))
        return _labeled(log_probs, self.labels)

    def miss(self) -> Tensor:
        """1 - p of the labeled class, shaped like its log-probability, accurate also where p is close to 1."""
        return -torch.expm1(self.target_log_prob)

    def misses(self) -> Tensor:
        """1 - p of every class, ``(B, K, *E)``, accurate also where p is close to 1."""
        if self.num_classes == 2:  # what one class misses the other has; compiled, exp takes a fraction of expm1's time
            return self.log_probs.flip(1).exp()
        return -torch.expm1(self.log_probs)


def class_log_probs(logits: Tensor) -> Tensor:
    """``log_softmax`` over dimension 1 that stays finite."""
    log_probs = F.log_softmax(logits, dim=1)
    return log_probs.clamp(min=LOWEST_LOG_PROB) if torch.is_grad_enabled() else log_probs.clamp_(min=LOWEST_LOG_PROB)


def labeled_log_probs(logits: Tensor, labels: Tensor) -> LabeledLogProbs:
    """One ``log_softmax`` over dimension 1 and one gather, shared by everything a loss is made of."""
    return _labeled(class_log_probs(logits), labels)


def _labeled(log_probs: Tensor, labels: Tensor) -> LabeledLogProbs:
    index = labels.unsqueeze(1)
    if torch.compiler.is_compiling() and log_probs.is_cuda:
        return LabeledLogProbs(log_probs, labels, chosen_in_a_sum(log_probs, index))
    return LabeledLogProbs(log_probs, labels, log_probs.gather(1, index).squeeze(1))


def chosen_in_a_sum(log_probs: Tensor, index: Tensor) -> Tensor:
    """As ``log_probs.gather(1, index).squeeze(1)`` for the compiler, which puts a sum into the kernel of the others."""
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
    """Bring logits and target into the one form the losses work on.

    Args:
        logits: ``(B, C, *spatial)``, floating point, zero to three spatial dimensions.
        target: class indices ``(B, *spatial)`` or ``(B, 1, *spatial)``, integer or integral float; one-hot (with
            sigmoid: multi-hot) ``(B, C, *spatial)``; or probabilities ``(B, C, *spatial)``, floating point, over the
            classes (with sigmoid: of each channel, also in the shapes of indices where C = 1).
        weight: what samples or pixels count: ``(B,)``, ``(B, *spatial)`` or ``(B, 1, *spatial)``, not negative.
        class_weights: ``(C,)``, what elements of a class (with sigmoid: of a channel) count besides.
        ignore_index: label value of elements that do not count. In a target with channels an element does not count
            when its channels hold that value, and a class of that number does not.
        activation: ``"softmax"`` or ``"sigmoid"``.

    Raises:
        ValueError: for shapes that do not fit, naming both; on the CPU in eager mode also for labels out of range,
            probabilities that are none and weights below 0, unless ``torch.func.vmap`` runs over them.
    """
    sigmoid = activation == "sigmoid"
    _check_shapes(logits, target, sigmoid)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    looked_at = logits.device.type == "cpu" and not torch.compiler.is_compiling()
    checked = looked_at and _has_values(target)
    with_channels = target.ndim == logits.ndim and target.shape[1] == logits.shape[1]
    counts = _element_weights(weight, logits, looked_at)
    if class_weights is not None:
        class_weights = fitting_class_weights(class_weights, logits)
    if sigmoid:
        target = target if target.ndim == logits.ndim else target.unsqueeze(1)
        counts = counts if counts is None else counts.unsqueeze(1).expand_as(logits)
        if class_weights is not None:
            by_channel = class_weights.view(-1, *(1,) * (logits.ndim - 2)).expand_as(logits)
            counts, class_weights = by_channel if counts is None else counts * by_channel, None
    elif not with_channels and target.ndim == logits.ndim:
        target = target.squeeze(1)
    # Where values cannot be looked at, floating-point numbers in channels are probabilities, be they 0 and 1 or not.
    if target.is_floating_point() and (sigmoid or with_channels) and not (checked and _are_whole(target)):
        probabilities, mask = _soft_labels(target.to(logits.dtype), ignore_index, sigmoid, checked)
        if not sigmoid and ignore_index is not None and 0 <= ignore_index < logits.shape[1]:
            class_weights = logits.new_ones(logits.shape[1]) if class_weights is None else class_weights.clone()
            class_weights[ignore_index] = 0
        return LabeledLogits(logits, None, probabilities, _both(mask, counts), class_weights, sigmoid)
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
        counts = class_weights[labels] if counts is None else counts * class_weights[labels]
    return LabeledLogits(logits, labels, None, _both(mask, counts), None, sigmoid)


def under_transform(tensor: Tensor) -> bool:
    """Whether ``torch.func`` (``vmap``, ``grad``, ``jvp`` and what is made of them) runs over ``tensor``.

    torch has no public question for it. But such a tensor wraps another and has no memory of its own, and says so.
    """
    try:
        tensor.data_ptr()
    except RuntimeError:
        return True
    return False


def _has_values(tensor: Tensor) -> bool:
    """Whether the values of ``tensor`` may be looked at. Not under ``vmap``, where it stands for many."""
    if not under_transform(tensor):
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
    check_fit("target", target, logits, accepted)


def check_fit(name: str, tensor: Tensor, logits: Tensor, accepted: set[tuple[int, ...]]) -> None:
    """Refuse a tensor whose shape is not among the accepted ones, or that is on another device."""
    if tuple(tensor.shape) not in accepted:
        raise ValueError(
            f"{name} of shape {tuple(tensor.shape)} does not fit input of shape {tuple(logits.shape)}; expected "
            + " or ".join(str(shape) for shape in sorted(accepted, key=len))
        )
    if tensor.device != logits.device:
        raise ValueError(f"{name} is on {tensor.device}, input on {logits.device}")


def _element_weights(weight: Tensor | None, logits: Tensor, looked_at: bool) -> Tensor | None:
    """What pixels count, ``(B, *spatial)``."""
    if weight is None:
        return None
    batch, _, *spatial = logits.shape
    check_fit(
        "weight", weight, logits, {(batch,), (batch, *spatial), (batch, 1, *spatial), (batch, *[1] * (logits.ndim - 1))}
    )
    if weight.is_complex():
        raise ValueError(f"weight must hold numbers >= 0, got {weight.dtype}")
    weight = weight.to(logits.dtype)
    if looked_at and weight.numel() and _has_values(weight):
        lowest, highest = (bound.item() for bound in weight.detach().aminmax())
        if not 0 <= lowest <= highest < float("inf"):
            raise ValueError(f"weight holds values from {lowest:g} to {highest:g}, expected finite numbers >= 0")
    if weight.ndim == logits.ndim:
        weight = weight.squeeze(1)
    return weight.view(batch, *weight.shape[1:], *[1] * (logits.ndim - 1 - weight.ndim)).expand(batch, *spatial)


def fitting_class_weights(class_weights: Tensor, logits: Tensor) -> Tensor:
    """Class weights in the precision and on the device of ``logits`` ``(B, C, ...)``, whose C they must fit."""
    if len(class_weights) != logits.shape[1]:
        raise ValueError(
            f"class_weights has {len(class_weights)} numbers, input of shape {tuple(logits.shape)} has "
            f"{logits.shape[1]} classes"
        )
    return class_weights.to(logits)


def _both(mask: Tensor | None, counts: Tensor | None) -> Tensor | None:
    """What elements count of which some do not."""
    if mask is None or counts is None:
        return mask if counts is None else counts
    return torch.where(mask, counts, torch.zeros((), dtype=counts.dtype, device=counts.device))


def _are_whole(target: Tensor) -> bool:
    return torch.equal(target.trunc(), target)


def _soft_labels(
    target: Tensor, ignore_index: int | None, sigmoid: bool, checked: bool
) -> tuple[Tensor, Tensor | None]:
    """Probabilities, 0 where an element does not count, and which elements do."""
    counted = None
    if ignore_index is not None and ignore_index not in (0, 1):  # as probabilities these are "absent" and "present"
        known = target != ignore_index
        counted = known if sigmoid else known.any(dim=1)
        target = torch.where(counted if sigmoid else counted.unsqueeze(1), target, 0)
    if checked and target.numel():
        lowest, highest = (bound.item() for bound in target.detach().aminmax())
        if not (lowest >= 0 and highest <= 1 + SUM_TOLERANCE):
            raise ValueError(f"target holds values from {lowest:g} to {highest:g}, expected labels or probabilities")
        off = torch.zeros(()) if sigmoid else (target.detach().sum(dim=1) - 1).abs()
        off = off if counted is None or sigmoid else torch.where(counted, off, 0)
        if off.max() > SUM_TOLERANCE:
            raise ValueError(
                f"class probabilities of target miss a sum of 1 by up to {off.max().item():.3g}; expected one-hot "
                "labels or probabilities over the classes (dimension 1) for each element"
            )
    return target, counted


def _labels_and_mask(target: Tensor, ignore_index: int | None, checked: bool) -> tuple[Tensor, Tensor | None]:
    labels = target.long()
    if checked and target.is_floating_point() and not torch.equal(labels.to(target.dtype), target):
        raise ValueError(
            "target holds fractions; expected class indices, or probabilities with a channel for each class"
        )
    if ignore_index is None:
        return labels, None
    counted = labels != ignore_index
    return labels.masked_fill(~counted, 0), counted


def _from_one_hot(target: Tensor, ignore_index: int | None, checked: bool) -> tuple[Tensor, Tensor | None]:
    if target.dtype == torch.bool:  # which argmax does not know
        target = target.to(torch.uint8)
    labels = target.argmax(dim=1)
    counted = None
    if ignore_index is not None:
        counted = labels != ignore_index
        if ignore_index not in (0, 1):  # as the value of a channel, 0 and 1 mean "absent" and "present"
            counted &= (target != ignore_index).any(dim=1)
        labels = labels.masked_fill(~counted, 0)
    if checked and target.numel():
        wrong = (target.long().sum(dim=1) != 1) | (target.amin(dim=1) < 0)
        if counted is not None:
            wrong &= counted
        if wrong.any():
            raise ValueError(
                f"target of shape {tuple(target.shape)} looks one-hot by its shape, but its channels are not one 1 and "
                "otherwise 0; class probabilities are floating-point numbers that sum to 1"
            )
    return labels, counted
