"""One case: an annotation and its prediction, read from files and validated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.mask_files import load_mask, mask_suffix
from data_prep.pairing import PictureFile
from data_prep.regions import BoolArray, Box
from seg_anl.records import UserError
from seg_anl.records.array_files import has_array, read_array

NIFTI = (".nii", ".nii.gz")
_SUM_TOLERANCE, _RANGE_TOLERANCE = 0.02, 1e-3  # float16 has three digits, and sums over many classes lose some
_AFFINE_TOLERANCE = 1e-3

Geometry = tuple[float, ...]
"""Where a file lies in the patient, see :class:`~data_prep.mask_files.LoadedMask`; formats differ in length."""


@dataclass(frozen=True)
class Structure:
    """A label or region.

    Attributes:
        name: of the label or region.
        values: the mask values that belong to it.
        channel: its channel in the probabilities.
    """

    name: str
    values: tuple[int, ...]
    channel: int


@dataclass(frozen=True)
class Labels:
    """The meaning of mask values in a data set.

    Attributes:
        structures: None if every nonzero value is a structure of its own.
        ignore: value of elements without an annotation.
        regions: whether structures overlap, each with an independent (sigmoid) probability.
    """

    structures: tuple[Structure, ...] | None = None
    ignore: int | None = None
    regions: bool = False


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case.

    Attributes:
        item: item id.
        mask: file of the annotation, or a run's archive of masks.
        prediction: probabilities or a predicted mask.
        image: the image, if found.
        row: row of the mask in an archive.
        fold: the fold that predicted it, for display.
        axes: axis order of the probabilities if the annotation is a NIfTI file: ``"reversed"`` as nnU-Net exports
            them, ``"canonical"`` for its ``NibabelIOWithReorient``, or empty to infer it from the shapes.
    """

    item: str
    mask: Path
    prediction: Path
    image: PictureFile | None = None
    row: int | None = None
    fold: str = ""
    axes: str = ""


@dataclass(frozen=True)
class Prediction:
    """A structure's annotation and the network's probability of it.

    Attributes:
        structure: the structure.
        annotated: ``(*spatial)``.
        probability: ``(*spatial)`` float32; 0 or 1 if only a predicted mask is available.
    """

    structure: Structure
    annotated: BoolArray
    probability: NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """One case in memory, without axes of length one.

    Attributes:
        item: item id.
        labels: the annotation ``(*spatial)``.
        predicted: probabilities ``(C, *spatial)``, or predicted labels ``(*spatial)``.
        structures: the structures it may contain.
        counted: mask of elements that are not ignored; None if all count.
        spacing: element size along each axis, in ``unit``.
        unit: ``"mm"``, or ``"px"`` if the file has no spacing.
        affine: voxel-to-patient affine (4, 4), for three-dimensional NIfTI files.
    """

    item: str
    labels: NDArray[Any]
    predicted: NDArray[Any]
    structures: tuple[Structure, ...]
    counted: BoolArray | None
    spacing: tuple[float, ...]
    unit: str
    affine: NDArray[np.float64] | None

    @property
    def soft(self) -> bool:
        """Whether the prediction is probabilities rather than labels."""
        return self.predicted.ndim == self.labels.ndim + 1

    def of(self, structure: Structure, box: Box = ()) -> Prediction:
        """A structure's annotation and probability within a box; both are 0 where the annotation is ignored."""
        annotated = np.isin(self.labels[box], structure.values)
        if self.soft:
            probability = self.predicted[structure.channel][box].astype(np.float32)
        else:
            probability = np.isin(self.predicted[box], structure.values).astype(np.float32)
        if self.counted is not None:
            annotated &= self.counted[box]
            probability[~self.counted[box]] = 0
        return Prediction(structure, annotated, probability)


