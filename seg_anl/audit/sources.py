"""Find annotations and their predictions in all supported layouts."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.layouts import TrainingPairs, find_pairs
from data_prep.mask_archive import MASKS_FILE
from data_prep.mask_files import mask_paths, mask_suffix
from data_prep.nnunet_raw import DESCRIPTION, LABELS, is_nnunet_dataset, read_description
from data_prep.pairing import IMAGE_SUFFIXES, PictureFile, files_by_item
from data_prep.pictures import IGNORED
from seg_anl.records import UserError, item_id
from seg_anl.records.files import files_below
from seg_anl.records.foreign_files import check_regular, read_json, read_yaml
from seg_anl.records.manifest import MANIFEST
from seg_anl.records.predictions import FOLDER, HEADER_FILE, predicting_runs, prefer_out_of_sample
from seg_anl.records.runs import CONFIG_FILE

from .cases import CaseFiles, Labels, Structure

_FOLDS, _RAW = 5, "nnUNet_raw"  # nnU-Net's number of folds; its variable and folder name for raw data
_ALL = "fold_all"  # trained on every case, and validated on the same
_ARRAYS = (".npz", ".npy")  # predictions that may be probabilities
_MAX_NAMES = 4  # items listed in a remark


@dataclass(frozen=True)
class Source:
    """The cases to audit.

    Attributes:
        cases: annotations with a prediction, sorted by item.
        labels: the meaning of the mask values.
        kind: the detected layout.
        in_sample: whether the networks were trained on these annotations.
        missing: annotations without a prediction.
        remarks: notes for the user, one line each.
        losses: mean training loss over the epochs by item, from a run with ``record=dynamics``.
    """

    cases: list[CaseFiles]
    labels: Labels
    kind: str
    in_sample: bool = False
    missing: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    losses: dict[str, float] = field(default_factory=dict)

    @property
    def raw(self) -> Path | None:
        """The nnU-Net raw data set whose labelsTr holds the annotations, if any."""
        folder = self.cases[0].mask.parent
        return folder.parent if folder.name == LABELS and is_nnunet_dataset(folder.parent) else None


def open_source(source: Path, masks: Path | None, images: Path | None, ignore: int | None) -> Source:
    """Find the cases of SOURCE.

    Args:
        source: an nnU-Net result folder with folds, a run, a folder of fold runs, or a folder of predictions.
        masks: folder of the annotations, or nnU-Net raw data set; may be None if SOURCE leads to them.
        images: folder of the images; None to look for them.
        ignore: mask value to ignore; None for the data set's own, if any.

    Raises:
        UserError: for an unknown layout, or if there is nothing to audit.
    """
    if not source.is_dir():
        raise UserError(f"{source} is not a folder")
    if masks is not None and masks.name == LABELS and is_nnunet_dataset(masks.parent):
        masks = masks.parent  # its dataset.json says what the labels mean, and which is ignored
    folds = sorted(path.parent for path in source.glob("fold_*/validation") if path.is_dir())
    if folds:
        opened = _open_nnunet_results(source, folds, masks)
    elif runs := predicting_runs(source):
        opened = _open_runs(runs, masks)
    else:
        opened = _open_folder(source, masks)
    if not opened.cases:
        raise UserError(f"{source}: no prediction has the name of an annotation; {'; '.join(opened.remarks)}")
    # The archive of a run marks unlabeled pixels itself, whatever their value in the files.
    archived = opened.cases[0].row is not None
    labels = opened.labels if ignore is None or archived else replace(opened.labels, ignore=ignore)
    if ignore not in (None, labels.ignore):
        opened.remarks.append(f"--ignore {ignore} has no effect: a run ignores what data.ignore named in its training")
    cases = sorted(opened.cases, key=lambda case: case.item)
    if images is not None:
        by_item = _find_images(images)
        if not any(case.item in by_item for case in cases):
            raise UserError(f"{images}: no image is named like a mask, such as {cases[0].item}")
        cases = [replace(case, image=by_item.get(case.item, case.image)) for case in cases]
    certain = [case.item for case in cases if case.prediction.suffix not in _ARRAYS]
    if 0 < len(certain) < len(cases):
        opened.remarks.append(f"no probabilities for {_list_items(certain)}: ranked as if certain, which is too high")
    elif certain:
        opened.remarks.append("only predicted masks found: probabilities (nnU-Net's --npz) are more informative")
    without_image = [case.item for case in cases if case.image is None]
    if 0 < len(without_image) < len(cases):
        opened.remarks.append(f"no image for {_list_items(without_image)}: all cases are ranked without images")
    elif without_image:
        opened.remarks.append("no images: ranked without them, which is less accurate; pass --images DIR")
    if opened.missing:
        opened.remarks.append(f"no prediction for {_list_items(opened.missing)}: left out")
    return replace(opened, cases=cases, labels=labels)


def _open_nnunet_results(source: Path, folds: Sequence[Path], masks: Path | None) -> Source:
    raw = masks or _find_raw_dataset(source)
    description = read_description(source if (source / DESCRIPTION).is_file() else raw)
    annotations = _find_masks(raw)
    images = _find_images(raw / "imagesTr") if is_nnunet_dataset(raw) else {}
    axes = _exported_axes(source, description)
    cases: dict[str, CaseFiles] = {}
    unmatched = []
    predictions = {fold.name: _find_predictions(fold / "validation") for fold in folds}
    remarks = [f"{name} holds no validation predictions" for name, files in predictions.items() if not files]
    predictions = {name: files for name, files in predictions.items() if files}
    in_sample = set(predictions) == {_ALL}
    if _ALL in predictions and not in_sample:
        del predictions[_ALL]
        remarks.append(f"{_ALL} left out: it was trained on all annotations")
    for name, files in predictions.items():
        for item, path in files.items():
            if item not in annotations:
                unmatched.append(item)
            elif item not in cases:
                cases[item] = CaseFiles(item, annotations[item], path, images.get(item), fold=name, axes=axes)
    absent = sorted(set(map(str, range(_FOLDS))) - {fold.name.removeprefix("fold_") for fold in folds})
    if not in_sample and absent:
        remarks.append(f"of nnU-Net's five folds, {', '.join(absent)} {'is' if len(absent) == 1 else 'are'} missing")
    remarks += _unmatched_remark(unmatched, raw)
    missing = sorted(annotations.keys() - cases.keys())
    return Source(list(cases.values()), _parse_labels(description), "nnU-Net folds", in_sample, missing, remarks)


def _find_raw_dataset(results: Path) -> Path:
    """The raw data set of an nnU-Net result folder: in ``$nnUNet_raw``, or in a folder ``nnUNet_raw`` above it."""
    roots = [Path(os.environ[_RAW])] if os.environ.get(_RAW) else []
    roots += [parent / _RAW for parent in results.resolve().parents[:3]]
    name = Path(os.path.abspath(results)).parent.name  # SOURCE may be "."
    for root in roots:
        if is_nnunet_dataset(root / name):
            return root / name
    raise UserError(f"{results}: its raw data set {name} was not found; name it with --masks")


def _exported_axes(folder: Path, description: Mapping[str, Any]) -> str:
    """The :attr:`CaseFiles.axes` of the probabilities in an nnU-Net folder: its image reader determines them."""
    path = folder / "plans.json"
    plans = read_json(path) if path.is_file() else None
    name = plans.get("image_reader_writer") if isinstance(plans, dict) else None
    name = name or description.get("overwrite_image_reader_writer")
    return "canonical" if name == "NibabelIOWithReorient" else "reversed"


def _parse_labels(description: dict[str, Any]) -> Labels:
    """The labels of a dataset.json. Channels are the label values, or the regions in order without background."""
    values_of = {
        name: tuple(map(int, value if isinstance(value, list) else [value]))
        for name, value in description["labels"].items()
    }
    ignore = values_of.pop("ignore", (None,))[0]
    regions = any(len(values) > 1 for values in values_of.values())
    foreground = {name: values for name, values in values_of.items() if set(values) != {0}}
    structures = [
        Structure(name, values, channel if regions else values[0])
        for channel, (name, values) in enumerate(foreground.items())
    ]
    return Labels(tuple(structures), ignore, regions)


def _open_runs(headers: Mapping[Path, dict[str, Any]], masks: Path | None) -> Source:
    runs, remarks = prefer_out_of_sample(headers)
    cases: dict[str, CaseFiles] = {}
    expected, unmatched = set[str](), list[str]()
    masks = masks or _masks_of_volumes(runs[0])
    given_masks = {} if masks is None else _find_masks(masks)
    raw = masks if masks is not None and is_nnunet_dataset(masks) else None
    labels = Labels(ignore=None if masks else IGNORED) if raw is None else _parse_labels(read_description(raw))
    for run in runs:
        rows = {} if masks else _training_mask_rows(run)
        images, problem = (_find_images(raw / "imagesTr"), "") if raw else _images_of_run(run)
        remarks += [problem] if problem and problem not in remarks else []
        expected |= set(rows) or set(given_masks)
        for item in map(str, headers[run]["items"]):
            if item in cases:
                other = cases[item].prediction.parents[1]
                raise UserError(f"{item} is predicted by both {other} and {run}: name one run, or one sweep of folds")
            prediction = run / FOLDER / f"{item}.npz"
            if not prediction.is_file():
                raise UserError(f"{prediction}: listed in {HEADER_FILE} but missing")
            mask, row = (run / "noise" / MASKS_FILE, rows[item]) if item in rows else (given_masks.get(item), None)
            if mask is None:
                unmatched.append(item)
                continue
            fold = "" if headers[run].get("fold") is None else str(headers[run]["fold"])
            cases[item] = CaseFiles(item, mask, prediction, images.get(item), row, fold)
    remarks += _unmatched_remark(unmatched, masks or runs[0] / "noise")
    in_sample = not headers[runs[0]]["out_of_sample"]
    missing = sorted(expected - set(cases))
    kind = "one run" if len(runs) == 1 else "fold runs"
    losses = _mean_training_losses(runs[0]) if in_sample else {}
    return Source(list(cases.values()), labels, kind, in_sample, missing, remarks, losses)


def _masks_of_volumes(run: Path) -> Path | None:
    """The raw data set that a run on volumes was trained on; None for a run on pictures, which keeps their masks.

    Raises:
        UserError: for a run on other volumes, or one that made its masks noisy.
    """
    if (run / "noise" / MASKS_FILE).is_file():
        return None
    config = read_yaml(run / CONFIG_FILE)
    try:
        name, root, alpha = config["data"]["name"], config["data"]["root"], config["noise"]["alpha"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{run / CONFIG_FILE}: damaged: {error!r}") from error
    if alpha:
        raise UserError(
            f"{run}: its noisy masks exist on the training grid only; train on masks written by seg-anl-noise masks, "
            "or pass --masks DIR"
        )
    if name != "nnunet":
        raise UserError(f"{run}: pass --masks DIR, the masks it was trained on")
    return Path(str(root)).expanduser()


def _mean_training_losses(run: Path) -> dict[str, float]:
    """The training loss of each item averaged over epochs, if the run recorded its dynamics."""
    sums: dict[str, float] = {}
    paths = sorted((run / "records" / "dynamics").glob("epoch_*.npz"))
    for path in paths:
        try:
            check_regular(path)
            with np.load(path, allow_pickle=False) as archive:
                pairs = list(zip(archive["items"].tolist(), archive["loss"].tolist(), strict=True))
        except Exception as error:  # damaged archives raise errors of any type
            raise UserError(f"{path}: damaged: {error}") from error
        for item, loss in pairs:
            sums[str(item)] = sums.get(str(item), 0.0) + loss / len(paths)
    return sums


def _training_mask_rows(run: Path) -> dict[str, int]:
    """The row of each item in the archive of masks that a run was trained on."""
    path = run / "noise" / MANIFEST
    if not path.is_file():
        raise UserError(f"{run}: no {path.relative_to(run)}, which lists the training masks; give --masks")
    try:
        return {str(record["item"]): row for row, record in enumerate(read_json(path)["items"])}
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: lists no items; expected the noise manifest of a run") from error


def _images_of_run(run: Path) -> tuple[dict[str, PictureFile], str]:
    """The training images of a run; if they are missing, none, and why."""
    try:
        return {pair.item: pair.image for pair in pairs_of_run(run)[0].train}, ""
    except UserError as error:
        return {}, f"the run's images are not found: {error}"


def pairs_of_run(run: Path) -> tuple[TrainingPairs, Any]:
    """The images and masks of a run of seg-anl-train, and its configuration.

    Raises:
        UserError: for a damaged configuration or missing files.
    """
    path = run / CONFIG_FILE
    config = read_yaml(path)
    names = inspect.signature(find_pairs).parameters.keys() - {"seed"}
    try:
        settings = {name: config["data"][name] for name in names if config["data"].get(name) is not None}
        exclude = settings.pop("exclude", [])  # one name or a list of names, which may be numbers
        settings["exclude"] = list(map(str, exclude if isinstance(exclude, list) else [exclude]))
        return find_pairs(seed=config["noise"].get("seed", 0), **settings), config
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: damaged: {error}") from error


def _open_folder(source: Path, masks: Path | None) -> Source:
    if masks is None and any(source.rglob(CONFIG_FILE)):
        raise UserError(f"{source}: no finished run with predictions; train with folds=5 or record=[predictions]")
    if masks is None:
        raise UserError(f"{source}: a folder of predictions needs the annotations: --masks DIR")
    annotations = _find_masks(masks)
    description = read_description(masks) if is_nnunet_dataset(masks) else None
    images = _find_images(masks / "imagesTr") if description else {}
    predictions = _find_predictions(source)
    remarks = ["assumed to be predictions of networks that have not seen the masks"]
    remarks += _unmatched_remark(sorted(predictions.keys() - annotations.keys()), masks)
    exported, cases = _exported_axes(source, description or {}), []
    for item in sorted(predictions.keys() & annotations.keys()):
        path = predictions[item]
        axes = exported if path.with_suffix(".pkl").exists() else ""  # nnU-Net writes a .pkl file
        cases.append(CaseFiles(item, annotations[item], path, images.get(item), axes=axes))
    missing = sorted(annotations.keys() - predictions.keys())
    labels = _parse_labels(description) if description else Labels()
    return Source(cases, labels, "folder of predictions", False, missing, remarks)


def _find_predictions(folder: Path) -> dict[str, Path]:
    """Predictions by item; arrays, which may hold probabilities, take precedence over pictures and volumes."""
    arrays, others = list[Path](), list[Path]()
    for path in files_below(folder):
        if path.suffix in _ARRAYS:
            arrays.append(path)
        elif mask_suffix(path):
            others.append(path)
    by_item = (files_by_item(paths, lambda path: item_id(path, folder)) for paths in (others, arrays))
    return {item: path for found in by_item for item, path in found.items()}


def _find_masks(masks: Path) -> dict[str, Path]:
    if is_nnunet_dataset(masks):
        ending = read_description(masks)["file_ending"]
        return {item_id(path, masks / LABELS): path for path in mask_paths(masks / LABELS, f"*{ending}")}
    return {item_id(path, masks): path for path in mask_paths(masks)}


def _find_images(folder: Path) -> dict[str, PictureFile]:
    """Images by item; the first channel of nnU-Net images, whose names end in ``_0000``."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    paths = [path for path in files_below(folder) if path.suffix.lower() in IMAGE_SUFFIXES or mask_suffix(path)]
    found = {item_id(path, folder): PictureFile(str(path)) for path in reversed(paths)}
    return {**found, **{item.removesuffix("_0000"): image for item, image in found.items()}}


def _unmatched_remark(items: Sequence[str], masks: Path) -> list[str]:
    return [f"no annotation in {masks} for {_list_items(items)}: left out"] if items else []


def _list_items(items: Sequence[str]) -> str:
    more = f" and {len(items) - _MAX_NAMES} more" if len(items) > _MAX_NAMES else ""
    return f"{', '.join(items[:_MAX_NAMES])}{more} ({len(items)} in all)" if len(items) > 1 else items[0]
