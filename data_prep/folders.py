"""The usual layouts of a folder of one's own: what is trained on and what is tested on, images and masks."""

from __future__ import annotations

from pathlib import Path

from seg_anl.records import UserError

from .pairing import Found, first_of, match

TRAINING = "train"
SPLITS = (TRAINING, "validation", "test")
_BELOW_EACH_OTHER = (("images/{}", "masks/{}"), ("{}/images", "{}/masks"))


def usual_folders(root: Path) -> dict[str, tuple[Path, Path]]:
    """The folders of images and masks of every split that ``root`` is divided into; undivided, it is all training.

    Known are ``images/SPLIT`` with ``masks/SPLIT``, ``SPLIT/images`` with ``SPLIT/masks``, ``images`` with ``masks``,
    and images with their masks in one folder, which is what any other folder is taken for. The splits are those of
    :data:`SPLITS`; a division has ``train`` and one of the others.
    """
    for images, masks in _BELOW_EACH_OTHER:
        splits = {
            split: (root / images.format(split), root / masks.format(split))
            for split in SPLITS
            if (root / images.format(split)).is_dir()
        }
        if TRAINING in splits and len(splits) > 1:
            return splits
    if (root / "images").is_dir() and (root / "masks").is_dir():
        return {TRAINING: (root / "images", root / "masks")}
    return {TRAINING: (root, root)}


def find_usual(root: Path) -> Found:
    """Pair the images and masks of every split in a folder of one's own.

    Raises:
        UserError: when there is no pair at all.
    """
    found = Found([])
    for split, (images, masks) in usual_folders(root).items():
        matched = match(images, masks, split)
        found.pairs.extend(matched.pairs)
        found.problems.extend(matched.faults + matched.spare)
        beside = f"; {len(matched.foreign)} files left out that are no pictures" if matched.foreign else ""
        found.remarks.append(f"{split}: {matched.images} images{beside}")
    if not found.pairs:
        raise UserError(first_of(found.problems))
    return found
