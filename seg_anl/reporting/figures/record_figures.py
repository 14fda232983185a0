"""Figures from what trainers keep beside metrics.csv: gradients, probabilities, features, masks, confusion matrices."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cbook import boxplot_stats
from matplotlib.figure import Figure as Drawing
from matplotlib.patches import Patch
from numpy.typing import NDArray

from seg_anl.records import UserError
from seg_anl.reporting.archives import read_text
from seg_anl.reporting.run_directories import Run

from .accuracy_curves import TEST, lacks_metric, series
from .drawing import (
    BLACK,
    BLUE,
    COLORS,
    DASHES,
    PAGE,
    VERMILLION,
    Figure,
    color_of,
    drawn_band,
    finish_panels,
    legend_and_caption,
    line_style,
    panels,
)
from .loss_shapes import is_pointwise, values_and_gradients
from .recorded_arrays import (
    Arrays,
    Shapes,
    lacks_record,
    read_arrays,
    read_epoch,
    recorded_epochs,
    shared_epochs,
    wrong_labels,
)
from .run_selection import (
    Place,
    by_condition,
    by_method,
    loss_of,
    seeds_of_one_setting,
    seeds_text,
    setting,
    split_by,
)


def _names(places: dict[Place, list[Run]]) -> str:
    return "; ".join(place.text for place in places)


# --- Ye et al. 2024, Fig. 2: how often each class is given, and how often it is predicted ---

CONFUSION = "noise/confusion.csv"
GIVEN, TRUE = "labels as given", "true labels"
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++")
MOST_BARS = 20  # classes; more are too narrow for bars and are drawn as points


def marginal_probabilities(runs: list[Run], notes: list[str]) -> Drawing:
    """Share of each class among the given training labels, and mean predicted probability on the training set.

    Predictions are those of the last epoch with such columns. Over seeds: the mean, and a line from the lowest to the
    highest.
    """
    conditions, methods = split_by(runs, by_condition), split_by(runs, by_method)
    drawing, grid = panels(len(conditions), 1, height=2.0, width=PAGE, sharey=True)
    colors = {GIVEN: "#c8c8c8", **{method.text: color_of(some) for method, some in methods.items()}}
    handles: dict[str, Any] = {}
    counts = set()
    for axes, (condition, some) in zip(grid[:, 0], conditions.items(), strict=True):
        labels = [_label_shares(run) for run in some]
        groups = {GIVEN: np.array([given for given, _ in labels])}
        for method, of_method in split_by(some, by_method).items():
            seeds = seeds_of_one_setting(of_method, f"the bars {method.text!r}")
            counts.add(len(seeds))
            groups[method.text] = np.array([_predicted_shares(run) for run in seeds])
        if len({group.shape[1] for group in groups.values()}) > 1:
            raise UserError(
                f"{some[0].path}: {CONFUSION} and the marginals in metrics.csv are about different numbers of classes"
            )
        for i, (name, values) in enumerate(groups.items()):
            handles[name] = _draw_shares(axes, values, (i, len(groups)), colors[name], [*colors].index(name))
        true = 100 * np.array([true for _, true in labels]).mean(axis=0)
        style = {"color": BLACK, "linestyle": "none", "marker": "_", "markersize": 9, "markeredgewidth": 1.3}
        axes.grid(axis="x", visible=False)
        axes.set_xticks(range(0, len(true), max(1, len(true) // 20)))
        (handles[TRUE],) = axes.plot(np.arange(len(true)), true, **style)
        axes.set(title=condition.text, ylabel="share of the class (%)")
    grid[-1, 0].set_xlabel("class")
    behind = seeds_text(counts, "bar", "lines")
    legend_and_caption(drawing, handles, f"Predictions: mean probability on the training set at the end. {behind}")
    return drawing


def _lacks_marginals(run: Run) -> str | None:
    if not run.has("train", "marginal_0"):
        return "has no train/marginal_0 in its metrics.csv: train it with evaluation.train_every=1, up to 100 classes"
    if not (run.folder / CONFUSION).is_file():
        return f"has no {CONFUSION}: it was trained without label noise, or the folder was not copied with it"
    return None


def _predicted_shares(run: Run) -> NDArray[np.float64]:
    """Mean predicted probability of each class on the training set, ``(K,)``, at the last epoch that has it."""
    classes = sum(name.startswith("marginal_") and run.has("train", name) for name in run.metrics)
    return np.array([run.curve("train", f"marginal_{k}").values[-1] for k in range(classes)])


def _label_shares(run: Run) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares of the classes among the given and among the true training labels: ``(K,)`` each."""
    path = run.folder / CONFUSION
    try:
        rows = [[int(cell) for cell in row[1:]] for row in [*csv.reader(read_text(path).splitlines())][1:]]
        counts = np.array(rows, dtype=np.float64)
        if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.sum() <= 0 or counts.min() < 0:
            raise ValueError("expected a square table of counts")
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: damaged ({error}); delete the run's folder and train it again") from error
    return counts.sum(axis=0) / counts.sum(), counts.sum(axis=1) / counts.sum()