def load_case(files: CaseFiles, labels: Labels) -> Case:
    """Read and validate one case.

    Raises:
        UserError: naming the file, if it is damaged, differs from the annotation in size or affine, or holds invalid
            probabilities.
    """
    annotation, spacing, geometry = _read_annotation(files)
    affine = np.reshape(geometry, (4, 4)) if mask_suffix(files.mask) in NIFTI else None
    kept = [axis for axis, length in enumerate(annotation.shape) if length != 1]
    if len(kept) not in (2, 3):
        raise UserError(f"{files.mask}: {files.item} has shape {annotation.shape}; expected two or three dimensions")
    predicted = _read_prediction(files, annotation.shape, geometry, affine)
    soft = predicted.ndim > annotation.ndim
    ignored = None if labels.ignore is None else annotation == labels.ignore
    if not soft and not labels.structures:
        annotation, predicted = _binarize(files, annotation, predicted, labels.ignore)
    if labels.structures:
        _check_values(files.mask, annotation, labels)
    structures = labels.structures or _infer_structures(files, annotation, predicted, ignored)
    if soft:
        _check_probabilities(files.prediction, predicted, structures, labels)
        if files.axes:
            _check_against_mask(files, predicted, geometry, labels.regions)
    channels = (len(predicted),) if soft else ()
    squeezed = tuple(annotation.shape[axis] for axis in kept)
    return Case(
        item=files.item,
        labels=annotation.reshape(squeezed),
        predicted=predicted.reshape(channels + squeezed),
        structures=structures,
        counted=None if ignored is None or not ignored.any() else ~ignored.reshape(squeezed),
        spacing=(1.0,) * len(kept) if spacing is None else tuple(spacing[axis] for axis in kept),
        unit="px" if spacing is None else "mm",
        affine=affine if len(kept) == 3 and annotation.ndim == 3 else None,
    )


@lru_cache(maxsize=1)
def _read_archive(path: Path) -> NDArray[Any]:
    return read_array(path, "masks")


def _read_annotation(files: CaseFiles) -> tuple[NDArray[Any], tuple[float, ...] | None, Geometry]:
    """Labels, spacing and geometry."""
    if files.row is not None:
        masks = _read_archive(files.mask)
        if files.row >= len(masks):
            raise UserError(f"{files.mask}: holds {len(masks)} masks, fewer than its manifest lists")
        return masks[files.row], None, ()
    mask = load_mask(files.mask)
    labels = np.asarray(mask.array)
    if labels.dtype.kind not in "bui":
        if not np.array_equal(labels, np.rint(labels)):
            raise UserError(f"{files.mask}: holds fractions or NaN; labels must be integers")
        labels = labels.astype(np.int64)
    return labels.astype(np.uint8) if labels.dtype == np.bool_ else labels, mask.spacing, mask.geometry


def _read_prediction(
    files: CaseFiles, shape: tuple[int, ...], geometry: Geometry, affine: NDArray[np.float64] | None
) -> NDArray[Any]:
    """The prediction in the annotation's axis order: labels, or channel-first probabilities."""
    path = files.prediction
    if path.suffix in (".npz", ".npy"):
        array = read_array(path, *[name for name in ("probabilities", "softmax") if has_array(path, name)][:1])
    else:
        array = _load_like(path, files.mask, geometry)
    if array.dtype.kind not in "buif":
        raise UserError(f"{path}: holds {array.dtype}; expected numbers")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError(f"{path}: holds NaN or infinite values")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    expected = _squeeze(shape)
    may_be_reversed = affine is not None and path.suffix == ".npz"
    # The shape of nnU-Net's only channel may equal that of the mask although its axes are reversed.
    if _squeeze(array.shape) == expected and not (may_be_reversed and files.axes):
        # Fractions instead of labels are the probability of the only structure.
        soft = array.dtype.kind == "f" and not np.array_equal(array, np.rint(array))
        return array.reshape((1, *shape) if soft else shape)
    spatial = _squeeze(array.shape[1:])
    if may_be_reversed and (files.axes or spatial != expected):
        array = array.transpose(0, *range(array.ndim - 1, 0, -1))
        if files.axes == "canonical" and affine is not None:
            array = _undo_canonical_axes(array, affine)
        spatial = _squeeze(array.shape[1:])
    if spatial != expected:
        raise UserError(f"{path}: shape {array.shape} does not match the mask {files.mask} of shape {shape}")
    return array.reshape(-1, *shape)


def _squeeze(shape: Iterable[int]) -> tuple[int, ...]:
    return tuple(length for length in shape if length != 1)


