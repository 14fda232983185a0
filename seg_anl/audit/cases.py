"""One case: an annotation beside what a network says of it, read from files and checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.array_files import has_array, read_array
from data_prep.mask_files import load_mask, mask_suffix
from data_prep.pairing import PictureFile
from data_prep.regions import BoolArray, Box
from seg_anl.records import UserError

NIFTI = (".nii", ".nii.gz")
_SUM_TOLERANCE, _RANGE_TOLERANCE = 0.02, 1e-3  # float16 has three digits; a sum over many classes loses some
_AFFINE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Structure:
    """One thing that is outlined.

    Attributes:
        name: of the label or region.
        values: of the mask, that belong to it.
        channel: of the probabilities.
    """

    name: str
    values: tuple[int, ...]
    channel: int


@dataclass(frozen=True)
class Labels:
    """What the values of a data set's masks mean.

    Attributes:
        structures: None: every value but 0 is one, by its number.
        ignore: the value of elements that carry no annotation.
        regions: structures overlap, and the probability of each stands for itself.
    """

    structures: tuple[Structure, ...] | None = None
    ignore: int | None = None
    regions: bool = False


@dataclass(frozen=True)
class CaseFiles:
    """Where one case lies.

    Attributes:
        item: its id.
        mask: file of the annotation, or a run's archive of masks.
        prediction: probabilities or a predicted mask.
        image: what was annotated, where it was found.
        row: of the mask in an archive.
        fold: which network predicted it, for people.
        axes: of probabilities, where the annotation is a NIfTI file: ``"reversed"`` as nnU-Net exports them,
            ``"canonical"`` as its ``NibabelIOWithReorient`` does; empty: as the shapes fit.
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
        structure: which.
        annotated: ``(*spatial)``.
        probability: ``(*spatial)`` float32; 0 and 1 where there was only a predicted mask.
    """

    structure: Structure
    annotated: BoolArray
    probability: NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """One case in memory, without axes of length one.

    Attributes:
        item: its id.
        labels: the annotation's values ``(*spatial)``.
        predicted: probabilities ``(C, *spatial)``, or predicted labels ``(*spatial)``.
        structures: that it may show.
        counted: where there is an annotation; None: everywhere.
        spacing: of an element along each axis, in ``unit``.
        unit: ``"mm"``, or ``"px"`` where the file knows no size.
        affine: from elements to the patient's space (4, 4), for NIfTI files of three dimensions.
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
        """Whether there are probabilities."""
        return self.predicted.ndim == self.labels.ndim + 1

    def of(self, structure: Structure, box: Box = ()) -> Prediction:
        """The structure's annotation and probability in a box; both 0 where the annotation is to be ignored."""
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
    """Read one case.

    Raises:
        UserError: naming the file: damaged, of another size or affine than the annotation, or no probabilities.
    """
    annotation, spacing, affine = _annotation(files)
    kept = [axis for axis, length in enumerate(annotation.shape) if length != 1]
    if len(kept) not in (2, 3):
        raise UserError(
            f"{files.mask}: {files.item} has the shape {annotation.shape}; expected two or three dimensions"
        )
    predicted = _prediction(files, annotation.shape, affine)
    soft = predicted.ndim > annotation.ndim
    ignored = None if labels.ignore is None else annotation == labels.ignore
    if not soft and not labels.structures:
        annotation, predicted = _zero_and_one(annotation, predicted, labels.ignore)
    if labels.structures:
        _check_values(files.mask, annotation, labels)
    structures = labels.structures or _structures(files, annotation, predicted, ignored)
    if soft:
        _check_probabilities(files.prediction, predicted, structures, labels)
        if files.axes:
            _check_against_mask(files, predicted, affine, labels.regions)
    lead = (len(predicted),) if soft else ()
    flat = tuple(annotation.shape[axis] for axis in kept)
    return Case(
        item=files.item,
        labels=annotation.reshape(flat),
        predicted=predicted.reshape(lead + flat),
        structures=structures,
        counted=None if ignored is None or not ignored.any() else ~ignored.reshape(flat),
        spacing=(1.0,) * len(kept) if spacing is None else tuple(spacing[axis] for axis in kept),
        unit="px" if spacing is None else "mm",
        affine=affine if len(kept) == 3 and annotation.ndim == 3 else None,
    )


@lru_cache(maxsize=1)
def _archive(path: Path) -> NDArray[Any]:
    return read_array(path, "masks")


def _annotation(files: CaseFiles) -> tuple[NDArray[Any], tuple[float, ...] | None, NDArray[np.float64] | None]:
    if files.row is not None:
        masks = _archive(files.mask)
        if files.row >= len(masks):
            raise UserError(f"{files.mask}: {len(masks)} masks, fewer than its manifest names")
        return masks[files.row], None, None
    mask = load_mask(files.mask)
    whole = np.asarray(mask.array)
    if whole.dtype.kind not in "bui":
        if not np.array_equal(whole, np.rint(whole)):
            raise UserError(f"{files.mask}: holds fractions or NaN; labels are whole numbers")
        whole = whole.astype(np.int64)
    return whole.astype(np.uint8) if whole.dtype == np.bool_ else whole, mask.spacing, _affine(files.mask)


def _affine(path: Path) -> NDArray[np.float64] | None:
    if mask_suffix(path) not in NIFTI:
        return None
    import nibabel

    return np.asarray(nibabel.load(path).affine, dtype=np.float64)  # type: ignore[attr-defined]


