"""Asymmetric losses: robust as long as the true label is the most frequent one."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from seg_anl.records.ranges import Interval

from .declarations import loss
from .inputs import LabeledLogProbs
from .powers import positive_power

Exponent = Annotated[float, Interval(least=1e-3, most=10)]
Offset = Annotated[float, Interval(least=1e-9, most=1e3)]
Above = Annotated[float, Interval(above=1, most=1e3)]
Scale = Annotated[float, Interval(least=1e-6, most=1e6)]


@loss("agce", formula=r"((a + 1)^q - (a + p_y)^q) / q")
def agce(pred: LabeledLogProbs, *, a: Offset = 1.0, q: Exponent = 2.0) -> Tensor:
    """Asymmetric generalized cross entropy: ((a + 1)^q - (a + p_y)^q) / q.

    Reference: Zhou et al., Asymmetric Loss Functions for Learning with Noisy Labels, ICML 2021, Section 4.
    """
    return ((a + 1) ** q - positive_power(a + pred.target_log_prob.exp(), q)) / q


@loss("aul", formula=r"((a - p_y)^q - (a - 1)^q) / q")
def aul(pred: LabeledLogProbs, *, a: Above = 1.5, q: Exponent = 0.9) -> Tensor:
    """Asymmetric unhinged loss: ((a - p_y)^q - (a - 1)^q) / q.

    Reference: Zhou et al., Asymmetric Loss Functions for Learning with Noisy Labels, ICML 2021, Section 4.
    """
    return (positive_power(a - 1 + pred.miss(), q) - (a - 1) ** q) / q


@loss("ael", formula="e^{-p_y / a}")
def ael(pred: LabeledLogProbs, *, a: Scale = 3.0) -> Tensor:
    """Asymmetric exponential loss: exp(-p_y / a); not shifted, so its minimum is exp(-1 / a).

    Reference: Zhou et al., Asymmetric Loss Functions for Learning with Noisy Labels, ICML 2021, Section 4.
    """
    return torch.exp(-pred.target_log_prob.exp() / a)
