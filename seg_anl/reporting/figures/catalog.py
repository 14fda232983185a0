"""Every figure by its name. A new figure is one function in a file of its own and one line here."""

from __future__ import annotations

from .accuracy_figures import ACCURACY_FIGURES
from .class_marginals import MARGINALS
from .drawing import Figure
from .feature_maps import FEATURE_MAPS
from .loss_shapes import GRADIENT_CURVES, LOSS_CURVES
from .nnce_gradients import NNCE_GRADIENTS
from .predicted_masks import MASKS_FIGURE
from .sparse_rates import SPARSE_RATE
from .target_probabilities import TARGET_PROBABILITY

FIGURES: dict[str, Figure] = {
    **ACCURACY_FIGURES,
    "marginals": MARGINALS,
    "nnce-gradients": NNCE_GRADIENTS,
    "masks": MASKS_FIGURE,
    "sparse-rate": SPARSE_RATE,
    "features": FEATURE_MAPS,
    "target-probability": TARGET_PROBABILITY,
    "loss-curves": LOSS_CURVES,
    "gradient-curves": GRADIENT_CURVES,
}
