"""Write a mended data set of class labels, in the layout of the audited data: class folders or arrays."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_prep.nnunet_raw import place
from data_prep.pairing import image_files
from seg_anl.records import UserError, array_digest, make_directory, written_aside
from seg_anl.records.array_files import read_array
from seg_anl.records.files import files_below
from seg_anl.records.foreign_files import read_yaml
from seg_anl.records.predictions import write_arrays
from seg_anl.records.runs import CONFIG_FILE

from .label_sources import open_labels

if TYPE_CHECKING:
    from .apply_command import Audit, Change

ALTERNATIVE = "use data.exclude_file with the audit's exclude.txt"


class LabelSet:
    """The audited samples with their given labels.

    Attributes:
        folders: all folders and files it is read from.
    """

    def __init__(self, audit: Audit) -> None:
        folder = Path(audit.content["source"])
        self.source = open_labels(folder)
        if set(self.source.items) != set(audit.rows):
            raise UserError(f"{folder}: its items differ from those of {audit.folder}; run the audit again")
        if not np.array_equal(self._labels_in(audit, "given"), self.source.labels):
            raise UserError(f"{folder}: its labels differ from those in {audit.folder}; run the audit again")
        self.suggested = self._labels_in(audit, "suggested")
        self.files = [part.files[position] for part, position in self.source.pictures if part.files]
        self.train = _training_folder(self.files[0], self.source.classes) if self.files else None
        self.archive = _training_archive(self.source.run) if self.source.run and not self.files else None
        paths = (folder, self.archive, self.train.parent if self.train else None)
        self.folders = [path for path in paths if path is not None]

    def _labels_in(self, audit: Audit, column: str) -> NDArray[np.int64]:
        """The classes that audit.csv names in a column, as labels in the order of the samples."""
        label_of = {name: label for label, name in enumerate(self.source.classes)}
        try:
            return np.array([label_of[audit.rows[item][column]] for item in self.source.items])
        except KeyError as error:
            raise UserError(f"{audit.folder / 'audit.csv'}: no class {error}; run the audit again") from error

    def write(self, target: Path, action: str, wrong: set[str], *, copy: bool) -> tuple[list[Change], list[str]]:
        """Write the data set without the ``wrong`` items, or with their suggested labels.

        Raises:
            UserError: for an unsupported action or layout.
        """
        from .apply_command import Change

        if action == "ignore":
            raise UserError("--ignore is for masks: use --drop or --replace for labels")
        items = self.source.items
        is_wrong = np.array([item in wrong for item in items])
        labels = np.where(is_wrong & (action == "replace"), self.suggested, self.source.labels)
        kept = np.flatnonzero(~is_wrong | (action == "replace"))
        empty = np.setdiff1d(np.arange(len(self.source.classes)), labels[kept])
        if len(empty):
            raise UserError(f"no sample of the class {self.source.classes[empty[0]]} would be left")
        if self.source.kind == "arrays":
            remarks = self._write_arrays(target, kept, labels)
        elif self.train is not None:
            remarks = self._write_folders(target, kept, labels, copy=copy)
        elif self.archive is not None:
            remarks = self._write_archive(target, kept, labels)
        else:
            raise UserError(
                f"the samples of {self.folders[0]} are neither in train/CLASS nor in a .npz file: {ALTERNATIVE}"
            )
        changes = []
        for position in np.flatnonzero(is_wrong):
            before, after = (array_digest(each[position : position + 1]) for each in (self.source.labels, labels))
            dropped = action == "drop"
            changed = None if dropped else int(before != after)
            changes.append(Change(items[position], action, changed, before, None if dropped else after))
        return changes, remarks

    def _write_arrays(self, target: Path, kept: NDArray[np.int64], labels: NDArray[np.int64]) -> list[str]:
        folder = self.folders[0]
        arrays = {"labels": labels[kept], "index": kept}
        if (folder / "images.npy").is_file():
            arrays["images"] = read_array(folder / "images.npy")[kept]
        for name, array in arrays.items():
            with written_aside(target / f"{name}.npy") as aside, open(aside, "wb") as file:
                np.save(file, array, allow_pickle=False)
        return []

    def _write_archive(self, target: Path, kept: NDArray[np.int64], labels: NDArray[np.int64]) -> list[str]:
        assert self.archive is not None
        index = np.array([int(self.source.items[position]) for position in kept])
        images = read_array(self.archive, "x_train")
        if max(map(int, self.source.items)) >= len(images):
            raise UserError(f"{self.archive}: holds fewer samples than the audited run; restore it or train again")
        tests = {name: read_array(self.archive, name) for name in ("x_test", "y_test")}
        write_arrays(target / "dataset.npz", x_train=images[index], y_train=labels[kept], **tests)
        return self._unaudited_remark(len(images))

    def _write_folders(
        self, target: Path, kept: NDArray[np.int64], labels: NDArray[np.int64], *, copy: bool
    ) -> list[str]:
        assert self.train is not None
        root, taken = self.train.parent, set()
        # Samples that change their class come last, so that they are the ones renamed on a name clash.
        for position in sorted(kept, key=lambda position: labels[position] != self.source.labels[position]):
            file = self.files[position]
            if self.train not in file.parents:
                raise UserError(f"{file} is not in {self.train}/CLASS: {ALTERNATIVE}")
            if not file.is_file():
                raise UserError(f"{file} is no longer there; run the audit again")
            old_class, *rest = file.relative_to(self.train).parts
            path = Path(self.train.name, self.source.classes[labels[position]], *rest)
            while path in taken:
                path = path.with_name(f"{old_class}-{path.name}")
            taken.add(path)
            _place(file, target / path, copy=copy)
        for file in files_below(root):
            if self.train not in file.parents:
                _place(file, target / file.relative_to(root), copy=copy)
        return self._unaudited_remark(len(image_files(self.train)))

    def _unaudited_remark(self, count: int) -> list[str]:
        unaudited = count - len(self.source.items)
        return [f"{unaudited} samples that were not audited are left out too"] if unaudited > 0 else []


def _place(file: Path, target: Path, *, copy: bool) -> None:
    make_directory(target.parent)
    place(file, target, copy=copy)


def _training_folder(file: Path, classes: Collection[str]) -> Path | None:
    """The folder ``train`` or ``training`` that holds the class folder of a file."""
    folders = (parent.parent for parent in file.parents if parent.name in classes)
    return next((folder for folder in folders if folder.name in ("train", "training")), None)


def _training_archive(run: Path) -> Path | None:
    """The .npz file that a run was trained on, if any."""
    path = run / CONFIG_FILE
    try:
        file = str(read_yaml(path)["data"].get("file"))
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: damaged: {error}") from error
    return Path(file).expanduser() if file.endswith(".npz") else None
