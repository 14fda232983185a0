"""Epsilon-softmax with cross entropy or focal loss, alone and with mean absolute error, as published.

For any other loss, wrap it in ``epsilon_softmax`` of :mod:`seg_anl.losses.transformed`.
"""

from __future__ import annotations

from torch import Tensor

from seg_anl.records.ranges import FractionBelowOne, Weight

from .absolute_error import mae
from .cross_entropy import ce
from .declarations import loss
from .focal import Gamma, focal
from .inputs import LabeledLogProbs
from .transformed import BUMP, Bump, epsilon_softmax

CLAMP = 1e-8


@loss("ece", title="ECE", formula=r"-\log q_y, \quad q = (p + m \, [k = \operatorname{argmax} p]) / (m + 1)")
def ece(pred: LabeledLogProbs, *, m: Bump = BUMP, clamp: FractionBelowOne = CLAMP) -> Tensor:
    """Cross entropy of epsilon-softmax: almost no gradient once the label is the most probable class.

    Reference: Wang et al., ε-Softmax: Approximating One-Hot Vectors for Mitigating Label Noise, NeurIPS 2024.
    """
    return ce(pred.replaced(epsilon_softmax(pred.log_probs, m=m, clamp=clamp)))


@loss(
    "efl",
    title="EFL",
    formula=r"-(1 - q_y)^\gamma \log q_y, \quad q = (p + m \, [k = \operatorname{argmax} p]) / (m + 1)",
)
def efl(
    pred: LabeledLogProbs,
    *,
    m: Bump = BUMP,
    clamp: FractionBelowOne = CLAMP,
    gamma: Gamma = 0.1,
    detach_modulation: bool = True,
) -> Tensor:
    """Focal loss of epsilon-softmax.

    Reference: Wang et al., ε-Softmax: Approximating One-Hot Vectors for Mitigating Label Noise, NeurIPS 2024.
    """
    changed = pred.replaced(epsilon_softmax(pred.log_probs, m=m, clamp=clamp))
    return focal(changed, gamma=gamma, detach_modulation=detach_modulation)


@loss("ece_mae", title="ECE+MAE", formula=r"\alpha \, \text{ECE} + 2 \beta \, \text{MAE}")
def ece_mae(
    pred: LabeledLogProbs,
    *,
    alpha: Weight = 1.0,
    beta: Weight = 1.0,
    m: Bump = BUMP,
    clamp: FractionBelowOne = CLAMP,
) -> Tensor:
    """Cross entropy of epsilon-softmax plus mean absolute error of softmax, 2 (1 - p_y) as in the published code.

    Reference: Wang et al., ε-Softmax: Approximating One-Hot Vectors for Mitigating Label Noise, NeurIPS 2024.
    """
    return alpha * ece(pred, m=m, clamp=clamp) + 2 * beta * mae(pred)


@loss("efl_mae", title="EFL+MAE", formula=r"\alpha \, \text{EFL} + 2 \beta \, \text{MAE}")
def efl_mae(
    pred: LabeledLogProbs,
    *,
    alpha: Weight = 1.0,
    beta: Weight = 1.0,
    m: Bump = BUMP,
    clamp: FractionBelowOne = CLAMP,
    gamma: Gamma = 0.1,
    detach_modulation: bool = True,
) -> Tensor:
    """Focal loss of epsilon-softmax plus mean absolute error of softmax, 2 (1 - p_y) as in the published code.

    Reference: Wang et al., ε-Softmax: Approximating One-Hot Vectors for Mitigating Label Noise, NeurIPS 2024.
    """
    part = efl(pred, m=m, clamp=clamp, gamma=gamma, detach_modulation=detach_modulation)
    return alpha * part + 2 * beta * mae(pred)
