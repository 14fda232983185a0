"""What is audited: annotations beside predictions of them, found in every layout that holds both, read case by case."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from data_prep.array_files import read_array
from data_prep.mask_archive import MANIFEST_FILE, MASKS_FILE
from data_prep.mask_files import load_mask, mask_paths, mask_suffix
from data_prep.nnunet_raw import DESCRIPTION, LABELS, is_nnunet_dataset, read_description
from data_prep.pairing import PictureFile, find_pairs, visible_files
from seg_anl.records import UserError, item_id

PREDICTIONS, CONTENTS = "predictions", "predictions.json"  # of a run directory
_SUM_TOLERANCE, _RANGE_TOLERANCE = 0.02, 1e-3  # float16 has three digits; a sum over many classes loses some
_AFFINE_TOLERANCE = 1e-3
_FOLDS = 5  # nnU-Net's
_NAMED = 4  # items that a remark names
BoolArray = NDArray[np.bool_]


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
class Source:
    """Everything to audit: its cases (sorted by item), its labels, and what a person should know of it.

    Attributes:
        cases: one for each annotation with a prediction.
        labels: of the masks.
        kind: what SOURCE was taken for.
        in_sample: the predictions are of networks that were trained on these very annotations.
        missing: annotations without a prediction.
        remarks: one line each.
        losses: mean training loss by item over the epochs, of one run with ``record=dynamics``.
    """

    cases: list[CaseFiles]
    labels: Labels
    kind: str
    in_sample: bool = False
    missing: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    losses: dict[str, float] = field(default_factory=dict)


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

    def of(self, structure: Structure) -> Prediction:
        """The structure's annotation and probability; both 0 where the annotation is to be ignored."""
        annotated = np.isin(self.labels, structure.values)
        if self.soft:
            probability = self.predicted[structure.channel].astype(np.float32)
        else:
            probability = np.isin(self.predicted, structure.values).astype(np.float32)
        if self.counted is not None:
            annotated &= self.counted
            probability[~self.counted] = 0
        return Prediction(structure, annotated, probability)


# Finding


def open_source(source: Path, masks: Path | None, images: Path | None, ignore: int | None) -> Source:
    """Find the cases of SOURCE, whichever layout it has.

    Args:
        source: an nnU-Net result folder with folds, a run, a folder of fold runs, or a folder of predictions.
        masks: folder of the annotations or nnU-Net raw data set; may be None where SOURCE leads to them.
        images: folder of the images; None: looked for.
        ignore: value of the masks that is no annotation; None: as the data set says, or none.

    Raises:
        UserError: for a layout that is not known, or nothing to audit in it.
    """
    if not source.is_dir():
        raise UserError(f"{source} is not a folder")
    folds = sorted(path.parent for path in source.glob("fold_*/validation") if path.is_dir())
    runs = _runs_in(source)
    if folds:
        found = _nnunet_result(source, folds, masks)
    elif runs:
        found = _fold_runs(source, runs, masks)
    else:
        found = _folder(source, masks)
    if not found.cases:
        raise UserError(f"{source}: no prediction has the name of an annotation; {'; '.join(found.remarks)}")
    labels = found.labels if ignore is None else replace(found.labels, ignore=ignore)
    cases = sorted(found.cases, key=lambda case: case.item)
    if images is not None:
        by_item = _images_in(images)
        cases = [replace(case, image=by_item.get(case.item, case.image)) for case in cases]
    if found.missing:
        found.remarks.append(f"no prediction for {_some(found.missing)}: left out")
    return replace(found, cases=cases, labels=labels)


