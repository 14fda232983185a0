"""A picture of what the noise did: outlines of clean and noisy masks, the weakest and strongest cases of each kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_anl.records import NoiseRecord, UserError, item_id, written_aside

from .mask_files import load_mask, mask_paths
from .regions import bounding_box, widened

COLUMNS = 6
_NAME_SHOWN = 26  # characters, counted from the end, which tells items apart
# Blue and orange of Okabe & Ito: told apart by color-blind readers and in gray.
CLEAN_COLOR, NOISY_COLOR = "#0072B2", "#D55E00"


def write_preview(
    source: Path, target: Path, records: Sequence[NoiseRecord], picture: Path, pattern: str = "*"
) -> None:
    """Write ``picture`` (PNG): one row for each kind, from the weakest to the strongest realized noise.

    Args:
        source, target: folders of the clean and the noisy masks.
        records: of the run; those that changed something are shown.
        picture: where to write.
        pattern: glob by which the masks of ``source`` were chosen.

    Raises:
        UserError: when nothing changed, or a mask cannot be read.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display, no global state
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    paths = {item_id(path, source): path for path in mask_paths(source, pattern)}
    rows = {kind: _spread(records, kind) for kind in sorted({record.kind for record in records} - {"none"})}
    rows = {kind: chosen for kind, chosen in rows.items() if chosen}
    if not rows:
        raise UserError("nothing to preview: no mask was changed")
    figure = Figure(figsize=(2.1 * COLUMNS, 2.4 * len(rows) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), COLUMNS, squeeze=False)
    for line, (kind, chosen) in zip(axes, rows.items(), strict=True):
        for axis in line:
            axis.set_axis_off()
        for axis, record in zip(line, chosen, strict=False):
            clean = load_mask(paths[record.item]).array
            noisy = load_mask(target / paths[record.item].relative_to(source)).array
            _outlines(axis, clean, noisy)
            axis.set_title(f"{kind} {record.realised:.2f}\n{record.item[-_NAME_SHOWN:]}", fontsize=7)
    handles = [Line2D([], [], color=CLEAN_COLOR), Line2D([], [], color=NOISY_COLOR)]
    figure.legend(handles, ["clean", "noisy"], loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    try:
        with written_aside(picture) as aside:
            figure.savefig(aside, dpi=110, metadata={"Software": None})
    except OSError as error:
        raise UserError(f"cannot write {picture}: {error.strerror or error}") from error


def _spread(records: Sequence[NoiseRecord], kind: str) -> list[NoiseRecord]:
    """Up to COLUMNS records of a kind that changed something, evenly spaced from the weakest to the strongest."""
    changed = sorted(
        (record for record in records if record.kind == kind and record.realised > 0),
        key=lambda record: (record.realised, record.item),
    )
    if len(changed) <= COLUMNS:
        return changed
    return [changed[round(place)] for place in np.linspace(0, len(changed) - 1, COLUMNS)]


def _outlines(axis: Any, clean: NDArray[Any], noisy: NDArray[Any]) -> None:
    flat_clean, flat_noisy = _most_changed_slice(*map(_without_flat_axes, (clean, noisy)))
    axis.imshow(flat_clean != 0, cmap="gray", vmin=-2, vmax=3, interpolation="nearest")
    for mask, color in ((flat_clean, CLEAN_COLOR), (flat_noisy, NOISY_COLOR)):
        for value in np.unique(mask)[:12]:
            inside = np.pad(mask == value, 1)  # so that a mask that touches the edge has an outline there
            if value and inside.any():
                rows, columns = (np.arange(length) - 1 for length in inside.shape)
                axis.contour(columns, rows, inside, levels=[0.5], colors=color, linewidths=1.0)


def _without_flat_axes(mask: NDArray[Any]) -> NDArray[Any]:
    """The mask without axes of length one, but never with fewer than two: a single row is a picture still."""
    shape = [length for length in mask.shape if length != 1]
    return mask.reshape([1] * (2 - len(shape)) + shape)


def _most_changed_slice(clean: NDArray[Any], noisy: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The picture itself, or of a volume the slice (along its shortest axis) with most changes; cut to the masks."""
    if clean.ndim == 3:
        shortest = int(np.argmin(clean.shape))
        changes = np.moveaxis(clean != noisy, shortest, 0).sum(axis=(1, 2))
        clean, noisy = (np.moveaxis(mask, shortest, 0)[int(changes.argmax())] for mask in (clean, noisy))
    either = (clean != 0) | (noisy != 0)
    if not either.any():
        return clean, noisy
    box = widened(bounding_box(np.ascontiguousarray(either)), max(clean.shape) // 12 + 2, clean.shape)
    return clean[box], noisy[box]
