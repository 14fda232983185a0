"""The progress of training: a bar on a terminal, a line per epoch in a log file."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Mapping, Sequence

from tqdm import tqdm

from .settings import LoopSettings


class Progress:
    """Shows the progress of one training, or of several side by side, on standard error if ``visible``."""

    def __init__(self, settings: LoopSettings, *, first_epoch: int, steps: int, visible: bool) -> None:
        self.epochs, self.first_epoch, self.steps = settings.epochs, first_epoch, steps
        visible, terminal = visible and settings.progress, sys.stderr.isatty()
        self.lines, self.on_terminal, self.start = visible and not terminal, visible and terminal, time.monotonic()

    def __enter__(self) -> Progress:
        self.bar = tqdm(
            desc=f"epoch {self.first_epoch + 1}/{self.epochs}",
            total=self.epochs * self.steps,
            initial=self.first_epoch * self.steps,
            disable=not self.on_terminal,
            unit="step",
            dynamic_ncols=True,
        )
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def step(self) -> None:
        """Count a step."""
        self.bar.update()

    def epoch(self, done: int, values: Sequence[Mapping[str, float]]) -> None:
        """Show the means over ``values``, one mapping per training, after ``done`` epochs; NaN is not known yet."""
        means = {name: statistics.fmean(each[name] for each in values) for name in values[0]}
        shown = {name: f"{mean:.4f}" for name, mean in means.items() if not math.isnan(mean)}
        self.bar.set_description(f"epoch {min(done + 1, self.epochs)}/{self.epochs}", refresh=False)
        self.bar.set_postfix(shown)
        if self.lines:
            took = (time.monotonic() - self.start) / (done - self.first_epoch)
            left = tqdm.format_interval(took * (self.epochs - done))
            text = ", ".join(f"{name} {value}" for name, value in shown.items())
            line = f"epoch {done}/{self.epochs}: {text}, {took:.3g} s an epoch, {left} left"
            print(line, file=sys.stderr, flush=True)
