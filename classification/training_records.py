"""Optional records for figures, in RUN/records.

There is one file per recorded epoch, ``NAME/epoch_NNNN.npz`` (from 0), so that a resumed run can continue.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seg_anl.records import written_aside
from seg_anl.records.predictions import write_arrays

from .settings import ClassificationRunSettings

SMALLEST_PROBABILITY = 1e-7  # NNCE's p_min


class Recorder:
    """Writes the records of a run.

    Args:
        folder: RUN/records.
        wanted: names of :data:`~classification.settings.RECORDS` to record.
        run: settings with ``record_every`` and ``epochs``.
        labels, clean: given and true training labels ``(N,)``; ``clean`` is None if unknown.
        index: positions ``(N,)`` of the samples in the full training set.
    """

    def __init__(
        self,
        folder: Path,
        wanted: frozenset[str],
        run: ClassificationRunSettings,
        labels: NDArray[np.int64],
        clean: NDArray[np.int64] | None,
        index: NDArray[np.int64],
    ) -> None:
        self.folder, self.wanted = folder, wanted
        self.every, self.epochs = run.record_every, run.epochs
        self.index = index
        self.samples: dict[str, NDArray[Any]] = {"labels": labels}
        if clean is not None:
            self.samples["clean"] = clean

    def due(self, epoch: int, *names: str) -> bool:
        """Whether any of ``names`` is recorded after ``epoch``: every ``record_every`` epochs and after the last one.

        Dynamics are recorded after every epoch.
        """
        is_recorded_epoch = (epoch + 1) % self.every == 0 or epoch + 1 == self.epochs
        return bool(self.wanted & set(names) & (self.wanted if is_recorded_epoch else {"dynamics"}))

    def training(self, epoch: int, log_probs: Tensor) -> None:
        """Record predictions on the training set without augmentation: ``log_probs`` ``(N, K)`` on the host."""
        labels = torch.from_numpy(self.samples["labels"])
        if "dynamics" in self.wanted:
            loss = -log_probs.gather(1, labels.unsqueeze(1)).squeeze(1)
            self._write("dynamics", epoch, loss=_array(loss), index=self.index, **self.samples)
        if self.due(epoch, "probabilities"):
            probs = log_probs.exp()
            p_label = probs.gather(1, labels.unsqueeze(1)).squeeze(1)
            self._write(
                "probabilities",
                epoch,
                softmax=_array(probs).astype(np.float16),
                p_label=_array(p_label),
                **self.samples,
            )
        if self.due(epoch, "gradients"):
            self._write("gradients", epoch, nnce=_array(largest_nnce_gradient(log_probs, labels)), **self.samples)

    def features(self, epoch: int, features: Tensor, labels: NDArray[np.int64]) -> None:
        """Record penultimate features ``(n, D)`` of the test set."""
        self._write("features", epoch, features=_array(features.float()), labels=labels)

    def finish(self) -> None:
        """Write the mean of the recorded softmax outputs to records/softmax.npy, for prediction-error noise."""
        if "probabilities" not in self.wanted:
            return
        paths = sorted((self.folder / "probabilities").glob("epoch_*.npz"))
        total = np.zeros(1, dtype=np.float32)
        for path in paths:
            with np.load(path, allow_pickle=False) as archive:
                total = total + archive["softmax"].astype(np.float32)
        with written_aside(self.folder / "softmax.npy") as aside, open(aside, "wb") as file:
            np.save(file, total / len(paths), allow_pickle=False)

    def _write(self, name: str, epoch: int, **arrays: Any) -> None:
        write_arrays(self.folder / name / f"epoch_{epoch:04d}.npz", **arrays)


def largest_nnce_gradient(log_probs: Tensor, labels: Tensor) -> Tensor:
    """Largest gradient of NNCE with respect to the probability of another class: max over j != y of d NNCE / d p_j.

    With S the sum of A + log p_k over all classes and A = -log p_min, d NNCE / d p_j = (A + log p_y) / (S^2 p_j);
    probabilities below p_min are clamped and have no gradient.

    Args:
        log_probs: ``(N, K)``.
        labels: ``(N,)``.

    Returns:
        ``(N,)``.

    Reference: Ye et al., Active Negative Loss, Section V-B and Figure 7.
    """
    log_p_min = float(np.log(SMALLEST_PROBABILITY))
    shifted = log_probs.double().clamp(min=log_p_min) - log_p_min
    shifted_label = shifted.gather(1, labels.unsqueeze(1))
    gradient = shifted_label / shifted.sum(dim=1, keepdim=True).square() / log_probs.double().exp()
    gradient = gradient.masked_fill(log_probs < log_p_min, 0.0).scatter(1, labels.unsqueeze(1), 0.0)
    return gradient.amax(dim=1).float()


def _array(values: Tensor) -> NDArray[Any]:
    return values.cpu().numpy()
