"""Confident learning: find wrong labels by the predictions of a network trained on them."""

from __future__ import annotations

import torch
from torch import Tensor


def suspected_labels(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Which ``labels`` are probably wrong ("prune both"): ``(N, *S)`` bool; probabilities are ``(N, K, *S)``, on the
    CPU.

    The confident joint C counts the elements of label i and true class j. Suspected are elements that are both among
    the sum_j C_ij elements of label i with the smallest p_i, and among the C_ij with the largest p_j - p_i for some j,
    unless the network predicts their label.

    Reference: Northcutt et al., Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR 2021, Sections 3.1
    and 3.2; elements that are predicted as labeled are kept as in its authors' cleanlab.
    """
    classes = probabilities.shape[1]
    joint = confident_joint(probabilities, labels)
    found = torch.zeros_like(labels, dtype=torch.bool)
    for label in range(classes):
        here = labels == label
        p = probabilities.movedim(1, -1)[here].float()
        others = [other for other in range(classes) if other != label]
        wrong = smallest(p[:, label], sum(int(joint[label, other]) for other in others))
        moved = torch.stack([smallest(p[:, label] - p[:, other], int(joint[label, other])) for other in others])
        found[here] = wrong & moved.any(dim=0) & (p.argmax(dim=1) != label)
    return found


def confident_joint(probabilities: Tensor, labels: Tensor) -> Tensor:
    """The number of elements of label i and true class j: ``(K, K)`` int64, rows summing to the labels' counts.

    An element counts for the most probable class j whose p_j reaches the mean p_j of the elements labeled j.

    Reference: Northcutt et al., JAIR 2021, Equations 1 to 3.
    """
    classes = probabilities.shape[1]
    counts = labels.flatten().long().bincount(minlength=classes)
    means = [probabilities[:, k][labels == k].double().mean() for k in range(classes)]
    usual = torch.stack(means).nan_to_num(nan=2.0)  # a class without elements is out of reach
    joint = torch.zeros(classes * classes, dtype=torch.long)
    for p, given in zip(probabilities.double(), labels.long(), strict=True):
        rows = p.flatten(1)
        best = rows.where(rows >= usual[:, None], -1).max(dim=0)
        confident = best.values >= 0
        joint += (given.flatten() * classes + best.indices)[confident].bincount(minlength=classes * classes)
    table = joint.view(classes, classes).double()
    return (table * (counts / table.sum(dim=1).clamp(min=1))[:, None]).round().long()


def smallest(values: Tensor, count: int) -> Tensor:
    """Mask of the ``count`` smallest ``values`` ``(n,)``."""
    if count == 0:
        return torch.zeros_like(values, dtype=torch.bool)
    return values <= values.kthvalue(min(count, len(values))).values
