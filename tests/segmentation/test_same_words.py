"""The trainer and ``seg-anl-prep`` find the same pairs in a folder and say the same of its faults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.conversion import write_raw_dataset
from data_prep.layouts import find_dataset, find_isic2017, find_pairs
from seg_anl.engine.command import compose
from seg_anl.records import UserError
from seg_anl.segmentation.datasets import load_images
from seg_anl.segmentation.settings import data_settings

MakeFolder = Callable[..., Path]


def said_by_the_trainer(root: Path) -> str:
    overrides = ["data=folder", f"data.root={root}", "data.size=32", "data.test_share=0.1"]
    data = data_settings(compose("segmentation", overrides))
    try:
        pairs = find_pairs(seed=0, **data.pairing)
        load_images(pairs.train + pairs.test, data, workers=2, progress=False)
    except UserError as error:
        return str(error)
    return "nothing"


def said_by_the_preparation(root: Path, out: Path) -> list[str]:
    out.mkdir()
    with pytest.raises(UserError):
        write_raw_dataset(find_dataset(root), out, "Own", 32)
    return (out / "problems.txt").read_text().splitlines()


def spoil(root: Path, how: str) -> None:
    image, mask = root / "images/a03.png", root / "masks/a03.png"
    spoilt = {
        "no mask": lambda: mask.unlink(),
        "two images of one id": lambda: Image.open(image).save(image.with_suffix(".bmp")),
        "mask of another size": lambda: Image.fromarray(np.zeros((9, 7), np.uint8)).save(mask),
        "three values": lambda: Image.fromarray(np.arange(48 * 43, dtype=np.uint8).reshape(43, 48) % 3).save(mask),
        "damaged image": lambda: image.write_bytes(image.read_bytes()[:400]),
        "damaged mask": lambda: mask.write_bytes(b"no picture"),
        "16 bits": lambda: Image.fromarray(np.zeros((43, 48), np.uint16)).save(image),
    }
    spoilt[how]()


@pytest.mark.parametrize(
    "how",
    [
        "no mask",
        "two images of one id",
        "mask of another size",
        "three values",
        "damaged image",
        "damaged mask",
        "16 bits",
    ],
)
def test_both_say_the_same_of_a_fault(make_folder: MakeFolder, tmp_path: Path, how: str) -> None:
    root = make_folder()
    spoil(root, how)
    problems = said_by_the_preparation(root, tmp_path / "out")
    assert len(problems) == 1
    # The trainer adds the setting that helps, where it has one.
    assert said_by_the_trainer(root).partition("; for a gray mask")[0] == problems[0]
    assert "a03" in problems[0]


def test_masks_that_no_image_needs_are_told_by_both(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder()
    (root / "images/a05.png").unlink()
    data = data_settings(compose("segmentation", ["data=folder", f"data.root={root}"]))
    problems = said_by_the_preparation(root, tmp_path / "out")
    assert len(problems) == 1
    assert "a05" in problems[0]
    assert find_pairs(seed=0, **data.pairing).remark.endswith(f"masks left out: {problems[0]}")


def test_both_read_the_official_folders_alike(make_folder: MakeFolder, tmp_path: Path) -> None:
    """With another suffix than the challenge's, an ending of one's own, and what systems leave behind."""
    source, root = make_folder(), tmp_path / "isic"
    for i, image in enumerate(sorted((source / "images").iterdir())):
        official = "Test_v2" if i >= 9 else "Training"
        for folder, name, file in (
            ("Data", f"{image.stem}.PNG", image),
            ("Data", f"._{image.stem}.PNG", image),
            ("Data", f"{image.stem}_superpixels.png", image),
            ("Part1_GroundTruth", f"{image.stem}_mask.bmp", source / "masks" / image.name),
        ):
            target = root / f"ISIC-2017_{official}_{folder}" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    data = data_settings(compose("segmentation", ["data=isic2017", f"data.root={root}"]))
    trained = find_pairs(seed=0, **data.pairing)
    prepared = find_isic2017(root)
    assert prepared.problems == []
    for split, pairs in (("train", trained.train), ("test", trained.test)):
        ours = [(pair.item, str(pair.image), str(pair.mask)) for pair in prepared.pairs if pair.split == split]
        assert [(pair.item, pair.image.name, pair.mask.name) for pair in pairs] == ours
        assert len(ours) == {"train": 9, "test": 3}[split]
