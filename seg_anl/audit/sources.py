"""What is audited: annotations beside predictions of them, found in every layout that holds both."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.layouts import TrainingPairs, find_pairs
from data_prep.mask_archive import MANIFEST_FILE, MASKS_FILE
from data_prep.mask_files import mask_paths, mask_suffix
from data_prep.nnunet_raw import DESCRIPTION, LABELS, is_nnunet_dataset, read_description
from data_prep.pairing import PictureFile
from data_prep.pictures import IGNORED
from seg_anl.records import UserError, item_id
from seg_anl.records.files import files_below
from seg_anl.records.foreign_files import check_regular, read_json, read_yaml
from seg_anl.records.predictions import FOLDER, HEADER_FILE, predicting_runs, unseen_if_any
from seg_anl.records.runs import CONFIG_FILE

from .cases import CaseFiles, Labels, Structure

_FOLDS, _RAW = 5, "nnUNet_raw"  # nnU-Net's: folds, and its variable and folder of raw data
_NAMED = 4  # items that a remark names


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

    @property
    def raw(self) -> Path | None:
        """The nnU-Net raw data set that the annotations are those of, if they are."""
        above = self.cases[0].mask.parents[1]
        return above if self.cases[0].row is None and is_nnunet_dataset(above) else None


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
    if folds:
        found = _nnunet_result(source, folds, masks)
    elif runs := predicting_runs(source):
        found = _fold_runs(runs, masks)
    else:
        found = _folder(source, masks)
    if not found.cases:
        raise UserError(f"{source}: no prediction has the name of an annotation; {'; '.join(found.remarks)}")
    # A run's own archive knows what nobody has labeled, whatever its value in the files.
    archived = found.cases[0].row is not None
    labels = found.labels if ignore is None or archived else replace(found.labels, ignore=ignore)
    cases = sorted(found.cases, key=lambda case: case.item)
    if images is not None:
        by_item = _images_in(images)
        cases = [replace(case, image=by_item.get(case.item, case.image)) for case in cases]
    blind = [case.item for case in cases if case.image is None]
    if 0 < len(blind) < len(cases):
        found.remarks.append(f"no image of {_some(blind)}: all are ranked without images")
    elif blind:
        found.remarks.append("no images: ranked without them, which tells less; name them by --images DIR")
    if found.missing:
        found.remarks.append(f"no prediction for {_some(found.missing)}: left out")
    return replace(found, cases=cases, labels=labels)


def _nnunet_result(source: Path, folds: Sequence[Path], masks: Path | None) -> Source:
    raw = masks or _raw_dataset(source)
    if raw is None:
        raise UserError(f"{source}: its raw data set {source.parent.name} was not found; name it by --masks")
    description = read_description(source if (source / DESCRIPTION).is_file() else raw)
    annotations = _masks_in(raw)
    images = _images_in(raw / "imagesTr") if is_nnunet_dataset(raw) else {}
    axes = "canonical" if _reader(source, description) == "NibabelIOWithReorient" else "reversed"
    cases: dict[str, CaseFiles] = {}
    remarks, strangers = [], []
    for fold in folds:
        files = _predictions_in(fold / "validation")
        if not files:
            remarks.append(f"{fold.name} holds no validation predictions")
        for item, path in files.items():
            if item not in annotations:
                strangers.append(item)
            elif item not in cases:
                cases[item] = CaseFiles(item, annotations[item], path, images.get(item), fold=fold.name, axes=axes)
    numbers = {fold.name.removeprefix("fold_") for fold in folds}
    absent = [number for number in map(str, range(_FOLDS)) if number not in numbers]
    if "all" not in numbers and absent:
        remarks.append(f"of nnU-Net's five folds, {', '.join(absent)} {'is' if len(absent) == 1 else 'are'} missing")
    remarks += _without_mask(strangers, raw)
    if cases and not any(case.prediction.suffix == ".npz" for case in cases.values()):
        remarks.append("only predicted masks: validate with --npz for probabilities, which tell more")
    missing = sorted(annotations.keys() - cases.keys())
    in_sample = numbers == {"all"}
    return Source(list(cases.values()), _described_labels(description), "nnU-Net folds", in_sample, missing, remarks)


def _raw_dataset(result: Path) -> Path | None:
    """nnU-Net's raw data set of a result folder: in ``nnUNet_raw``, or in a folder of that name beside the results."""
    roots = [Path(os.environ[_RAW])] if os.environ.get(_RAW) else []
    roots += [above / _RAW for above in result.resolve().parents[:3]]
    return next((root / result.parent.name for root in roots if is_nnunet_dataset(root / result.parent.name)), None)


def _reader(result: Path, description: dict[str, Any]) -> str:
    """The name of nnU-Net's reader: it decides the order of the axes."""
    path = result / "plans.json"
    plans = read_json(path) if path.is_file() else None
    named = plans.get("image_reader_writer") if isinstance(plans, dict) else None
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


