"""The Shenzhen chest X-rays with lung masks, the second dataset of the T-Loss paper.

Images: Jaeger et al., Two public chest X-ray datasets for computer-aided screening of pulmonary diseases, 2014. Masks
for a part of them: Stirenko et al., 2018. The split is that of the published script (Gonzalez-Jimenez et al., MICCAI
2023).
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from seg_anl.records import UserError

from .layouts import TRAINING, Found
from .pairing import image_files, mask_item, match

TEST_SHARE = 0.3
_IMAGE_FOLDERS = ("img", "images", "CXR_png", "ChinaSet_AllFiles/CXR_png")
_MASK_FOLDERS = ("mask", "masks", "mask/mask")


def find_shenzhen(root: Path, seed: int = 0) -> Found:
    """Pair the images with the masks ``NAME_mask.png``, and split them as the published script does.

    30 % of the masks, drawn by ``random.Random(seed).sample`` over the sorted names, are ``test`` (the script's
    validation set, with seed 0). A remark counts images without a mask, which the published set leaves out.
    """
    images = _folder(root, _IMAGE_FOLDERS, "*.png", "images")
    masks = _folder(root, _MASK_FOLDERS, "*_mask.png", "masks")
    matched = match(images, masks, TRAINING)
    names = sorted({mask_item(path, masks) for path in image_files(masks)})
    test = set(random.Random(seed).sample(names, round(len(names) * TEST_SHARE)))
    pairs = [replace(pair, split="test") if pair.item in test else pair for pair in matched.pairs]
    remarks = [f"{len(pairs)} pairs, {len(test)} of them for testing (704 and 211 in the published set)"]
    if matched.alone:
        remarks.append(f"{len(matched.alone)} images have no mask and are left out, as in the published set")
    return Found(pairs, [*matched.faults, *matched.spare], remarks, color=False)


def _folder(root: Path, names: tuple[str, ...], pattern: str, what: str) -> Path:
    for name in names:
        if any((root / name).glob(pattern)):
            return root / name
    raise UserError(f"{root}: no {what} ({pattern}) in {', '.join(names)}")
