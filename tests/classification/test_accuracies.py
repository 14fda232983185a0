"""Accuracies against hand-written tables, with a network that returns its input."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from classification.accuracies import evaluation_scores, predict, training_scores


class Answers(nn.Module):
    """Returns its input as logits."""

    def forward(self, images: Tensor) -> Tensor:
        return images


def logits(*classes: int) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(classes), 3).float() * 50


def test_accuracies_of_clean_and_mislabeled_samples() -> None:
    predicted = predict(Answers(), [logits(0, 1, 2), logits(2, 1)])
    labels, clean = torch.tensor([0, 1, 1, 2, 0]), torch.tensor([0, 1, 2, 0, 1])
    scores = training_scores(predicted, labels, clean)
    assert scores["accuracy"] == pytest.approx(3 / 5)  # samples 0, 1, 3 match their labels
    assert scores["accuracy_clean"] == pytest.approx(1.0)  # samples 0 and 1 have correct labels
    assert scores["accuracy_mislabelled"] == pytest.approx(1 / 3)  # only sample 3 matches its wrong label
    assert scores["accuracy_true"] == pytest.approx(4 / 5)
    assert [scores[f"marginal_{k}"] for k in range(3)] == pytest.approx([1 / 5, 2 / 5, 2 / 5])


def test_undefined_scores_are_left_out() -> None:
    predicted = predict(Answers(), [logits(0, 1)])
    labels = torch.tensor([0, 2])
    assert "accuracy_mislabelled" not in training_scores(predicted, labels, labels)
    unknown = training_scores(predicted, labels, None)
    assert not {"accuracy_clean", "accuracy_mislabelled", "accuracy_true"} & unknown.keys()


def test_predictions_do_not_depend_on_batches() -> None:
    output = torch.randn(11, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(11) % 4
    whole = evaluation_scores(predict(Answers(), [output]), labels)
    parts = evaluation_scores(predict(Answers(), output.split(3)), labels)
    assert parts == pytest.approx(whole)
    log_probs = predict(Answers(), output.split(3), keep_log_probs=True).log_probs
    assert log_probs is not None
    torch.testing.assert_close(log_probs, output.log_softmax(dim=1))


def test_two_networks_are_averaged() -> None:
    pair = torch.stack([logits(0, 1, 2, 0), logits(0, 2, 1, 1)], dim=1)
    predicted = predict(Answers(), [pair], keep_log_probs=True)
    assert evaluation_scores(predicted, torch.tensor([0, 1, 2, 1]))["accuracy"] == pytest.approx((3 / 4 + 2 / 4) / 2)
    assert predicted.log_probs is not None
    torch.testing.assert_close(predicted.log_probs.exp()[1], torch.tensor([0.0, 0.5, 0.5]))


def test_many_classes_have_no_marginal_columns() -> None:
    scores = evaluation_scores(predict(Answers(), [torch.zeros(2, 101)]), torch.tensor([0, 1]))
    assert list(scores) == ["accuracy"]
