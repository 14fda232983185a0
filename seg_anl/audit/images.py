"""The image of a case, and pictures of a case for people: outlines over it, and the heat of disagreement."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_prep.mask_files import load_mask, mask_suffix
from data_prep.pairing import IMAGE_SUFFIXES
from data_prep.pictures import read_image
from data_prep.regions import bounding_box, widened
from seg_anl.records import UserError

from .cases import NIFTI, BoolArray, Case, CaseFiles, Prediction
from .scores import THRESHOLD

ANNOTATED, PREDICTED = (213, 94, 0), (0, 114, 178)  # orange and blue of Okabe & Ito
SIDE = 300  # pixels of a panel's longer side
_QUALITY = 82
Panel = NDArray[np.uint8]


def read_case_image(files: CaseFiles, case: Case) -> NDArray[np.float32] | None:
    """The image as ``(channels, *spatial)`` on the case's grid; None where there is none.

    Raises:
        UserError: for a volume of another size, or a file that cannot be read.
    """
    if files.image is None:
        return None
    source, shape, path = files.image.open(), case.labels.shape, Path(files.image.name)
    picture = None
    if len(shape) == 2 and path.suffix.lower() in IMAGE_SUFFIXES:
        with suppress(UserError):  # more than 8 bits per channel: read as numbers below
            picture = read_image(source, files.image.name)[0]
    if picture is not None:
        if picture.shape[:2] != shape:  # the trainers work on smaller copies
            picture = np.asarray(cv2.resize(picture, shape[::-1], interpolation=cv2.INTER_AREA), dtype=np.uint8)
        return np.ascontiguousarray(np.moveaxis(picture, -1, 0), dtype=np.float32)
    if mask_suffix(path) in NIFTI:
        import nibabel

        try:
            array = np.asarray(nibabel.load(path).dataobj, dtype=np.float32)  # type: ignore[attr-defined]
        except Exception as error:  # every damaged file has errors of its own
            raise UserError(f"{files.image}: cannot be read: {error}") from error
    else:
        array = np.asarray(load_mask(path).array, dtype=np.float32)
    flat = tuple(length for length in array.shape if length != 1)
    if flat != shape:
        raise UserError(f"{files.image}: {array.shape} does not fit the mask {files.mask} of {shape}")
    return np.nan_to_num(array.reshape(1, *shape))


def case_pictures(case: Case, prediction: Prediction, image: NDArray[np.float32] | None) -> list[bytes]:
    """JPEG pictures of a structure: outlines over the image, and the heat of disagreement; of a volume in three planes.

    In a plane the slice is shown in which annotation and probability differ most, cut to where the structure is.
    """
    heat = np.abs(prediction.annotated - prediction.probability)
    predicted = prediction.probability >= THRESHOLD
    gray = np.zeros((1, *heat.shape), np.float32) if image is None else image
    if heat.ndim == 2:
        return [_jpeg(_pair(gray, prediction.annotated, predicted, heat, (1.0, 1.0)))]
    pictures = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        index = int(heat.sum(axis=others).argmax())
        drawn, seen, warm = (np.take(array, index, axis=axis) for array in (prediction.annotated, predicted, heat))
        spacing = tuple(case.spacing[other] for other in others)
        pictures.append(_jpeg(_pair(np.take(gray, index, axis=axis + 1), drawn, seen, warm, spacing)))
    return pictures


def _pair(
    image: NDArray[np.float32], annotated: BoolArray, predicted: BoolArray, heat: NDArray[Any], spacing: tuple[Any, ...]
) -> Panel:
    """Two panels side by side, cut to the structure with room around it."""
    either = np.ascontiguousarray(annotated | predicted)
    if either.any():
        box = bounding_box(either)
        margin = max(8, max(side.stop - side.start for side in box) // 2)
        box = widened(box, margin, either.shape)
        in_image = (slice(None), *box)
        image, annotated, predicted, heat = image[in_image], annotated[box], predicted[box], heat[box]
    height, width = (length * step for length, step in zip(heat.shape, spacing, strict=True))
    size = (max(1, round(SIDE * width / max(height, width))), max(1, round(SIDE * height / max(height, width))))
    base = cv2.resize(_rgb(image), size, interpolation=cv2.INTER_NEAREST if max(heat.shape) < SIDE else cv2.INTER_AREA)
    outlined = base.copy()
    for mask, color in ((predicted, PREDICTED), (annotated, ANNOTATED)):
        large = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        lines, _ = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(outlined, lines, -1, (255, 255, 255), 3)
        cv2.drawContours(outlined, lines, -1, color, 2)
    strength = cv2.resize(heat.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)[..., None]
    gray = base.mean(axis=2, keepdims=True) * 0.6
    warm = np.concatenate([np.full_like(strength, 255), 220 * (1 - strength), np.zeros_like(strength)], axis=2)
    heated = (gray * (1 - strength) + warm * strength).astype(np.uint8)
    gap = np.full((size[1], 6, 3), 255, np.uint8)
    return np.concatenate([outlined, gap, heated], axis=1)


def _rgb(image: NDArray[np.float32]) -> Panel:
    """Channels first to a picture: colors as they are, one channel between its 1st and 99th percentile."""
    if len(image) == 3:
        return np.ascontiguousarray(np.moveaxis(image, 0, -1).clip(0, 255).astype(np.uint8))
    low, high = np.percentile(image[0], [1, 99])
    scaled = ((image[0] - low) / max(float(high - low), 1e-6)).clip(0, 1) * 255
    return np.ascontiguousarray(np.repeat(scaled.astype(np.uint8)[..., None], 3, axis=2))


def _jpeg(panel: Panel) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(panel).save(buffer, format="JPEG", quality=_QUALITY)
    return buffer.getvalue()
