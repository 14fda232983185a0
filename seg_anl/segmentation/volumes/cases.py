"""Find cases and their files: nnU-Net raw datasets, lists, folders of images and masks."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data_prep import decathlon
from data_prep.decathlon import Entry, items_of, read_datalist
from data_prep.layouts import TRAINING, chosen_training_items, held_out_items, usual_folders
from data_prep.nnunet_raw import DESCRIPTION, LABELS, is_nnunet_dataset, read_description
from data_prep.pairing import files_by_item, first_of, mask_item
from seg_anl.engine.settings import listed
from seg_anl.records import UserError, item_id
from seg_anl.records.files import check_folder, files_below
from seg_anl.records.paths import configured_path

from .files import PICTURES, SUFFIXES, suffix_of
from .labels import MOST_CLASSES, Labels
from .settings import VolumeDataSettings

_CHANNEL = re.compile(r"_(\d{4})$")


@dataclass(frozen=True)
class Case:
    """An image, one file or one per channel, and its mask."""

    item: str
    images: tuple[Path, ...]
    mask: Path | None = None


@dataclass(frozen=True)
class Cases:
    """Training and test cases, sorted by item, their labels, the number of channels, if known, and a remark."""

    train: list[Case]
    test: list[Case]
    labels: Labels
    channels: int | None = None
    remark: str = ""

    @property
    def suffixed(self) -> bool:
        """Whether the names of images end with the number of a channel."""
        first = self.train[0]
        return first.images[0].name.startswith(f"{Path(first.item).name}_0000")


def find_cases(data: VolumeDataSettings, seed: int) -> Cases:
    """The training and test cases; ``seed`` draws held-out and, with a limit, training cases."""
    root = configured_path(data.root, "data.root")
    if data.name != "decathlon":  # which may be a file
        check_folder(root, "data.root")
    found = _FINDERS[data.name](root, data)
    train, test = found.train, found.test
    remark = f"{root}: tested on the {len(test)} test cases"
    if not test:
        held_out = held_out_items([case.item for case in train], data.test_share, seed, data.groups_file)
        test = [case for case in train if case.item in held_out]
        train = [case for case in train if case.item not in held_out]
        remark = f"{root}: no test masks, so tested on {len(test)} cases held out (data.test_share={data.test_share:g})"
    kept = chosen_training_items([case.item for case in train], listed(data.exclude), data.limit, seed)
    train = [case for case in train if case.item in kept]
    return replace(found, train=train, test=test, remark=f"{remark}{found.remark}; {len(train)} to train on")


def image_cases(place: Path, known: Collection[str] = (), *, suffixed: bool = True) -> dict[str, list[Path]]:
    """The image files below a folder, or those of the case that one file belongs to: sorted channels by item.

    Names end with the number of a channel, ``CASE_0000``, unless they are ``known`` items or not ``suffixed``.
    """
    folder = place if (below := suffix_of(place) is None) else place.parent

    def item_of(path: Path) -> str:
        item = item_id(path, folder)
        return item if item in known or not suffixed else _CHANNEL.sub("", item)

    if below:
        check_folder(folder)
        paths = _volumes(folder)
    else:
        paths = sorted(path for path in folder.iterdir() if suffix_of(path) and item_of(path) == item_of(place))
    if not paths:
        raise UserError(f"{folder}: no images in it ({' '.join(SUFFIXES)} or folders of .dcm files)")
    found: dict[str, list[Path]] = {}
    for path in paths:
        found.setdefault(item_of(path), []).append(path)
    for item, channels in found.items():
        expected = [f"{item}_{number:04}" for number in range(len(channels))]
        if len(channels) > 1 and [item_id(path, folder) for path in channels] != expected:
            names = ", ".join(path.name for path in channels[:5])
            raise UserError(f"{folder}: {item} has the files {names}; expected one, or channels from _0000 on")
    return found


def _volumes(folder: Path) -> list[Path]:
    """Every file of a known format below ``folder``, and every folder of a DICOM series, sorted."""
    files = files_below(folder)
    series = {path.parent for path in files if path.suffix.lower() == ".dcm"} - {folder}
    return sorted([*series, *(path for path in files if path.parent not in series and suffix_of(path))])


def _folders(root: Path, data: VolumeDataSettings) -> Cases:
    if is_nnunet_dataset(root):
        raise UserError(f"{root} has a {DESCRIPTION}: take data=nnunet or, for a list as MONAI's, data=decathlon")
    splits = usual_folders(root)
    train, remark = _pairs(*splits[TRAINING])
    tested = splits.get("test", splits.get("validation"))
    test, more = _pairs(*tested) if tested else ([], "")
    return Cases(train, test, _set_labels(data), remark=remark + more)


def _set_labels(data: VolumeDataSettings) -> Labels:
    if len(data.labels) > MOST_CLASSES:
        raise UserError(f"data.labels: {len(data.labels)} values, at most {MOST_CLASSES}")
    return Labels.plain(data.labels, data.ignore)


def _pairs(images: Path, masks: Path) -> tuple[list[Case], str]:
    """The cases, and a remark on masks without an image."""
    if images == masks:
        raise UserError(f"{images}: expected images/ and masks/ in it, or images/train and masks/train and the like")
    check_folder(masks)
    mask_files = _volumes(masks)
    image_of = image_cases(images, {mask_item(path, masks) for path in mask_files})
    mask_of = files_by_item(mask_files, lambda path: mask_item(path, masks, image_of))
    alone = [paths[0] for item, paths in sorted(image_of.items()) if item not in mask_of]
    if alone:
        raise UserError(f"{masks}: no mask for {first_of(alone)}")
    spare = [path for item, path in mask_of.items() if item not in image_of]
    cases = [Case(item, tuple(image_of[item]), mask_of[item]) for item in sorted(image_of)]
    return cases, f"; masks without an image left out: {first_of(spare)}" if spare else ""


def listed_images(place: Path) -> list[Case]:
    """The images of a list to predict: its ``test``, or else its ``validation``."""
    found = read_datalist(place).splits
    entries = found.get("test") or found.get("validation")
    if not entries:
        raise UserError(f"{place}: neither 'test' nor 'validation' in it lists an image to predict")
    items = items_of([entry.images[0] for entry in entries], place)
    return [Case(item, entry.images) for item, entry in zip(items, entries, strict=True)]


def _decathlon(root: Path, data: VolumeDataSettings) -> Cases:
    given = read_datalist(root)
    entries = given.splits.get(decathlon.TRAINING)
    if not entries:
        raise UserError(f"{given.place}: no cases in its list {decathlon.TRAINING!r}")
    if given.labels is None:
        labels = _set_labels(data)
    else:
        names = {name: value for value, name in given.labels.items()}
        if data.ignore is not None:
            names["ignore"] = data.ignore
        labels = Labels.of_description({"labels": names}, given.place)
    train = _listed(entries, given.place, given.channels)
    tested = (given.splits.get(split, []) for split in ("test", "validation"))
    test = next((split for split in tested if split and all(entry.label for entry in split)), [])
    described = None if given.channels is None else len(given.channels)
    return Cases(train, _listed(test, given.place, given.channels), labels, described)


def _listed(entries: Sequence[Entry], place: Path, channels: Sequence[str] | None) -> list[Case]:
    for entry in entries:
        if entry.label is None:
            raise UserError(f"{place}: no 'label' for {entry.images[0]}")
    items = items_of([entry.label for entry in entries if entry.label], place)
    cases = [Case(item, entry.images, entry.label) for item, entry in zip(items, entries, strict=True)]
    return _there(cases, channels or (), place)


def _nnunet(root: Path, data: VolumeDataSettings) -> Cases:
    description = read_description(root)
    place = root / DESCRIPTION
    channels = description.get("channel_names", description.get("modality"))
    if not isinstance(channels, dict) or not channels:
        raise UserError(f"{place}: no 'channel_names', expected a name for each channel")
    labels = Labels.of_description(description, place)
    train = _nnunet_split(root, "Tr", description, channels)
    test = _nnunet_split(root, "Ts", description, channels) if (root / "labelsTs").is_dir() else []
    return Cases(train, test, labels, len(channels))


def _nnunet_split(root: Path, split: str, description: Mapping[str, Any], channels: Mapping[str, str]) -> list[Case]:
    ending, entries = description["file_ending"], description.get("dataset", {}) if split == "Tr" else {}
    images, masks = root / f"images{split}", root / LABELS.replace("Tr", split)
    numbered = [f"_{number:04}{ending}" for number in range(len(channels))]
    cases = []
    if entries:
        for item, entry in entries.items():
            paths = tuple(root / str(path) for path in entry.get("images", ()))
            cases.append(Case(item, paths, root / str(entry["label"])))
    else:
        check_folder(images)
        names, labeled = ([name for name in os.listdir(each) if name[0] != "."] for each in (images, masks))
        if ending in PICTURES and not any(name.endswith(end) for end in numbered[1:] for name in names):
            numbered = numbered[:1]  # as nnU-Net keeps pictures: all channels in one file
        items = {name.removesuffix(end) for name in names for end in numbered if name.endswith(end)}
        items |= {name.removesuffix(ending) for name in labeled if name.endswith(ending)}
        cases = [
            Case(item, tuple(images / (item + end) for end in numbered), masks / (item + ending))
            for item in sorted(items)
        ]
    if not cases:
        raise UserError(f"{masks}: no masks in it that end with {ending} (file_ending in {DESCRIPTION})")
    return _there(cases, list(channels.values()), root / DESCRIPTION)


def _there(cases: Sequence[Case], channels: Sequence[str], place: Path) -> list[Case]:
    """``cases``, sorted, once the files of all ``channels`` (or one file with all of them) and the masks exist."""
    several = max((len(case.images) for case in cases), default=0)
    if not channels or several == 1 < len(channels):
        channels = [str(number) for number in range(several)]
    for case in cases:
        for path, name in zip(case.images, channels, strict=False):
            if not path.exists():
                raise UserError(f"{path}: missing; it is the channel {name!r} of {case.item}")
        if len(case.images) != len(channels):
            raise UserError(f"{place}: {case.item} has {len(case.images)} images for {len(channels)} channels")
        if case.mask is None or not case.mask.exists():
            raise UserError(f"{case.mask}: missing; it is the mask of {case.item}")
    return sorted(cases, key=lambda case: case.item)


_FINDERS = {"nnunet": _nnunet, "decathlon": _decathlon, "volumes": _folders}
