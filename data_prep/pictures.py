"""Read one image or mask, upright, for training, prediction and preparation.

Masks of more formats, with header and palette kept for writing: :mod:`data_prep.mask_files`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from seg_anl.records import UserError, make_directory, written_aside
from seg_anl.records.errors import reason_of
from seg_anl.records.foreign_files import check_regular

Picture = NDArray[np.uint8]
IGNORED = 255  # class index of an unlabeled element
_ORIENTATION = 0x0112  # the EXIF tag
_TURNS = dict(enumerate(map(Image.Transpose, (0, 3, 1, 5, 4, 6, 2)), start=2))
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM")


def read_image(source: Path | BinaryIO, name: str, mode: Literal["RGB", "L"] = "RGB") -> tuple[Picture, str]:
    """An image as RGB ``(H, W, 3)`` or gray ``(H, W)``, and the mode it was stored in (``"RGB"``, ``"P"``, ...).

    Raises:
        UserError: a file that is missing, damaged or has more than 8 bits per channel.
    """
    with opened(source, name) as image:
        stored = image.mode
        refuse_depth(stored, name)
        colors = image.convert("RGBA") if stored == "P" and "transparency" in image.info else image
        return np.array(upright(colors, image).convert(mode)), stored


def refuse_depth(stored: str, name: str) -> None:
    """Refuse modes of more than 8 bits per channel, which Pillow's conversion to RGB would clip at 255."""
    if stored in ("I", "F") or stored.startswith("I;"):
        raise UserError(
            f"{name}: an image with more than 8 bits per channel (mode {stored}); convert it to 8-bit RGB, or "
            "segment it with data=volumes"
        )


def read_labels(source: Path | BinaryIO, name: str, *, gray: bool = False) -> NDArray[Any]:
    """A mask's values ``(H, W)`` as stored: palette indices are labels, colors become gray.

    Raises:
        UserError: a file that is missing or damaged, or values that are not finite or, unless ``gray``, not whole.
    """
    with opened(source, name) as image:
        values = np.array(upright(image if len(image.getbands()) == 1 else image.convert("L"), image))
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (gray or (values == np.rint(values)).all())):
        raise UserError(f"{name}: the mask holds fractions or values that are not finite; labels are whole numbers")
    return values.astype(np.uint8) if values.dtype == np.bool_ else values


def read_mask(
    source: Path | BinaryIO, name: str, *, classes: int = 2, threshold: float | None = None, ignore: int | None = None
) -> Picture:
    """A mask as class indices ``(H, W)`` uint8; pixels of the value ``ignore`` become :data:`IGNORED`.

    Two classes: at most one value beside 0 (0/1, 0/255, ...); or foreground is above ``threshold``, and a mask of 0 and
    one value at or below it is refused. More classes: the values are the indices.

    Raises:
        UserError: a file that is missing or damaged, or other values.
    """
    gray = classes == 2 and threshold is not None
    labels = read_labels(source, name, gray=gray)
    if ignore is None:
        return _class_indices(labels, name, classes, threshold)
    ignored = labels == ignore
    return np.where(ignored, np.uint8(IGNORED), _class_indices(np.where(ignored, 0, labels), name, classes, threshold))


def _class_indices(labels: NDArray[Any], name: str, classes: int, threshold: float | None) -> Picture:
    if classes == 2 and threshold is not None:
        found = _values(labels)
        if np.count_nonzero(found) == 1 and found[-1] <= threshold:  # 0 and 1 instead of 0 and 255
            raise UserError(
                f"{name}: a mask of 0 and {found[-1]:g}, all of it background by data.threshold={threshold:g}; "
                "save it as 0 and 255"
            )
        return (labels > threshold).astype(np.uint8)
    if classes == 2:
        try:
            return two_valued(labels, name)
        except UserError as error:
            raise UserError(
                f"{error}; for a gray mask (a JPEG, say) set data.threshold=127, for several classes data.classes"
            ) from error
    found = _values(labels)
    if found[0] < 0 or found[-1] >= classes:
        raise UserError(
            f"{name}: values from {found[0]} to {found[-1]}, expected 0 to {classes - 1} (data.classes={classes})"
        )
    return labels.astype(np.uint8)


def two_valued(labels: NDArray[Any], name: str) -> Picture:
    """A mask of 0 and one other value (0/1, 0/255, ...) as 0 and 1."""
    found = _values(labels)
    if np.count_nonzero(found) > 1:
        raise UserError(
            f"{name}: a mask with {len(found)} values ({found[0]} to {found[-1]}), expected 0 and one other"
        )
    return (labels != 0).astype(np.uint8)


def _values(labels: NDArray[Any]) -> NDArray[Any]:
    """The distinct values of a mask, ascending."""
    # Bytes are counted, which is faster than sorting.
    return np.flatnonzero(np.bincount(labels.ravel())) if labels.dtype == np.uint8 else np.unique(labels)


def upright(picture: Image.Image, file: Image.Image) -> Image.Image:
    """The picture as viewers show it. (``ImageOps.exif_transpose`` rewrites all tags and fails on some.)"""
    turn = _TURNS.get(file.getexif().get(_ORIENTATION, 1))
    return picture if turn is None else picture.transpose(turn)


def check_size(mask: NDArray[Any], image: Picture, name: str) -> None:
    """Refuse a ``mask`` (H, W) that is not as large as its ``image`` (H, W, ...)."""
    (height, width), (mask_height, mask_width) = image.shape[:2], mask.shape
    if mask.shape != image.shape[:2]:
        raise UserError(f"{name}: a mask of {mask_width} x {mask_height} pixels, but its image has {width} x {height}")


def write_png(path: Path, picture: Image.Image, **options: Any) -> None:
    """Write a PNG file atomically, and its folder where it is missing."""
    make_directory(path.parent)
    with written_aside(path) as aside:
        picture.save(aside, format="PNG", **options)


@contextmanager
def opened(
    source: Path | BinaryIO, name: str, formats: tuple[str, ...] = FORMATS, *, stacks: bool = False
) -> Iterator[Image.Image]:
    """The decoded picture of a file or its content; what Pillow raises, in the body too, becomes a UserError.

    ``formats`` are Pillow's names, whatever the file is called; ``stacks`` allows TIFFs of several pages.
    """
    if isinstance(source, Path):
        check_regular(source)
    try:
        # Not by path: Pillow maps an uncompressed TIFF that it opened itself, and scrambles it when it transposes it.
        content = source.open("rb") if isinstance(source, Path) else source
        with content, Image.open(content, formats=formats) as image:
            frames = getattr(image, "n_frames", 1)
            # A phone's photo may hold previews (MPO); the first picture is the photo.
            if frames > 1 and image.format != "MPO" and not (stacks and image.format == "TIFF"):
                raise UserError(f"{name}: {frames} pages or frames in one file, expected one picture")
            image.load()
            yield image
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(f"{name}: cannot be read: not an image ({', '.join(formats)}), or a damaged one") from error
    except Exception as error:  # decoders of damaged files raise anything
        raise UserError(f"{name}: cannot be read: {reason_of(error)}") from error
