"""Figures of other records than accuracies (bars, boxes, densities, maps, masks), and of losses."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure as Drawing
from matplotlib.scale import SymmetricalLogScale
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from seg_anl.records import UserError
from seg_anl.reporting.archives import read_text
from seg_anl.reporting.names import loss_name, number
from seg_anl.reporting.palette import method_color
from seg_anl.reporting.run_directories import Run

from . import drawing
from .drawing import BLACK, BLUE, VERMILLION, annotate, colors_of, finish, layout, seeds_text
from .facets import PANEL, condition, conditions_text, loss_of, method
from .records import MASKS_FILE, Arrays, pooled, read_arrays, read_epoch, recorded_epochs, shared_epochs

CORRECT_AND_WRONG = ("correct labels", "wrong labels")

# --- Ye et al. 2024, Fig. 2: frequency of each class among labels and predictions ---

CONFUSION = "noise/confusion.csv"
GIVEN, TRUE = "given labels", "true labels"


def marginal_probabilities(placed: pd.DataFrame, notes: list[str]) -> Drawing:
    """Share of each class among the given training labels, and mean predicted probability on the training set.

    Predictions are those of the last recorded epoch. Bars are means over seeds, with a line from the lowest to the
    highest seed.
    """
    bars = pd.concat([_shares(entry.run).assign(row=entry.row, line=entry.line) for entry in placed.itertuples()])
    bars["bar"] = bars["bar"].where(bars["bar"] != "", bars["line"])
    bars = bars.assign(column="").astype(placed.dtypes[PANEL].to_dict())
    palette = {GIVEN: "#c8c8c8", **colors_of(placed, "line")}
    grid = sns.catplot(
        bars[bars["bar"] != TRUE],
        kind="bar",
        **{"x": "class", "y": "share", "hue": "bar", "hue_order": [*palette], "palette": palette},
        **{"errorbar": drawing.LOW_TO_HIGH, "err_kws": {"color": "#303030", "linewidth": 0.7}},
        **layout(placed, height=2.0, width=drawing.PAGE),
    )
    true = bars[bars["bar"] == TRUE].groupby(["row", "class"], observed=True)["share"].mean()
    for row, axes in zip(placed["row"].cat.categories, grid.axes.flat, strict=True):
        axes.plot(true[row], "_", color=BLACK, markersize=9, markeredgewidth=1.3, label=TRUE)
        axes.xaxis.set_major_locator(MaxNLocator(20, integer=True))
    seeds = seeds_text(placed, "bar", "lines")
    caption = f"Predictions: mean probability on the training set after training; dashes: true labels. {seeds}"
    return finish(grid, f"{conditions_text(placed)}. {caption}", "class", "share of the class (%)", drawing.PAGE)


def lacks_marginals(run: Run) -> str | None:
    """Why a run cannot be drawn by :func:`marginal_probabilities`; None if it can."""
    if run.curve("train", "marginal_0").empty:
        return "has no train/marginal_0 in its metrics.csv: train it with evaluation.train_every=1, up to 100 classes"
    if not (run.folder / CONFUSION).is_file():
        return f"has no {CONFUSION}: it was trained without label noise, or the file was not copied"
    return None


def _shares(run: Run) -> pd.DataFrame:
    """Shares of the classes among given labels, true labels and predictions (unnamed), in percent."""
    path = run.folder / CONFUSION
    last = run.metrics[run.metrics["split"] == "train"].filter(regex=r"^marginal_\d+$").dropna(how="all").iloc[-1]
    try:
        counts = pd.read_csv(io.StringIO(read_text(path)), index_col=0).to_numpy(np.float64)
        if counts.shape[0] != counts.shape[1] or not counts.sum() > 0 or counts.min() < 0:
            raise ValueError("expected a square table of counts")
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); delete the run's folder and train it again") from error
    if len(counts) != len(last):
        raise UserError(f"{path} and the marginals in metrics.csv have different numbers of classes")
    shares = {GIVEN: counts.sum(axis=0) / counts.sum(), TRUE: counts.sum(axis=1) / counts.sum(), "": last.to_numpy()}
    return (
        (100 * pd.DataFrame(shares))
        .melt(var_name="bar", value_name="share", ignore_index=False)
        .reset_index(names="class")
    )


# --- Ye et al. 2024, Fig. 7: gradients of NNCE on clean and mislabeled samples ---

MAX_EPOCHS = 8  # pairs of boxes per panel


def nnce_gradients(placed: pd.DataFrame, notes: list[str]) -> Drawing:
    """Box plots of max over j != y of d NNCE / d p_j for correct and wrong labels; seeds are pooled."""
    frame = _in_panels(placed, _gradients)
    mean = {"marker": "^", "markersize": 3.6, "mfc": "white", "mec": BLACK, "markeredgewidth": 0.6}
    median = {"color": BLACK, "linewidth": 1.2}
    grid = sns.catplot(
        frame,
        kind="box",
        **{"x": "epoch", "y": "nnce", "hue": "labels", "hue_order": CORRECT_AND_WRONG, "sharex": False},
        **{"palette": ("#9ecae8", VERMILLION), "linewidth": 0.8, "gap": 0.12},  # distinguishable in grayscale
        **{"showfliers": False, "showmeans": True, "meanprops": mean, "medianprops": median},
        **layout(frame, height=2.1),
    )
    boxes = frame.groupby([*PANEL, "epoch", "labels"], observed=True)["nnce"].describe()
    high, low = boxes[["75%", "mean"]].max(axis=None), boxes["25%"].where(boxes["25%"] > 0).min()
    if high > 20 * boxes["50%"].min():  # a linear scale would flatten all boxes
        grid.set(yscale=SymmetricalLogScale(None, linthresh=10.0 ** np.floor(np.log10(low)) if low > 0 else 1.0))
        grid.set(ylim=(0, 4 * high))
    caption = f"{conditions_text(placed)}. Training samples without augmentation; seeds are pooled. Boxes: quartiles; "
    caption += "whiskers: within 1.5 times the interquartile range; triangles: means; outliers not shown."
    return finish(grid, caption, "epoch", r"$\max_{j \neq y}\ \partial\,\mathrm{NNCE}\,/\,\partial\,p_j$")


def _in_panels(placed: pd.DataFrame, values: Callable[[list[Run]], pd.DataFrame]) -> pd.DataFrame:
    """The concatenated values of all panels, with each panel's row and column."""
    panels = {key: values([*some["run"]]) for key, some in placed.groupby(PANEL, observed=True)}
    frame = pd.concat(panels, names=[*PANEL, None]).reset_index(PANEL).reset_index(drop=True)
    return frame.astype(placed.dtypes[PANEL].to_dict())