def _fold_runs(headers: Mapping[Path, dict[str, Any]], masks: Path | None) -> Source:
    used, remarks = unseen_if_any(headers)
    cases: dict[str, CaseFiles] = {}
    expected: set[str] = set()
    masks = masks or _masks_of_volumes(used[0])
    given = {} if masks is None else _masks_in(masks)
    raw = masks if masks is not None and is_nnunet_dataset(masks) else None
    labels = Labels(ignore=None if masks else IGNORED) if raw is None else _described_labels(read_description(raw))
    for run in used:
        own = {} if masks else _noisy_masks(run)
        images, gone = (_images_in(raw / "imagesTr"), "") if raw else _images_of_run(run)
        remarks += [gone] if gone and gone not in remarks else []
        expected |= set(own) or set(given)
        for item in map(str, headers[run]["items"]):
            if item in cases:
                other = cases[item].prediction.parents[1]
                raise UserError(f"{item} is predicted by {other} and by {run}: name one run, or one sweep of folds")
            prediction = run / FOLDER / f"{item}.npz"
            if not prediction.is_file():
                raise UserError(f"{prediction}: named in {HEADER_FILE} but not there")
            mask, row = (run / "noise" / MASKS_FILE, own[item]) if item in own else (given.get(item), None)
            if mask is None:
                remarks.append(f"{item}: predicted by {run}, which has no mask of it")
                continue
            fold = "" if headers[run].get("fold") is None else str(headers[run]["fold"])
            cases[item] = CaseFiles(item, mask, prediction, images.get(item), row, fold)
    in_sample = not headers[used[0]]["out_of_sample"]
    missing = sorted(expected - set(cases))
    kind = "one run" if len(used) == 1 else "fold runs"
    losses = _training_losses(used[0]) if in_sample else {}
    return Source(list(cases.values()), labels, kind, in_sample, missing, remarks, losses)


def _masks_of_volumes(run: Path) -> Path | None:
    """The raw data set that a run on volumes was trained on; None of a run on pictures, which keeps their masks.

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
            f"{run}: keeps its noisy masks on the grid of training alone; train on masks that seg-anl-noise masks "
            "has written, or give --masks DIR"
        )
    if name != "nnunet":
        raise UserError(f"{run}: give --masks DIR, the masks it was trained on")
    return Path(str(root)).expanduser()


def _training_losses(run: Path) -> dict[str, float]:
    """The mean over the epochs of every item's training loss, where a run records its dynamics."""
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


def _noisy_masks(run: Path) -> dict[str, int]:
    """Items of a run's archive of masks with their rows."""
    path = run / "noise" / MANIFEST_FILE
    if not path.is_file():
        raise UserError(f"{run}: no {path.relative_to(run)}, which names the masks trained on; give --masks")
    try:
        return {str(record["item"]): row for row, record in enumerate(read_json(path)["items"])}
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: names no items; it is not the manifest of a run's noise") from error


def _images_of_run(run: Path) -> tuple[dict[str, PictureFile], str]:
    """The images a run was trained on, where its settings say; if they are not there, nothing and why."""
    try:
        return {pair.item: pair.image for pair in pairs_of_run(run)[0].train}, ""
    except UserError as error:
        return {}, f"the run's images are not found: {error}"


def pairs_of_run(run: Path) -> tuple[TrainingPairs, Any]:
    """The images and masks of a run of seg-anl-train, where its settings say; and its configuration.

    Raises:
        UserError: for a configuration that is damaged, or files that are gone.
    """
    path = run / CONFIG_FILE
    config = read_yaml(path)
    names = ("name", "root", "images", "masks", "test_images", "test_masks", "test_share", "exclude", "limit")
    try:
        settings = {name: config["data"][name] for name in names if config["data"].get(name) is not None}
        return find_pairs(seed=config["noise"].get("seed", 0), **settings), config
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: damaged: {error}") from error


def _folder(source: Path, masks: Path | None) -> Source:
    if masks is None and any(source.rglob(CONFIG_FILE)):
        raise UserError(f"{source}: no finished run with predictions; train with folds=5 or record=[predictions]")
    if masks is None:
        raise UserError(f"{source}: a folder of predictions needs the annotations: --masks DIR")
    annotations = _masks_in(masks)
    description = read_description(masks) if is_nnunet_dataset(masks) else None
    images = _images_in(masks / "imagesTr") if description else {}
    predictions = _predictions_in(source)
    remarks = _without_mask(sorted(predictions.keys() - annotations.keys()), masks)
    cases = []
    for item in sorted(predictions.keys() & annotations.keys()):
        path = predictions[item]
        axes = "reversed" if path.with_suffix(".pkl").exists() else ""  # nnU-Net's, which writes one
        cases.append(CaseFiles(item, annotations[item], path, images.get(item), axes=axes))
    missing = sorted(annotations.keys() - predictions.keys())
    labels = _described_labels(description) if description else Labels()
    return Source(cases, labels, "folder of predictions", False, missing, remarks)


def _predictions_in(folder: Path) -> dict[str, Path]:
    """Predictions by item: probabilities where there are some, else masks."""
    found = [path for path in files_below(folder) if path.suffix == ".npz" or mask_suffix(path)]
    return {item_id(path, folder): path for path in sorted(found, key=lambda path: path.suffix == ".npz")}


def _masks_in(masks: Path) -> dict[str, Path]:
    if is_nnunet_dataset(masks):
        ending = read_description(masks)["file_ending"]
        return {item_id(path, masks / LABELS): path for path in mask_paths(masks / LABELS, f"*{ending}")}
    return {item_id(path, masks): path for path in mask_paths(masks)}


def _images_in(folder: Path) -> dict[str, PictureFile]:
    """Images by item; of nnU-Net's channels the first."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    items = ((item_id(path, folder), path) for path in reversed(files_below(folder)))
    return {item.removesuffix("_0000"): PictureFile(str(path)) for item, path in items}


def _without_mask(items: Sequence[str], masks: Path) -> list[str]:
    return [f"no annotation in {masks} for {_some(items)}: left out"] if items else []


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return f"{', '.join(items[:_NAMED])}{more} ({len(items)} in all)" if len(items) > 1 else items[0]
