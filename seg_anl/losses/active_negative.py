"""Active negative losses (ANL): a normalized loss plus a normalized negative one, with or without regularizer.

Reference: Ye et al., Active Negative Loss: A Robust Framework for Learning with Noisy Labels.
"""

from __future__ import annotations

from torch import Tensor

from seg_anl.records.ranges import Weight

from .cross_entropy import nce
from .declarations import loss
from .entropy_regularization import EntropyRegularizedLoss
from .focal import Gamma, modulations, normalized_focal
from .fused_anl_ce import FusedANLCE
from .inputs import LabeledLogProbs
from .normalized_negative import P_MIN, Floor, negative_focal, nnce, nnce_cut


@loss(
    "anl_ce",
    title="ANL-CE",
    formula=r"\alpha \, \text{NCE} + \beta \, \text{NNCE}",
    symmetric=True,
    order=201,
    base=FusedANLCE,
)
def anl_ce(
    pred: LabeledLogProbs,
    *,
    alpha: Weight = 5.0,
    beta: Weight = 5.0,
    p_min: Floor = P_MIN,
    exact_official: bool = True,
) -> Tensor:
    """Active negative loss on cross entropy: alpha NCE + beta NNCE.

    Reference: Ye et al., Active Negative Loss: A Robust Framework for Learning with Noisy Labels.
    """
    return alpha * nce(pred) + beta * nnce(pred, p_min=p_min, exact_official=exact_official)


@loss("anl_fl", title="ANL-FL", formula=r"\alpha \, \text{NFL} + \beta \, \text{NNFL}", symmetric=True, order=202)
def anl_fl(
    pred: LabeledLogProbs,
    *,
    alpha: Weight = 5.0,
    beta: Weight = 5.0,
    gamma: Gamma = 0.5,
    detach_modulation: bool = True,
    p_min: Floor = P_MIN,
    exact_official: bool = True,
) -> Tensor:
    """Active negative loss on focal loss: alpha NFL + beta NNFL.

    Reference: Ye et al., Active Negative Loss: A Robust Framework for Learning with Noisy Labels.
    """
    shared = modulations(pred, gamma, detach_modulation)  # computed once: half of the loss's time
    negative = negative_focal(pred, shared, gamma, detach_modulation, p_min, exact_official)
    return alpha * normalized_focal(pred, shared) + beta * negative


@loss(
    "anl_ce_er",
    title="ANL-CE*",
    class_name="ANLCEERLoss",
    formula=r"\text{ANL-CE} + \lambda (\log C - H(\bar p))",
    order=203,
    base=EntropyRegularizedLoss,
)
def anl_ce_er(
    pred: LabeledLogProbs,
    *,
    alpha: Weight = 5.0,
    beta: Weight = 5.0,
    p_min: Floor = P_MIN,
    exact_official: bool = True,
) -> Tensor:
    """ANL-CE plus ``lam`` times how far the batch's mean prediction is from uniform.

    With ``exact_official`` probabilities stop at 1 - 1e-7 in its negative part, as in the published code of ANL-CE*.

    Reference: Ye et al., Active Negative Loss, Eq. 13 and 14.
    """
    return alpha * nce(pred) + beta * nnce_cut(pred, p_min=p_min, exact_official=exact_official)


@loss(
    "anl_fl_er",
    title="ANL-FL*",
    class_name="ANLFLERLoss",
    formula=r"\text{ANL-FL} + \lambda (\log C - H(\bar p))",
    order=204,
    base=EntropyRegularizedLoss,
)
def anl_fl_er(
    pred: LabeledLogProbs,
    *,
    alpha: Weight = 5.0,
    beta: Weight = 5.0,
    gamma: Gamma = 0.5,
    detach_modulation: bool = True,
    p_min: Floor = P_MIN,
    exact_official: bool = True,
) -> Tensor:
    """ANL-FL plus ``lam`` times how far the batch's mean prediction is from uniform.

    Reference: Ye et al., Active Negative Loss, Eq. 13 and 14.
    """
    return anl_fl(
        pred,
        alpha=alpha,
        beta=beta,
        gamma=gamma,
        detach_modulation=detach_modulation,
        p_min=p_min,
        exact_official=exact_official,
    )
