"""Make the small ISIC-2017 set that ships in the wheel, from the official folders of Part 1.

    python -m data_prep.embedded_isic2017 ISIC2017_ROOT seg_anl/segmentation/embedded/isic2017_96.zip

600 training pairs, drawn by a seed from those that duplicate no other image, and the 150 validation pairs, squashed to
96 x 96 pixels. The same folders give the same bytes.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from seg_anl.records import UserError, chosen_items, run_command, written_aside
from seg_anl.records.seeds import MASK_SUFFIX

from .pairing import official_folders

SIZE = 96
SEED = 2017
TRAINING_PAIRS = 600
# What `seg-anl-prep isic2017` reports: copies of the validation images ISIC_0012127 and ISIC_0015124 (recolored), and
# of the training images ISIC_0012672, ISIC_0012290, ISIC_0012756 and ISIC_0000222.
DUPLICATES = {"ISIC_0012970", "ISIC_0000171", "ISIC_0012673", "ISIC_0013594", "ISIC_0013184", "ISIC_0014846"}


def make_embedded(root: Path, out: Path) -> None:
    """Write the archive ``out`` from the official folders below ``root``."""
    with written_aside(out) as aside, zipfile.ZipFile(aside, "w", zipfile.ZIP_STORED) as archive:
        for split in ("train", "validation"):
            images, masks = official_folders(root, split)
            names = {path.stem for path in images.glob("ISIC_*.jpg")} - DUPLICATES
            if not names:
                raise UserError(f"no ISIC_*.jpg in {images}; expected the official ISIC-2017 layout")
            if split == "train":
                names = chosen_items(names, TRAINING_PAIRS / len(names), SEED)
            for name in tqdm(sorted(names), desc=split, unit="pair"):
                image = Image.open(images / f"{name}.jpg").convert("RGB").resize((SIZE, SIZE), Image.Resampling.BOX)
                mask = (
                    Image.open(masks / f"{name}{MASK_SUFFIX}.png")
                    .convert("L")
                    .resize((SIZE, SIZE), Image.Resampling.BOX)
                )
                binary = Image.fromarray(np.asarray(mask) >= 128).convert("1")
                _add(archive, f"images/{split}/{name}.jpg", image, {"format": "JPEG", "quality": 88, "optimize": True})
                _add(archive, f"masks/{split}/{name}.png", binary, {"format": "PNG", "optimize": True})


def _add(archive: zipfile.ZipFile, name: str, image: Image.Image, options: dict[str, Any]) -> None:
    data = io.BytesIO()
    image.save(data, **options)
    archive.writestr(zipfile.ZipInfo(name), data.getvalue())  # ZipInfo's fixed date keeps the bytes the same


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder that holds the official ISIC-2017 Part 1 folders")
    parser.add_argument("out", type=Path, help="the archive to write")
    args = parser.parse_args()
    run_command("data_prep.embedded_isic2017", lambda: make_embedded(args.root, args.out))


if __name__ == "__main__":
    main()
