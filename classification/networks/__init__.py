"""Networks of the papers, by name."""

from .architectures import MODELS, Architecture, build_model
from .head import penultimate_features

__all__ = ["MODELS", "Architecture", "build_model", "penultimate_features"]
