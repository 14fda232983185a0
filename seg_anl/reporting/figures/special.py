"""Figures that are no curves over epochs: bars, boxes, densities, maps, masks, and the losses themselves."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.cbook import boxplot_stats
from matplotlib.figure import Figure as Drawing
from matplotlib.patches import Patch
from numpy.typing import NDArray

from seg_anl.records import UserError
from seg_anl.reporting.archives import read_text
from seg_anl.reporting.names import loss_name, number
from seg_anl.reporting.palette import method_color
from seg_anl.reporting.run_directories import Run

from . import by
from .drawing import (
    BLACK,
    BLUE,
    COLORS,
    DASHES,
    PAGE,
    VERMILLION,
    annotate,
    color_of,
    finish_panels,
    line_style,
    panels,
    seeds_text,
)
from .selection import Shapes, read_arrays, read_epoch, recorded_epochs, seeds_of_one_setting, wrong_labels

Cell = tuple[Any, by.Place, by.Place, list[Run]]


def _faceted(
    runs: list[Run], rows: by.Axis, columns: by.Axis, more: int = 0, **kw: Any
) -> tuple[Drawing, NDArray[Any], list[Cell]]:
    """Panels by two axes, and ``more`` columns: each panel that has runs with its row, its column and its seeds."""
    by_row, places = by.split(runs, rows), [*by.split(runs, columns)]
    drawing, grid = panels(len(by_row), len(places) + more, **kw)
    cells = []
    for line, (row, some) in zip(grid, by_row.items(), strict=True):
        for column, cell in by.split(some, columns).items():
            seeds = seeds_of_one_setting(cell, f"the panel {row.text!r}, {column.text!r}")
            cells.append((line[places.index(column)], row, column, seeds))
    return drawing, grid, cells


def _conditions(runs: list[Run]) -> str:
    return "; ".join(place.text for place in by.split(runs, by.condition))


# --- Ye et al. 2024, Fig. 2: how often each class is given, and how often it is predicted ---

CONFUSION = "noise/confusion.csv"
GIVEN, TRUE = "labels as given", "true labels"
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++")
MOST_BARS = 20  # classes; more are too narrow for bars and are drawn as points


def marginal_probabilities(runs: list[Run], notes: list[str]) -> Drawing:
    """Share of each class among the given training labels, and mean predicted probability on the training set.

    Predictions are those of the last epoch that has them. Over seeds: the mean, and a line from the lowest to the
    highest.
    """
    conditions, methods = by.split(runs, by.condition), by.split(runs, by.method)
    drawing, grid = panels(len(conditions), 1, height=2.0, width=PAGE, sharey=True)
    colors = {GIVEN: "#c8c8c8", **{method.text: color_of(some) for method, some in methods.items()}}
    handles: dict[str, Any] = {}
    counts = set()
    for axes, (condition, some) in zip(grid[:, 0], conditions.items(), strict=True):
        given, true = (np.array(shares) for shares in zip(*map(_label_shares, some), strict=True))
        groups = {GIVEN: given}
        for method, of_method in by.split(some, by.method).items():
            seeds = seeds_of_one_setting(of_method, f"the bars {method.text!r}")
            counts.add(len(seeds))
            groups[method.text] = np.array([_predicted_shares(run) for run in seeds])
        if len({group.shape[1] for group in groups.values()}) > 1:
            raise UserError(
                f"{some[0].path}: {CONFUSION} and the marginals in metrics.csv are about different numbers of classes"
            )
        x, width = np.arange(true.shape[1]), 0.84 / len(groups)
        for i, (name, values) in enumerate(groups.items()):
            place, beside = [*colors].index(name), x + (i - (len(groups) - 1) / 2) * width
            mean = 100 * values.mean(axis=0)
            if len(x) > MOST_BARS:
                marker = "os^DvP"[place % 6]
                (handles[name],) = axes.plot(beside, mean, color=colors[name], linestyle="none", marker=marker)
            else:
                looks = {"color": colors[name], "hatch": HATCHES[place % 6], "edgecolor": "white"}
                handles[name] = axes.bar(beside, mean, width, linewidth=0, **looks)
            if len(values) > 1:  # the mean of equal values may lie beside them by a rounding error
                low, high = 100 * values.min(axis=0), 100 * values.max(axis=0)
                spread = np.maximum((mean - low, high - mean), 0)
                axes.errorbar(beside, mean, spread, linestyle="none", ecolor="#303030", elinewidth=0.7)
        dash = {"color": BLACK, "linestyle": "none", "marker": "_"}
        (handles[TRUE],) = axes.plot(x, 100 * true.mean(axis=0), markersize=9, markeredgewidth=1.3, **dash)
        axes.grid(axis="x", visible=False)
        axes.set(title=condition.text, ylabel="share of the class (%)", xticks=x[:: max(1, len(x) // 20)])
    grid[-1, 0].set_xlabel("class")
    behind = seeds_text(counts, "bar", "lines")
    return annotate(drawing, handles, f"Predictions: mean probability on the training set at the end. {behind}")


def lacks_marginals(run: Run) -> str | None:
    """Why a run has no place in :func:`marginal_probabilities`."""
    if not run.has("train", "marginal_0"):
        return "has no train/marginal_0 in its metrics.csv: train it with evaluation.train_every=1, up to 100 classes"
    if not (run.folder / CONFUSION).is_file():
        return f"has no {CONFUSION}: it was trained without label noise, or the folder was not copied with it"
    return None


def _predicted_shares(run: Run) -> NDArray[np.float64]:
    classes = sum(name.startswith("marginal_") and run.has("train", name) for name in run.metrics)
    return np.array([run.curve("train", f"marginal_{k}").values[-1] for k in range(classes)])


def _label_shares(run: Run) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares of the classes among the given and among the true training labels: ``(K,)`` each."""
    path = run.folder / CONFUSION
    try:
        counts = pd.read_csv(io.StringIO(read_text(path)), index_col=0).to_numpy(np.float64)
        if counts.shape[0] != counts.shape[1] or not counts.sum() > 0 or counts.min() < 0:
            raise ValueError("expected a square table of counts")
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); delete the run's folder and train it again") from error
    return counts.sum(axis=0) / counts.sum(), counts.sum(axis=1) / counts.sum()


