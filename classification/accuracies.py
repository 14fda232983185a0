"""Predictions for a split, and accuracies on all, clean and mislabeled samples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seg_anl.engine.distribution import Process

from .datasets import Split
from .image_batches import Samples

MAX_MARGINALS = 100  # with more classes, metrics.csv has no marginal probabilities


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions for N samples by H networks, in host memory. H = 1 except for methods that train several networks.

    Attributes:
        classes: most probable class, ``(N, H)``.
        marginals: mean probability of each class over samples and networks, ``(K,)``.
        log_probs: float32 ``(N, K)``, the logarithm of the probabilities averaged over networks; None unless requested.
    """

    classes: Tensor
    marginals: Tensor
    log_probs: Tensor | None

    def gather(self, count: int, process: Process) -> Predictions:
        """Combine the predictions of all processes for their shares of ``count`` samples."""
        if process.world_size == 1:
            return self
        weight = len(self.classes) * process.world_size / count
        return Predictions(
            process.gathered(self.classes, count),
            process.mean(self.marginals.to(process.device) * weight).cpu(),
            None if self.log_probs is None else process.gathered(self.log_probs, count),
        )


def predict(model: nn.Module, batches: Iterable[Tensor], *, keep_log_probs: bool = False) -> Predictions:
    """Run ``model`` over ``batches``; its output is ``(B, K)``, or ``(B, H, K)`` for H networks."""
    classes, sums, all_log_probs = [], [], []
    for batch in batches:
        output = model(batch).float()
        log_probs = (output if output.ndim == 3 else output.unsqueeze(1)).log_softmax(dim=-1)
        classes.append(log_probs.argmax(dim=-1))
        probs = log_probs.exp().mean(dim=1)
        sums.append(probs.sum(dim=0))
        if keep_log_probs:
            all_log_probs.append(log_probs.squeeze(1) if log_probs.shape[1] == 1 else probs.log())
    # On the CPU, because not every device supports float64 for the accuracies.
    predicted = torch.cat(classes).cpu()
    marginals = torch.stack(sums).sum(dim=0).cpu() / len(predicted)
    return Predictions(predicted, marginals, torch.cat(all_log_probs).cpu() if all_log_probs else None)


def predict_split(
    model: nn.Module, split: Split, samples: Samples, process: Process, *, keep_log_probs: bool = False
) -> Predictions:
    """Predictions for all samples of ``split``; each process computes its share and receives all."""
    part = split.part(process.share(len(split)))
    return predict(model, samples(part), keep_log_probs=keep_log_probs).gather(len(split), process)


def evaluation_scores(predictions: Predictions, labels: Tensor) -> dict[str, float]:
    """``accuracy`` against labels ``(N,)``, averaged over networks, and the marginal probability of each class."""
    return _to_floats({"accuracy": _accuracy(predictions, labels)}, predictions)


def training_scores(predictions: Predictions, labels: Tensor, clean: Tensor | None) -> dict[str, float]:
    """Accuracies on the training set; undefined ones are left out.

    ``accuracy`` is against the given labels, ``accuracy_clean`` the same on samples with correct labels, and
    ``accuracy_mislabelled`` on samples with wrong labels, that is, the share of memorized wrong labels.
    ``accuracy_true`` is against the true labels of all samples.

    Args:
        predictions: for the N training samples.
        labels: given labels ``(N,)``.
        clean: true labels ``(N,)``, or None if unknown.
    """
    scores = {"accuracy": _accuracy(predictions, labels)}
    if clean is not None:
        right = labels == clean
        scores["accuracy_clean"] = _accuracy(predictions, labels, right)
        scores["accuracy_mislabelled"] = _accuracy(predictions, labels, ~right)
        scores["accuracy_true"] = _accuracy(predictions, clean)
    return _to_floats(scores, predictions)


def _accuracy(predictions: Predictions, labels: Tensor, mask: Tensor | None = None) -> Tensor:
    """Accuracy on the samples in ``mask``; NaN if it is empty."""
    correct = (predictions.classes == labels.unsqueeze(1)).double().mean(dim=1)
    if mask is None:
        return correct.mean()
    return (correct * mask).sum() / mask.sum()


def _to_floats(scores: dict[str, Tensor], predictions: Predictions) -> dict[str, float]:
    """The scores that are not NaN, and the marginal probabilities."""
    if len(predictions.marginals) <= MAX_MARGINALS:
        scores |= {f"marginal_{k}": value for k, value in enumerate(predictions.marginals.double())}
    values = torch.stack(list(scores.values())).tolist()
    return {name: value for name, value in zip(scores, values, strict=True) if value == value}
