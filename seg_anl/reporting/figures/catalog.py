"""Every figure by its name. A new figure is one function in a file of its own and one line here."""

from __future__ import annotations

from .accuracy_figures import CURVES
from .class_marginals import MARGINAL_FIGURES
from .drawing import Figure
from .feature_maps import FEATURE_FIGURES
from .loss_shapes import LOSS_FIGURES
from .nnce_gradients import GRADIENT_FIGURES
from .predicted_masks import MASK_FIGURES
from .sparse_rates import SPARSE_FIGURES
from .target_probabilities import PROBABILITY_FIGURES

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
