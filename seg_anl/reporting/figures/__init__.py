"""The figures of the papers, by name: ``FIGURES[name].draw(runs, path)``."""

from .catalog import FIGURES
from .figure import Composed, Figure

__all__ = ["FIGURES", "Composed", "Figure"]
