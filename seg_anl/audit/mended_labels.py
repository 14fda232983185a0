"""A data set of class labels, mended: a folder for each class, or arrays, as the audited data were."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_prep.array_files import read_array
from data_prep.nnunet_raw import place
from seg_anl.records import UserError, array_digest, make_directory, written_aside
from seg_anl.records.foreign_files import read_yaml
from seg_anl.records.predictions import write_arrays
from seg_anl.records.runs import CONFIG_FILE

from .label_sources import open_labels

if TYPE_CHECKING:
    from .apply_command import Audit, Change

ELSEWHERE = "use data.exclude_file with the audit's exclude.txt"


class LabelSet:
    """The audited samples under their given labels.

    Attributes:
        places: folders and files that it is read from.
    """

    def __init__(self, audit: Audit) -> None:
        folder = Path(audit.content["source"])
        self.source = open_labels(folder)
        if set(self.source.items) != set(audit.rows):
            raise UserError(f"{folder}: its items are no longer those of {audit.folder}: audit it again")
        number = {name: label for label, name in enumerate(self.source.classes)}
        self.suggested = np.array([number[audit.rows[item]["suggested"]] for item in self.source.items])
        self.files = [part.files[position] for part, position in self.source.pictures if part.files]
        self.train = _training_folder(self.files[0], self.source.classes) if self.files else None
        self.archive = _archive(folder)
        found = (folder, self.archive, self.train.parent if self.train else None)
        self.places = [path for path in found if path is not None]

    def write(self, target: Path, action: str, wrong: set[str], *, copy: bool) -> tuple[list[Change], list[str]]:
        """Write it without what is ``wrong``, or with what is suggested instead.

        Raises:
            UserError: for an action or a layout that this is not possible for.
        """
        from .apply_command import Change

        if action == "ignore":
            raise UserError("--ignore is for masks: a label is right, or dropped or replaced")
        items = self.source.items
        chosen = np.array([item in wrong for item in items])
        labels = np.where(chosen & (action == "replace"), self.suggested, self.source.labels)
        kept = np.flatnonzero(~chosen | (action == "replace"))
        gone = np.setdiff1d(np.arange(len(self.source.classes)), labels[kept])
        if len(gone):
            raise UserError(f"nothing would be left of the class {self.source.classes[gone[0]]}")
        if self.source.kind == "arrays":
            remarks = self._write_arrays(target, kept, labels)
        elif self.train is not None:
            remarks = self._write_folders(target, kept, labels, copy=copy)
        elif self.archive is not None:
            remarks = self._write_archive(target, kept, labels)
        else:
            raise UserError(f"the samples of {self.places[0]} lie in no train/CLASS and no .npz file: {ELSEWHERE}")
        changes = []
        for position in np.flatnonzero(chosen):
            before, after = (array_digest(each[position : position + 1]) for each in (self.source.labels, labels))
            dropped = action == "drop"
            changed = None if dropped else int(before != after)
            changes.append(Change(items[position], action, changed, before, None if dropped else after))
        return changes, remarks

    def _write_arrays(self, target: Path, kept: NDArray[np.int64], labels: NDArray[np.int64]) -> list[str]:
        folder = self.places[0]
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
        tests = {name: read_array(self.archive, name) for name in ("x_test", "y_test")}
        write_arrays(target / "dataset.npz", x_train=images[index], y_train=labels[kept], **tests)
        return self._unaudited(len(images))

    def _write_folders(
        self, target: Path, kept: NDArray[np.int64], labels: NDArray[np.int64], *, copy: bool
    ) -> list[str]:
        assert self.train is not None
        root, taken = self.train.parent, set()
        # Those that change their class come last: it is they that give way where names meet.
        for position in sorted(kept, key=lambda position: labels[position] != self.source.labels[position]):
            file = self.files[position]
            if self.train not in file.parents:
                raise UserError(f"{file} is not in {self.train}/CLASS: {ELSEWHERE}")
            found, *rest = file.relative_to(self.train).parts
            path = Path(self.train.name, self.source.classes[labels[position]], *rest)
            if path in taken:
                path = path.with_name(f"{found}-{path.name}")
            taken.add(path)
            _placed(file, target / path, copy=copy)
        for file in sorted(path for path in root.rglob("*") if path.is_file() and self.train not in path.parents):
            _placed(file, target / file.relative_to(root), copy=copy)
        return self._unaudited(sum(path.is_file() for path in self.train.rglob("*")))

    def _unaudited(self, count: int) -> list[str]:
        others = count - len(self.source.items)
        return [f"{others} samples that were not audited are left out as well"] if others > 0 else []


def _placed(file: Path, target: Path, *, copy: bool) -> None:
    make_directory(target.parent)
    place(file, target, copy=copy)


def _training_folder(file: Path, classes: Collection[str]) -> Path | None:
    """The folder above the class's that a file lies in."""
    folders = (above.parent for above in file.parents if above.name in classes)
    return next((folder for folder in folders if folder.name in ("train", "training")), None)


def _archive(folder: Path) -> Path | None:
    """The .npz file that a run, or the first below ``folder``, has trained on."""
    path = next(iter(sorted(folder.rglob(CONFIG_FILE))), None)
    if path is None:
        return None
    try:
        file = str(read_yaml(path)["data"].get("file"))
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: damaged: {error}") from error
    return Path(file).expanduser() if file.endswith(".npz") else None