def _nnunet_result(source: Path, folds: Sequence[Path], masks: Path | None) -> Source:
    raw = masks or _raw_dataset(source)
    if raw is None:
        raise UserError(f"{source}: its raw data set {source.parent.name} was not found; name it by --masks")
    description = read_description(source if (source / DESCRIPTION).is_file() else raw)
    ending = description["file_ending"]
    labels_folder = raw / LABELS if (raw / LABELS).is_dir() else raw
    expected = {path.name[: -len(ending)] for path in visible_files(labels_folder) if path.name.endswith(ending)}
    axes = "canonical" if _reader(source, description) == "NibabelIOWithReorient" else "reversed"
    cases: dict[str, CaseFiles] = {}
    remarks, strangers = [], []
    for fold in folds:
        files = {
            path.name[: -len(ending)]: path for path in visible_files(fold / "validation") if path.name.endswith(ending)
        }
        files |= {path.stem: path for path in visible_files(fold / "validation") if path.suffix == ".npz"}
        if not files:
            remarks.append(f"{fold.name} holds no validation predictions")
        for item, path in files.items():
            mask = labels_folder / f"{item}{ending}"
            if not mask.is_file():
                strangers.append(item)
            elif item not in cases:
                image = raw / "imagesTr" / f"{item}_0000{ending}"
                picture = PictureFile(str(image)) if image.is_file() else None
                cases[item] = CaseFiles(item, mask, path, picture, fold=fold.name, axes=axes)
    numbers = {fold.name.removeprefix("fold_") for fold in folds}
    absent = [number for number in map(str, range(_FOLDS)) if number not in numbers]
    if "all" not in numbers and absent:
        remarks.append(f"of nnU-Net's five folds, {', '.join(absent)} {'is' if len(absent) == 1 else 'are'} missing")
    remarks += _without_mask(strangers, labels_folder)
    if cases and not any(case.prediction.suffix == ".npz" for case in cases.values()):
        remarks.append("only predicted masks: validate with --npz for probabilities, which tell more")
    labels = _described_labels(description)
    return Source(
        list(cases.values()), labels, "nnU-Net folds", numbers == {"all"}, sorted(expected - set(cases)), remarks
    )


def _raw_dataset(result: Path) -> Path | None:
    """nnU-Net's raw data set of a result folder: in ``nnUNet_raw``, or in a folder of that name beside the results."""
    roots = [Path(os.environ["nnUNet_raw"])] if os.environ.get("nnUNet_raw") else []
    roots += [above / "nnUNet_raw" for above in result.resolve().parents[:3]]
    return next((root / result.parent.name for root in roots if is_nnunet_dataset(root / result.parent.name)), None)


def _reader(result: Path, description: dict[str, Any]) -> str:
    """The name of nnU-Net's reader: it decides the order of the axes."""
    plans = result / "plans.json"
    named = json.loads(plans.read_text(encoding="utf-8")).get("image_reader_writer") if plans.is_file() else None
    return str(named or description.get("overwrite_image_reader_writer"))


def _described_labels(description: dict[str, Any]) -> Labels:
    """The labels of a dataset.json: nnU-Net's channels are the labels in order, or the regions without background."""
    named = {
        name: tuple(value) if isinstance(value, list) else (int(value),)
        for name, value in description["labels"].items()
    }
    ignore = named.pop("ignore", (None,))[0]
    regions = any(len(values) > 1 for values in named.values())
    inside = {name: values for name, values in named.items() if set(values) != {0}}
    structures = [
        Structure(name, values, channel if regions else values[0])
        for channel, (name, values) in enumerate(inside.items())
    ]
    return Labels(tuple(structures), ignore, regions)


def _runs_in(source: Path) -> list[Path]:
    if (source / PREDICTIONS / CONTENTS).is_file():
        return [source]
    return sorted(path.parent.parent for path in source.rglob(f"{PREDICTIONS}/{CONTENTS}"))


def _fold_runs(source: Path, runs: Sequence[Path], masks: Path | None) -> Source:
    contents = {run: _json(run / PREDICTIONS / CONTENTS) for run in runs}
    for run, content in contents.items():
        if not isinstance(content.get("out_of_sample"), bool) or not isinstance(content.get("items"), list):
            raise UserError(f"{run / PREDICTIONS / CONTENTS}: expected out_of_sample and items")
    used = [run for run in runs if contents[run]["out_of_sample"]] or list(runs)
    cases: dict[str, CaseFiles] = {}
    expected: set[str] = set()
    remarks = [f"{len(runs) - len(used)} in-sample runs left out"] if len(used) < len(runs) else []
    given = {} if masks is None else _masks_in(masks)
    for run in used:
        own = {} if masks else _noisy_masks(run)
        images = _images_of_run(run)
        expected |= set(own) or set(given)
        for item in contents[run]["items"]:
            if item in cases:
                raise UserError(
                    f"{item} is predicted by {cases[item].prediction.parent.parent} and by {run}: SOURCE must be one run, "
                    "or the fold runs of one sweep"
                )
            fold = str(contents[run].get("fold", ""))
            prediction = run / PREDICTIONS / f"{item}.npz"
            if not prediction.is_file():
                raise UserError(f"{prediction}: named in {CONTENTS} but not there")
            if masks is None and item in own:
                cases[item] = CaseFiles(item, run / "noise" / MASKS_FILE, prediction, images.get(item), own[item], fold)
            elif item in given:
                cases[item] = CaseFiles(item, given[item], prediction, images.get(item), fold=fold)
            else:
                remarks.append(f"{item}: predicted by {run}, which has no mask of it")
    in_sample = not contents[used[0]]["out_of_sample"]
    missing = sorted(expected - set(cases))
    kind = "one run" if len(used) == 1 else "fold runs"
    losses = _training_losses(used[0]) if in_sample else {}
    return Source(list(cases.values()), Labels(), kind, in_sample, missing, remarks, losses)


