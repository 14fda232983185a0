"""Sparse regularization: any loss of sharpened outputs, plus an lp-norm that pulls predictions towards one-hot."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seg_anl.records.ranges import Count, NonNegative, Positive, PositiveFraction

from .base import FunctionLoss
from .cross_entropy import ce
from .declarations import loss
from .focal import focal
from .generalized_cross_entropy import LOG_CLAMP, gce
from .inputs import LabeledLogits, LabeledLogProbs, class_log_probs

SHORTEST = 1e-3  # published code: 1e-12, at which half precision overflows


class SparseRegularizedLoss(FunctionLoss):
    """A pointwise loss of sharpened logits plus lambda * sum_k p_k^p.

    Logits are l2-normalized over the classes (unless ``normalize=False``) and divided by ``tau`` before both terms.
    Under sigmoid a channel has one logit and nothing to normalize: it is only divided by ``tau``.
    lambda is ``lam * rho ** (epoch // every)``, moved by :meth:`set_epoch`; ``exact_official`` clamps probabilities at
    1e-7 in the norm (and in GCE).

    Reference: Zhou et al., Learning with Noisy Labels via Sparse Regularization, ICCV 2021, Eq. 7 and 9, and the
    schedule of Section 3.3; normalization as in Section 3.2.
    """

    has_state = True
    elementwise = True
    lam: Tensor

    def __init__(
        self,
        *,
        tau: Positive = 0.5,
        p: Positive = 0.1,
        lam: NonNegative = 1.2,
        rho: Positive = 1.03,
        every: Count = 1,
        normalize: bool = True,
        exact_official: bool = True,
        **keywords: Any,
    ) -> None:
        super().__init__(**keywords)
        self.tau, self.p, self.rho, self.every, self.normalize = tau, p, rho, every, normalize
        self.exact_official = exact_official
        self.initial_lam = lam
        self.register_buffer("lam", torch.tensor(float(lam)))

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
        sharpened = class_log_probs((logits / self.tau).clamp(-highest, highest))
        pred = batch.with_log_probs(sharpened).log_probs()
        log_probs = pred.log_probs.clamp(min=LOG_CLAMP) if self.exact_official else pred.log_probs
        return self.values(pred) + self.lam * torch.exp(self.p * log_probs).sum(dim=1), batch.counted


def _unit_length(logits: Tensor) -> Tensor:
    """Logits divided by their l2 norm over the classes; first by their size where their square would overflow.

    The gradient grows as 1 / norm. It stops at 1 / SHORTEST, so that equal logits do not end in a step of 1e12.
    """
    size = logits.detach().abs().amax(dim=1, keepdim=True).clamp(min=1)
    return F.normalize(logits / size, dim=1, eps=SHORTEST)


@loss("ce_sr", formula=r"-\log \hat p_y + \lambda_t \sum_k \hat p_k^{\,p}", base=SparseRegularizedLoss)
def ce_sr(pred: LabeledLogProbs) -> Tensor:
    """Cross entropy of sharpened outputs plus their weighted lp-norm.

    Reference: Zhou et al., Learning with Noisy Labels via Sparse Regularization, ICCV 2021, Eq. 7 and 9.
    """
    return ce(pred)


@loss("fl_sr", formula=r"\text{FL}(\hat p_y) + \lambda_t \sum_k \hat p_k^{\,p}", base=SparseRegularizedLoss)
def fl_sr(pred: LabeledLogProbs, *, gamma: NonNegative = 0.5, detach_modulation: bool = True) -> Tensor:
    """Focal loss of sharpened outputs plus their weighted lp-norm.

    Reference: Zhou et al., Learning with Noisy Labels via Sparse Regularization, ICCV 2021, Eq. 7 and 9.
    """
    return focal(pred, gamma=gamma, detach_modulation=detach_modulation)


@loss("gce_sr", formula=r"\text{GCE}(\hat p_y) + \lambda_t \sum_k \hat p_k^{\,p}", base=SparseRegularizedLoss)
def gce_sr(pred: LabeledLogProbs, *, q: PositiveFraction = 0.7, exact_official: bool = True) -> Tensor:
    """Generalized cross entropy of sharpened outputs plus their weighted lp-norm.

    Reference: Zhou et al., Learning with Noisy Labels via Sparse Regularization, ICCV 2021, Eq. 7 and 9.
    """
    return gce(pred, q=q, exact_official=exact_official)
