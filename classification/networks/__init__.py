"""Networks of the papers, by name."""

from .architectures import MODELS, Architecture, build_model, trains_on_one
from .head import penultimate_features

__all__ = ["MODELS", "Architecture", "build_model", "penultimate_features", "trains_on_one"]