def _training_losses(run: Path) -> dict[str, float]:
    """The mean over the epochs of every item's training loss, where a run records its dynamics."""
    sums: dict[str, float] = {}
    paths = sorted((run / "records" / "dynamics").glob("epoch_*.npz"))
    for path in paths:
        items, losses = read_array(path, "items")[0], read_array(path, "loss")[0]
        for item, loss in zip(items.tolist(), losses.tolist(), strict=False):
            sums[item] = sums.get(item, 0.0) + loss / len(paths)
    return sums


def _noisy_masks(run: Path) -> dict[str, int]:
    """Items of a run's archive of masks with their rows."""
    path = run / "noise" / MANIFEST_FILE
    if not path.is_file():
        raise UserError(f"{run}: no {path.relative_to(run)}, which names the masks trained on; give --masks")
    return {record["item"]: row for row, record in enumerate(_json(path)["items"])}


def _images_of_run(run: Path) -> dict[str, PictureFile]:
    """The images a run was trained on, as far as they are still where its settings say."""
    path = run / "config.yaml"
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        names = ("name", "root", "images", "masks", "test_images", "test_masks", "test_share", "exclude")
        settings = {name: config["data"][name] for name in names if config["data"].get(name) is not None}
        return {pair.item: pair.image for pair in find_pairs(seed=config["noise"].get("seed", 0), **settings).train}
    except (OSError, KeyError, TypeError, AttributeError, yaml.YAMLError, UserError):  # pictures are a convenience
        return {}


def _folder(source: Path, masks: Path | None) -> Source:
    if masks is None:
        raise UserError(f"{source}: a folder of predictions needs the annotations: --masks DIR")
    annotations = _masks_in(masks)
    description = read_description(masks) if is_nnunet_dataset(masks) else None
    images = _images_in(masks / "imagesTr") if description else {}
    predictions: dict[str, Path] = {}
    for path in visible_files(source):
        if path.suffix == ".npz" or (mask_suffix(path) and item_id(path, source) not in predictions):
            predictions[item_id(path, source)] = path
    remarks = _without_mask(sorted(predictions.keys() - annotations.keys()), masks)
    cases = [
        CaseFiles(
            item,
            annotations[item],
            path,
            images.get(item),
            axes="reversed" if path.with_suffix(".pkl").exists() else "",  # nnU-Net's, which writes one
        )
        for item, path in predictions.items()
        if item in annotations
    ]
    missing = sorted(annotations.keys() - predictions.keys())
    labels = _described_labels(description) if description else Labels()
    return Source(cases, labels, "folder of predictions", False, missing, remarks)


def _masks_in(masks: Path) -> dict[str, Path]:
    if is_nnunet_dataset(masks):
        ending = read_description(masks)["file_ending"]
        return {item_id(path, masks / LABELS): path for path in mask_paths(masks / LABELS, f"*{ending}")}
    return {item_id(path, masks): path for path in mask_paths(masks)}


def _images_in(folder: Path) -> dict[str, PictureFile]:
    """Images by item; of nnU-Net's channels the first."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    items = ((item_id(path, folder), path) for path in reversed(visible_files(folder)))
    return {item.removesuffix("_0000"): PictureFile(str(path)) for item, path in items}


def _without_mask(items: Sequence[str], masks: Path) -> list[str]:
    return [f"no annotation in {masks} for {_some(items)}: left out"] if items else []


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return f"{', '.join(items[:_NAMED])}{more} ({len(items)} in all)" if len(items) > 1 else items[0]


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected named entries")
    return content


# Reading


def load_case(files: CaseFiles, labels: Labels) -> Case:
    """Read one case.

    Raises:
        UserError: naming the file: damaged, of another size or affine than the annotation, not finite, no probabilities.
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
    structures = labels.structures or _structures(files, annotation, predicted, ignored)
    if soft:
        _check_probabilities(files.prediction, predicted, structures, labels)
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
    return read_array(path, "masks")[0]


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
    if mask_suffix(path) not in (".nii", ".nii.gz"):
        return None
    import nibabel

    return np.asarray(nibabel.load(path).affine, dtype=np.float64)  # type: ignore[attr-defined]


