"""The Shenzhen chest X-rays with lung masks, the second dataset of the T-Loss paper.

Images: Jaeger et al., Two public chest X-ray datasets for computer-aided screening of pulmonary diseases, 2014. Masks
for a part of them: Stirenko et al., 2018. The split is that of the published script (Gonzalez-Jimenez et al., MICCAI
2023).
"""

from __future__ import annotations

import random
from pathlib import Path

from seg_anl.records import UserError

from .pairing import Found, Pair, no_image

MASK = "_mask"
TEST_SHARE = 0.3
_IMAGE_FOLDERS = ("img", "images", "CXR_png", "ChinaSet_AllFiles/CXR_png")
_MASK_FOLDERS = ("mask", "masks", "mask/mask")


def find_shenzhen(root: Path, seed: int = 0) -> Found:
    """Pair the images and masks, and split them as the published script does.

    Args:
        root: holds the images in ``img``, ``images`` or ``ChinaSet_AllFiles/CXR_png`` and the masks
            (``NAME_mask.png``) in ``mask``, ``masks`` or ``mask/mask``.
        seed: of the split; the published one is 0.

    Returns:
        The pairs by name; 30 % of them, drawn by ``random.Random(seed).sample`` over the sorted names, are ``test``
        (the script calls them validation). Images without a mask are not part of the published set; a remark counts
        them.

    Raises:
        UserError: when images or masks are not found.
    """
    images = _folder(root, _IMAGE_FOLDERS, "*.png", "images")
    masks = _folder(root, _MASK_FOLDERS, f"*{MASK}.png", "masks")
    pictures = {path.stem: path for path in sorted(images.glob("*.png")) if not path.name.startswith(".")}
    segmentations = {
        path.stem.removesuffix(MASK): path
        for path in sorted(masks.glob(f"*{MASK}.png"))
        if not path.name.startswith(".")
    }
    problems = [no_image(path, images) for item, path in segmentations.items() if item not in pictures]
    names = sorted(segmentations)
    test = set(random.Random(seed).sample(names, round(len(names) * TEST_SHARE)))
    pairs = [
        Pair.of_paths(item, "test" if item in test else "train", pictures[item], segmentations[item])
        for item in names
        if item in pictures
    ]
    alone = len(pictures.keys() - segmentations.keys())
    remarks = [f"{len(pairs)} pairs, {len(test)} of them for testing (704 and 211 in the published set)"]
    if alone:
        remarks.append(f"{alone} images have no mask and are left out, as in the published set")
    return Found(pairs, problems, remarks, color=False)


def _folder(root: Path, names: tuple[str, ...], pattern: str, what: str) -> Path:
    for name in names:
        if any((root / name).glob(pattern)):
            return root / name
    raise UserError(f"{root}: no {what} ({pattern}) in {', '.join(names)}")
