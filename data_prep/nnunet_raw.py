"""nnU-Net raw datasets (format version 2), without nnU-Net: recognize one, complete a noisy copy of one."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from seg_anl.records import UserError, make_directory, write_json, written_aside
from seg_anl.records.errors import cannot_write
from seg_anl.records.files import files_below
from seg_anl.records.foreign_files import check_regular, read_json
from seg_anl.records.lock import LOCK_FILE
from seg_anl.records.manifest import MANIFEST, MANIFEST_TABLE, PREVIEW

from .mask_folder import JOURNAL, MaskFolderSettings
from .pairing import check_inside

LABELS = "labelsTr"
DESCRIPTION = "dataset.json"
_OF_THE_COMMAND = (MANIFEST, MANIFEST_TABLE, PREVIEW, JOURNAL, LOCK_FILE)  # not part of a dataset that is noisy itself


def is_nnunet_dataset(folder: Path) -> bool:
    """Whether ``folder`` holds a dataset.json and labelsTr."""
    return (folder / DESCRIPTION).is_file() and (folder / LABELS).is_dir()


def read_description(folder: Path) -> dict[str, Any]:
    """The dataset.json of a raw dataset."""
    path = folder / DESCRIPTION
    description = read_json(path)
    for key, kind in (("labels", dict), ("file_ending", str)):
        if not isinstance(description, dict) or not isinstance(description.get(key), kind):
            raise UserError(f"{path}: no {key!r}; expected the dataset.json of an nnU-Net (version 2) raw dataset")
    for name, value in description["labels"].items():
        try:
            _label_values(value)
        except (TypeError, ValueError) as error:
            raise UserError(f"{path}: label {name!r} is {value!r}, not a whole number or a list") from error
    entries = description.get("dataset", {})
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise UserError(f"{path}: 'dataset' is no group of cases")
    for case, entry in entries.items():
        check_inside(case, path)
        label = Path(str(entry.get("label")))
        if label.is_absolute() or LABELS not in label.parts:
            raise UserError(f"{path}: the label of {case!r} lies outside {LABELS}: {label}")
    return description


def _label_values(value: Any) -> set[int]:
    return {int(one) for one in (value if isinstance(value, list) else [value])}


def noise_labels(source: Path, settings: MaskFolderSettings) -> MaskFolderSettings:
    """The settings with all labels but background and ignore label, unless they name some."""
    labels = read_description(source)["labels"]
    if "ignore" not in labels:
        return settings
    ignored = _label_values(labels["ignore"])
    if settings.labels is not None:
        for value in ignored.intersection(settings.labels):
            raise UserError(f"--labels: {value} is the ignore label of {source}, which carries no annotation to change")
        return settings
    values = set().union(*(_label_values(value) for name, value in labels.items() if name != "ignore"))
    return replace(settings, labels=tuple(sorted(values - {0})))


def complete_noisy_dataset(source: Path, target: Path, settings: MaskFolderSettings, *, copy: bool) -> None:
    """Complete the noisy labels in ``target`` to a dataset: images, other files and dataset.json."""
    for path in files_below(source):
        relative = path.relative_to(source)
        if relative.parts[0] != LABELS and str(relative) not in (DESCRIPTION, *_OF_THE_COMMAND):
            make_directory((target / relative).parent)
            place(path, target / relative, copy=copy)
    description = read_description(source)
    noise = {key: value for key, value in asdict(settings).items() if key != "distances"}
    description["annotation_noise"] = noise
    description["name"] = f"{description.get('name', source.name)} with annotation noise"
    write_json(target / DESCRIPTION, description)


def place(source: Path, target: Path, *, copy: bool) -> None:
    """Copy or link ``source`` to ``target``, unless that exists."""
    if target.exists():
        return
    try:
        target.unlink(missing_ok=True)  # a link to something that is gone
        if not copy:
            target.symlink_to(source.resolve())
            return
    except OSError as error:
        raise cannot_write(target, error) from error
    check_regular(source)
    with written_aside(target) as aside:
        shutil.copyfile(source, aside)