# --- Ye et al. 2024, Fig. 7: how hard NNCE pushes on clean and on mislabeled samples ---

GRADIENTS: Shapes = {"nnce": ("N",), "labels": ("N",), "clean": ("N",)}
MOST_EPOCHS = 8  # pairs of boxes that stay legible in a panel
# Fill, edge and shift: light against dark also in gray.
BOXES = {"right labels": ("#9ecae8", BLUE, -0.2), "wrong labels": (VERMILLION, "#7a3500", 0.2)}
MEAN = {"marker": "^", "markersize": 3.6, "mfc": "white", "mec": "black", "markeredgewidth": 0.6}


def nnce_gradients(runs: list[Run], notes: list[str]) -> Drawing:
    """Box plots of max over j != y of d NNCE / d p_j, right and wrong labels beside each other; seeds are pooled."""
    rows, columns = (by.condition, by.method) if len(by.split(runs, by.method)) > 1 else (by.method, by.condition)
    drawing, grid, cells = _faceted(runs, rows, columns, height=2.1, sharey=True)
    boxes: list[dict[str, Any]] = []
    for axes, row, column, seeds in cells:
        axes.set(title=f"{row.text}\n{column.text}" if rows is by.method else column.text, xlabel="epoch")
        boxes += _draw_boxes(axes, seeds)
        if axes is grid[0, 0] or len(grid) > 1:
            label = r"$\max_{j \neq y}\ \partial\,\mathrm{NNCE}\,/\,\partial\,p_j$"
            axes.set_ylabel(f"{row.text}\n{label}" if len(grid) > 1 and rows is by.condition else label)
    highest = max(max(box["mean"], box["whishi"]) for box in boxes)
    if highest > 50 * min(box["med"] for box in boxes):  # a linear scale would flatten all boxes
        lowest = min((box["q1"] for box in boxes if box["q1"] > 0), default=1.0)
        grid[0, 0].set_yscale("symlog", linthresh=10.0 ** np.floor(np.log10(lowest)), linscale=0.4)
        grid[0, 0].set_ylim(0, 2.5 * highest)
    counts = sorted({len(seeds) for *_, seeds in cells})
    pooled = f" {' or '.join(map(str, counts))} seeds pooled." if counts[-1] > 1 else ""
    return annotate(
        drawing,
        {name: Patch(facecolor=fill, edgecolor=edge) for name, (fill, edge, _) in BOXES.items()},
        f"{_conditions(runs)}. Training samples, not augmented.{pooled} Boxes: quartiles; whiskers: within 1.5 times "
        "the box; triangles: means; outliers not drawn.",
    )


