"""The pictures that trainers leave in run directories, made small enough to travel inside a page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from .cells import Cell

PICTURE = "report.png"
WIDTH = 1000  # pixels
QUALITY = 82


def picture_of(cell: Cell) -> Path | None:
    """The picture of the first run of a cell that has one."""
    return next((path for run in cell.runs if (path := run.path / PICTURE).is_file()), None)


def data_uri(path: Path) -> str | None:
    """The picture as a JPEG inside a ``data:`` address, at most ``WIDTH`` pixels wide; None when it is no picture."""
    try:
        with Image.open(path) as picture:
            small = picture.convert("RGB")
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError):
        return None
    if small.width > WIDTH:
        small = small.resize((WIDTH, round(small.height * WIDTH / small.width)), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    small.save(written, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(written.getvalue()).decode("ascii")
