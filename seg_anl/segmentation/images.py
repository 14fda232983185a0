"""Reading one picture or mask from a file, and saying in one line what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from seg_anl.records import UserError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def read_image(source: Path | BinaryIO, name: str) -> tuple[NDArray[np.uint8], str]:
    """An image as RGB ``(H, W, 3)`` uint8, and the mode it was stored in (``"RGB"``, ``"L"``, ``"RGBA"``, ...).

    Raises:
        UserError: naming the file, when it is missing, damaged or has more than 8 bits per channel.
    """
    image = _opened(source, name)
    mode = image.mode
    if mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise UserError(f"{name}: an image with more than 8 bits per channel (mode {mode}); convert it to 8-bit RGB")
    return np.asarray(image.convert("RGB")), mode


def read_mask(
    source: Path | BinaryIO, name: str, *, classes: int = 2, threshold: float | None = None
) -> NDArray[np.uint8]:
    """A mask as class indices ``(H, W)`` uint8.

    Two classes: a mask has at most one value beside 0 (0/1, 0/255, ...), or ``threshold`` says where foreground begins.
    More classes: its values are the indices.

    Raises:
        UserError: naming the file, when it is missing or damaged or its values are not a mask's.
    """
    image = _opened(source, name)
    values = np.asarray(image.convert("L") if image.mode in ("RGB", "RGBA", "LA", "CMYK") else image)
    if values.ndim != 2:
        raise UserError(f"{name}: a mask must have one channel, got an array of shape {values.shape}")
    if classes == 2 and threshold is not None:
        return (values > threshold).astype(np.uint8)
    found = np.unique(values)
    if classes == 2:
        if len(found[found != 0]) > 1:
            raise UserError(
                f"{name}: a mask with {len(found)} values ({found[0]} to {found[-1]}), expected 0 and one other; for a "
                "grey mask (a JPEG, say) set data.threshold=127, for several classes data.classes"
            )
        return (values != 0).astype(np.uint8)
    if found[0] < 0 or found[-1] >= classes:
        raise UserError(
            f"{name}: values from {found[0]} to {found[-1]}, expected 0 to {classes - 1} (data.classes={classes})"
        )
    return values.astype(np.uint8)


def _opened(source: Path | BinaryIO, name: str) -> Image.Image:
    try:
        image = Image.open(source)
        image.load()
    except FileNotFoundError as error:
        raise UserError(f"{name}: no such file") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else str(error).splitlines()[0]
        raise UserError(f"{name}: cannot be read: {reason}") from error
    return image
