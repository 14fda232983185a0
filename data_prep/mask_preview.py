"""A picture of what the noise did: outlines of clean and noisy masks, from weak to strong cases of each kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_anl.records import NoiseRecord, UserError, item_id

from .drawing import CLEAN_COLOR, NOISY_COLOR, fullest_slice, panels, save_picture
from .mask_files import load_mask, mask_paths
from .regions import bounding_box, widened, without_flat_axes

COLUMNS = 6
_NAME_SHOWN = 26  # characters at the end


def write_preview(
    source: Path, target: Path, records: Sequence[NoiseRecord], picture: Path, pattern: str = "*"
) -> None:
    """Write ``picture`` (PNG): a row per kind of noise, from the weakest to the strongest of the run's ``records``.

    Shows the masks of ``source`` whose names match ``pattern``, and their noisy versions in ``target``.
    """
    from matplotlib.lines import Line2D

    paths = {item_id(path, source): path for path in mask_paths(source, pattern)}
    changed = sorted((r for r in records if r.realised > 0), key=lambda record: (record.realised, record.item))
    rows = {kind: _spread([r for r in changed if r.kind == kind]) for kind in sorted({r.kind for r in changed})}
    if not rows:
        raise UserError("nothing to preview: no mask was changed")
    figure, axes = panels(len(rows), COLUMNS, 2.1 * COLUMNS, 2.4 * len(rows) + 0.5)
    for line, (kind, chosen) in zip(axes, rows.items(), strict=True):
        for axis, record in zip(line, chosen, strict=False):
            clean = load_mask(paths[record.item]).array
            noisy = load_mask(target / paths[record.item].relative_to(source)).array
            _outlines(axis, clean, noisy)
            axis.set_title(f"{kind} {record.realised:.2f}\n{record.item[-_NAME_SHOWN:]}", fontsize=7)
    handles = [Line2D([], [], color=CLEAN_COLOR), Line2D([], [], color=NOISY_COLOR)]
    figure.legend(handles, ["clean", "noisy"], loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    save_picture(figure, picture)


def _spread(records: Sequence[NoiseRecord]) -> Sequence[NoiseRecord]:
    """At most COLUMNS records, evenly spaced from the first to the last."""
    places = np.linspace(0, len(records) - 1, COLUMNS)
    return records if len(records) <= COLUMNS else [records[round(place)] for place in places]


def _outlines(axis: Any, clean: NDArray[Any], noisy: NDArray[Any]) -> None:
    clean, noisy = without_flat_axes(clean)[0], without_flat_axes(noisy)[0]
    clean, noisy = fullest_slice(clean != noisy, clean, noisy)
    box = widened(bounding_box((clean != 0) | (noisy != 0)), max(clean.shape) // 12 + 2, clean.shape)
    clean, noisy = clean[box], noisy[box]
    axis.imshow(clean != 0, cmap="gray", vmin=-2, vmax=3, interpolation="nearest")
    for mask, color in ((clean, CLEAN_COLOR), (noisy, NOISY_COLOR)):
        for value in np.unique(mask)[:12]:
            if value:
                inside = np.pad(mask == value, 1)  # for an outline at the picture's edge
                rows, columns = (np.arange(length) - 1 for length in inside.shape)
                axis.contour(columns, rows, inside, levels=[0.5], colors=color, linewidths=1.0)
