"""Sparse regularization: a loss of sharpened outputs plus an lp-norm that pulls predictions towards one-hot."""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
from torch import Tensor

from seg_anl.records.ranges import Count, Interval, Weight

from .base import FunctionLoss
from .cross_entropy import ce
from .declarations import loss
from .focal import Gamma, focal
from .generalized_cross_entropy import LOG_CLAMP, BoxCoxExponent, gce
from .inputs import LabeledLogits, LabeledLogProbs, class_log_probs
from .transformed import Temperature, sharpened

MAX_LAM = 1e30  # of a weight that grows exponentially with the epochs


class SparseRegularizedLoss(FunctionLoss):
    """A pointwise loss of sharpened logits plus lambda * sum_k p_k^p.

    Logits are l2-normalized over the classes (unless ``normalize=False``) and divided by ``tau`` before both terms.
    Under sigmoid there is one logit per channel, which is only divided by ``tau``.
    lambda is ``lam * rho ** (epoch // every)``, set by :meth:`set_epoch`; ``exact_official`` clamps probabilities at
    1e-7 in the norm (and in GCE).

    Reference: Zhou et al., Learning with Noisy Labels via Sparse Regularization, ICCV 2021, Section 2.3, Eq. 7
    and 9, normalization and schedule included.
    """

    has_state = True
    elementwise = True
    lam: Tensor

    def __init__(
        self,
        *,
        tau: Temperature = 0.5,
        p: Annotated[float, Interval(least=1e-6, most=1e3)] = 0.1,
        lam: Weight = 1.2,
        rho: Annotated[float, Interval(least=1e-3, most=1e3)] = 1.03,
        every: Count = 1,
        normalize: bool = True,
        exact_official: bool = True,
        **keywords: Any,
    ) -> None:
        super().__init__(**keywords)
        self.tau, self.p, self.rho, self.every, self.normalize = tau, p, rho, every, normalize
        self.exact_official = exact_official
        self.initial_lam = lam
        self.register_buffer("lam", torch.tensor(float(lam), dtype=torch.float64))  # float64, for training in float64

    def set_epoch(self, epoch: int) -> None:
        """Set lambda for ``epoch`` (from 0)."""
        steps = epoch // self.every
        growth = self.rho**steps if steps * math.log(self.rho) < math.log(MAX_LAM) else MAX_LAM
        self.lam.fill_(min(self.initial_lam * growth, MAX_LAM))

    def evaluate(self, batch: LabeledLogits) -> tuple[Tensor, Tensor | None]:
        """The loss of sharpened outputs plus their weighted norm, for each element."""
        logits = sharpened(batch.logits, temperature=self.tau, normalize=self.normalize and not batch.sigmoid)
        pred = batch.with_log_probs(class_log_probs(logits)).log_probs()
        log_probs = pred.log_probs.clamp(min=LOG_CLAMP) if self.exact_official else pred.log_probs
        norm = torch.exp(self.p * log_probs).sum(dim=1)
        return self.values(pred) + self.lam.to(norm.dtype) * norm, batch.weight


@loss("ce_sr", formula=r"-\log \hat p_y + \lambda_t \sum_k \hat p_k^{\,p}", base=SparseRegularizedLoss)
def ce_sr(pred: LabeledLogProbs) -> Tensor:
    """Cross entropy of sharpened outputs plus their weighted lp-norm.

    Reference: Zhou et al., Learning with Noisy Labels via Sparse Regularization, ICCV 2021, Eq. 7 and 9.
    """
    return ce(pred)


@loss("fl_sr", formula=r"\text{FL}(\hat p_y) + \lambda_t \sum_k \hat p_k^{\,p}", base=SparseRegularizedLoss)
def fl_sr(pred: LabeledLogProbs, *, gamma: Gamma = 0.5, detach_modulation: bool = True) -> Tensor:
    """Focal loss of sharpened outputs plus their weighted lp-norm.

    Reference: Zhou et al., Learning with Noisy Labels via Sparse Regularization, ICCV 2021, Eq. 7 and 9.
    """
    return focal(pred, gamma=gamma, detach_modulation=detach_modulation)


@loss("gce_sr", formula=r"\text{GCE}(\hat p_y) + \lambda_t \sum_k \hat p_k^{\,p}", base=SparseRegularizedLoss)
def gce_sr(pred: LabeledLogProbs, *, q: BoxCoxExponent = 0.7, exact_official: bool = True) -> Tensor:
    """Generalized cross entropy of sharpened outputs plus their weighted lp-norm.

    Reference: Zhou et al., Learning with Noisy Labels via Sparse Regularization, ICCV 2021, Eq. 7 and 9.
    """
    return gce(pred, q=q, exact_official=exact_official)
