"""Active passive losses (APL) and symmetric cross entropy: named weighted sums of two losses.

A sum of robust losses is robust, and one part makes up for the underfitting of the other.
"""

from __future__ import annotations

from torch import Tensor

from seg_anl.records.ranges import Weight

from .absolute_error import LOG_ZERO, LogZero, mae, rce
from .asymmetric import Above, Exponent, Offset, Scale, ael, agce, aul
from .cross_entropy import ce, nce
from .declarations import loss
from .focal import Gamma, nfl
from .generalized_cross_entropy import BoxCoxExponent, ngce
from .inputs import LabeledLogProbs


@loss("sce", formula=r"\alpha \, \text{CE} + \beta \, \text{RCE}", order=5)
def sce(pred: LabeledLogProbs, *, alpha: Weight = 0.1, beta: Weight = 1.0, log_zero: LogZero = LOG_ZERO) -> Tensor:
    """Symmetric cross entropy: cross entropy plus reverse cross entropy. Despite its name not symmetric.

    Reference: Wang et al., Symmetric Cross Entropy for Robust Learning with Noisy Labels, ICCV 2019, Eq. 7.
    """
    return alpha * ce(pred) + beta * rce(pred, log_zero=log_zero)


@loss("nce_mae", formula=r"\alpha \, \text{NCE} + \beta \, \text{MAE}", symmetric=True)
def nce_mae(pred: LabeledLogProbs, *, alpha: Weight = 1.0, beta: Weight = 1.0) -> Tensor:
    """Normalized cross entropy plus mean absolute error.

    Reference: Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, ICML 2020, Eq. 6.
    """
    return alpha * nce(pred) + beta * mae(pred)


@loss("nce_rce", formula=r"\alpha \, \text{NCE} + \beta \, \text{RCE}", symmetric=True)
def nce_rce(pred: LabeledLogProbs, *, alpha: Weight = 1.0, beta: Weight = 1.0, log_zero: LogZero = LOG_ZERO) -> Tensor:
    """Normalized cross entropy plus reverse cross entropy.

    Reference: Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, ICML 2020, Eq. 6.
    """
    return alpha * nce(pred) + beta * rce(pred, log_zero=log_zero)


@loss("nfl_mae", formula=r"\alpha \, \text{NFL} + \beta \, \text{MAE}", symmetric=True)
def nfl_mae(
    pred: LabeledLogProbs,
    *,
    alpha: Weight = 1.0,
    beta: Weight = 1.0,
    gamma: Gamma = 0.5,
    detach_modulation: bool = True,
) -> Tensor:
    """Normalized focal loss plus mean absolute error.

    Reference: Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, ICML 2020, Eq. 6.
    """
    return alpha * nfl(pred, gamma=gamma, detach_modulation=detach_modulation) + beta * mae(pred)


@loss("nfl_rce", formula=r"\alpha \, \text{NFL} + \beta \, \text{RCE}", symmetric=True)
def nfl_rce(
    pred: LabeledLogProbs,
    *,
    alpha: Weight = 1.0,
    beta: Weight = 1.0,
    gamma: Gamma = 0.5,
    detach_modulation: bool = True,
    log_zero: LogZero = LOG_ZERO,
) -> Tensor:
    """Normalized focal loss plus reverse cross entropy.

    Reference: Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, ICML 2020, Eq. 6.
    """
    return alpha * nfl(pred, gamma=gamma, detach_modulation=detach_modulation) + beta * rce(pred, log_zero=log_zero)


@loss("ngce_mae", formula=r"\alpha \, \text{NGCE} + \beta \, \text{MAE}", symmetric=True)
def ngce_mae(
    pred: LabeledLogProbs,
    *,
    alpha: Weight = 1.0,
    beta: Weight = 1.0,
    q: BoxCoxExponent = 0.7,
    exact_official: bool = True,
) -> Tensor:
    """Normalized GCE plus mean absolute error.

    Reference: Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, ICML 2020, Eq. 6.
    """
    return alpha * ngce(pred, q=q, exact_official=exact_official) + beta * mae(pred)