def _gradients(runs: list[Run]) -> pd.DataFrame:
    """Gradients of all samples in some of the recorded epochs: epoch (from 1), nnce and labels."""
    shared = np.array(shared_epochs(runs, "gradients"))
    positions = np.linspace(0, len(shared) - 1, min(MAX_EPOCHS, len(shared))).round().astype(int)
    records = {epoch + 1: pooled(runs, "gradients", epoch) for epoch in shared[positions]}
    frames = {
        epoch: pd.DataFrame({"nnce": record["nnce"].astype(float), "labels": _correctness(record)})
        for epoch, record in records.items()
    }
    return pd.concat(frames, names=["epoch", None]).reset_index("epoch")


def _correctness(record: Arrays) -> NDArray[np.str_]:
    return np.take(CORRECT_AND_WRONG, record["wrong"].astype(int))


# --- Cui et al. 2022, Fig. 1: probability of the given labels, and distribution of the gradient ---

EDGES = np.linspace(0.0, 1.0, 26)


def target_probabilities(placed: pd.DataFrame, notes: list[str], *, epoch: int | None = None) -> Drawing:
    """One panel per method with densities of p_y for correct and wrong labels, and a panel with gradient densities.

    p_y is the probability of the given label on the training set after ``epoch`` epochs (30 in the paper), by default
    at the recorded epoch nearest to half of the training, where clean and noisy samples separate. The gradient density
    is the density of p_y over all samples times the mean L1 norm of the loss's gradient with respect to the logits.
    Seeds are pooled.
    """
    frame = _in_panels(placed, lambda runs: _densities(runs, epoch))
    frame["line"] = frame["line"].where(frame["line"] != "", "gradient, " + frame["column"].astype(str))
    columns = [*placed["column"].cat.categories, "gradient"]
    column = frame["column"].astype(str).where(frame["line"].isin(CORRECT_AND_WRONG), "gradient")
    frame["column"] = pd.Categorical(column, columns)
    colors = colors_of(placed, "column")
    palette = dict(zip(CORRECT_AND_WRONG, (BLUE, VERMILLION), strict=True))
    palette |= {f"gradient, {name}": color for name, color in colors.items()}
    for name in [name for name in colors if f"gradient, {name}" not in {*frame["line"]}]:
        notes.append(f"{name}: no gradient density, because its loss is not a function of the softmax alone")
    caption = f"{conditions_text(placed)}, epoch {' or '.join(map(str, sorted(frame['epoch'].unique())))}. $p_y$: "
    caption += "probability of the given label; training samples without augmentation. The densities of correct and "
    caption += "of wrong labels have area 1, that of the gradient has its mean L1 norm as area."
    return _draw_lines(frame, palette, caption, "$p_y$", "density", drawstyle="steps-post")


