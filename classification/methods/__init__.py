"""Methods that are more than a loss. A new one is a file here, a line in the registry and a YAML in configs/method."""

from .base import Method
from .registry import METHODS, build_method

__all__ = ["METHODS", "Method", "build_method"]
