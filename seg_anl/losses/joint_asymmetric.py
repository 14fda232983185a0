"""Joint asymmetric losses (JAL): a normalized loss plus an asymmetric mean squared error."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from seg_anl.records.ranges import Interval, Weight

from .cross_entropy import nce
from .declarations import loss
from .focal import Gamma, nfl
from .inputs import LabeledLogProbs

Target = Annotated[float, Interval(least=0, most=1e3)]


@loss("amse", title="AMSE", formula=r"\frac{1}{C} \sum_k (p_k - a \, [k = y])^2")
def amse(pred: LabeledLogProbs, *, a: Target = 30.0) -> Tensor:
    """Asymmetric mean squared error: pulls the label's probability to ``a``; a = 1 is the mean squared error.

    The mean includes the classes, as in the published code. A large ``a`` makes it asymmetric: it acts mostly on the
    label's probability, like the mean absolute error.

    Reference: Wang et al., Joint Asymmetric Loss for Learning with Noisy Labels, ICCV 2025.
    """
    squares = (2 * pred.log_probs).exp().sum(dim=1)
    return (squares - 2 * a * pred.target_log_prob.exp() + a * a) / pred.num_classes


@loss("nce_amse", title="JAL-CE", formula=r"\alpha \, \text{NCE} + \beta \, \text{AMSE}")
def nce_amse(pred: LabeledLogProbs, *, alpha: Weight = 1.0, beta: Weight = 1.0, a: Target = 30.0) -> Tensor:
    """Joint asymmetric loss on cross entropy: alpha NCE + beta AMSE.

    Reference: Wang et al., Joint Asymmetric Loss for Learning with Noisy Labels, ICCV 2025.
    """
    return alpha * nce(pred) + beta * amse(pred, a=a)


@loss("nfl_amse", title="JAL-FL", formula=r"\alpha \, \text{NFL} + \beta \, \text{AMSE}")
def nfl_amse(
    pred: LabeledLogProbs,
    *,
    alpha: Weight = 1.0,
    beta: Weight = 1.0,
    a: Target = 30.0,
    gamma: Gamma = 0.5,
    detach_modulation: bool = True,
) -> Tensor:
    """Joint asymmetric loss on focal loss: alpha NFL + beta AMSE.

    Reference: Wang et al., Joint Asymmetric Loss for Learning with Noisy Labels, ICCV 2025.
    """
    return alpha * nfl(pred, gamma=gamma, detach_modulation=detach_modulation) + beta * amse(pred, a=a)
