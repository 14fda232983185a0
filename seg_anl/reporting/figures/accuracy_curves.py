"""Accuracies over the epochs: panels by one setting, lines by another. Most figures of the papers are such.

:data:`ACCURACY_FIGURES` says of each what tells its panels and lines apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray

from seg_anl.reporting.names import PENALTY_NAMES, loss_name, number
from seg_anl.reporting.run_directories import Run, tidy_metrics
from seg_anl.reporting.run_settings import differing, flat_settings

from .drawing import (
    BLACK,
    BLUE,
    DASHES,
    VERMILLION,
    Figure,
    color_of,
    drawn_band,
    finish_panels,
    legend_and_caption,
    line_style,
    panels,
)
from .run_selection import (
    Axis,
    Place,
    amount,
    by_amount,
    by_condition,
    by_loss,
    by_method,
    loss_of,
    penalties,
    seeds_of_one_setting,
    seeds_text,
    setting,
    split_by,
)

WIDEST = 5  # panels beside each other
EVERYWHERE = Place(0, "")
REFERENCES = ({"color": BLUE, "linestyle": "-"}, {"color": BLACK, "linestyle": DASHES[2]})
LOSS_SETTINGS = ("loss", "optim.l1", "optim.weight_decay", "optim.jacobian", "method")

Lines = dict[Place, list[Run]]
"""The runs of each line of a panel."""


class Metric(NamedTuple):
    """A column of metrics.csv, whose values are fractions, its name in legends, and its looks beside other columns."""

    split: str
    name: str
    text: str
    style: dict[str, Any]


TEST = Metric("test", "accuracy", "test", {"color": BLACK, "linestyle": DASHES[0], "marker": "o"})
CLEAN = Metric(
    "train", "accuracy_clean", "training, right labels", {"color": BLUE, "linestyle": DASHES[3], "marker": "^"}
)
MEMORIZED = {"color": VERMILLION, "linestyle": DASHES[1], "marker": "s"}
MISLABELED = Metric("train", "accuracy_mislabelled", "training, wrong labels (memorized)", MEMORIZED)
VALIDATION = Metric("tuning", "accuracy", "validation", {})


def series(runs: Sequence[Run], metric: Metric) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """A metric of runs of one setting: the epochs (counted from 0) that all have, and values ``(runs, epochs)``."""
    tidy = tidy_metrics(runs, [metric.name])
    values = tidy[tidy["split"] == metric.split].pivot(index="run", columns="epoch", values="value").dropna(axis=1)
    return values.columns.to_numpy(np.int64), values.loc[[run.path for run in runs]].to_numpy(np.float64)


def lacks_metric(run: Run, *metrics: Metric) -> str | None:
    """Why a run without one of these metrics cannot be drawn; None when it has all."""
    lacking = [f"{split}/{name}" for split, name, *_ in metrics if not run.has(split, name)]
    return f"has no {lacking[0]} in its metrics.csv" if lacking else None


def _everywhere(_: Run) -> Place:
    return EVERYWHERE


@dataclass(frozen=True)
class Curves:
    """What a figure of accuracies over epochs shows.

    Each data set and noise has rows of panels of its own. What runs share a line is averaged over their seeds.

    Attributes:
        metrics: the columns to draw; with several, a panel holds a line for each of them and ``lines`` is unset.
        columns, rows, lines: a run's place; a run without one is not drawn. Without ``columns``, the data sets and
            noises stand beside each other.
        ordered: whether the lines stand for amounts of one thing.
        reference: the line, of negative order, of a run that is drawn in every panel of its data set and noise; None
            for a run whose place is asked of the other axes.
        varied: settings (or groups of them) in which the lines of a panel are meant to differ.
    """

    metrics: tuple[Metric, ...] = (TEST,)
    columns: Axis | None = None
    lines: Axis = _everywhere
    rows: Axis = _everywhere
    ordered: bool = False
    reference: Axis = lambda _: None
    varied: tuple[str, ...] = LOSS_SETTINGS

    def figure(self, meaning: str, needs: str) -> Figure:
        """The figure that shows this."""
        return Figure(meaning, needs, self._drawn, self._reason_against)

    def _reason_against(self, run: Run) -> str | None:
        placed = all(axis(run) for axis in (self.columns or _everywhere, self.rows, self.lines))
        strange = None if placed or self.reference(run) else "has no place in this figure"
        return lacks_metric(run, *self.metrics) or strange

    def _drawn(self, runs: list[Run], notes: list[str]) -> Drawing | None:
        cells = self._cells(runs)
        if not cells:
            return None
        rows = sorted({row for row, _ in cells})
        columns = sorted({column for _, column in cells})
        high = math.ceil(len(columns) / WIDEST) if len(rows) == 1 else 1
        width = math.ceil(len(columns) / high)
        drawing, grid = panels(len(rows) * high, width, sharex=True, sharey=True)
        styles, counts = self._styles(cells), set[int]()
        quantity = f"{self.metrics[0].text} accuracy (%)" if len(self.metrics) == 1 else "accuracy (%)"
        for (row, column), lines in cells.items():
            down, across = divmod(columns.index(column), width)
            axes = grid[rows.index(row) * high + down, across]
            axes.set_title(column.text)
            counts |= self._draw(axes, lines, styles)
            if across == 0:
                axes.set_ylabel(f"{row.text}\n{quantity}" if len(rows) > 1 else quantity)
            unlike = differing([flat_settings(run.config) for some in lines.values() for run in some])
            unlike = [n for n in unlike if not any(n == known or n.startswith(f"{known}.") for known in self.varied)]
            if unlike:
                panel = f"{row.text} {column.text}".strip()
                notes.append(f"panel {panel!r}: its lines also differ in {', '.join(unlike)}")
        finish_panels(grid, "epoch")
        legend = {metric.text: metric.style for metric in self.metrics}
        legend = legend if len(legend) > 1 else {line.text: style for line, style in styles.items() if line.text}
        conditions = "; ".join(dict.fromkeys(place.text for place in split_by(runs, by_condition)))
        # Without an axis of their own, the panels' titles name data set and noise already.
        caption = seeds_text(counts) if self.columns is None else f"{conditions}. {seeds_text(counts)}"
        legend_and_caption(drawing, legend, caption)
        return drawing

    def _cells(self, runs: Sequence[Run]) -> dict[tuple[Place, Place], Lines]:
        """The panels by row (data set and noise, then ``rows``) and column."""
        conditions = split_by(runs, by_condition)
        if self.columns is None:  # then these stand beside each other
            return {(EVERYWHERE, place): split_by(some, self.lines) for place, some in conditions.items()}
        cells: dict[tuple[Place, Place], Lines] = {}
        for condition, some in conditions.items():
            shared = split_by(some, self.reference)
            own = [run for run in some if not self.reference(run)]
            for place, of_row in split_by(own, self.rows).items():
                text = "\n".join(filter(None, (condition.text if len(conditions) > 1 else "", place.text)))
                row = Place((condition.order, place.order), text)
                for column, cell in split_by(of_row, self.columns).items():
                    cells[row, column] = shared | split_by(cell, self.lines)
        return cells

    def _styles(self, cells: dict[tuple[Place, Place], Lines]) -> dict[Place, dict[str, Any]]:
        """The looks of each line, the same in all panels; references are thick and without markers.

        Lines that stand for one method each have its color.
        """
        colors: dict[Place, set[str]] = {}
        for lines in cells.values():
            for line, runs in lines.items():
                colors.setdefault(line, set()).update(color_of([run]) for run in runs)
        shared = sorted(line for line in colors if line.order < 0)
        own = sorted(line for line in colors if line.order >= 0)
        used = [min(colors[line]) for line in own if len(colors[line]) == 1]
        methods = len(own) > 1 and len(set(used)) == len(own)
        return {
            **{line: {**style, "linewidth": 2.2} for line, style in zip(shared, REFERENCES, strict=False)},
            **{
                line: line_style(i, len(own), used[i] if methods else None, ordered=self.ordered)
                for i, line in enumerate(own)
            },
        }

    def _draw(self, axes: Axes, lines: Lines, styles: dict[Place, dict[str, Any]]) -> set[int]:
        """Draw the lines of a panel; returns how many seeds stand behind them."""
        counts = set()
        for i, (line, runs) in enumerate(lines.items()):
            seeds = seeds_of_one_setting(runs, f"the line {line.text!r}" if line.text else "a panel")
            counts.add(len(seeds))
            for j, metric in enumerate(self.metrics):
                place, count = (j, len(self.metrics)) if len(self.metrics) > 1 else (i, len(lines))
                style = metric.style if len(self.metrics) > 1 else styles[line]
                drawn_band(axes, *series(seeds, metric), place, count, **style)
        return counts


# What each loss is called when normalized: the panels of Ma et al., Figs. 1 and 2.
NORMALIZED = {"ce": "nce", "focal": "nfl", "mae": "nmae", "rce": "nrce", "gce": "ngce"}
SCALED = ("nce", "nfl", "mae", "rce")
COMBINED = ("nce_mae", "nce_rce", "nfl_mae", "nfl_rce")
ALIKE = {"AAL": {"nce", "nfl"}, "PPL": {"mae", "rce"}}  # pairs of two active or two passive losses


def only(losses: tuple[str, ...], axis: Axis) -> Axis:
    """``axis`` for runs of these losses; no place for others."""
    return lambda run: axis(run) if loss_of(run) in losses else None


def by_normalized_pair(run: Run) -> Place | None:
    """A loss and its normalized form stand together."""
    for i, pair in enumerate(NORMALIZED.items()):
        if loss_of(run) in pair:
            return Place(i, " / ".join(loss_name({"name": name}) for name in pair))
    return None


def by_normalization(run: Run) -> Place:
    """Whether the loss is a normalized one."""
    return Place(1, "normalized") if loss_of(run) in NORMALIZED.values() else Place(0, "not normalized")


def parts_of_pair(run: Run) -> dict[str, float]:
    """The losses that ``active_passive`` adds up, with their weights; those of weight 0 left out."""
    if loss_of(run) != "active_passive":
        return {}
    roles = {"active": "alpha", "passive": "beta"}
    weights = {str(setting(run, f"loss.{role}")): amount(run, f"loss.{weight}") for role, weight in roles.items()}
    return {part: weight for part, weight in weights.items() if weight > 0}


def by_scale(run: Run, *, loss: bool = False) -> Place | None:
    """How much a loss of Ma et al., Fig. 3, is scaled (or which): a loss as it is, or the one part with a weight."""
    parts = parts_of_pair(run) or {loss_of(run): 1.0}
    ((name, scale),) = parts.items() if len(parts) == 1 else (("", 0.0),)
    if name not in SCALED:
        return None
    return Place(SCALED.index(name), loss_name({"name": name})) if loss else Place(scale, f"× {number(scale)}")


def by_combination(run: Run) -> Place | None:
    """Active + passive losses (Ma et al.), and pairs of two active or two passive ones."""
    if loss_of(run) in COMBINED:
        return Place(COMBINED.index(loss_of(run)), f"{by_loss(run).text} (APL)")
    for i, (kind, pair) in enumerate(ALIKE.items()):
        if parts_of_pair(run).keys() == pair:
            return Place(len(COMBINED) + i, f"{by_loss(run).text} ({kind})")
    return None


def by_penalty(run: Run, *, strength: bool = False) -> Place | None:
    """Which one regularizer of the weights is on, or its strength delta."""
    if len(penalties(run)) != 1:
        return None
    ((name, delta),) = penalties(run).items()
    return (
        Place(delta, f"δ = {number(delta)}") if strength else Place([*PENALTY_NAMES].index(name), PENALTY_NAMES[name])
    )


def unregularized(run: Run) -> Place | None:
    """The reference line of a loss without any regularizer."""
    return None if penalties(run) else Place(-1, "no regularizer")


def _apl_reference(run: Run) -> Place | None:
    return Place(-2, by_method(run).text) if loss_of(run) == "anl_ce" else only(("nce_rce",), unregularized)(run)


def sharpened(axis: Axis, *, norm: bool) -> Axis:
    """CE+SR with the norm, or without it (lambda 0)."""
    return only(("ce_sr",), lambda run: axis(run) if (amount(run, "loss.lam") != 0) == norm else None)


def _strength(run: Run) -> Place | None:
    return by_penalty(run, strength=True)


_REGULARIZERS = tuple(f"optim.{penalty}" for penalty in PENALTY_NAMES)

ACCURACY_FIGURES: dict[str, Figure] = {
    "accuracies": Curves((TEST, CLEAN, MISLABELED), columns=by_method).figure(
        "Training accuracy of right and of wrong labels, and test accuracy, loss by loss "
        "(Ye et al. 2024, Fig. 3; Kasimoglu et al. 2024, Fig. 1)",
        "metrics.csv with train/accuracy_clean and train/accuracy_mislabelled, of any losses. "
        "seg-anl-classify -m loss=ce,mae,nce_rce,anl_ce noise=symmetric noise.rate=0.6",
    ),
    "regularizers-anl": Curves(
        columns=only(("anl_ce",), by_penalty),
        lines=_strength,
        ordered=True,
        reference=only(("anl_ce",), unregularized),
        varied=_REGULARIZERS,
    ).figure(
        "Test accuracy of ANL-CE by regularizer of the weights and its strength (Ye et al. 2024, Fig. 4)",
        "metrics.csv of runs with loss=anl_ce and at most one of optim.l1, optim.weight_decay, optim.jacobian above 0. "
        "seg-anl-classify -m loss=anl_ce optim.weight_decay=0 optim.l1=0,1e-5,1e-4,1e-3 noise.rate=0.8",
    ),
    "regularizers-apl": Curves(
        columns=only(("nce_rce",), by_penalty),
        lines=_strength,
        ordered=True,
        reference=_apl_reference,
        varied=("loss", *_REGULARIZERS),
    ).figure(
        "Test accuracy of NCE+RCE by regularizer and its strength, with ANL-CE beside it (Ye et al. 2024, Fig. 5)",
        "metrics.csv of runs with loss=nce_rce and one of optim.l1, optim.weight_decay, optim.jacobian above 0, and of "
        "loss=anl_ce. seg-anl-classify -m loss=nce_rce optim.weight_decay=0 optim.l1=1e-5,1e-4,1e-3 noise.rate=0.8",
    ),
    "anl-grid": Curves(
        (TEST, CLEAN, MISLABELED),
        columns=only(("anl_ce",), by_amount("loss.alpha", "α")),
        rows=by_amount("loss.beta", "β"),
    ).figure(
        "Training and test accuracy of NCE+NNCE by its weights alpha and beta (Ye et al. 2024, Fig. 8)",
        "metrics.csv of runs with loss=anl_ce (in the paper with weight decay). seg-anl-classify -m loss=anl_ce "
        "loss.alpha=0.1,0.5,1,5,10 loss.beta=0.1,0.5,1,5,10 optim.l1=0 optim.weight_decay=1e-4 noise.rate=0.8",
    ),
    "normalized": Curves(columns=by_normalized_pair, lines=by_normalization).figure(
        "Test accuracy of losses as they are and normalized (Ma et al. 2020, Figs. 1 and 2)",
        "metrics.csv of runs with loss=ce, nce, focal, nfl, mae, nmae, rce, nrce. "
        "seg-anl-classify -m loss=ce,nce,focal,nfl,mae,nmae,rce,nrce noise.rate=0.6",
    ),
    "scaled": Curves(columns=lambda run: by_scale(run, loss=True), lines=by_scale, ordered=True).figure(
        "Test accuracy of scaled losses (Ma et al. 2020, Fig. 3)",
        "metrics.csv of runs with loss=nce, nfl, mae, rce and these scaled. seg-anl-classify -m loss=active_passive "
        "loss.active=nce,nfl loss.alpha=1,2,5,10 loss.beta=0 noise.rate=0.6; the same with loss.passive=mae,rce "
        "loss.beta=1,2,5,10 loss.alpha=0",
    ),
    "combinations": Curves(lines=by_combination).figure(
        "Test accuracy of active + passive losses, beside pairs of two alike (Ma et al. 2020, Fig. 4)",
        "metrics.csv of runs with loss=nce_mae, nce_rce, nfl_mae, nfl_rce and active_passive of two alike. "
        "seg-anl-classify -m loss=nce_mae,nce_rce,nfl_mae,nfl_rce noise.rate=0.6; "
        "seg-anl-classify loss=active_passive loss.active=nfl loss.passive=nce (and mae with rce) noise.rate=0.6",
    ),
    "apl-grid": Curves(
        (VALIDATION,),
        columns=only(("nce_rce",), by_amount("loss.alpha", "α")),
        lines=by_amount("loss.beta", "β"),
        ordered=True,
    ).figure(
        "Validation accuracy of NCE+RCE by its weights alpha and beta (Ma et al. 2020, Fig. 5)",
        "metrics.csv of runs with loss=nce_rce and a tuning set. seg-anl-classify -m loss=nce_rce "
        "data.tuning=0.2 loss.alpha=0.1,1,10 loss.beta=0.1,1,10,100 noise.rate=0.6",
    ),
    "sr-weight": Curves(
        columns=only(("ce_sr", "fl_sr", "gce_sr"), by_loss), lines=by_amount("loss.lam", "λ"), ordered=True
    ).figure(
        "Test accuracy by the weight lambda of sparse regularization (Zhou et al. 2021, Fig. 2)",
        "metrics.csv of runs with loss=ce_sr or fl_sr. seg-anl-classify -m loss=ce_sr loss.tau=1 loss.p=0.1 "
        "loss.rho=1 loss.lam=0.1,1,5,10,20,30 noise.rate=0.6, and loss=fl_sr",
    ),
    "sr-power": Curves(lines=sharpened(by_amount("loss.p", "p"), norm=True), ordered=True).figure(
        "Test accuracy by the power p of sparse regularization's norm (Zhou et al. 2021, Fig. 4a)",
        "metrics.csv of runs with loss=ce_sr and loss.lam above 0. seg-anl-classify -m loss=ce_sr loss.tau=1 "
        "loss.lam=5 loss.rho=1 loss.p=0.01,0.1,0.5,1 noise.rate=0.6",
    ),
    "sr-temperature": Curves(lines=sharpened(by_amount("loss.tau", "τ"), norm=False), ordered=True).figure(
        "Test accuracy by the temperature tau of output sharpening (Zhou et al. 2021, Fig. 4b)",
        "metrics.csv of runs with loss=ce_sr and loss.lam=0. seg-anl-classify -m loss=ce_sr loss.lam=0 "
        "loss.tau=0.01,0.1,0.5,1 noise.rate=0.6",
    ),
}
