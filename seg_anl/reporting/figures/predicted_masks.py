"""What a network makes of wrong masks: image, truth, noisy mask and prediction (Ye et al. 2024, Fig. 6).

Reads RUN/records/masks.npz: training images (RGB, uint8) that the network was trained on with a wrong mask, and their
masks as class indices: true, noisy, and predicted by the finished network; kinds are affine, dilate or erode.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from seg_anl.records import UserError
from seg_anl.reporting.run_directories import Run

from .drawing import BLUE, PAGE, Composed, Figure, caption, panels
from .recorded_arrays import Shapes, read_arrays
from .run_selection import by_condition, by_method, select

KIND = "masks"
FILE = "records/masks.npz"
WANTED = "segmentation runs under mask noise with record=[masks]"
MASKS = ("truth", "noisy", "predicted")
ARRAYS: Shapes = {
    "images": ("n", "H", "W", "channels"),
    **dict.fromkeys(MASKS, ("n", "H", "W")),
    **dict.fromkeys(("kinds", "items"), ("n",)),
}
KINDS = {"affine": "affine", "dilate": "dilated", "erode": "eroded"}
OF_EACH = 2
ROWS = ("image", "true mask", "noisy mask", "prediction")


def predicted_masks(runs: Sequence[Run]) -> Composed:
    """Columns: two images of each kind of noise; rows: image, true mask, noisy mask and prediction with its Dice.

    One run is drawn: the first by path. The outline of the true mask lies over the other masks.
    """
    (run, *others), notes = select(runs, _reason_against, WANTED)
    path = run.folder / FILE
    record = read_arrays(path, KIND, ARRAYS)
    if record["images"].shape[3] != 3 or record["images"].dtype != np.uint8:
        raise UserError(f"{path}: images are {record['images'].dtype} {record['images'].shape}, expected uint8 RGB")
    chosen = [i for kind in KINDS for i in np.flatnonzero(record["kinds"] == kind)[:OF_EACH]]
    if not chosen:
        raise UserError(f"{path}: none of its masks is of a kind among {', '.join(KINDS)}")
    drawing, grid = panels(len(ROWS), len(chosen), height=PAGE / max(6, len(chosen)), extra=0.65, width=PAGE)
    for column, i in zip(grid.T, chosen, strict=True):
        for axes in column:
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
            axes.spines[:].set_visible(False)
        column[0].imshow(record["images"][i], interpolation="nearest")
        column[0].set_title(KINDS[str(record["kinds"][i])])
        truth = record["truth"][i] > 0
        for axes, name in zip(column[1:], MASKS, strict=True):
            axes.imshow(record[name][i] > 0, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            if name != "truth":
                _outline(axes, truth)
                axes.set_xlabel(f"Dice {dice(record[name][i] > 0, truth):.2f}")
    for axes, name in zip(grid[:, 0], ROWS, strict=True):
        axes.set_ylabel(name)
    caption(
        drawing,
        f"{by_method(run).text}, {by_condition(run).text}, seed {run.seed}, {run.epochs} epochs; training images. "
        "Blue: outline of the true mask; Dice against it.",
    )
    notes += [f"{run.path} is shown; {len(others)} more run(s) with masks are not"] if others else []
    return Composed(drawing, notes)


def dice(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Dice of two masks ``(H, W)``; 1 when both are empty.

    >>> dice(np.array([[True, False]]), np.array([[True, True]]))
    0.6666666666666666
    """
    total = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / total if total else 1.0


def _reason_against(run: Run) -> str | None:
    return None if (run.folder / FILE).is_file() else f"has no {FILE}: train it with record=[{KIND}]"


def _outline(axes: Axes, mask: NDArray[np.bool_]) -> None:
    inside = np.pad(mask, 1)  # so that a mask that touches the edge has an outline there
    if mask.any():
        rows, columns = (np.arange(length) - 1 for length in inside.shape)
        axes.contour(columns, rows, inside, levels=[0.5], colors=[BLUE], linewidths=1.2)


MASKS_FIGURE = Figure(
    "Images with true, noisy and predicted masks under the three noises (Ye et al. 2024, Fig. 6)",
    "records/masks.npz. seg-anl-train loss=anl_ce noise.alpha=0.7 noise.beta=0.7 preset=small record=[masks]",
    predicted_masks,
)