def _undo_canonical_axes(array: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[Any]:
    """From RAS axes (nnU-Net's ``NibabelIOWithReorient``) to the file's axes."""
    from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

    transform = ornt_transform(axcodes2ornt("RAS"), io_orientation(affine))
    return np.moveaxis(apply_orientation(np.moveaxis(array, 0, -1), transform), -1, 0)


def _load_like(path: Path, mask: Path, geometry: Geometry) -> NDArray[Any]:
    """A predicted mask; refuses one that lies elsewhere in the patient than ``mask``."""
    loaded = load_mask(path)
    if len(loaded.geometry) == len(geometry) and not np.allclose(loaded.geometry, geometry, atol=_AFFINE_TOLERANCE):
        raise UserError(f"{path}: its affine differs from that of {mask}; resample one of them")
    return np.asarray(loaded.array)


def _check_values(path: Path, annotation: NDArray[Any], labels: Labels) -> None:
    known = {0, labels.ignore, *(value for structure in labels.structures or () for value in structure.values)}
    unknown = set(np.unique(annotation).tolist()) - known
    if unknown:
        raise UserError(f"{path}: holds the label {min(unknown)}, which dataset.json does not list")


def _check_against_mask(files: CaseFiles, predicted: NDArray[Any], geometry: Geometry, regions: bool) -> None:
    """If nnU-Net's predicted mask is next to its probabilities, both must agree; otherwise the axis order is wrong."""
    name = files.prediction.name.removesuffix(".npz")
    beside = (files.prediction.with_name(f"{name}{suffix}") for suffix in NIFTI)
    mask = next((path for path in beside if path.is_file()), None)
    if mask is None:
        return
    labels = _load_like(mask, files.mask, geometry)
    if _squeeze(labels.shape) != _squeeze(predicted.shape[1:]):
        raise UserError(f"{mask}: shape {labels.shape} does not match that of {files.prediction.name}")
    foreground = (predicted > 0.5).any(axis=0) if regions else predicted.argmax(axis=0) > 0
    labeled = labels.reshape(foreground.shape) > 0
    # Relative to the foreground: a tumor is less than 1 % of a volume. One element may be a rounded tie.
    if np.count_nonzero(foreground != labeled) > 1 + 0.01 * np.count_nonzero(foreground | labeled):
        raise UserError(f"{files.prediction}: does not match {mask.name}; unknown axis order")


def _binarize(
    files: CaseFiles, annotation: NDArray[Any], predicted: NDArray[Any], ignore: int | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Convert masks of 0 and 255 to 0 and 1, in either array; refuse gray values as a prediction of such a mask."""
    values = [set(np.unique(array).tolist()) - {0, ignore} for array in (annotation, predicted)]
    gray = values[1] - {1, 255}
    if values[0] == {255} and gray:
        raise UserError(
            f"{files.prediction}: holds the value {min(gray)}, but the mask {files.mask} only 0 and 255; save "
            "probabilities as .npy or .npz, from 0 to 1"
        )
    if all(each <= {1, 255} for each in values) and any(255 in each for each in values):
        return tuple(np.where(array == 255, 1, array) if ignore != 255 else array for array in (annotation, predicted))  # type: ignore[return-value]
    return annotation, predicted


def _infer_structures(
    files: CaseFiles, annotation: NDArray[Any], predicted: NDArray[Any], ignored: BoolArray | None
) -> tuple[Structure, ...]:
    """The structures of a data set without a description of its labels."""
    counted = annotation if ignored is None else annotation[~ignored]
    values = [int(value) for value in np.unique(counted) if value]
    if predicted.ndim == annotation.ndim:
        all_values = sorted({*values, *(int(value) for value in np.unique(predicted) if value)})
        return tuple(Structure(str(value), (value,), value) for value in all_values)
    if len(predicted) <= 2:
        if len(values) > 1:
            some = ", ".join(map(str, values[:6]))
            raise UserError(f"{files.mask}: holds the labels {some}, but {files.prediction} has one foreground class")
        return (Structure("1", tuple(values) or (1,), len(predicted) - 1),)
    if values and values[-1] >= len(predicted):
        raise UserError(
            f"{files.mask}: holds the label {values[-1]}, but {files.prediction} has {len(predicted)} classes"
        )
    return tuple(Structure(str(value), (value,), value) for value in range(1, len(predicted)))


def _check_probabilities(path: Path, predicted: NDArray[Any], structures: Sequence[Structure], labels: Labels) -> None:
    last = max((structure.channel for structure in structures), default=0)
    if last != len(predicted) - 1:
        raise UserError(f"{path}: {len(predicted)} channels, but the labels of the data set need {last + 1}")
    low, high = float(predicted.min()), float(predicted.max())
    if low < -_RANGE_TOLERANCE or high > 1 + _RANGE_TOLERANCE:
        raise UserError(f"{path}: values from {low:.4g} to {high:.4g} are not probabilities; apply softmax first")
    if labels.regions or len(predicted) == 1:
        return
    total = predicted.sum(axis=0, dtype=np.float32)
    worst = float(total.flat[np.argmax(np.abs(total - 1))])
    if abs(worst - 1) > _SUM_TOLERANCE:
        raise UserError(f"{path}: the class probabilities of an element sum to {worst:.3f}, not to 1")