def _draw_shares(axes: Axes, values: NDArray[np.float64], beside: tuple[int, int], color: str, place: int) -> Any:
    """Draw one group ``(runs, K)``, the first of ``beside`` the second of which share each class's room."""
    i, count = beside
    width = 0.84 / count
    x = np.arange(values.shape[1]) + (i - (count - 1) / 2) * width
    mean = 100 * values.mean(axis=0)
    # The mean of equal values may lie beside them by a rounding error.
    spread = np.maximum((mean - 100 * values.min(axis=0), 100 * values.max(axis=0) - mean), 0)
    handle: Any
    if values.shape[1] > MOST_BARS:
        (handle,) = axes.plot(x, mean, color=color, linestyle="none", marker="os^DvP"[place % 6])
    else:
        hatch = HATCHES[place % len(HATCHES)]
        handle = axes.bar(x, mean, width, color=color, hatch=hatch, edgecolor="white", linewidth=0)
    if len(values) > 1:
        axes.errorbar(x, mean, spread, linestyle="none", ecolor="#303030", elinewidth=0.7)
    return handle


# --- Ye et al. 2024, Fig. 7: how hard NNCE pushes on clean and on mislabeled samples ---

GRADIENTS: Shapes = {"nnce": ("N",), "labels": ("N",), "clean": ("N",)}
MOST_EPOCHS = 8  # pairs of boxes that stay legible in a panel
# Fill, edge and shift: light against dark also in gray.
BOXES = {"right labels": ("#9ecae8", BLUE, -0.2), "wrong labels": (VERMILLION, "#7a3500", 0.2)}
MEAN = {"marker": "^", "markersize": 3.6, "markerfacecolor": "white", "markeredgecolor": "black"}


