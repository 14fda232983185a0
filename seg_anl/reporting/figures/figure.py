"""What a figure is: what it shows, what it needs, and how runs become a drawing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure as Drawing

from seg_anl.reporting.runs import Run

from .style import save_drawing, styled


@dataclass(frozen=True)
class Composed:
    """A drawing, and what the person who asked for it must be told: a line for each thing left out."""

    drawing: Drawing
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Figure:
    """A figure of the papers.

    Attributes:
        meaning: one line that names the paper and its figure.
        needs: which files of the run directories it reads, and commands that make a fitting set of runs.
        composed: draws it; raises UserError for runs it cannot be drawn from.
    """

    meaning: str
    needs: str
    composed: Callable[[Sequence[Run]], Composed]

    def compose(self, runs: Sequence[Run]) -> Composed:
        """Draw the figure in the project's style.

        Raises:
            UserError: naming the run and what it lacks, when the figure cannot be drawn from ``runs``.
        """
        with styled():
            return self.composed(sorted(runs, key=lambda run: str(run.path)))

    def draw(self, runs: Sequence[Run], path: Path) -> list[str]:
        """Write the figure to ``path`` (.png, .pdf or .svg); the same runs give the same bytes.

        Returns:
            One line for each thing that was left out.

        Raises:
            UserError: naming the run and what it lacks, when the figure cannot be drawn from ``runs``.
        """
        composed = self.compose(runs)
        with styled():  # some settings are read when the file is written
            save_drawing(composed.drawing, path)
        return composed.notes
