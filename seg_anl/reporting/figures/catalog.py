"""Every figure by its name."""

from .accuracy_curves import ACCURACY_FIGURES
from .loss_shapes import GRADIENT_CURVES, LOSS_CURVES
from .record_figures import RECORD_FIGURES

FIGURES = {**ACCURACY_FIGURES, **RECORD_FIGURES, "loss-curves": LOSS_CURVES, "gradient-curves": GRADIENT_CURVES}