def nnce_gradients(runs: list[Run], notes: list[str]) -> Drawing:
    """Box plots of max over j != y of d NNCE / d p_j, right and wrong labels beside each other, over the epochs.

    Boxes are quartiles, whiskers reach the last sample within 1.5 times the box, triangles are means; outliers are not
    drawn. Seeds are pooled.
    """
    conditions = split_by(runs, by_condition)
    cells = [
        (f"{method.text}\n{condition.text}" if len(conditions) > 1 else method.text, of_method)
        for condition, some in conditions.items()
        for method, of_method in split_by(some, by_method).items()
    ]
    width = min(len(cells), 3)
    drawing, grid = panels(-(-len(cells) // width), width, height=2.1, sharey=True)
    counts: set[int] = set()
    boxes: list[dict[str, Any]] = []
    for axes, (title, some) in zip(grid.flat, cells, strict=False):
        seeds = seeds_of_one_setting(some, f"the panel {title!r}")
        counts.add(len(seeds))
        axes.set_title(title)
        boxes += _draw_boxes(axes, seeds)
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel(r"$\max_{j \neq y}\ \partial\,\mathrm{NNCE}\,/\,\partial\,p_j$")
    for axes in grid.flat[len(cells) :]:
        axes.set_axis_off()
    highest = max(max(box["mean"], box["whishi"]) for box in boxes)
    if highest > 50 * min(box["med"] for box in boxes):  # a linear scale would flatten all boxes
        lowest = min((box["q1"] for box in boxes if box["q1"] > 0), default=1.0)
        grid[0, 0].set_yscale("symlog", linthresh=10.0 ** np.floor(np.log10(lowest)), linscale=0.4)
        grid[0, 0].set_ylim(0, 2.5 * highest)
    pooled = f" {' or '.join(map(str, sorted(counts)))} seeds pooled." if max(counts) > 1 else ""
    where = f"{_names(conditions)}. " if len(conditions) == 1 else ""  # else the titles say it
    legend_and_caption(
        drawing,
        {name: Patch(facecolor=fill, edgecolor=edge) for name, (fill, edge, _) in BOXES.items()},
        f"{where}Training samples, not augmented.{pooled} Boxes: quartiles; whiskers: within 1.5 times the box; "
        "triangles: means; outliers not drawn.",
    )
    return drawing


def _draw_boxes(axes: Axes, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Draw the boxes of one panel; returns their statistics."""
    shared = shared_epochs(runs, "gradients")
    places = np.unique(np.linspace(0, len(shared) - 1, min(MOST_EPOCHS, len(shared))).round().astype(int))
    records = [[read_epoch(run, "gradients", shared[i], GRADIENTS) for run in runs] for i in places]
    drawn: list[dict[str, Any]] = []
    for name, (fill, edge, shift) in BOXES.items():
        wrong = name == "wrong labels"
        pooled = [np.concatenate([one["nnce"][wrong_labels(one) == wrong] for one in some]) for some in records]
        boxes = [boxplot_stats(values)[0] for values in pooled]
        drawn += boxes
        axes.bxp(
            boxes,
            positions=np.arange(len(boxes)) + shift,
            widths=0.34,
            showfliers=False,
            showmeans=True,
            patch_artist=True,
            manage_ticks=False,
            boxprops={"facecolor": fill, "edgecolor": edge, "linewidth": 0.8},
            medianprops={"color": "black", "linewidth": 1.2},
            whiskerprops={"color": edge, "linewidth": 0.8},
            capprops={"color": edge, "linewidth": 0.8},
            meanprops={**MEAN, "markeredgewidth": 0.6},
        )
    axes.set_xticks(range(len(places)), [str(shared[i] + 1) for i in places])
    axes.set_xlabel("epoch")
    axes.grid(axis="x", visible=False)
    return drawn


# --- Zhou et al. 2021, Fig. 3: how many outputs are as good as one-hot ---

PROBABILITIES: Shapes = {"softmax": ("N", "K"), "p_label": ("N",), "labels": ("N",), "clean": ("N",)}
TEMPERATURE, CLOSENESS = 0.1, 0.01  # tau of the paper's Section 3.1, and how near to 1 the largest output must be


def sparse_rate(probabilities: NDArray[np.floating]) -> float:
    """Share of samples whose output, sharpened with tau = 0.1, has an entry above 0.99.

    The softmax of z / tau is softmax(z) to the power of 1 / tau, normalized, so the recorded softmax ``(N, K)`` is
    enough. Only classes within 0.63 of the largest decide, where float16 is exact to a thousandth.

    Reference: Zhou et al., Learning with Noisy Labels via Sparse Regularization, ICCV 2021, Section 3.1.
    """
    relative = probabilities.astype(np.float64) / probabilities.max(axis=1, keepdims=True)
    largest = 1 / (relative ** (1 / TEMPERATURE)).sum(axis=1)
    return float((largest > 1 - CLOSENESS).mean())


def sparse_rates(runs: list[Run], notes: list[str]) -> Drawing:
    """Sparse rate of the training samples (left) and test accuracy (right) over the epochs, a line for each method."""
    conditions, methods = split_by(runs, by_condition), split_by(runs, by_method)
    styles = {method: line_style(i, len(methods), color_of(some)) for i, (method, some) in enumerate(methods.items())}
    drawing, grid = panels(len(conditions), 2, height=2.1, sharex=True)
    counts = set()
    for row, (condition, some) in zip(grid, conditions.items(), strict=True):
        for axes, name in zip(row, ("sparse rate", "test accuracy"), strict=True):
            axes.set_title(condition.text if len(conditions) > 1 else "")
            axes.set(ylabel=f"{name} (%)", ylim=(-3, 103))
        for place, (method, of_method) in enumerate(split_by(some, by_method).items()):
            seeds = seeds_of_one_setting(of_method, f"the line {method.text!r}")
            counts.add(len(seeds))
            epochs = shared_epochs(seeds, "probabilities")
            rates = [[sparse_rate(_softmax(run, epoch)) for epoch in epochs] for run in seeds]
            drawn_band(row[0], np.array(epochs), np.array(rates), place, len(methods), **styles[method])
            drawn_band(row[1], *series(seeds, TEST), place, len(methods), **styles[method])
    finish_panels(grid, "epoch")
    legend_and_caption(
        drawing,
        {method.text: style for method, style in styles.items()},
        f"{_names(conditions)}. Sparse rate: share of training samples whose largest output, sharpened with τ = 0.1, "
        f"is above 0.99. {seeds_text(counts)}",
    )
    normalized = [run.path for run in runs if setting(run, "loss.normalize") is True]
    if normalized:
        notes.append(
            f"{normalized[0]} was trained on normalized outputs (loss.normalize=true); its sparse rate is that of "
            "the outputs as they are, which the paper's figure (MNIST, not normalized) is about"
        )
    return drawing


def _softmax(run: Run, epoch: int) -> NDArray[np.floating]:
    return read_epoch(run, "probabilities", epoch, {"softmax": PROBABILITIES["softmax"]})["softmax"]


# --- Cui et al. 2022, Fig. 1: how probable the given labels are, and where the gradient comes from ---

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
    conditions, methods = split_by(runs, by_condition), split_by(runs, by_method)
    styles = {
        method: {**line_style(i + 2, len(methods), color_of(some)), "marker": None}
        for i, (method, some) in enumerate(methods.items())
    }
    for style in styles.values():
        del style["marker"]
    drawing, grid = panels(len(conditions), len(methods) + 1, height=2.1, sharex=True)
    shown: set[int] = set()
    for line, (condition, some) in zip(grid, conditions.items(), strict=True):
        for method, of_method in split_by(some, by_method).items():
            seeds = seeds_of_one_setting(of_method, f"the panel {method.text!r}")
            middle = 0.5 * seeds[0].epochs - 1
            epoch = min(recorded_epochs(seeds[0], "probabilities"), key=lambda epoch: (abs(epoch - middle), epoch))
            shown.add(epoch + 1)
            records = [read_epoch(run, "probabilities", epoch, PROBABILITIES) for run in seeds]
            pooled = {name: np.concatenate([one[name] for one in records]) for name in PROBABILITIES}
            axes = line[[*methods].index(method)]
            axes.set_title(method.text)
            for name, style in RIGHT_AND_WRONG.items():
                values = pooled["p_label"][wrong_labels(pooled) == (name == "wrong labels")]
                if len(values):
                    _draw_density(axes, values, **style)
            if is_pointwise(loss_of(seeds[0])):
                norms = _gradient_norms(seeds[0], pooled)
                _draw_density(line[-1], pooled["p_label"], norms, **styles[method])
            else:
                notes.append(f"{method.text}: no gradient density, its loss is more than a function of the softmax")
        line[0].set_ylabel(f"{condition.text}\ndensity" if len(conditions) > 1 else "density")
        line[-1].set(title="gradient", ylabel=r"density $\times\ \|\partial L / \partial z\|_1$")
    finish_panels(grid, "$p_y$", whole=False)
    legend_and_caption(
        drawing,
        {**RIGHT_AND_WRONG, **{f"gradient, {method.text}": style for method, style in styles.items()}},
        f"{_names(conditions)}, epoch {' or '.join(map(str, sorted(shown)))}. $p_y$: probability of the given label; "
        "training samples, not augmented. The densities of right and of wrong labels each have area 1.",
    )
    return drawing


def _gradient_norms(run: Run, record: Arrays) -> NDArray[np.float64]:
    loss = {name: value for name, value in run.config["loss"].items() if name not in ("name", "dice_weight")}
    return values_and_gradients(loss_of(run), record["softmax"], record["labels"], **loss)[1]


def _draw_density(
    axes: Axes, values: NDArray[Any], weights: NDArray[Any] | None = None, /, *, color: str, linestyle: Any
) -> None:
    """Draw the histogram of ``values`` in [0, 1], per sample and unit of length."""
    heights = np.histogram(values, EDGES, weights=weights)[0] / (len(values) * np.diff(EDGES))
    axes.stairs(heights, EDGES, baseline=None, linewidth=1.3, color=color, linestyle=linestyle)
    axes.stairs(heights, EDGES, fill=True, alpha=0.12, color=color, linewidth=0)


# --- Zhou et al. 2021, Figs. 1 and 5: what a network has learned to tell apart ---

FEATURES: Shapes = {"features": ("n", "D"), "labels": ("n",)}
MOST_SAMPLES, MOST_CLASSES = 2000, 10  # t-SNE takes seconds for these, minutes for all of MNIST
PERPLEXITY = 30.0
CLASS_COLORS = (*COLORS, "#8c6d31", "#332288")


def feature_maps(runs: list[Run], notes: list[str]) -> Drawing:
    """Rows by method, columns by noise: a t-SNE map of the test features after the last epoch, classes as numerals.

    Of several seeds the first is shown, of more than 2000 samples evenly spaced ones, and of many classes the first 10.
    """
    columns, rows = [*split_by(runs, by_condition)], split_by(runs, by_method)
    drawing, grid = panels(len(rows), len(columns), height=min(2.1, 6.6 / len(columns)), extra=0.45)
    for axes, column in zip(grid[0], columns, strict=True):
        axes.set_title(column.text)
    for line, (method, some) in zip(grid, rows.items(), strict=True):
        cells = split_by(some, by_condition)
        line[0].set_ylabel(method.text)
        for axes, column in zip(line, columns, strict=True):
            axes.set(xticks=[], yticks=[])
            if column in cells:
                seeds = seeds_of_one_setting(cells[column], f"the panel {method.text!r}, {column.text!r}")
                _draw_map(axes, seeds[0])
                if len(seeds) > 1:
                    notes.append(f"{method.text}, {column.text}: seed {seeds[0].seed} of {len(seeds)} is shown")
    legend_and_caption(
        drawing,
        {},
        f"t-SNE (perplexity {PERPLEXITY:g}) of the last layer's inputs on the test set at the end; numerals are "
        "the true classes.",
    )
    return drawing


def _draw_map(axes: Axes, run: Run) -> None:
    """Draw the map of one run; the same features give the same map."""
    from sklearn.manifold import TSNE  # takes a second to import, and only this figure needs it

    record = read_epoch(run, "features", recorded_epochs(run, "features")[-1], FEATURES)
    kept = np.flatnonzero(record["labels"] < MOST_CLASSES)
    if len(kept) < 4:
        raise UserError(f"{run.path}: records/features has {len(kept)} samples to map; t-SNE needs at least 4")
    kept = kept[np.linspace(0, len(kept) - 1, min(len(kept), MOST_SAMPLES)).round().astype(int)]
    perplexity = min(PERPLEXITY, (len(kept) - 1) / 3)
    plan = TSNE(perplexity=perplexity, init="pca", learning_rate="auto", random_state=0)
    places, labels = plan.fit_transform(record["features"][kept].astype(np.float64)), record["labels"][kept]
    size = 14.0 if len(kept) <= 500 else 7.0
    for k in np.unique(labels):
        x, y = places[labels == k].T
        axes.scatter(x, y, s=size, marker=f"${k}$", color=CLASS_COLORS[k], linewidths=0.2, label=str(k))


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
                _outline(axes, truth)
                axes.set_xlabel(f"Dice {dice(mask, truth):.2f}")
    for axes, name in zip(grid[:, 0], ("image", *MASKS.values()), strict=True):
        axes.set_ylabel(name)
    legend_and_caption(
        drawing,
        {},
        f"{by_method(run).text}, {by_condition(run).text}, seed {run.seed}, {run.epochs} epochs; training images. "
        "Blue: outline of the true mask; Dice against it.",
    )
    if others:
        notes.append(f"{run.path} is shown; {len(others)} more run(s) with masks are not")
    return drawing


def dice(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Dice of two masks ``(H, W)``; 1 when both are empty.

    >>> dice(np.array([[True, False]]), np.array([[True, True]]))
    0.6666666666666666
    """
    total = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / total if total else 1.0


def _lacks_masks(run: Run) -> str | None:
    return None if (run.folder / MASKS_FILE).is_file() else f"has no {MASKS_FILE}: train it with record=[masks]"


def _outline(axes: Axes, mask: NDArray[np.bool_]) -> None:
    inside = np.pad(mask, 1)  # so that a mask that touches the edge has an outline there
    if mask.any():
        rows, columns = (np.arange(length) - 1 for length in inside.shape)
        axes.contour(columns, rows, inside, levels=[0.5], colors=[BLUE], linewidths=1.2)


RECORD_FIGURES: dict[str, Figure] = {
    "marginals": Figure(
        "Share of each class among the labels, and mean predicted probability of each (Ye et al. 2024, Fig. 2)",
        "metrics.csv with train/marginal_k, and noise/confusion.csv. "
        "seg-anl-classify -m loss=anl_ce,anl_ce_er noise=asymmetric noise.rate=0.4 data=cifar10",
        marginal_probabilities,
        _lacks_marginals,
    ),
    "nnce-gradients": Figure(
        "Gradient of NNCE on samples with right and with wrong labels, over the epochs (Ye et al. 2024, Fig. 7)",
        "records/gradients. seg-anl-classify -m loss=anl_ce noise.rate=0.6,0.8 record=[gradients] record_every=5",
        nnce_gradients,
        lacks_record("gradients"),
    ),
    "masks": Figure(
        "Images with true, noisy and predicted masks under the three noises (Ye et al. 2024, Fig. 6)",
        "records/masks.npz. seg-anl-train loss=anl_ce noise.alpha=0.7 noise.beta=0.7 preset=small record=[masks]",
        predicted_masks,
        _lacks_masks,
    ),
    "sparse-rate": Figure(
        "Share of one-hot outputs and test accuracy, with and without sparse regularization (Zhou et al. 2021, Fig. 3)",
        "records/probabilities and metrics.csv. seg-anl-classify -m loss=ce,focal,gce noise.rate=0.8 "
        "record=[probabilities] record_every=1; and loss=ce_sr loss.tau=0.1 loss.normalize=false",
        sparse_rates,
        lambda run: lacks_metric(run, TEST) or lacks_record("probabilities")(run),
    ),
    "features": Figure(
        "t-SNE maps of learned features by method and noise (Zhou et al. 2021, Figs. 1 and 5)",
        "records/features. seg-anl-classify -m loss=ce,ce_sr noise.rate=0,0.4,0.8 record=[features]",
        feature_maps,
        lacks_record("features"),
    ),
    "target-probability": Figure(
        "Density of the given label's probability for right and wrong labels, and of the gradient "
        "(Cui et al. 2022, Fig. 1)",
        "records/probabilities. seg-anl-classify -m loss=ce,el noise.rate=0.4 record=[probabilities] record_every=5",
        target_probabilities,
        lacks_record("probabilities"),
    ),
}