def _draw_boxes(axes: Any, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Draw the boxes of one panel; returns their statistics."""
    shared = recorded_epochs(runs, "gradients")
    places = np.unique(np.linspace(0, len(shared) - 1, min(MOST_EPOCHS, len(shared))).round().astype(int))
    records = [[read_epoch(run, "gradients", shared[i], GRADIENTS) for run in runs] for i in places]
    drawn: list[dict[str, Any]] = []
    for name, (fill, edge, shift) in BOXES.items():
        wrong = name == "wrong labels"
        pooled = [np.concatenate([one["nnce"][wrong_labels(one) == wrong] for one in some]) for some in records]
        boxes = [boxplot_stats(values)[0] for values in pooled]
        edges = {"color": edge, "linewidth": 0.8}
        looks: dict[str, Any] = {
            **{"showfliers": False, "showmeans": True, "patch_artist": True, "manage_ticks": False, "widths": 0.34},
            **{"boxprops": {"facecolor": fill, "edgecolor": edge, "linewidth": 0.8}, "meanprops": MEAN},
            **{"medianprops": {"color": "black", "linewidth": 1.2}, "whiskerprops": edges, "capprops": edges},
        }
        axes.bxp(boxes, positions=np.arange(len(boxes)) + shift, **looks)
        drawn += boxes
    axes.set_xticks(range(len(places)), [str(shared[i] + 1) for i in places])
    axes.grid(axis="x", visible=False)
    return drawn


# --- Cui et al. 2022, Fig. 1: how probable the given labels are, and where the gradient comes from ---

PROBABILITIES: Shapes = {"softmax": ("N", "K"), "p_label": ("N",), "labels": ("N",), "clean": ("N",)}
EDGES = np.linspace(0.0, 1.0, 26)
RIGHT_AND_WRONG: dict[str, dict[str, Any]] = {
    "right labels": {"color": BLUE, "linestyle": DASHES[0]},
    "wrong labels": {"color": VERMILLION, "linestyle": DASHES[1]},
}


def target_probabilities(runs: list[Run], notes: list[str]) -> Drawing:
    """A panel for each method: densities of p_y of right and of wrong labels. The last panel: gradient densities.

    p_y is the probability of the given label, on the training set, at the recorded epoch nearest to half of the
    training, where the paper looks and the peaks of clean and noisy samples stand apart. The gradient density is the
    density of p_y over all samples times the mean L1 norm of the loss's gradient with respect to the logits. Seeds are
    pooled.
    """
    drawing, grid, cells = _faceted(runs, by.condition, by.method, more=1, height=2.1, sharex=True)
    methods = by.split(runs, by.method)
    styles = {m: line_style(i + 2, len(methods), color_of(some)) for i, (m, some) in enumerate(methods.items())}
    styles = {m: {"color": style["color"], "linestyle": style["linestyle"]} for m, style in styles.items()}
    shown: set[int] = set()
    for axes, condition, method, seeds in cells:
        middle = 0.5 * seeds[0].epochs - 1
        epoch = min(recorded_epochs(seeds[:1], "probabilities"), key=lambda epoch: (abs(epoch - middle), epoch))
        shown.add(epoch + 1)
        records = [read_epoch(run, "probabilities", epoch, PROBABILITIES) for run in seeds]
        pooled = {name: np.concatenate([one[name] for one in records]) for name in PROBABILITIES}
        line = axes.get_subplotspec().rowspan.start
        axes.set_title(method.text)
        for name, style in RIGHT_AND_WRONG.items():
            _draw_density(axes, pooled["p_label"][wrong_labels(pooled) == (name == "wrong labels")], style)
        if is_pointwise(by.name_of_loss(seeds[0])):
            loss = {name: value for name, value in seeds[0].config["loss"].items() if name != "dice_weight"}
            norms = values_and_gradients(loss.pop("name"), pooled["softmax"], pooled["labels"], **loss)[1]
            _draw_density(grid[line, -1], pooled["p_label"], styles[method], norms)
        else:
            notes.append(f"{method.text}: no gradient density, its loss is more than a function of the softmax")
        grid[line, 0].set_ylabel(f"{condition.text}\ndensity" if len(grid) > 1 else "density")
        grid[line, -1].set(title="gradient", ylabel=rf"density $\times$ {NORM}")
    finish_panels(grid, "$p_y$", whole=False)
    return annotate(
        drawing,
        {**RIGHT_AND_WRONG, **{f"gradient, {method.text}": style for method, style in styles.items()}},
        f"{_conditions(runs)}, epoch {' or '.join(map(str, sorted(shown)))}. $p_y$: probability of the given label; "
        "training samples, not augmented. The densities of right and of wrong labels each have area 1.",
    )


def _draw_density(axes: Any, values: NDArray[Any], style: Any, weights: NDArray[Any] | None = None) -> None:
    """Draw the histogram of ``values`` in [0, 1], per sample and unit of length."""
    if len(values):
        heights = np.histogram(values, EDGES, weights=weights)[0] / (len(values) * np.diff(EDGES))
        axes.stairs(heights, EDGES, baseline=None, linewidth=1.3, **style)
        axes.stairs(heights, EDGES, fill=True, alpha=0.12, color=style["color"], linewidth=0)


# --- Zhou et al. 2021, Figs. 1 and 5: what a network has learned to tell apart ---

FEATURES: Shapes = {"features": ("n", "D"), "labels": ("n",)}
MOST_SAMPLES, MOST_CLASSES = 2000, 10  # t-SNE takes seconds for these, minutes for all of MNIST
PERPLEXITY = 30.0
CLASS_COLORS = (*COLORS, "#8c6d31", "#332288")


def feature_maps(runs: list[Run], notes: list[str]) -> Drawing:
    """Rows by method, columns by noise: a t-SNE map of the test features after the last epoch, classes as numerals.

    Of several seeds the first is shown, of more than 2000 samples evenly spaced ones, and of many classes the first 10.
    """
    height = min(2.1, 6.6 / len(by.split(runs, by.condition)))
    drawing, grid, cells = _faceted(runs, by.method, by.condition, height=height, extra=0.45)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
    for axes, method, condition, seeds in cells:
        axes.set_title(condition.text)
        axes.set_ylabel(method.text)
        _draw_map(axes, seeds[0])
        if len(seeds) > 1:
            notes.append(f"{method.text}, {condition.text}: seed {seeds[0].seed} of {len(seeds)} is shown")
    return annotate(
        drawing,
        {},
        f"t-SNE (perplexity {PERPLEXITY:g}) of the last layer's inputs on the test set at the end; numerals are "
        "the true classes.",
    )


def _draw_map(axes: Any, run: Run) -> None:
    """Draw the map of one run; the same features give the same map."""
    from sklearn.manifold import TSNE  # takes a second to import, and only this figure needs it

    record = read_epoch(run, "features", recorded_epochs([run], "features")[-1], FEATURES)
    kept = np.flatnonzero(record["labels"] < MOST_CLASSES)
    if len(kept) < 4:
        raise UserError(f"{run.path}: records/features has {len(kept)} samples to map; t-SNE needs at least 4")
    kept = kept[np.linspace(0, len(kept) - 1, min(len(kept), MOST_SAMPLES)).round().astype(int)]
    perplexity = min(PERPLEXITY, (len(kept) - 1) / 3)
    plan = TSNE(perplexity=perplexity, init="pca", learning_rate="auto", random_state=0)
    places, labels = plan.fit_transform(record["features"][kept].astype(np.float64)), record["labels"][kept]
    for k in np.unique(labels):
        size = 14.0 if len(kept) <= 500 else 7.0
        axes.scatter(*places[labels == k].T, s=size, marker=f"${k}$", color=CLASS_COLORS[k], linewidths=0.2)


# --- Ye et al. 2024, Fig. 6: what a network makes of wrong masks ---

MASKS_FILE = "records/masks.npz"
MASKS = {"truth": "true mask", "noisy": "noisy mask", "predicted": "prediction"}
# RGB images (uint8) that the network was trained on with a wrong mask, and their masks as class indices.
MASK_ARRAYS: Shapes = {
    "images": ("n", "H", "W", "channels"),
    **dict.fromkeys(MASKS, ("n", "H", "W")),
    **dict.fromkeys(("kinds", "items"), ("n",)),
}
KINDS = {"affine": "affine", "dilate": "dilated", "erode": "eroded"}
OF_EACH = 2


def predicted_masks(runs: list[Run], notes: list[str]) -> Drawing:
    """Columns: two images of each kind of noise; rows: image, true mask, noisy mask and prediction with its Dice.

    One run is drawn: the first by path. The outline of the true mask lies over the other masks.
    """
    run, *others = runs
    path = run.folder / MASKS_FILE
    record = read_arrays(path, "masks", MASK_ARRAYS)
    if record["images"].shape[3] != 3 or record["images"].dtype != np.uint8:
        raise UserError(f"{path}: images are {record['images'].dtype} {record['images'].shape}, expected uint8 RGB")
    chosen = [i for kind in KINDS for i in np.flatnonzero(record["kinds"] == kind)[:OF_EACH]]
    if not chosen:
        raise UserError(f"{path}: none of its masks is of a kind among {', '.join(KINDS)}")
    drawing, grid = panels(4, len(chosen), height=PAGE / max(6, len(chosen)), extra=0.65, width=PAGE)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
    for column, i in zip(grid.T, chosen, strict=True):
        column[0].imshow(record["images"][i], interpolation="nearest")
        column[0].set_title(KINDS[str(record["kinds"][i])])
        truth = record["truth"][i] > 0
        for axes, name in zip(column[1:], MASKS, strict=True):
            mask = record[name][i] > 0
            axes.imshow(mask, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            if name != "truth":
                axes.set_xlabel(f"Dice {dice(mask, truth):.2f}")
            if name != "truth" and truth.any():  # padded, so that a mask that touches the edge has an outline there
                rows, columns = (np.arange(-1, length + 1) for length in truth.shape)
                axes.contour(columns, rows, np.pad(truth, 1), levels=[0.5], colors=[BLUE], linewidths=1.2)
    for axes, name in zip(grid[:, 0], ("image", *MASKS.values()), strict=True):
        axes.set_ylabel(name)
    if others:
        notes.append(f"{run.path} is shown; {len(others)} more run(s) with masks are not")
    return annotate(
        drawing,
        {},
        f"{by.method(run).text}, {by.condition(run).text}, seed {run.seed}, {run.epochs} epochs; training images. "
        "Blue: outline of the true mask; Dice against it.",
    )


def dice(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Dice of two masks ``(H, W)``; 1 when both are empty.

    >>> dice(np.array([[True, False]]), np.array([[True, True]]))
    0.6666666666666666
    """
    total = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / total if total else 1.0


def lacks_masks(run: Run) -> str | None:
    """Why a run has no place in :func:`predicted_masks`."""
    return None if (run.folder / MASKS_FILE).is_file() else f"has no {MASKS_FILE}: train it with record=[masks]"


# --- Cui et al. 2022, Figs. 2 and 3: losses and gradients against the probability of the label; no run ---

CLASSES = 10  # of no influence: all losses shown are functions of p_y alone
EQUAL_LOSSES: list[tuple[str, dict[str, float]]] = [("el", {"epsilon": epsilon}) for epsilon in (0.1, 0.5, 2.0)]
SHOWN: list[tuple[str, dict[str, float]]] = [("ce", {}), *EQUAL_LOSSES, ("gce", {"q": 0.7}), ("mae", {})]
LABEL = r"probability $p_y$ of the given label"
NORM = r"$\|\partial L / \partial z\|_1$"


def is_pointwise(name: str) -> bool:
    """Whether a loss is a function of each sample's softmax alone."""
    from seg_anl.losses import PointwiseLoss, build_loss  # torch, which no other figure needs

    return isinstance(build_loss(name), PointwiseLoss)


def values_and_gradients(
    name: str, probabilities: NDArray[np.floating], labels: NDArray[np.integer], **parameters: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A loss and the L1 norm of its gradient with respect to the logits, for each sample: two arrays ``(N,)``.

    The loss is a function of each sample's softmax: ``probabilities`` ``(N, K)``, of which zeros count as the smallest
    number of float16, for ``labels`` ``(N,)``.
    """
    import torch

    from seg_anl.losses import build_loss

    smallest = float(np.finfo(np.float16).smallest_subnormal)
    logits = torch.from_numpy(probabilities.astype(np.float64)).clamp(min=smallest).log().requires_grad_()
    values = build_loss(name, reduction="none", **parameters)(logits, torch.from_numpy(labels.astype(np.int64)))
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    return values.detach().double().numpy(), gradient.abs().sum(dim=1).double().numpy()


def probabilities() -> NDArray[np.float64]:
    """The values of p_y: closely spaced near 0, where CE is steep."""
    return np.concatenate((np.geomspace(1e-3, 0.04, 40), np.linspace(0.05, 0.995, 96)))


def curves_of_losses() -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64], dict[str, Any]]]:
    """Values, gradient norms (at :func:`probabilities`) and looks of each loss; MAE is EL's limit of large epsilon."""
    p = probabilities()
    softmax = np.tile(((1 - p) / (CLASSES - 1))[:, None], (1, CLASSES))
    softmax[:, 0] = p
    found = {}
    for i, (name, parameters) in enumerate(SHOWN):
        given = [f"{'ε' if key == 'epsilon' else key} = {number(value)}" for key, value in parameters.items()]
        looks = line_style(i, len(SHOWN), method_color({"loss": {"name": name}}).light)
        values, norms = values_and_gradients(name, softmax, np.zeros(len(p), np.int64), **parameters)
        found[", ".join([loss_name({"name": name}), *given])] = (
            values,
            norms,
            {**looks, "markevery": (42 + 3 * i, 22)},
        )
    return found


def loss_curves(_: list[Run], __: list[str]) -> Drawing:
    """CE, EL, GCE and MAE against p_y."""
    drawing, ((axes,),) = panels(1, 1, height=2.3)
    curves = curves_of_losses()
    for values, _norms, looks in curves.values():
        axes.plot(probabilities(), values, **looks)
    axes.set(ylim=(0, 5), xlabel=LABEL, ylabel="loss")
    return annotate(drawing, dict(zip(curves, axes.get_lines(), strict=True)))


def gradient_curves(_: list[Run], __: list[str]) -> Drawing:
    """L1 norm of the gradient with respect to the logits (left), and its ratio to that of CE (right), against p_y."""
    drawing, ((left, right),) = panels(1, 2, height=2.3, sharex=True)
    curves = curves_of_losses()
    for _values, norms, looks in curves.values():
        left.plot(probabilities(), norms, **looks)
        right.plot(probabilities(), norms / curves["CE"][1], **looks)
    for axes, label in ((left, NORM), (right, f"{NORM}, relative to CE")):
        axes.set(xlabel=LABEL, ylabel=label)
        axes.set_ylim(bottom=0)
    legend = dict(zip(curves, left.get_lines(), strict=True))
    return annotate(drawing, legend, "Values and gradients of this project's losses themselves.")