def _prediction(files: CaseFiles, shape: tuple[int, ...], affine: NDArray[np.float64] | None) -> NDArray[Any]:
    """The prediction in the annotation's axes: labels, or probabilities with the classes first."""
    path = files.prediction
    if path.suffix in (".npz", ".npy"):
        array, _ = read_array(path, *(("probabilities", "softmax") if _names_probabilities(path) else ()))
    else:
        array = np.asarray(load_mask(path).array)
        other = _affine(path)
        if affine is not None and other is not None and not np.allclose(affine, other, atol=_AFFINE_TOLERANCE):
            raise UserError(f"{path}: its affine is not that of {files.mask}; resample one of them")
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
    array = array.reshape(-1, *shape)
    if files.axes:
        _check_against_mask(files, array)
    return array


def _names_probabilities(path: Path) -> bool:
    if path.suffix != ".npz":
        return False
    try:
        with np.load(path, allow_pickle=False) as archive:
            return bool({"probabilities", "softmax"} & set(archive.files))
    except Exception:  # read_array says what is wrong with it
        return False


def _long(shape: Iterable[int]) -> tuple[int, ...]:
    return tuple(length for length in shape if length != 1)


def _from_canonical(array: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[Any]:
    """Axes of the patient's space (nnU-Net's ``NibabelIOWithReorient``) to those of the file."""
    from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

    turn = ornt_transform(axcodes2ornt("RAS"), io_orientation(affine))
    return np.moveaxis(apply_orientation(np.moveaxis(array, 0, -1), turn), -1, 0)


def _check_against_mask(files: CaseFiles, array: NDArray[Any]) -> None:
    """Where nnU-Net's predicted mask lies beside its probabilities, both must agree: else the axes are others."""
    name = files.prediction.name.removesuffix(".npz")
    beside = next((p for p in files.prediction.parent.glob(f"{name}.*") if mask_suffix(p) in (".nii", ".nii.gz")), None)
    if beside is None or len(array) < 2:
        return
    labels = np.asarray(load_mask(beside).array).reshape(array.shape[1:])
    if np.mean((array.argmax(axis=0) > 0) == (labels > 0)) < 0.99 and np.mean(array.sum(axis=0)) < 1.01:
        raise UserError(
            f"{files.prediction}: its classes are not those of {beside.name}; the order of axes is not known"
        )


def _zero_and_one(
    annotation: NDArray[Any], predicted: NDArray[Any], ignore: int | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Masks of 0 and 255 (on either side) as masks of 0 and 1."""
    values = [set(np.unique(array).tolist()) - {0, ignore} for array in (annotation, predicted)]
    if all(found <= {1, 255} for found in values) and any(255 in found for found in values):
        return tuple(np.where(array == 255, 1, array) if 255 != ignore else array for array in (annotation, predicted))  # type: ignore[return-value]
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
            raise UserError(
                f"{files.mask}: holds the labels {', '.join(map(str, values[:6]))}, but {files.prediction} has one class "
                "beside the background"
            )
        return (Structure("1", tuple(values) or (1,), len(predicted) - 1),)
    if values and values[-1] >= len(predicted):
        raise UserError(
            f"{files.mask}: holds the label {values[-1]}, but {files.prediction} has {len(predicted)} classes"
        )
    return tuple(Structure(str(value), (value,), value) for value in range(1, len(predicted)))


def _check_probabilities(path: Path, predicted: NDArray[Any], structures: Sequence[Structure], labels: Labels) -> None:
    last = max((structure.channel for structure in structures), default=0)
    if last >= len(predicted):
        raise UserError(f"{path}: {len(predicted)} classes, but the data set has labels up to {last}")
    least, most = float(predicted.min()), float(predicted.max())
    if least < -_RANGE_TOLERANCE or most > 1 + _RANGE_TOLERANCE:
        raise UserError(f"{path}: values from {least:.4g} to {most:.4g}, no probabilities; apply softmax first")
    if labels.regions or len(predicted) == 1:
        return
    total = predicted.sum(axis=0, dtype=np.float32)
    worst = float(total.flat[np.argmax(np.abs(total - 1))])
    if abs(worst - 1) > _SUM_TOLERANCE:
        raise UserError(f"{path}: the classes of an element sum to {worst:.3f}, not to 1; they are no probabilities")