def _densities(runs: list[Run], requested: int | None) -> pd.DataFrame:
    """Densities of p_y for correct and wrong labels, and of the gradient (unnamed): line, x, y and epoch."""
    recorded = shared_epochs(runs, "probabilities")
    if requested is not None and requested - 1 not in recorded:
        known = ", ".join(str(epoch + 1) for epoch in recorded)
        raise UserError(f"--epoch {requested}: {runs[0].path} has records of the epochs {known}; see record_every")
    half = runs[0].epochs / 2
    epoch = min(recorded, key=lambda one: (abs(one + 1 - half), one)) if requested is None else requested - 1
    record = pooled(runs, "probabilities", epoch)
    samples: dict[str, tuple[Any, Any]] = {
        line: (record["p_label"][_correctness(record) == line], None) for line in CORRECT_AND_WRONG
    }
    if is_pointwise(loss_of(runs[0])):
        loss = {key: value for key, value in runs[0].config["loss"].items() if key != "dice_weight"}
        norms = values_and_gradients(loss.pop("name"), record["softmax"], record["labels"], **loss)[1]
        samples[""] = (record["p_label"], norms)
    frames = []
    for line, (p, weights) in samples.items():
        if not len(p):  # without label noise there are no wrong labels
            continue
        heights = np.histogram(p, EDGES, weights=weights)[0] / (len(p) * np.diff(EDGES))
        frames.append(pd.DataFrame({"line": line, "x": EDGES, "y": [*heights, heights[-1]], "epoch": epoch + 1}))
    return pd.concat(frames)


def _draw_lines(frame: pd.DataFrame, palette: dict[str, str], caption: str, x: str, y: str, **style: Any) -> Drawing:
    """Draw lines from columns x and y; each panel has its own y axis."""
    grid = sns.relplot(
        frame,
        kind="line",
        **{"x": "x", "y": "y", "hue": "line", "style": "line", "palette": palette, "estimator": None, **style},
        dashes={line: drawing.DASHES[i % len(drawing.DASHES)] for i, line in enumerate(palette)},
        facet_kws={"sharey": False},
        **layout(frame, height=2.1),
    )
    return finish(grid, caption, x, y)


# --- Zhou et al. 2021, Figs. 1 and 5: learned features ---

MAX_CLASSES = 10
PERPLEXITY = 30.0