@loss("ngce_rce", formula=r"\alpha \, \text{NGCE} + \beta \, \text{RCE}", symmetric=True)
def ngce_rce(
    pred: LabeledLogProbs,
    *,
    alpha: Weight = 1.0,
    beta: Weight = 1.0,
    q: BoxCoxExponent = 0.7,
    exact_official: bool = True,
    log_zero: LogZero = LOG_ZERO,
) -> Tensor:
    """Normalized GCE plus reverse cross entropy.

    Reference: Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, ICML 2020, Eq. 6.
    """
    return alpha * ngce(pred, q=q, exact_official=exact_official) + beta * rce(pred, log_zero=log_zero)


@loss("nce_agce", formula=r"\alpha \, \text{NCE} + \beta \, \text{AGCE}")
def nce_agce(
    pred: LabeledLogProbs, *, alpha: Weight = 1.0, beta: Weight = 1.0, a: Offset = 1.0, q: Exponent = 2.0
) -> Tensor:
    """Normalized cross entropy plus asymmetric GCE.

    Reference: Zhou et al., Asymmetric Loss Functions for Learning with Noisy Labels, ICML 2021.
    """
    return alpha * nce(pred) + beta * agce(pred, a=a, q=q)


@loss("nce_aul", formula=r"\alpha \, \text{NCE} + \beta \, \text{AUL}")
def nce_aul(
    pred: LabeledLogProbs, *, alpha: Weight = 1.0, beta: Weight = 1.0, a: Above = 1.5, q: Exponent = 0.9
) -> Tensor:
    """Normalized cross entropy plus asymmetric unhinged loss.

    Reference: Zhou et al., Asymmetric Loss Functions for Learning with Noisy Labels, ICML 2021.
    """
    return alpha * nce(pred) + beta * aul(pred, a=a, q=q)


@loss("nce_ael", formula=r"\alpha \, \text{NCE} + \beta \, \text{AEL}")
def nce_ael(pred: LabeledLogProbs, *, alpha: Weight = 1.0, beta: Weight = 1.0, a: Scale = 3.0) -> Tensor:
    """Normalized cross entropy plus asymmetric exponential loss.

    Reference: Zhou et al., Asymmetric Loss Functions for Learning with Noisy Labels, ICML 2021.
    """
    return alpha * nce(pred) + beta * ael(pred, a=a)


@loss("nfl_agce", formula=r"\alpha \, \text{NFL} + \beta \, \text{AGCE}")
def nfl_agce(
    pred: LabeledLogProbs,
    *,
    alpha: Weight = 1.0,
    beta: Weight = 1.0,
    gamma: Gamma = 0.5,
    detach_modulation: bool = True,
    a: Offset = 1.0,
    q: Exponent = 2.0,
) -> Tensor:
    """Normalized focal loss plus asymmetric GCE.

    Reference: Zhou et al., Asymmetric Loss Functions for Learning with Noisy Labels, ICML 2021.
    """
    return alpha * nfl(pred, gamma=gamma, detach_modulation=detach_modulation) + beta * agce(pred, a=a, q=q)


@loss("nfl_aul", formula=r"\alpha \, \text{NFL} + \beta \, \text{AUL}")
def nfl_aul(
    pred: LabeledLogProbs,
    *,
    alpha: Weight = 1.0,
    beta: Weight = 1.0,
    gamma: Gamma = 0.5,
    detach_modulation: bool = True,
    a: Above = 1.5,
    q: Exponent = 0.9,
) -> Tensor:
    """Normalized focal loss plus asymmetric unhinged loss.

    Reference: Zhou et al., Asymmetric Loss Functions for Learning with Noisy Labels, ICML 2021.
    """
    return alpha * nfl(pred, gamma=gamma, detach_modulation=detach_modulation) + beta * aul(pred, a=a, q=q)


@loss("nfl_ael", formula=r"\alpha \, \text{NFL} + \beta \, \text{AEL}")
def nfl_ael(
    pred: LabeledLogProbs,
    *,
    alpha: Weight = 1.0,
    beta: Weight = 1.0,
    gamma: Gamma = 0.5,
    detach_modulation: bool = True,
    a: Scale = 3.0,
) -> Tensor:
    """Normalized focal loss plus asymmetric exponential loss.

    Reference: Zhou et al., Asymmetric Loss Functions for Learning with Noisy Labels, ICML 2021.
    """
    return alpha * nfl(pred, gamma=gamma, detach_modulation=detach_modulation) + beta * ael(pred, a=a)
