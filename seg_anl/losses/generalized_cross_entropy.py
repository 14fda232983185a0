"""Generalized cross entropy, between CE and MAE, and its normalized form."""

from __future__ import annotations

import math
from typing import Annotated

from torch import Tensor

from seg_anl.records.ranges import Interval

from .declarations import loss
from .inputs import LabeledLogProbs
from .powers import one_minus_exp

BoxCoxExponent = Annotated[float, Interval(least=1e-12, most=1)]
LOG_CLAMP = math.log(1e-7)  # all published code clamps probabilities here


@loss("gce", formula="(1 - p_y^q) / q", order=4)
def gce(pred: LabeledLogProbs, *, q: BoxCoxExponent = 0.7, exact_official: bool = True) -> Tensor:
    """Generalized cross entropy: (1 - p_y^q) / q; q -> 0 is CE, q = 1 MAE.

    ``exact_official`` clamps p_y at 1e-7 like the published code; a sample below gets no gradient.

    Reference: Zhang & Sabuncu, Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels,
    NeurIPS 2018, Eq. 6.
    """
    return _box_cox(pred.target_log_prob, q, exact_official)


@loss("ngce", formula=r"\text{GCE}(p_y) \,/ \sum_k \text{GCE}(p_k)", symmetric=True)
def ngce(pred: LabeledLogProbs, *, q: BoxCoxExponent = 0.7, exact_official: bool = True) -> Tensor:
    """Normalized GCE: GCE of the label over its sum for all labels, in [0, 1]; symmetric.

    Reference: Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, ICML 2020, Section 5.3.
    """
    return gce(pred, q=q, exact_official=exact_official) / _box_cox(pred.log_probs, q, exact_official).sum(dim=1)


def _box_cox(log_prob: Tensor, q: float, clamp: bool) -> Tensor:
    if clamp:
        log_prob = log_prob.clamp(min=LOG_CLAMP)
    return one_minus_exp(q * log_prob) / q
