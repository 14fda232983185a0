"""Write a mended data set of masks: nnU-Net raw data sets keep their format, others become images and masks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.layouts import TRAINING, TrainingPairs
from data_prep.mask_files import LoadedMask, load_mask, mask_paths, mask_suffix, save_mask
from data_prep.nnunet_raw import DESCRIPTION, LABELS, place, read_description
from data_prep.pairing import Pair
from data_prep.pictures import read_labels
from seg_anl.records import UserError, array_digest, item_id, make_directory, write_json
from seg_anl.records.journal import read_journal

from .cases import Case, CaseFiles, Labels, load_case
from .sources import Source, open_source, pairs_of_run
from .streaming import JOURNAL, file_states

if TYPE_CHECKING:
    from .apply_command import Audit, Change

_IGNORE_LABELS = (255, 254)  # for masks without a description: the first that is unused


class MaskSet:
    """The audited masks with their images.

    Attributes:
        folders: all folders it is read from.
    """

    def __init__(self, audit: Audit) -> None:
        self.journal = audit.folder / JOURNAL
        recorded = {name: audit.content.get(name) for name in ("source", "masks", "images")}
        options = {name: None if path is None else Path(str(path)) for name, path in recorded.items()}
        assert options["source"] is not None
        ignore = audit.content.get("ignore")
        self.source: Source = open_source(options["source"], options["masks"], options["images"], ignore)
        self.case_of = {case.item: case for case in self.source.cases}
        missing = sorted(set(audit.rows) - set(self.case_of))
        if missing:
            raise UserError(f"{options['source']}: {missing[0]} is no longer there; run the audit again")
        first = self.source.cases[0]
        self.raw, self.tested, self.ignored = self.source.raw, list[Pair](), self.source.labels.ignore
        self.threshold = None
        if self.raw is not None:
            ending = read_description(self.raw)["file_ending"]
            self.mask_of = {path.name[: -len(ending)]: path for path in mask_paths(self.raw / LABELS, f"*{ending}")}
            self.image_of: dict[str, Path] = {}
        elif first.row is None:
            root = options["masks"] or first.mask.parent
            self.mask_of = {item_id(path, root): path for path in mask_paths(root)}
            pictures = {case.item: case.image for case in self.source.cases if case.image is not None}
            self.image_of = {item: Path(picture.name) for item, picture in pictures.items() if picture.content is None}
        else:
            pairs, data = _files_of_run(first.mask.parents[1])
            self.mask_of = {pair.item: Path(pair.mask.name) for pair in pairs.train}
            self.image_of = {pair.item: Path(pair.image.name) for pair in pairs.train}
            self.tested, self.ignored, self.threshold = pairs.test, data.get("ignore"), data.get("threshold")
        files = {path.parent for path in (*self.mask_of.values(), *self.image_of.values())}
        self.folders = [path for path in (*options.values(), self.raw, *sorted(files)) if path is not None]

    def write(self, target: Path, action: str, wrong: set[str], *, copy: bool) -> tuple[list[Change], list[str]]:
        """Write the data set with the ``wrong`` items dropped, partly ignored or replaced.

        Raises:
            UserError: naming the file for which this is not possible.
        """
        from .apply_command import Change

        if action == "drop" and wrong >= set(self.mask_of):
            raise UserError("no case would be left")
        if action != "drop" and self.threshold is not None:
            raise UserError(
                f"the masks are gray (data.threshold={self.threshold}), and gray values are no labels: save them as 0 "
                "and 255 and train without a threshold, or use --drop"
            )
        ignore = self._ignore_label() if action == "ignore" else None
        _, rows = read_journal(self.journal) or (None, {})
        audited = {item: row["files"][:-1] for item, row in rows.items()}  # the image does not matter here
        changes = []
        for item in sorted(wrong):
            source = self.mask_of.get(item)
            if source is None:
                raise UserError(f"{item}: its mask is no longer there; run the audit again")
            if action == "drop":
                changes.append(Change(item, action, None, array_digest(_read_stored(source))))
                continue
            files = self.case_of[item]
            if audited.get(item, now := file_states(files)[:-1]) != now:
                raise UserError(f"{item}: its mask or prediction has changed since the audit; run the audit again")
            mask = load_mask(source)
            before = array_digest(mask.array)
            changed = self._mend(mask, files, source, ignore)
            path = self._target_path(item, source, target)
            make_directory(path.parent)
            save_mask(mask, changed, path)
            elements = int(np.count_nonzero(changed != mask.array))
            changes.append(Change(item, action, elements, before, array_digest(changed)))
        if self.raw is None:
            return changes, self._complete_folder(target, wrong if action == "drop" else set(), ignore, copy=copy)
        self._complete_raw(target, wrong if action == "drop" else set(), ignore, copy=copy)
        return changes, []

    def _target_path(self, item: str, source: Path, target: Path) -> Path:
        if self.raw is not None:
            return target / source.relative_to(self.raw)
        return self._places(target, "masks") / f"{item}{mask_suffix(source) or source.suffix}"

    def _places(self, target: Path, kind: str, split: str = TRAINING) -> Path:
        return target / kind / split if self.tested else target / kind

    def _mend(self, mask: LoadedMask, files: CaseFiles, path: Path, ignore: int | None) -> NDArray[Any]:
        """The predicted mask, or with ``ignore`` the original mask ignored where they disagree."""
        if files.row is not None and not np.array_equal(read_labels(path, str(path)), mask.array):
            raise UserError(f"{path}: rotated by its EXIF orientation, unlike its prediction; save it upright")
        case = load_case(files, self.source.labels)
        predicted = self._predicted_mask(case, mask.array)
        if ignore is None:
            return predicted
        if not np.can_cast(np.min_scalar_type(ignore), mask.array.dtype):
            raise UserError(f"{path}: its dtype {mask.array.dtype} cannot hold the ignore label {ignore}")
        keep = predicted == mask.array
        if self.ignored is not None:
            keep |= mask.array == self.ignored
        return np.where(keep, mask.array, np.array(ignore, dtype=mask.array.dtype))

    def _predicted_mask(self, case: Case, original: NDArray[Any]) -> NDArray[Any]:
        """The prediction with the shape, dtype and foreground value of the original mask."""
        shape = tuple(length for length in original.shape if length != 1)
        labels = case.predicted
        if case.soft:
            labels = _most_probable_labels(case, self.source.labels, self._region_order(case), shape)
        elif case.labels.shape != shape:
            labels = cv2.resize(labels.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST)
        if self.source.labels.regions:  # several labels may make up a region: those that agree with it stay
            stored = original.reshape(shape)
            differs = np.isin(stored, [] if self.ignored is None else [self.ignored])
            for structure in case.structures:
                differs |= np.isin(labels, structure.values) != np.isin(stored, structure.values)
            labels = np.where(differs, labels, stored)
        elif len(case.structures) == 1:  # the file may use another foreground value, such as 255
            own = self._highest_label(original)
            value = own or self._usual_label
            # The other masks may hold more labels: then a label predicted for an empty mask stays as it is.
            if own or case.soft or value == 255:
                labels = np.where(labels != 0, value, 0)
        return labels.reshape(original.shape).astype(original.dtype)

    def _highest_label(self, labels: NDArray[Any]) -> int:
        return int(labels[labels != (self.ignored or 0)].max(initial=0))

    @property
    def _usual_label(self) -> int:
        """The foreground value for empty masks: that of the first nonempty mask."""
        values = (self._highest_label(_read_stored(path)) for path in self.mask_of.values())
        return next((value for value in values if value), 1)

    def _region_order(self, case: Case) -> list[int]:
        """The label that each region leaves in a mask, the later ones on top; empty without regions."""
        if not self.source.labels.regions:
            return []
        order = None if self.raw is None else read_description(self.raw).get("regions_class_order")
        if not isinstance(order, list) or len(order) != len(case.structures):
            raise UserError(
                f"{(self.raw or self.folders[0]) / DESCRIPTION}: regions_class_order is {order}; expected the label of "
                f"each of the {len(case.structures)} regions, or use --drop"
            )
        return order

    def _ignore_label(self) -> int:
        if self.raw is not None:
            labels = dict(read_description(self.raw)["labels"])
            if "ignore" in labels:
                return int(labels["ignore"])
            flat = (each for value in labels.values() for each in (value if isinstance(value, list) else [value]))
            return int(max(map(int, flat))) + 1
        if self.ignored is not None:
            return self.ignored
        used = {int(value) for path in self.mask_of.values() for value in np.unique(_read_stored(path))}
        return next(value for value in (*_IGNORE_LABELS, max(used) + 1) if value not in used)

    def _complete_raw(self, target: Path, dropped: set[str], ignore: int | None, *, copy: bool) -> None:
        assert self.raw is not None
        description = read_description(self.raw)
        ending = description["file_ending"]
        for folder, _, names in os.walk(self.raw, followlinks=True):
            relative = Path(folder).relative_to(self.raw)
            for name in sorted(names):
                case = name.removesuffix(ending)
                if relative.parts[:1] == ("imagesTr",):
                    case = case[: -len("_0000")]
                is_training = relative.parts[:1] in ((LABELS,), ("imagesTr",))
                if (relative, name) == (Path("."), DESCRIPTION) or (is_training and case in dropped):
                    continue
                make_directory(target / relative)
                if not (target / relative / name).exists():
                    place(Path(folder) / name, target / relative / name, copy=copy)
        if "dataset" in description:
            description["dataset"] = {key: one for key, one in description["dataset"].items() if key not in dropped}
        if ignore is not None:
            description["labels"]["ignore"] = ignore
        description["numTraining"] = len(self.mask_of) - len(dropped)
        write_json(target / DESCRIPTION, description)

    def _complete_folder(self, target: Path, dropped: set[str], ignore: int | None, *, copy: bool) -> list[str]:
        without_image = []
        for item, source in self.mask_of.items():
            if item in dropped:
                continue
            path = self._target_path(item, source, target)
            make_directory(path.parent)
            if not path.exists():
                place(source, path, copy=copy)
            image = self.image_of.get(item)
            if image is None:
                without_image.append(item)
                continue
            image_path = self._places(target, "images") / f"{item}{mask_suffix(image) or image.suffix}"
            make_directory(image_path.parent)
            place(image, image_path, copy=copy)
        for pair in self.tested:  # unchanged, so that runs before and after are tested on the same images
            for kind, file in (("images", pair.image), ("masks", pair.mask)):
                path = self._places(target, kind, "test") / f"{pair.item}{Path(file.name).suffix}"
                make_directory(path.parent)
                place(Path(file.name), path, copy=copy)
        remarks = [f"no image found for {len(without_image)} masks; audit with --images"] if without_image else []
        return [*remarks, *([f"the ignore label is {ignore}"] if ignore is not None else [])]


def _read_stored(path: Path) -> NDArray[Any]:
    """The values of a mask, also in formats that are only read, such as JPEG."""
    return load_mask(path).array if mask_suffix(path) else read_labels(path, str(path))


def _most_probable_labels(case: Case, labels: Labels, order: list[int], shape: tuple[int, ...]) -> NDArray[Any]:
    """The most probable labels, resized to ``shape`` if the run was trained on smaller images."""
    predicted = case.predicted.astype(np.float32)
    if predicted.shape[1:] != shape:
        predicted = np.stack([cv2.resize(channel, shape[::-1]) for channel in predicted])
    result = np.zeros(shape, dtype=np.int64)
    if labels.regions:
        for structure, value in zip(case.structures, order, strict=True):
            result[predicted[structure.channel] > 0.5] = value
        return result
    best = predicted.argmax(axis=0) if len(predicted) > 1 else predicted[0] >= 0.5
    for structure in case.structures:
        result[best == (structure.channel if len(predicted) > 1 else 1)] = structure.values[0]
    return result


def _files_of_run(run: Path) -> tuple[TrainingPairs, dict[str, Any]]:
    """The training and test files of a run, and its ``data`` settings.

    Raises:
        UserError: if its masks were made noisy in memory, or its data is not in a folder.
    """
    pairs, config = pairs_of_run(run)
    noisy = config["noise"].get("alpha")
    if noisy or config["data"]["name"] == "embedded":
        reason = "its masks were made noisy in memory" if noisy else "its images are not in a folder"
        raise UserError(f"{run}: {reason}: use data.exclude_file, or write noisy masks with seg-anl-noise masks")
    return pairs, config["data"]