def feature_maps(placed: pd.DataFrame, notes: list[str], *, samples: int | None = None) -> Drawing:
    """t-SNE maps of the test features after the last epoch, with rows by method and columns by noise.

    Shows the first seed, the first 10 classes as numerals, and all their samples or ``samples`` evenly spaced ones.
    """
    frame = _in_panels(placed, lambda runs: _feature_map(runs, samples))
    for (row, column), some in placed.groupby(PANEL, observed=True):
        if len(some) > 1:
            notes.append(f"{row}, {column}: seed {some['run'].iloc[0].seed} of {len(some)} is shown")
    grid = sns.relplot(
        frame,
        **{"x": "x", "y": "y", "hue": "class", "style": "class", "palette": "tab10", "legend": False},
        **{"s": 14, "linewidth": 0.2, "markers": {k: f"${k}$" for k in sorted(frame["class"].unique())}},
        facet_kws={"sharex": False, "sharey": False},
        **layout(frame, height=2.1),
    ).set(xticks=[], yticks=[])
    caption = f"{conditions_text(placed)}. t-SNE (perplexity {PERPLEXITY:g}) of the last layer's inputs on the test "
    return finish(grid, f"{caption}set after training; numerals are the true classes.", "", "")


def _feature_map(runs: list[Run], samples: int | None) -> pd.DataFrame:
    """The reproducible map of the first run: x, y and class of each sample."""
    from sklearn.manifold import TSNE  # slow to import, and only needed here

    record = read_epoch(runs[0], "features", recorded_epochs(runs[:1], "features")[-1])
    kept = np.flatnonzero(record["labels"] < MAX_CLASSES)
    kept = kept[np.linspace(0, len(kept) - 1, min(len(kept), samples or len(kept))).round().astype(int)]
    if len(kept) < 4:
        raise UserError(f"{runs[0].path}: {len(kept)} samples in records/features; t-SNE needs at least 4")
    perplexity = min(PERPLEXITY, (len(kept) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", learning_rate="auto", random_state=0)
    x, y = tsne.fit_transform(record["features"][kept].astype(np.float64)).T
    return pd.DataFrame({"x": x, "y": y, "class": record["labels"][kept]})


# --- Ye et al. 2024, Fig. 6: predictions on images with wrong masks ---

MASKS = {"truth": "true mask", "noisy": "noisy mask", "predicted": "prediction"}
KINDS = {"affine": "affine", "dilate": "dilated", "erode": "eroded"}
IMAGES_PER_KIND = 2


def predicted_masks(placed: pd.DataFrame, notes: list[str]) -> Drawing:
    """Columns: two images of each kind of noise; rows: image, true mask, noisy mask and prediction with its Dice.

    Only the first run (by path) is drawn. The outline of the true mask is drawn over the other masks.
    """
    from sklearn.metrics import f1_score  # slow to import, and only needed here; F1 is Dice

    run, *others = placed["run"]
    path = run.folder / MASKS_FILE
    record = read_arrays(path, "masks")
    if record["images"].shape[3] != 3 or record["images"].dtype != np.uint8:
        raise UserError(f"{path}: images are {record['images'].dtype} {record['images'].shape}, expected uint8 RGB")
    chosen = [i for kind in KINDS for i in np.flatnonzero(record["kinds"] == kind)[:IMAGES_PER_KIND]]
    if not chosen:
        raise UserError(f"{path}: has no masks of the kinds {', '.join(KINDS)}")
    size = (drawing.PAGE, 4 * drawing.PAGE / max(6, len(chosen)))
    blank = {"xticks": [], "yticks": [], "frame_on": False}
    figure, grid = plt.subplots(4, len(chosen), squeeze=False, figsize=size, subplot_kw=blank)
    for column, i in zip(grid.T, chosen, strict=True):
        truth = record["truth"][i] > 0
        column[0].imshow(record["images"][i], interpolation="nearest")
        column[0].set_title(KINDS[str(record["kinds"][i])])
        for axes, name in zip(column[1:], MASKS, strict=True):
            mask = record[name][i] > 0
            axes.imshow(mask, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            if name == "truth":
                continue
            axes.set_xlabel(f"Dice {f1_score(truth.ravel(), mask.ravel(), zero_division=1.0):.2f}")
            if truth.any():  # padded, so that masks at the edge have an outline there
                rows, columns = (np.arange(-1, length + 1) for length in truth.shape)
                axes.contour(columns, rows, np.pad(truth, 1), levels=[0.5], colors=[BLUE], linewidths=1.2)
    for axes, name in zip(grid[:, 0], ("image", *MASKS.values()), strict=True):
        axes.set_ylabel(name)
    if others:
        notes.append(f"{run.path} is shown; {len(others)} more run(s) with masks are not shown")
    caption = f"{method(run).text}, {condition(run).text}, seed {run.seed}, {run.epochs} epochs; training images. "
    return annotate(figure, f"{caption}Blue: outline of the true mask; Dice against it.")


# --- Cui et al. 2022, Figs. 2 and 3: losses and gradients against the probability of the label, without runs ---

CLASSES = 10  # does not matter, because all losses shown are functions of p_y
SHOWN: tuple[tuple[str, dict[str, float]], ...] = (
    *(("ce", {}), ("el", {"epsilon": 0.1}), ("el", {"epsilon": 0.5}), ("el", {"epsilon": 2.0})),
    *(("gce", {"q": 0.7}), ("mae", {})),
)
NORM = r"$\|\partial L / \partial z\|_1$"
LOSS, RELATIVE = "loss", f"{NORM}, relative to CE"


def is_pointwise(name: str) -> bool:
    """Whether a loss is a function of each sample's softmax alone."""
    from seg_anl.losses import PointwiseLoss, list_losses, loss_class  # imports torch, which other figures do not need

    return name in list_losses() and issubclass(loss_class(name), PointwiseLoss)


def values_and_gradients(
    name: str, probabilities: NDArray[np.floating], labels: NDArray[np.integer], **parameters: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A pointwise loss and the L1 norm of its gradient with respect to the logits for each sample, both ``(N,)``.

    Zeros in ``probabilities`` ``(N, K)`` are replaced by the smallest float16 number; ``labels`` are ``(N,)``.
    """
    import torch

    from seg_anl.losses import build_loss

    smallest = float(np.finfo(np.float16).smallest_subnormal)
    logits = torch.from_numpy(probabilities.astype(np.float64)).clamp(min=smallest).log().requires_grad_()
    values = build_loss(name, reduction="none", **parameters)(logits, torch.from_numpy(labels.astype(np.int64)))
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    return values.detach().double().numpy(), gradient.abs().sum(dim=1).double().numpy()


def curves_of_losses() -> pd.DataFrame:
    """For each loss, its value, gradient norm, and gradient norm relative to CE's, by p_y (``x``, dense near 0).

    MAE is the limit of EL for large epsilon.
    """
    p = np.concatenate((np.geomspace(1e-3, 0.04, 40), np.linspace(0.05, 0.995, 96)))
    softmax = np.column_stack([p, *[(1 - p) / (CLASSES - 1)] * (CLASSES - 1)])
    frames: list[pd.DataFrame] = []
    for name, parameters in SHOWN:
        given = [f"{'ε' if key == 'epsilon' else key} = {number(value)}" for key, value in parameters.items()]
        values, norms = values_and_gradients(name, softmax, np.zeros(len(p), np.int64), **parameters)
        line, color = ", ".join([loss_name({"name": name}), *given]), method_color({"loss": {"name": name}}).light
        frames.append(pd.DataFrame({"x": p, "line": line, "color": color, LOSS: values, NORM: norms}))
        frames[-1][RELATIVE] = norms / frames[0][NORM]
    return pd.concat(frames, ignore_index=True)


def loss_curves(placed: pd.DataFrame, notes: list[str], *, quantities: list[str]) -> Drawing:
    """Draw these quantities of :func:`curves_of_losses`, one panel each, up to 5."""
    curves = curves_of_losses()
    frame = curves.melt(["x", "line", "color"], quantities, "column", "y").assign(row="")
    frame[PANEL] = frame[PANEL].apply(lambda names: pd.Categorical(names, names.unique()))
    frame["y"] = frame["y"].where(frame["y"] <= 5)
    colors = curves.drop_duplicates("line").set_index("line")["color"].to_dict()
    caption = "Values and gradients of the losses of this package."
    return _draw_lines(frame, colors, caption, "probability $p_y$ of the given label", "")
