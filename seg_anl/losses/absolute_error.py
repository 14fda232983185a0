"""Mean absolute error and its multiples. All passive, all symmetric."""

from __future__ import annotations

import math
from typing import Annotated

from torch import Tensor

from seg_anl.records.ranges import Interval

from .declarations import loss
from .inputs import LabeledLogProbs

LOG_ZERO = math.log(1e-4)
LogZero = Annotated[float, Interval(least=-1e12, below=0)]


@loss("mae", formula="1 - p_y", symmetric=True, order=3)
def mae(pred: LabeledLogProbs) -> Tensor:
    """Mean absolute error as the published code has it: 1 - p_y, half of the L1 distance to the one-hot label.

    Reference: Ghosh et al., Robust Loss Functions under Label Noise for Deep Neural Networks, AAAI 2017.
    """
    return pred.miss()


@loss("nmae", formula="(1 - p_y) / (C - 1)", symmetric=True)
def nmae(pred: LabeledLogProbs) -> Tensor:
    """Normalized MAE: (1 - p_y) / (C - 1).

    Reference: Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, ICML 2020, Eq. 3.
    """
    return pred.miss() / (pred.num_classes - 1)


@loss("rce", formula=r"-A \, (1 - p_y), \quad A = \text{log_zero}", symmetric=True)
def rce(pred: LabeledLogProbs, *, log_zero: LogZero = LOG_ZERO) -> Tensor:
    """Reverse cross entropy, -sum_k p_k log q_k with log 0 := ``log_zero``: MAE times -log_zero.

    Reference: Wang et al., Symmetric Cross Entropy for Robust Learning with Noisy Labels, ICCV 2019, Eq. 6. The paper
    takes log 0 = -4, all published code ln 1e-4 = -9.21.
    """
    return -log_zero * pred.miss()


@loss("nrce", formula="(1 - p_y) / (C - 1)", symmetric=True)
def nrce(pred: LabeledLogProbs) -> Tensor:
    """Normalized RCE: the constant cancels, (1 - p_y) / (C - 1), the same as NMAE.

    Reference: Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, ICML 2020, Eq. 4.
    """
    return nmae(pred)
