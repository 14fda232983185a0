"""Every figure by its name. A new figure is one function in a file of its own and one line here."""

from __future__ import annotations

from .accuracies import CURVES
from .features import FEATURE_FIGURES
from .figure import Figure
from .gradients import GRADIENT_FIGURES
from .loss_curves import LOSS_FIGURES
from .marginals import MARGINAL_FIGURES
from .masks import MASK_FIGURES
from .probabilities import PROBABILITY_FIGURES
from .sparse_rate import SPARSE_FIGURES

FIGURES: dict[str, Figure] = {
    **CURVES,
    **MARGINAL_FIGURES,
    **GRADIENT_FIGURES,
    **MASK_FIGURES,
    **SPARSE_FIGURES,
    **FEATURE_FIGURES,
    **PROBABILITY_FIGURES,
    **LOSS_FIGURES,
}
