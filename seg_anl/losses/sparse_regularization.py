"""Sparse regularization: any loss of sharpened outputs, plus an lp-norm that pulls predictions towards one-hot."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import PointwiseFunction, RobustLoss
from .generalized_cross_entropy import LOG_CLAMP
from .inputs import LabeledLogits, labeled_log_probs

SHORTEST = 1e-3  # published code: 1e-12, at which half precision overflows


class SparseRegularizedLoss(RobustLoss):
    """A pointwise loss of sharpened logits plus lambda * sum_k p_k^p.

    Logits are l2-normalized over the classes (unless ``normalize=False``) and divided by ``tau`` before both terms.
    Under sigmoid a channel has one logit and nothing to normalize: it is only divided by ``tau``.
    lambda is ``lam * rho ** (epoch // every)``, moved by :meth:`set_epoch`; ``exact_official`` clamps probabilities at
    1e-7 in the norm (and in GCE).

    Reference: Zhou et al., Learning with Noisy Labels via Sparse Regularization, ICCV 2021, Eq. 7 and 9, and the
    schedule of Section 3.3; normalization as in Section 3.2.
    """

    lam: Tensor

    def __init__(
        self,
        function: PointwiseFunction,
        function_parameters: dict[str, Any],
        *,
        tau: float,
        p: float,
        lam: float,
        rho: float,
        every: int,
        normalize: bool,
        exact_official: bool,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.function = function
        self._function_parameters = function_parameters
        self.tau, self.p, self.rho, self.every, self.normalize = tau, p, rho, every, normalize
        self.exact_official = exact_official
        self.initial_lam = lam
        self.register_buffer("lam", torch.tensor(float(lam)))
        self.hyperparameters = {
            **function_parameters,
            **{"tau": tau, "p": p, "lam": lam, "rho": rho, "every": every, "normalize": normalize},
            "exact_official": exact_official,
        }

    def set_epoch(self, epoch: int) -> None:
        """Move lambda to its value of ``epoch`` (from 0)."""
        self.lam.fill_(self.initial_lam * self.rho ** (epoch // self.every))

    def evaluate(self, batch: LabeledLogits) -> tuple[Tensor, Tensor | None]:
        """The sharpened loss plus the weighted norm of every element."""
        logits = batch.logits
        if self.normalize and not batch.sigmoid:
            logits = _unit_length(logits)
        # A small tau sends large logits beyond what their type holds.
        highest = torch.finfo(logits.dtype).max
        pred = labeled_log_probs((logits / self.tau).clamp(-highest, highest), batch.labels)
        values = self.function(pred, **self._function_parameters)
        log_probs = pred.log_probs.clamp(min=LOG_CLAMP) if self.exact_official else pred.log_probs
        return values + self.lam * torch.exp(self.p * log_probs).sum(dim=1), batch.counted


def _unit_length(logits: Tensor) -> Tensor:
    """Logits divided by their l2 norm over the classes; first by their size where their square would overflow.

    The gradient grows as 1 / norm. It stops at 1 / SHORTEST, so that equal logits do not end in a step of 1e12.
    """
    size = logits.detach().abs().amax(dim=1, keepdim=True).clamp(min=1)
    return F.normalize(logits / size, dim=1, eps=SHORTEST)
