"""overview.png: the histogram of scores and the share of each kind of mistake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seg_anl.records import written_aside

from .share import Share

_SUSPECTED, _PLAUSIBLE = "#D55E00", "#0072B2"
_MIN_SCORE = 1e-4  # for the logarithmic axis


def write_overview(
    path: Path, cases: Sequence[Mapping[str, Any]], score: str, share: Share, kinds: Mapping[str, Share]
) -> None:
    """Draw the histogram of scores (suspected stacked on plausible) and the estimated share of each kind."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display, no global state
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    values = np.array([case["score"] for case in cases], dtype=float)
    suspected = np.array([bool(case["suspected"]) for case in cases])
    logarithmic = score != "excess"  # which is the difference of logarithms
    if logarithmic:
        values = np.maximum(values, _MIN_SCORE)
        bins = np.geomspace(values.min(), max(values.max(), values.min() * 1.01), 40)
    else:
        bins = np.linspace(values.min(), max(values.max(), values.min() + 0.01), 40)
    left.hist(
        [values[~suspected], values[suspected]], bins, stacked=True, color=[_PLAUSIBLE, _SUSPECTED],
        label=[f"plausible ({(~suspected).sum()})", f"suspected ({suspected.sum()})"],
    )  # fmt: skip
    left.set(
        xscale="log" if logarithmic else "linear",
        xlabel="excess (standard deviations)" if score == "excess" else score,
        ylabel="cases",
        title=f"{len(cases)} cases",
    )
    left.margins(y=0.3)  # room for the legend
    left.yaxis.get_major_locator().set_params(integer=True)
    left.legend(frameon=False, loc="upper right")
    names = [kind for kind in kinds if kinds[kind].value > 0][::-1]
    shares = np.array([kinds[name].value for name in names])
    limits = np.array([[kinds[name].low, kinds[name].high] for name in names]).reshape(-1, 2).T
    errors = np.abs(limits - shares) if names else None
    right.barh(names, shares, xerr=errors, color=_SUSPECTED, ecolor="#444444", capsize=3)
    title = f"estimated wrong: {share.value:.0%} ({share.low:.0%} to {share.high:.0%})"
    right.set(xlabel="share of all cases", title=title, xlim=(0, None))
    with written_aside(path) as aside:
        figure.savefig(aside, dpi=110, metadata={"Software": None})
