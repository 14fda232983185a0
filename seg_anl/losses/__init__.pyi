"""Noise-robust losses. Written by ``python -m seg_anl.losses.stubs``."""

from typing import Any, Literal

from .declarations import Declaration as Declaration
from .declarations import list_losses as list_losses
from .declarations import loss as loss

_HOMES: dict[str, str]
from .abstention import ADSLoss as ADSLoss
from .abstention import AbstentionLoss as AbstentionLoss
from .any_pair import ActiveNegativeLoss as ActiveNegativeLoss
from .any_pair import ActivePassiveLoss as ActivePassiveLoss
from .transformed import EpsilonSoftmaxLoss as EpsilonSoftmaxLoss
from .forward_correction import ForwardLoss as ForwardLoss
from .base import FunctionLoss as FunctionLoss
from .jensen_shannon import GJSLoss as GJSLoss
from .inputs import LabeledLogProbs as LabeledLogProbs
from .inputs import LabeledLogits as LabeledLogits
from .transformed import LogitBiasLoss as LogitBiasLoss
from .transformed import LogitClipLoss as LogitClipLoss
from .negative_learning import NLNLLoss as NLNLLoss
from .noise_robust_dice import NRDiceLoss as NRDiceLoss
from .base import PointwiseLoss as PointwiseLoss
from .base import RobustLoss as RobustLoss
from .spatial_smoothing import SLSRLoss as SLSRLoss
from .base import ScheduledLoss as ScheduledLoss
from .transformed import SharpenedLoss as SharpenedLoss
from .student_t import TLoss as TLoss
from .registry import build_loss as build_loss
from .inputs import labeled_log_probs as labeled_log_probs
from .registry import loss_class as loss_class
from .registry import loss_parameters as loss_parameters
from .student_t import t_loss as t_loss
from seg_anl.losses.sparse_regularization import SparseRegularizedLoss
from seg_anl.losses.active_negative import FusedANLCE
from seg_anl.losses.active_negative import EntropyRegularizedLoss

