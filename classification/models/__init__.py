"""Networks of the papers, by name."""

from .features import penultimate_features
from .registry import MODELS, build_model

__all__ = ["MODELS", "build_model", "penultimate_features"]
