"""Records: the gradient against autograd through the registered NNCE, and the content of the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from classification.settings import RECORDS, ClassificationRunSettings
from classification.training_records import Recorder, largest_nnce_gradient

RUN = ClassificationRunSettings(task="classification", preset="default", seed=1, batch_size=2, epochs=5, record_every=2)
LABELS, CLEAN, INDEX = np.array([0, 1, 2, 1]), np.array([0, 1, 1, 1]), np.arange(4)


def log_probs(seed: int, scale: float = 1.0) -> torch.Tensor:
    return (torch.randn(4, 3, generator=torch.Generator().manual_seed(seed)) * scale).log_softmax(dim=1)


@pytest.mark.parametrize("scale", [1.0, 12.0])
def test_gradient_matches_autograd(scale: float) -> None:
    """Derivative of 1 - (A + log p_y) / sum_k (A + log p_k); clamped probabilities have no gradient."""
    given, labels = log_probs(0, scale), torch.from_numpy(LABELS)
    probabilities = given.double().exp().requires_grad_()
    heights = probabilities.clamp(min=1e-7).log() - np.log(1e-7)
    nnce = 1 - heights.gather(1, labels[:, None])[:, 0] / heights.sum(dim=1)
    (gradient,) = torch.autograd.grad(nnce.sum(), probabilities)
    gradient.scatter_(1, labels[:, None], -torch.inf)
    torch.testing.assert_close(
        largest_nnce_gradient(given, labels).double(), gradient.amax(dim=1), rtol=1e-4, atol=1e-6
    )


def test_file_contents(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, frozenset({"probabilities", "gradients"}), RUN, LABELS, CLEAN, INDEX)
    for epoch in range(5):
        if recorder.due(epoch, "probabilities", "gradients"):
            recorder.training(epoch, log_probs(epoch))
    recorder.finish()
    assert sorted(path.name for path in (tmp_path / "probabilities").iterdir()) == [
        "epoch_0001.npz",
        "epoch_0003.npz",
        "epoch_0004.npz",
    ]
    with np.load(tmp_path / "probabilities/epoch_0003.npz") as archive:
        expected = log_probs(3).exp().numpy()
        np.testing.assert_allclose(archive["softmax"], expected, atol=1e-3)
        np.testing.assert_allclose(archive["p_label"], expected[np.arange(4), LABELS], rtol=1e-6)
        np.testing.assert_array_equal(archive["labels"], LABELS)
        np.testing.assert_array_equal(archive["clean"], CLEAN)
    mean = sum(log_probs(epoch).exp().numpy() for epoch in (1, 3, 4)) / 3
    np.testing.assert_allclose(np.load(tmp_path / "softmax.npy"), mean, atol=1e-3)


def test_unknown_true_labels_are_absent(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, frozenset({"probabilities", "gradients"}), RUN, LABELS, None, INDEX)
    recorder.training(1, log_probs(0))
    with np.load(tmp_path / "gradients/epoch_0001.npz") as archive:
        assert set(archive.files) == {"nnce", "labels"}


def test_nothing_is_recorded_by_default(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, frozenset(), RUN, LABELS, CLEAN, INDEX)
    assert not any(recorder.due(epoch, *RECORDS) for epoch in range(5))
    recorder.finish()
    assert not list(tmp_path.iterdir())
