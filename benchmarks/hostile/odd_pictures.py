"""Pictures that are not what a photo or a mask should be."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from .case import Canary, Prepare

SIZE = (40, 30)
FRAMES = [Image.new("L", SIZE, value) for value in (0, 255)]
FLOATS = np.linspace(0, 2, 1200, dtype=np.float32).reshape(30, 40)
BOMB = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\0\1\0\0\0\1\0\0" + b"\x08\x02\0\0\0" + b"\0\0\0\0"


def _holds(content: bytes) -> Prepare:
    return lambda path: path.write_bytes(content)


def _saved(picture: Image.Image, kind: str) -> Prepare:
    return lambda path: picture.save(path, kind)


def _several(kind: str) -> Prepare:
    return partial(_save_frames, kind)


def _save_frames(kind: str, path: Path) -> None:
    FRAMES[0].save(path, kind, save_all=True, append_images=FRAMES[1:])


ODD: dict[str, Prepare] = {
    "empty": _holds(b""),
    "text": _holds(b"no picture"),
    "a pickle": _holds(pickle.dumps(Canary())),
    "a NUL": _holds(bytes(10**6)),
    "65536 pixels square": _holds(BOMB),
    "a GIF": _several("GIF"),
    "frames": _several("PNG"),
    "pages": _several("TIFF"),
    "floats": _saved(Image.fromarray(FLOATS), "TIFF"),
    "NaN": _saved(Image.fromarray(FLOATS * np.float32("nan")), "TIFF"),
    "16 bits": _saved(Image.new("I;16", SIZE, 999), "PNG"),
    "one pixel": _saved(Image.new("L", (1, 1)), "PNG"),
    "one row": _saved(Image.new("L", (20_000, 1)), "PNG"),
    "palette": _saved(Image.new("P", SIZE, 3), "PNG"),
    "CMYK": _saved(Image.new("CMYK", SIZE), "JPEG"),
}