def _prediction(files: CaseFiles, shape: tuple[int, ...], affine: NDArray[np.float64] | None) -> NDArray[Any]:
    """The prediction in the annotation's axes: labels, or probabilities with the classes first."""
    path = files.prediction
    if path.suffix in (".npz", ".npy"):
        array = read_array(path, *[name for name in ("probabilities", "softmax") if has_array(path, name)][:1])
    else:
        array = np.asarray(load_mask(path).array)
        _check_affine(path, files.mask, affine)
    if array.dtype.kind not in "buif":
        raise UserError(f"{path}: holds {array.dtype}, no numbers")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError(f"{path}: holds NaN or infinite values")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    wanted, own = _long(shape), _long(array.shape)
    if own == wanted:
        # Fractions in place of labels are the probability of the only structure.
        soft = array.dtype.kind == "f" and not np.array_equal(array, np.rint(array))
        return array.reshape((1, *shape) if soft else shape)
    spatial = _long(array.shape[1:])
    if affine is not None and path.suffix == ".npz" and (files.axes or spatial != wanted):
        array = array.transpose(0, *range(array.ndim - 1, 0, -1))
        if files.axes == "canonical":
            array = _from_canonical(array, affine)
        spatial = _long(array.shape[1:])
    if spatial != wanted:
        raise UserError(f"{path}: {array.shape} does not fit the mask {files.mask} of {shape}")
    return array.reshape(-1, *shape)


def _long(shape: Iterable[int]) -> tuple[int, ...]:
    return tuple(length for length in shape if length != 1)


def _from_canonical(array: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[Any]:
    """Axes of the patient's space (nnU-Net's ``NibabelIOWithReorient``) to those of the file."""
    from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

    turn = ornt_transform(axcodes2ornt("RAS"), io_orientation(affine))
    return np.moveaxis(apply_orientation(np.moveaxis(array, 0, -1), turn), -1, 0)


def _check_affine(path: Path, mask: Path, affine: NDArray[np.float64] | None) -> None:
    other = _affine(path)
    if affine is not None and other is not None and not np.allclose(affine, other, atol=_AFFINE_TOLERANCE):
        raise UserError(f"{path}: its affine is not that of {mask}; resample one of them")


def _check_values(path: Path, annotation: NDArray[Any], labels: Labels) -> None:
    named = {0, labels.ignore, *(value for structure in labels.structures or () for value in structure.values)}
    strange = set(np.unique(annotation).tolist()) - named
    if strange:
        raise UserError(f"{path}: holds the label {min(strange)}, which the data set does not name")


def _check_against_mask(
    files: CaseFiles, predicted: NDArray[Any], affine: NDArray[np.float64] | None, regions: bool
) -> None:
    """Where nnU-Net's predicted mask lies beside its probabilities, both must agree: else the axes are others."""
    name = files.prediction.name.removesuffix(".npz")
    beside = next((p for p in files.prediction.parent.glob(f"{name}.*") if mask_suffix(p) in NIFTI), None)
    if beside is None:
        return
    _check_affine(beside, files.mask, affine)
    labels = np.asarray(load_mask(beside).array).reshape(predicted.shape[1:])
    inside = (predicted > 0.5).any(axis=0) if regions else predicted.argmax(axis=0) > 0
    if np.mean(inside == (labels > 0)) < 0.99:
        raise UserError(f"{files.prediction}: not the probabilities of {beside.name}; the order of axes is not known")


def _zero_and_one(
    annotation: NDArray[Any], predicted: NDArray[Any], ignore: int | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Masks of 0 and 255 (on either side) as masks of 0 and 1."""
    values = [set(np.unique(array).tolist()) - {0, ignore} for array in (annotation, predicted)]
    if all(found <= {1, 255} for found in values) and any(255 in found for found in values):
        return tuple(np.where(array == 255, 1, array) if ignore != 255 else array for array in (annotation, predicted))  # type: ignore[return-value]
    return annotation, predicted


def _structures(
    files: CaseFiles, annotation: NDArray[Any], predicted: NDArray[Any], ignored: BoolArray | None
) -> tuple[Structure, ...]:
    """What the values of a mask stand for where no description says it."""
    inside = annotation if ignored is None else annotation[~ignored]
    values = [int(value) for value in np.unique(inside) if value]
    if predicted.ndim == annotation.ndim:
        found = sorted({*values, *(int(value) for value in np.unique(predicted) if value)})
        return tuple(Structure(str(value), (value,), value) for value in found)
    if len(predicted) <= 2:
        if len(values) > 1:
            some = ", ".join(map(str, values[:6]))
            raise UserError(f"{files.mask}: holds the labels {some}, but {files.prediction} tells of one structure")
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
    least, most = float(predicted.min()), float(predicted.max())
    if least < -_RANGE_TOLERANCE or most > 1 + _RANGE_TOLERANCE:
        raise UserError(f"{path}: values from {least:.4g} to {most:.4g}, no probabilities; apply softmax first")
    if labels.regions or len(predicted) == 1:
        return
    total = predicted.sum(axis=0, dtype=np.float32)
    worst = float(total.flat[np.argmax(np.abs(total - 1))])
    if abs(worst - 1) > _SUM_TOLERANCE:
        raise UserError(f"{path}: the classes of an element sum to {worst:.3f}, not to 1; they are no probabilities")
