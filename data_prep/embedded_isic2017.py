"""Make the small ISIC-2017 set that ships in the wheel, from the official folders of Part 1.

    python -m data_prep.embedded_isic2017 ISIC2017_ROOT seg_anl/segmentation/embedded/isic2017_96.zip

600 training pairs without duplicates, drawn by a seed, and the 150 validation pairs, resized to 96 x 96 pixels. The
same folders give the same bytes.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seg_anl.records import UserError, chosen_items, run_command, written_aside
from seg_anl.records.command_line import OneLineParser
from seg_anl.records.progress import progress_bar

from .layouts import official_folders
from .pairing import match

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
            pairs = {pair.item: pair for pair in match(*official_folders(root, split), split).pairs}
            items = pairs.keys() - DUPLICATES
            if not items:
                raise UserError(
                    f"no pairs in {official_folders(root, split)[0]}; expected the official ISIC-2017 layout"
                )
            if split == "train":
                items = chosen_items(items, TRAINING_PAIRS / len(items), SEED)
            for item in progress_bar(sorted(items), "pair", title=split):
                image, gray = (
                    Image.open(file.name).convert(mode).resize((SIZE, SIZE), Image.Resampling.BOX)
                    for file, mode in ((pairs[item].image, "RGB"), (pairs[item].mask, "L"))
                )
                mask = Image.fromarray(np.asarray(gray) >= 128).convert("1")
                _add(archive, f"images/{split}/{item}.jpg", image, format="JPEG", quality=88, optimize=True)
                _add(archive, f"masks/{split}/{item}.png", mask, format="PNG", optimize=True)


def _add(archive: zipfile.ZipFile, name: str, image: Image.Image, **options: Any) -> None:
    data = io.BytesIO()
    image.save(data, **options)
    archive.writestr(zipfile.ZipInfo(name), data.getvalue())  # with a fixed date, so with the same bytes


def main() -> None:
    """The command line."""
    parser = OneLineParser(prog="data_prep.embedded_isic2017", description=__doc__)
    parser.add_argument("root", type=Path, help="folder that holds the official ISIC-2017 Part 1 folders")
    parser.add_argument("out", type=Path, help="the archive to write")
    args = parser.parse_args()
    run_command(parser.prog, lambda: make_embedded(args.root, args.out))


if __name__ == "__main__":
    main()
