"""The official folders of ISIC-2017, Part 1: what is in them and what is missing."""

from __future__ import annotations

from pathlib import Path

from seg_anl.records import UserError

from .pairing import Found, match

# split, the challenge's name for it, number of images it published
SPLITS = (("train", "Training", 2000), ("validation", "Validation", 150), ("test", "Test_v2", 600))


def official_folders(root: Path, official: str) -> tuple[Path, Path]:
    """Where the images and masks of ``Training``, ``Validation`` or ``Test_v2`` lie."""
    return root / f"ISIC-2017_{official}_Data", root / f"ISIC-2017_{official}_Part1_GroundTruth"


def is_official(root: Path) -> bool:
    """Whether ``root`` holds a folder of the challenge."""
    return any(folder.is_dir() for _, official, _ in SPLITS for folder in official_folders(root, official))


def find_isic2017(root: Path) -> Found:
    """Pair the images and masks of every split that is there.

    Args:
        root: holds ``ISIC-2017_Training_Data``, ``ISIC-2017_Training_Part1_GroundTruth`` and so on.

    Returns:
        The pairs in order of split and name; superpixel files beside the images are left out and counted in a remark.

    Raises:
        UserError: when ``root`` holds none of the splits.
    """
    if not is_official(root):
        raise UserError(f"{root} holds no folder ISIC-2017_Training_Data, nor another of the challenge's splits")
    found = Found([])
    for split, official, published in SPLITS:
        images, masks = official_folders(root, official)
        if not images.is_dir() and not masks.is_dir():
            found.remarks.append(f"{split}: not there (no {images.name})")
            continue
        matched = match(images, masks, split)
        found.pairs.extend(matched.pairs)
        found.problems.extend(matched.faults + matched.spare + matched.foreign)
        if matched.images:
            expected = "as published" if matched.images == published else f"{published} were published"
            beside = f"; {matched.superpixels} superpixel files left out" if matched.superpixels else ""
            found.remarks.append(f"{split}: {matched.images} images ({expected}){beside}")
    return found
