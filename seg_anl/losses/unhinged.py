"""The unhinged loss: linear in the logits."""

from __future__ import annotations

from torch import Tensor

from .declarations import loss
from .inputs import LabeledLogProbs


@loss("unhinged", title="Unhinged", formula=r"\frac{1}{C} \sum_k z_k - z_y", symmetric=True)
def unhinged(pred: LabeledLogProbs) -> Tensor:
    """The mean logit less the labeled one: cross entropy less its mean over all labels, so symmetric.

    Unbounded below: it needs weight decay or bounded logits (``build_loss("logit_clip", base="unhinged")``). For two
    classes it is half of the paper's 1 - y v less a constant, with v the difference of the logits and y = 1 or -1.

    Reference: van Rooyen, Menon and Williamson, Learning with Symmetric Label Noise: The Importance of Being Unhinged,
    NeurIPS 2015, for two classes.
    """
    return pred.log_probs.mean(dim=1) - pred.target_log_prob