class CELoss(PointwiseLoss):
    r"""Cross entropy: -log p_y. Fits fast, and fits wrong labels just as well.

    Value, in LaTeX: -\log p_y
    """

    def __init__(self, *, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class FocalLoss(PointwiseLoss):
    r"""Focal loss: -(1 - p_y)^gamma log p_y.

    Value, in LaTeX: -(1 - p_y)^\gamma \log p_y

    Reference: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, Eq. 4.
    """

    def __init__(self, *, gamma: float = 0.5, detach_modulation: bool = True, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class MAELoss(PointwiseLoss):
    r"""Mean absolute error as the published code has it: 1 - p_y, half of the L1 distance to the one-hot label.

    Value, in LaTeX: 1 - p_y

    Reference: Ghosh et al., Robust Loss Functions under Label Noise for Deep Neural Networks, AAAI 2017.
    """

    def __init__(self, *, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class GCELoss(PointwiseLoss):
    r"""Generalized cross entropy: (1 - p_y^q) / q; q -> 0 is CE, q = 1 MAE.

    Value, in LaTeX: (1 - p_y^q) / q

    Reference: Zhang & Sabuncu, Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels,
    NeurIPS 2018, Eq. 6.
    """

    def __init__(self, *, q: float = 0.7, exact_official: bool = True, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class SCELoss(PointwiseLoss):
    r"""Symmetric cross entropy: cross entropy plus reverse cross entropy. Despite its name not symmetric.

    Value, in LaTeX: \alpha \, \text{CE} + \beta \, \text{RCE}

    Reference: Wang et al., Symmetric Cross Entropy for Robust Learning with Noisy Labels, ICCV 2019, Eq. 7.
    """

    def __init__(self, *, alpha: float = 0.1, beta: float = 1.0, log_zero: float = -9.210340371976182, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class PHuberCELoss(PointwiseLoss):
    r"""Partially Huberized cross entropy: linear in p_y below 1 / tau, so that no sample pulls harder than tau.

    Value, in LaTeX: -\log p_y, \text{ linear below } 1 / \tau

    Reference: Menon et al., Can Gradient Clipping Mitigate Label Noise?, ICLR 2020, Eq. 5.
    """

    def __init__(self, *, tau: float = 2.0, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class TaylorCELoss(PointwiseLoss):
    r"""Taylor cross entropy: the first t terms of -log p_y around p_y = 1; t = 1 is MAE, t -> infinity CE.

    Value, in LaTeX: \sum_{i=1}^{t} (1 - p_y)^i / i

    Reference: Feng et al., Can Cross Entropy Loss Be Robust to Label Noise?, IJCAI 2020, Eq. 5.
    """

    def __init__(self, *, t: int = 2, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class LSRLoss(PointwiseLoss):
    r"""Label-smoothing regularization: cross entropy against (1 - s) one-hot + s / C.

    Value, in LaTeX: -(1 - s) \log p_y - \frac{s}{C} \sum_k \log p_k

    Reference: Szegedy et al., Rethinking the Inception Architecture, CVPR 2016, Section 7.
    """

    def __init__(self, *, smoothing: float = 0.1, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class BootstrapSoftLoss(PointwiseLoss):
    r"""Soft bootstrapping: cross entropy against beta * label + (1 - beta) * prediction.

    Value, in LaTeX: -\beta \log p_y - (1 - \beta) \sum_k p_k \log p_k

    Reference: Reed et al., Training Deep Neural Networks on Noisy Labels with Bootstrapping, ICLR workshop 2015,
    Eq. 6.
    """

    def __init__(self, *, beta: float = 0.95, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class BootstrapHardLoss(PointwiseLoss):
    r"""Hard bootstrapping: cross entropy against beta * label + (1 - beta) * the most probable class.

    Value, in LaTeX: -\beta \log p_y - (1 - \beta) \log \max_k p_k

    Reference: Reed et al., Training Deep Neural Networks on Noisy Labels with Bootstrapping, ICLR workshop 2015,
    Eq. 7.
    """

    def __init__(self, *, beta: float = 0.8, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class ELLoss(PointwiseLoss):
    r"""Equal loss: cross entropy of (p_y + epsilon) / (1 + epsilon), times 1 + epsilon.

    Value, in LaTeX: -(1 + \epsilon) \log \frac{p_y + \epsilon}{1 + \epsilon}

    Reference: Equal Loss: A Simple Loss Function for Noise Robust Learning, Eq. 1 and 2.
    """

    def __init__(self, *, epsilon: float = 0.1, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class LSRandELLoss(PointwiseLoss):
    r"""Equal loss against smoothed labels: (1 - s) EL(p_y) + s / C sum_k EL(p_k).

    Value, in LaTeX: (1 - s) \, \text{EL}(p_y) + \frac{s}{C} \sum_k \text{EL}(p_k)

    Reference: Equal Loss: A Simple Loss Function for Noise Robust Learning, Table 2 (LSR + EL).
    """

    def __init__(self, *, epsilon: float = 0.1, smoothing: float = 0.1, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class AELLoss(PointwiseLoss):
    r"""Asymmetric exponential loss: exp(-p_y / a); not shifted, so its minimum is exp(-1 / a).

    Value, in LaTeX: e^{-p_y / a}

    Reference: Zhou et al., Asymmetric Loss Functions for Learning with Noisy Labels, ICML 2021, Section 4.
    """

    def __init__(self, *, a: float = 3.0, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class AGCELoss(PointwiseLoss):
    r"""Asymmetric generalized cross entropy: ((a + 1)^q - (a + p_y)^q) / q.

    Value, in LaTeX: ((a + 1)^q - (a + p_y)^q) / q

    Reference: Zhou et al., Asymmetric Loss Functions for Learning with Noisy Labels, ICML 2021, Section 4.
    """

    def __init__(self, *, a: float = 1.0, q: float = 2.0, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class AMSELoss(PointwiseLoss):
    r"""Asymmetric mean squared error: pulls the label's probability to ``a``; a = 1 is the mean squared error.

    Value, in LaTeX: \frac{1}{C} \sum_k (p_k - a \, [k = y])^2

    Reference: Wang et al., Joint Asymmetric Loss for Learning with Noisy Labels, ICCV 2025.
    """

    def __init__(self, *, a: float = 30.0, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class AULLoss(PointwiseLoss):
    r"""Asymmetric unhinged loss: ((a - p_y)^q - (a - 1)^q) / q.

    Value, in LaTeX: ((a - p_y)^q - (a - 1)^q) / q

    Reference: Zhou et al., Asymmetric Loss Functions for Learning with Noisy Labels, ICML 2021, Section 4.
    """

    def __init__(self, *, a: float = 1.5, q: float = 0.9, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class BiTemperedLoss(PointwiseLoss):
    r"""Bi-tempered logistic loss of q = exp_t2(z - lambda(z)), with u the label smoothed; t1 = t2 = 1 is cross entropy.

    Value, in LaTeX: \sum_k u_k (\log_{t_1} u_k - \log_{t_1} q_k) - \frac{u_k^{2 - t_1} - q_k^{2 - t_1}}{2 - t_1}

    Reference: Amid et al., Robust Bi-Tempered Logistic Loss Based on Bregman Divergences, NeurIPS 2019.
    """

    def __init__(self, *, t1: float = 0.8, t2: float = 1.2, label_smoothing: float = 0.0, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class CEandSRLoss(SparseRegularizedLoss):
    r"""Cross entropy of sharpened outputs plus their weighted lp-norm.

    Value, in LaTeX: -\log \hat p_y + \lambda_t \sum_k \hat p_k^{\,p}

    Reference: Zhou et al., Learning with Noisy Labels via Sparse Regularization, ICCV 2021, Eq. 7 and 9.
    """

    def __init__(self, *, tau: float = 0.5, p: float = 0.1, lam: float = 1.2, rho: float = 1.03, every: int = 1, normalize: bool = True, exact_official: bool = True, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class ECELoss(PointwiseLoss):
    r"""Cross entropy of epsilon-softmax: almost no gradient once the label is the most probable class.

    Value, in LaTeX: -\log q_y, \quad q = (p + m \, [k = \operatorname{argmax} p]) / (m + 1)

    Reference: Wang et al., ε-Softmax: Approximating One-Hot Vectors for Mitigating Label Noise, NeurIPS 2024.
    """

    def __init__(self, *, m: float = 10000.0, clamp: float = 1e-08, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class ECEandMAELoss(PointwiseLoss):
    r"""Cross entropy of epsilon-softmax plus mean absolute error of softmax, 2 (1 - p_y) as in the published code.

    Value, in LaTeX: \alpha \, \text{ECE} + 2 \beta \, \text{MAE}

    Reference: Wang et al., ε-Softmax: Approximating One-Hot Vectors for Mitigating Label Noise, NeurIPS 2024.
    """

    def __init__(self, *, alpha: float = 1.0, beta: float = 1.0, m: float = 10000.0, clamp: float = 1e-08, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class EFLLoss(PointwiseLoss):
    r"""Focal loss of epsilon-softmax.

    Value, in LaTeX: -(1 - q_y)^\gamma \log q_y, \quad q = (p + m \, [k = \operatorname{argmax} p]) / (m + 1)

    Reference: Wang et al., ε-Softmax: Approximating One-Hot Vectors for Mitigating Label Noise, NeurIPS 2024.
    """

    def __init__(self, *, m: float = 10000.0, clamp: float = 1e-08, gamma: float = 0.1, detach_modulation: bool = True, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class EFLandMAELoss(PointwiseLoss):
    r"""Focal loss of epsilon-softmax plus mean absolute error of softmax, 2 (1 - p_y) as in the published code.

    Value, in LaTeX: \alpha \, \text{EFL} + 2 \beta \, \text{MAE}

    Reference: Wang et al., ε-Softmax: Approximating One-Hot Vectors for Mitigating Label Noise, NeurIPS 2024.
    """

    def __init__(self, *, alpha: float = 1.0, beta: float = 1.0, m: float = 10000.0, clamp: float = 1e-08, gamma: float = 0.1, detach_modulation: bool = True, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class FLandSRLoss(SparseRegularizedLoss):
    r"""Focal loss of sharpened outputs plus their weighted lp-norm.

    Value, in LaTeX: \text{FL}(\hat p_y) + \lambda_t \sum_k \hat p_k^{\,p}

    Reference: Zhou et al., Learning with Noisy Labels via Sparse Regularization, ICCV 2021, Eq. 7 and 9.
    """

    def __init__(self, *, gamma: float = 0.5, detach_modulation: bool = True, tau: float = 0.5, p: float = 0.1, lam: float = 1.2, rho: float = 1.03, every: int = 1, normalize: bool = True, exact_official: bool = True, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class GCEandSRLoss(SparseRegularizedLoss):
    r"""Generalized cross entropy of sharpened outputs plus their weighted lp-norm.

    Value, in LaTeX: \text{GCE}(\hat p_y) + \lambda_t \sum_k \hat p_k^{\,p}

    Reference: Zhou et al., Learning with Noisy Labels via Sparse Regularization, ICCV 2021, Eq. 7 and 9.
    """

    def __init__(self, *, q: float = 0.7, exact_official: bool = True, tau: float = 0.5, p: float = 0.1, lam: float = 1.2, rho: float = 1.03, every: int = 1, normalize: bool = True, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class JALCELoss(PointwiseLoss):
    r"""Joint asymmetric loss on cross entropy: alpha NCE + beta AMSE.

    Value, in LaTeX: \alpha \, \text{NCE} + \beta \, \text{AMSE}

    Reference: Wang et al., Joint Asymmetric Loss for Learning with Noisy Labels, ICCV 2025.
    """

    def __init__(self, *, alpha: float = 1.0, beta: float = 1.0, a: float = 30.0, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class JALFLLoss(PointwiseLoss):
    r"""Joint asymmetric loss on focal loss: alpha NFL + beta AMSE.

    Value, in LaTeX: \alpha \, \text{NFL} + \beta \, \text{AMSE}

    Reference: Wang et al., Joint Asymmetric Loss for Learning with Noisy Labels, ICCV 2025.
    """

    def __init__(self, *, alpha: float = 1.0, beta: float = 1.0, a: float = 30.0, gamma: float = 0.5, detach_modulation: bool = True, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class JSLoss(PointwiseLoss):
    r"""Jensen-Shannon divergence with weight ``pi`` of the label; pi -> 0 is CE, pi -> 1 MAE.

    Value, in LaTeX: \text{JS}_\pi(y, p) \,/ \left(-(1 - \pi) \log(1 - \pi)\right)

    Reference: Englesson and Azizpour, Generalized Jensen-Shannon Divergence Loss for Learning with Noisy Labels,
    NeurIPS 2021.
    """

    def __init__(self, *, pi: float = 0.5, scaled: bool = True, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class NCELoss(PointwiseLoss):
    r"""Normalized cross entropy: the share of the labeled class in the total surprise.

    Value, in LaTeX: \log p_y \,/ \sum_k \log p_k

    Reference: Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, ICML 2020, Eq. 2.
    """

    def __init__(self, *, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class NCEandAELLoss(PointwiseLoss):
    r"""Normalized cross entropy plus asymmetric exponential loss.

    Value, in LaTeX: \alpha \, \text{NCE} + \beta \, \text{AEL}

    Reference: Zhou et al., Asymmetric Loss Functions for Learning with Noisy Labels, ICML 2021.
    """

    def __init__(self, *, alpha: float = 1.0, beta: float = 1.0, a: float = 3.0, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class NCEandAGCELoss(PointwiseLoss):
    r"""Normalized cross entropy plus asymmetric GCE.

    Value, in LaTeX: \alpha \, \text{NCE} + \beta \, \text{AGCE}

    Reference: Zhou et al., Asymmetric Loss Functions for Learning with Noisy Labels, ICML 2021.
    """

    def __init__(self, *, alpha: float = 1.0, beta: float = 1.0, a: float = 1.0, q: float = 2.0, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class NCEandAULLoss(PointwiseLoss):
    r"""Normalized cross entropy plus asymmetric unhinged loss.

    Value, in LaTeX: \alpha \, \text{NCE} + \beta \, \text{AUL}

    Reference: Zhou et al., Asymmetric Loss Functions for Learning with Noisy Labels, ICML 2021.
    """

    def __init__(self, *, alpha: float = 1.0, beta: float = 1.0, a: float = 1.5, q: float = 0.9, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class NCEandMAELoss(PointwiseLoss):
    r"""Normalized cross entropy plus mean absolute error.

    Value, in LaTeX: \alpha \, \text{NCE} + \beta \, \text{MAE}

    Reference: Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, ICML 2020, Eq. 6.
    """

    def __init__(self, *, alpha: float = 1.0, beta: float = 1.0, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class NCEandRCELoss(PointwiseLoss):
    r"""Normalized cross entropy plus reverse cross entropy.

    Value, in LaTeX: \alpha \, \text{NCE} + \beta \, \text{RCE}

    Reference: Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, ICML 2020, Eq. 6.
    """

    def __init__(self, *, alpha: float = 1.0, beta: float = 1.0, log_zero: float = -9.210340371976182, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class NFLLoss(PointwiseLoss):
    r"""Normalized focal loss: focal loss of the label over its sum for all labels, in [0, 1]; symmetric.

    Value, in LaTeX: \text{FL}(p_y) \,/ \sum_k \text{FL}(p_k)

    Reference: Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, ICML 2020, Eq. 5.
    """

    def __init__(self, *, gamma: float = 0.5, detach_modulation: bool = True, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class NFLandAELLoss(PointwiseLoss):
    r"""Normalized focal loss plus asymmetric exponential loss.

    Value, in LaTeX: \alpha \, \text{NFL} + \beta \, \text{AEL}

    Reference: Zhou et al., Asymmetric Loss Functions for Learning with Noisy Labels, ICML 2021.
    """

    def __init__(self, *, alpha: float = 1.0, beta: float = 1.0, gamma: float = 0.5, detach_modulation: bool = True, a: float = 3.0, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class NFLandAGCELoss(PointwiseLoss):
    r"""Normalized focal loss plus asymmetric GCE.

    Value, in LaTeX: \alpha \, \text{NFL} + \beta \, \text{AGCE}

    Reference: Zhou et al., Asymmetric Loss Functions for Learning with Noisy Labels, ICML 2021.
    """

    def __init__(self, *, alpha: float = 1.0, beta: float = 1.0, gamma: float = 0.5, detach_modulation: bool = True, a: float = 1.0, q: float = 2.0, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class NFLandAULLoss(PointwiseLoss):
    r"""Normalized focal loss plus asymmetric unhinged loss.

    Value, in LaTeX: \alpha \, \text{NFL} + \beta \, \text{AUL}

    Reference: Zhou et al., Asymmetric Loss Functions for Learning with Noisy Labels, ICML 2021.
    """

    def __init__(self, *, alpha: float = 1.0, beta: float = 1.0, gamma: float = 0.5, detach_modulation: bool = True, a: float = 1.5, q: float = 0.9, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class NFLandMAELoss(PointwiseLoss):
    r"""Normalized focal loss plus mean absolute error.

    Value, in LaTeX: \alpha \, \text{NFL} + \beta \, \text{MAE}

    Reference: Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, ICML 2020, Eq. 6.
    """

    def __init__(self, *, alpha: float = 1.0, beta: float = 1.0, gamma: float = 0.5, detach_modulation: bool = True, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class NFLandRCELoss(PointwiseLoss):
    r"""Normalized focal loss plus reverse cross entropy.

    Value, in LaTeX: \alpha \, \text{NFL} + \beta \, \text{RCE}

    Reference: Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, ICML 2020, Eq. 6.
    """

    def __init__(self, *, alpha: float = 1.0, beta: float = 1.0, gamma: float = 0.5, detach_modulation: bool = True, log_zero: float = -9.210340371976182, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class NGCELoss(PointwiseLoss):
    r"""Normalized GCE: GCE of the label over its sum for all labels, in [0, 1]; symmetric.

    Value, in LaTeX: \text{GCE}(p_y) \,/ \sum_k \text{GCE}(p_k)

    Reference: Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, ICML 2020, Section 5.3.
    """

    def __init__(self, *, q: float = 0.7, exact_official: bool = True, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class NGCEandMAELoss(PointwiseLoss):
    r"""Normalized GCE plus mean absolute error.

    Value, in LaTeX: \alpha \, \text{NGCE} + \beta \, \text{MAE}

    Reference: Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, ICML 2020, Eq. 6.
    """

    def __init__(self, *, alpha: float = 1.0, beta: float = 1.0, q: float = 0.7, exact_official: bool = True, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class NGCEandRCELoss(PointwiseLoss):
    r"""Normalized GCE plus reverse cross entropy.

    Value, in LaTeX: \alpha \, \text{NGCE} + \beta \, \text{RCE}

    Reference: Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, ICML 2020, Eq. 6.
    """

    def __init__(self, *, alpha: float = 1.0, beta: float = 1.0, q: float = 0.7, exact_official: bool = True, log_zero: float = -9.210340371976182, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class NMAELoss(PointwiseLoss):
    r"""Normalized MAE: (1 - p_y) / (C - 1).

    Value, in LaTeX: (1 - p_y) / (C - 1)

    Reference: Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, ICML 2020, Eq. 3.
    """

    def __init__(self, *, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class NNCELoss(PointwiseLoss):
    r"""Normalized negative cross entropy: lowers the other classes, most where the label is already confident.

    Value, in LaTeX: 1 - \frac{A + \log p_y}{\sum_k (A + \log p_k)}, \quad A = -\log p_{min}

    Reference: Ye et al., Active Negative Loss, Eq. 8.
    """

    def __init__(self, *, p_min: float = 1e-07, exact_official: bool = True, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class NNFLLoss(PointwiseLoss):
    r"""Normalized negative focal loss: as NNCE, with the focal loss instead of cross entropy.

    Value, in LaTeX: 1 - \frac{A - \text{FL}(p_y)}{\sum_k (A - \text{FL}(p_k))}

    Reference: Ye et al., Active Negative Loss, Eq. 9.
    """

    def __init__(self, *, gamma: float = 0.5, detach_modulation: bool = True, p_min: float = 1e-07, exact_official: bool = True, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class NRCELoss(PointwiseLoss):
    r"""Normalized RCE: the constant cancels, (1 - p_y) / (C - 1), the same as NMAE.

    Value, in LaTeX: (1 - p_y) / (C - 1)

    Reference: Ma et al., Normalized Loss Functions for Deep Learning with Noisy Labels, ICML 2020, Eq. 4.
    """

    def __init__(self, *, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class RCELoss(PointwiseLoss):
    r"""Reverse cross entropy, -sum_k p_k log q_k with log 0 := ``log_zero``: MAE times -log_zero.

    Value, in LaTeX: -A \, (1 - p_y), \quad A = \text{log_zero}

    Reference: Wang et al., Symmetric Cross Entropy for Robust Learning with Noisy Labels, ICCV 2019, Eq. 6. The
    paper takes log 0 = -4, all published code ln 1e-4 = -9.21.
    """

    def __init__(self, *, log_zero: float = -9.210340371976182, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class UnhingedLoss(PointwiseLoss):
    r"""The mean logit less the labeled one: cross entropy less its mean over all labels, so symmetric.

    Value, in LaTeX: \frac{1}{C} \sum_k z_k - z_y

    Reference: van Rooyen, Menon and Williamson, Learning with Symmetric Label Noise: The Importance of Being
    Unhinged, NeurIPS 2015, for two classes.
    """

    def __init__(self, *, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class ANLCELoss(FusedANLCE):
    r"""Active negative loss on cross entropy: alpha NCE + beta NNCE.

    Value, in LaTeX: \alpha \, \text{NCE} + \beta \, \text{NNCE}

    Reference: Ye et al., Active Negative Loss: A Robust Framework for Learning with Noisy Labels.
    """

    def __init__(self, *, alpha: float = 5.0, beta: float = 5.0, p_min: float = 1e-07, exact_official: bool = True, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class ANLFLLoss(PointwiseLoss):
    r"""Active negative loss on focal loss: alpha NFL + beta NNFL.

    Value, in LaTeX: \alpha \, \text{NFL} + \beta \, \text{NNFL}

    Reference: Ye et al., Active Negative Loss: A Robust Framework for Learning with Noisy Labels.
    """

    def __init__(self, *, alpha: float = 5.0, beta: float = 5.0, gamma: float = 0.5, detach_modulation: bool = True, p_min: float = 1e-07, exact_official: bool = True, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class ANLCEERLoss(EntropyRegularizedLoss):
    r"""ANL-CE plus ``lam`` times how far the batch's mean prediction is from uniform.

    Value, in LaTeX: \text{ANL-CE} + \lambda (\log C - H(\bar p))

    Reference: Ye et al., Active Negative Loss, Eq. 13 and 14.
    """

    def __init__(self, *, alpha: float = 5.0, beta: float = 5.0, p_min: float = 1e-07, exact_official: bool = True, lam: float = 2.0, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...

class ANLFLERLoss(EntropyRegularizedLoss):
    r"""ANL-FL plus ``lam`` times how far the batch's mean prediction is from uniform.

    Value, in LaTeX: \text{ANL-FL} + \lambda (\log C - H(\bar p))

    Reference: Ye et al., Active Negative Loss, Eq. 13 and 14.
    """

    def __init__(self, *, alpha: float = 5.0, beta: float = 5.0, gamma: float = 0.5, detach_modulation: bool = True, p_min: float = 1e-07, exact_official: bool = True, lam: float = 2.0, class_weights: Any = None, reduction: str = "mean", ignore_index: int | None = None, activation: str = "softmax") -> None: ...
