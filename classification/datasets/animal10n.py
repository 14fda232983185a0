"""Animal-10N: ten animals in five pairs that look alike, labeled by people, about 8 % wrongly."""

from __future__ import annotations

import re
from pathlib import Path

from omegaconf import DictConfig

from seg_anl.records import UserError

from .files import file_split, first_folder, image_files, root_folder
from .split import Found, Split

CLASSES = (
    "cat",
    "lynx",
    "wolf",
    "coyote",
    "cheetah",
    "jaguar",
    "chimpanzee",
    "orangutan",
    "hamster",
    "guinea pig",
)
_NAME = re.compile(r"(\d+)_.+")


def animal10n(data: DictConfig) -> Found:
    """``ROOT/training/LABEL_NUMBER.jpg`` and ``ROOT/testing/LABEL_NUMBER.jpg``, also below ``ROOT/raw_image``.

    Raises:
        UserError: a folder that is missing or empty, or a file of another name.

    Reference: Song et al., SELFIE: Refurbishing Unclean Samples for Robust Deep Learning, ICML 2019.
    """
    root = root_folder(data)
    home = root if (root / "training").is_dir() else root / "raw_image"
    return Found(
        _split(root, first_folder(home, "training"), "training"),
        {"test": _split(root, first_folder(home, "testing"), "testing")},
        CLASSES,
        labels_are_clean=False,
        remark=f"Animal-10N in {home}",
    )


def _split(root: Path, folder: Path | None, name: str) -> Split:
    if folder is None:
        raise UserError(f"{root}: no folder {name} in it; expected the folders training and testing of Animal-10N")
    paths = image_files(folder)
    if not paths:
        raise UserError(f"{folder}: no images in it; half downloaded or unpacked?")
    labels = []
    for path in paths:
        match = _NAME.fullmatch(path.stem)
        if match is None:
            raise UserError(f"{path}: expected a name LABEL_NUMBER.jpg, with a label from 0 to {len(CLASSES) - 1}")
        labels.append(int(match[1]))
    return file_split(paths, labels)
