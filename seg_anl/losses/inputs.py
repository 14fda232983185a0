"""From logits and targets of any accepted form to the log-probabilities every loss is a function of.

Shapes, target forms, ignored elements, activation and precision are settled here, once, for all losses. ``E`` below is
the shape of one sample's elements: ``(*spatial)`` for softmax, ``(C, *spatial)`` for sigmoid, where every channel is
its own two-class problem.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# Logits further apart than float32 reaches have a log-probability of -inf. Stopping short of it keeps sums over
# classes, pixels and batches finite; nothing that a network produces comes near.
LOWEST_LOG_PROB = -1e30


@dataclass(frozen=True)
class LabeledLogits:
    """Logits ``(B, K, *E)`` in float32 or float64, labels ``(B, *E)`` in ``[0, K)`` and which elements count.

    ``counted`` is a boolean mask ``(B, *E)``, or None when every element counts. Labels of elements that do not count
    are 0. ``sigmoid`` tells that K = 2 stands for "absent, present" of one channel.
    """

    logits: Tensor
    labels: Tensor
    counted: Tensor | None
    sigmoid: bool

    def log_probs(self) -> LabeledLogProbs:
        """The same batch seen as log-probabilities."""
        return labeled_log_probs(self.logits, self.labels)


@dataclass(frozen=True)
class LabeledLogProbs:
    """Log-probabilities ``(B, K, *E)``, labels ``(B, *E)`` and the labeled class's log-probability ``(B, *E)``."""

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

    def miss(self) -> Tensor:
        """1 - p of the labeled class, ``(B, *E)``, accurate also where p is close to 1."""
        return -torch.expm1(self.target_log_prob)

    def misses(self) -> Tensor:
        """1 - p of every class, ``(B, K, *E)``, accurate also where p is close to 1."""
        if self.num_classes == 2:  # what one class misses the other has; compiled, exp takes a fraction of expm1's time
            return self.log_probs.flip(1).exp()
        return -torch.expm1(self.log_probs)


def labeled_log_probs(logits: Tensor, labels: Tensor) -> LabeledLogProbs:
    """One ``log_softmax`` over dimension 1 and one gather, shared by everything a loss is made of."""
    log_probs = F.log_softmax(logits, dim=1).clamp(min=LOWEST_LOG_PROB)
    target_log_prob = log_probs.gather(1, labels.unsqueeze(1)).squeeze(1)
    return LabeledLogProbs(log_probs, labels, target_log_prob)


def labeled_logits(
    logits: Tensor, target: Tensor, *, ignore_index: int | None = None, activation: str = "softmax"
) -> LabeledLogits:
    """Bring logits and target into the one form the losses work on.

    Args:
        logits: ``(B, C, *spatial)``, floating point, zero to three spatial dimensions.
        target: class indices ``(B, *spatial)`` or ``(B, 1, *spatial)``, integer or integral float; or one-hot (with
            sigmoid: multi-hot) ``(B, C, *spatial)``.
        ignore_index: label value of elements that do not count. In a one-hot target an element does not count when its
            class is ``ignore_index`` or when its channels hold that value.
        activation: ``"softmax"`` or ``"sigmoid"``.

    Raises:
        ValueError: for shapes that do not fit, naming both; on the CPU in eager mode also for labels out of range,
            unless ``torch.func.vmap`` runs over them.
    """
    sigmoid = activation == "sigmoid"
    _check_shapes(logits, target, sigmoid)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    checked = logits.device.type == "cpu" and not torch.compiler.is_compiling() and _has_values(target)
    if sigmoid:
        if target.ndim < logits.ndim:
            target = target.unsqueeze(1)
        labels, counted = _labels_and_mask(target, ignore_index, checked)
        logits = torch.stack((torch.zeros_like(logits), logits), dim=1)
    elif target.ndim == logits.ndim and target.shape[1] == logits.shape[1]:
        labels, counted = _from_one_hot(target, ignore_index, checked)
    else:
        if target.ndim == logits.ndim:
            target = target.squeeze(1)
        labels, counted = _labels_and_mask(target, ignore_index, checked)
    if checked and labels.numel():
        lowest, highest = (int(bound) for bound in labels.aminmax())
        if lowest < 0 or highest >= logits.shape[1]:
            expected = "0 or 1 per channel" if sigmoid else f"classes 0 to {logits.shape[1] - 1}"
            hint = "" if ignore_index is not None else "; if a value marks unlabeled elements, pass it as ignore_index"
            raise ValueError(f"target holds values from {lowest} to {highest}, expected {expected}{hint}")
    return LabeledLogits(logits, labels, counted, sigmoid)


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
    if not sigmoid or classes == 1:
        accepted |= {(batch, *spatial), (batch, 1, *spatial)}
    if tuple(target.shape) not in accepted:
        raise ValueError(
            f"target of shape {tuple(target.shape)} does not fit input of shape {tuple(logits.shape)}; expected "
            + " or ".join(str(shape) for shape in sorted(accepted, key=len))
        )
    if target.device != logits.device:
        raise ValueError(f"target is on {target.device}, input on {logits.device}")


def _labels_and_mask(target: Tensor, ignore_index: int | None, checked: bool) -> tuple[Tensor, Tensor | None]:
    labels = target.long()
    if checked and target.is_floating_point() and not torch.equal(labels.to(target.dtype), target):
        raise ValueError("target holds fractions; expected class indices or a one-hot mask (soft labels are not taken)")
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
        hot = target.long()
        wrong = (hot.sum(dim=1) != 1) | (hot.amin(dim=1) < 0) | (hot.to(target.dtype) != target).any(dim=1)
        if counted is not None:
            wrong &= counted
        if wrong.any():
            raise ValueError(
                f"target of shape {tuple(target.shape)} looks one-hot by its shape, but its channels are not one 1 and "
                "otherwise 0 (soft labels are not taken)"
            )
    return labels, counted
