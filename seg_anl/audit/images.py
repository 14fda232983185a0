"""Read the image of a case, and draw its outlines and a heat map of disagreement."""

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
from data_prep.pictures import check_size, read_image
from data_prep.regions import bounding_box, widened
from seg_anl.records import UserError

from .cases import NIFTI, BoolArray, Case, CaseFiles, Prediction
from .scores import THRESHOLD

ANNOTATED, PREDICTED = (213, 94, 0), (0, 114, 178)  # orange and blue of Okabe & Ito
SIDE = 300  # pixels along a panel's longer side
_JPEG_QUALITY = 82
Panel = NDArray[np.uint8]


def read_case_image(files: CaseFiles, case: Case) -> NDArray[np.float32] | None:
    """The image as ``(channels, *spatial)`` on the case's grid; None if the case has no image.

    Raises:
        UserError: for another size or orientation than the mask's, or an unreadable file.
    """
    if files.image is None:
        return None
    source, shape, path = files.image.open(), case.labels.shape, Path(files.image.name)
    picture = None
    if len(shape) == 2 and path.suffix.lower() in IMAGE_SUFFIXES:
        with suppress(UserError):  # images with more than 8 bits per channel are read below
            picture = read_image(source, files.image.name)[0]
    if picture is not None:
        if files.row is None:
            check_size(case.labels, picture, str(files.mask))
        elif picture.shape[:2] != shape:  # the trainer has resized the mask
            picture = np.asarray(cv2.resize(picture, shape[::-1], interpolation=cv2.INTER_AREA), dtype=np.uint8)
        return np.ascontiguousarray(np.moveaxis(picture, -1, 0), dtype=np.float32)
    if mask_suffix(path) in NIFTI:
        import nibabel

        try:
            volume = nibabel.load(path)
            array = np.asarray(volume.dataobj, dtype=np.float32)  # type: ignore[attr-defined]
        except Exception as error:  # damaged files raise errors of any type
            raise UserError(f"{files.image}: cannot be read: {error}") from error
        if case.affine is not None:  # elements are compared, so only the order and direction of the axes matter
            own, expected = ("".join(nibabel.aff2axcodes(one)) for one in (volume.affine, case.affine))  # type: ignore[attr-defined]
            if own != expected:
                raise UserError(f"{files.image}: its axes are {own}, those of {files.mask} {expected}; reorient one")
    else:
        array = np.asarray(load_mask(path).array, dtype=np.float32)
    if tuple(length for length in array.shape if length != 1) != shape:
        raise UserError(f"{files.image}: shape {array.shape} does not match the mask {files.mask} of shape {shape}")
    return np.nan_to_num(array.reshape(1, *shape))


def draw_case(case: Case, prediction: Prediction, image: NDArray[np.float32] | None) -> list[bytes]:
    """JPEG pictures of a structure: outlines over the image next to a heat map of disagreement.

    Volumes are shown in three planes, each at the slice with the largest disagreement, cropped to the structure.
    """
    heat = np.abs(prediction.annotated - prediction.probability)
    predicted = prediction.probability >= THRESHOLD
    gray = np.zeros((1, *heat.shape), np.float32) if image is None else image
    if heat.ndim == 2:
        return [_encode_jpeg(_draw_panels(gray, prediction.annotated, predicted, heat, (1.0, 1.0)))]
    pictures = []
    for axis in range(3):
        plane = tuple(other for other in range(3) if other != axis)
        index = int(heat.sum(axis=plane).argmax())
        image_slice = np.take(gray, index, axis=axis + 1)
        a, h, difference = (np.take(array, index, axis=axis) for array in (prediction.annotated, predicted, heat))
        spacing = tuple(case.spacing[other] for other in plane)
        pictures.append(_encode_jpeg(_draw_panels(image_slice, a, h, difference, spacing)))
    return pictures


def _draw_panels(
    image: NDArray[np.float32], annotated: BoolArray, predicted: BoolArray, heat: NDArray[Any], spacing: tuple[Any, ...]
) -> Panel:
    """Outlines and heat map side by side, cropped to the structure with a margin."""
    union = np.ascontiguousarray(annotated | predicted)
    if union.any():
        box = bounding_box(union)
        margin = max(8, max(side.stop - side.start for side in box) // 2)
        box = widened(box, margin, union.shape)
        image_box = (slice(None), *box)
        image, annotated, predicted, heat = image[image_box], annotated[box], predicted[box], heat[box]
    height, width = (length * step for length, step in zip(heat.shape, spacing, strict=True))
    size = (max(1, round(SIDE * width / max(height, width))), max(1, round(SIDE * height / max(height, width))))
    base = cv2.resize(
        _to_rgb(image), size, interpolation=cv2.INTER_NEAREST if max(heat.shape) < SIDE else cv2.INTER_AREA
    )
    outlined = base.copy()
    for mask, color in ((predicted, PREDICTED), (annotated, ANNOTATED)):
        resized = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(resized, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(outlined, contours, -1, (255, 255, 255), 3)
        cv2.drawContours(outlined, contours, -1, color, 2)
    strength = cv2.resize(heat.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)[..., None]
    gray = base.mean(axis=2, keepdims=True) * 0.6
    warm = np.concatenate([np.full_like(strength, 255), 220 * (1 - strength), np.zeros_like(strength)], axis=2)
    heat_map = (gray * (1 - strength) + warm * strength).astype(np.uint8)
    gap = np.full((size[1], 6, 3), 255, np.uint8)
    return np.concatenate([outlined, gap, heat_map], axis=1)


def _to_rgb(image: NDArray[np.float32]) -> Panel:
    """Channel-first image to RGB. Colors are unchanged; a single channel is scaled to its 1st and 99th percentile."""
    if len(image) == 3:
        return np.ascontiguousarray(np.moveaxis(image, 0, -1).clip(0, 255).astype(np.uint8))
    low, high = np.percentile(image[0], [1, 99])
    scaled = ((image[0] - low) / max(float(high - low), 1e-6)).clip(0, 1) * 255
    return np.ascontiguousarray(np.repeat(scaled.astype(np.uint8)[..., None], 3, axis=2))


def _encode_jpeg(panel: Panel) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(panel).save(buffer, format="JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()
