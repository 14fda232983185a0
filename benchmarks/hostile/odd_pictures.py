"""Image files that are not valid photos or masks."""

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


def _bytes(content: bytes) -> Prepare:
    return lambda path: path.write_bytes(content)


def _image(image: Image.Image, kind: str) -> Prepare:
    return lambda path: image.save(path, kind)


def _save_frames(kind: str, path: Path) -> None:
    FRAMES[0].save(path, kind, save_all=True, append_images=FRAMES[1:])


ODD: dict[str, Prepare] = {
    "empty": _bytes(b""),
    "text": _bytes(b"not an image"),
    "a pickle": _bytes(pickle.dumps(Canary())),
    "a NUL": _bytes(bytes(10**6)),
    "65536 pixels square": _bytes(BOMB),
    "a GIF": partial(_save_frames, "GIF"),
    "frames": partial(_save_frames, "PNG"),
    "pages": partial(_save_frames, "TIFF"),
    "floats": _image(Image.fromarray(FLOATS), "TIFF"),
    "NaN": _image(Image.fromarray(FLOATS * np.float32("nan")), "TIFF"),
    "16 bits": _image(Image.new("I;16", SIZE, 999), "PNG"),
    "one pixel": _image(Image.new("L", (1, 1)), "PNG"),
    "one row": _image(Image.new("L", (20_000, 1)), "PNG"),
    "palette": _image(Image.new("P", SIZE, 3), "PNG"),
    "CMYK": _image(Image.new("CMYK", SIZE), "JPEG"),
}
