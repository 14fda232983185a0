"""The official folders of ISIC-2017, Part 1: what is in them and what is missing."""

from __future__ import annotations

from pathlib import Path

from seg_anl.records import UserError

from .pairs import Found, Pair

# split, folder's name, number of images the challenge published
SPLITS = (("train", "Training", 2000), ("validation", "Validation", 150), ("test", "Test_v2", 600))
SUPERPIXELS = "_superpixels"
MASK = "_segmentation"
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def find_isic2017(root: Path) -> Found:
    """Pair the images and masks of every split that is there.

    Args:
        root: holds ``ISIC-2017_Training_Data``, ``ISIC-2017_Training_Part1_GroundTruth`` and so on.

    Returns:
        The pairs in order of split and name; superpixel files beside the images are left out and counted in a remark.

    Raises:
        UserError: when ``root`` holds none of the splits.
    """
    found = Found([])
    for split, name, published in SPLITS:
        images, masks = root / f"ISIC-2017_{name}_Data", root / f"ISIC-2017_{name}_Part1_GroundTruth"
        if not images.is_dir() and not masks.is_dir():
            found.remarks.append(f"{split}: not there (no {images.name})")
            continue
        missing = [folder for folder in (images, masks) if not folder.is_dir()]
        if missing:
            found.problems.append(f"{missing[0]}: no such folder")
            continue
        _pair_up(found, split, images, masks, published)
    if not found.pairs and not found.problems:
        raise UserError(f"{root} holds no folder ISIC-2017_Training_Data, nor another of the challenge's splits")
    return found


def _pair_up(found: Found, split: str, images: Path, masks: Path, published: int) -> None:
    pictures, superpixels = {}, 0
    for path in sorted(images.iterdir()):
        if path.stem.endswith(SUPERPIXELS):
            superpixels += 1
        elif path.suffix.lower() in _IMAGE_SUFFIXES and not path.name.startswith("."):
            pictures[path.stem] = path
        elif path.suffix.lower() != ".csv" and not path.name.startswith("."):  # the metadata lie beside the images
            found.problems.append(f"{path}: neither an image nor superpixels")
    segmentations = {}
    for path in sorted(masks.iterdir()):
        if path.stem.endswith(MASK) and path.suffix.lower() == ".png":
            segmentations[path.stem.removesuffix(MASK)] = path
        elif not path.name.startswith("."):
            found.problems.append(f"{path}: not a mask (*{MASK}.png)")
    for item in sorted(pictures.keys() | segmentations.keys()):
        if item not in segmentations:
            found.problems.append(f"{pictures[item]}: no mask {masks.name}/{item}{MASK}.png")
        elif item not in pictures:
            found.problems.append(f"{segmentations[item]}: no image {images.name}/{item}.jpg")
        else:
            found.pairs.append(Pair(item, split, pictures[item], segmentations[item]))
    count = len(pictures)
    expected = "as published" if count == published else f"{published} were published"
    beside = f"; {superpixels} superpixel files left out" if superpixels else ""
    found.remarks.append(f"{split}: {count} images ({expected}){beside}")
