"""What a network says of a split, and the shares it gets right: of all samples, of the clean and of the mislabeled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seg_anl.engine.distribution import Process

from .datasets import Split
from .image_batches import Samples

MOST_MARGINALS = 100  # classes up to which metrics.csv has a column for each


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions for N samples by H networks (H = 1, but for methods that train several), in the host's memory.

    Attributes:
        classes: most probable class, ``(N, H)``.
        marginals: mean probability of each class over samples and networks, ``(K,)``.
        log_probs: float32 ``(N, K)``, averaged over networks as probabilities; None unless asked for.
    """

    classes: Tensor
    marginals: Tensor
    log_probs: Tensor | None

    def gathered(self, count: int, process: Process) -> Predictions:
        """The predictions for all ``count`` samples, of which each process has made those for its share."""
        if process.world_size == 1:
            return self
        weight = len(self.classes) * process.world_size / count
        return Predictions(
            process.gathered(self.classes, count),
            process.mean(self.marginals.to(process.device) * weight).cpu(),
            None if self.log_probs is None else process.gathered(self.log_probs, count),
        )


def predict(model: nn.Module, batches: Iterable[Tensor], *, keep_log_probs: bool = False) -> Predictions:
    """Run ``model`` over ``batches``; its output is ``(B, K)``, or ``(B, H, K)`` of H networks."""
    classes, sums, kept = [], [], []
    for batch in batches:
        output = model(batch).float()
        log_probs = (output if output.ndim == 3 else output.unsqueeze(1)).log_softmax(dim=-1)
        classes.append(log_probs.argmax(dim=-1))
        probs = log_probs.exp().mean(dim=1)
        sums.append(probs.sum(dim=0))
        if keep_log_probs:
            kept.append(log_probs.squeeze(1) if log_probs.shape[1] == 1 else probs.log())
    # Not every device knows float64, which the shares are taken in.
    found = torch.cat(classes).cpu()
    marginals = torch.stack(sums).sum(dim=0).cpu() / len(found)
    return Predictions(found, marginals, torch.cat(kept).cpu() if kept else None)


def predict_split(
    model: nn.Module, split: Split, samples: Samples, process: Process, *, keep_log_probs: bool = False
) -> Predictions:
    """What ``model`` says of all samples of ``split``, known to every process; each runs over its share."""
    part = split.part(process.share(len(split)))
    return predict(model, samples(part), keep_log_probs=keep_log_probs).gathered(len(split), process)


def evaluation_scores(predictions: Predictions, labels: Tensor) -> dict[str, float]:
    """``accuracy`` against labels ``(N,)``, of several networks the mean; and each class's marginal probability."""
    return _listed({"accuracy": _accuracy(predictions, labels)}, predictions)


def training_scores(predictions: Predictions, labels: Tensor, clean: Tensor | None) -> dict[str, float]:
    """Accuracies on the training set, as far as they are defined.

    ``accuracy`` is against the given labels; ``accuracy_clean`` the same among samples whose label is right;
    ``accuracy_mislabelled`` among those whose label is wrong: the share of wrong labels learned by heart;
    ``accuracy_true`` is against the true labels of all.

    Args:
        labels: given labels ``(N,)``.
        clean: true labels ``(N,)``, or None where nobody knows them.
    """
    scores = {"accuracy": _accuracy(predictions, labels)}
    if clean is not None:
        right = labels == clean
        scores["accuracy_clean"] = _accuracy(predictions, labels, right)
        scores["accuracy_mislabelled"] = _accuracy(predictions, labels, ~right)
        scores["accuracy_true"] = _accuracy(predictions, clean)
    return _listed(scores, predictions)


def _accuracy(predictions: Predictions, labels: Tensor, among: Tensor | None = None) -> Tensor:
    """Share of hits; NaN among no samples."""
    hits = (predictions.classes == labels.unsqueeze(1)).double().mean(dim=1)
    if among is None:
        return hits.mean()
    return (hits * among).sum() / among.sum()


def _listed(scores: dict[str, Tensor], predictions: Predictions) -> dict[str, float]:
    if len(predictions.marginals) <= MOST_MARGINALS:
        scores |= {f"marginal_{k}": value for k, value in enumerate(predictions.marginals.double())}
    values = torch.stack(list(scores.values())).tolist()
    return {name: value for name, value in zip(scores, values, strict=True) if value == value}
