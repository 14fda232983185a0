"""Finding, reading and batching images and masks."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from data_prep.layouts import TrainingPairs, find_dataset, find_pairs
from data_prep.pictures import read_image, read_mask
from seg_anl.engine.command import compose
from seg_anl.records import UserError
from seg_anl.segmentation.augmentation import Augmentation, normalized
from seg_anl.segmentation.datasets import ImageSet, check_training_set, load_images
from seg_anl.segmentation.settings import AugmentationSettings, DataSettings, data_settings

MakeFolder = Callable[..., Path]


def settings(*overrides: str, **changes: object) -> DataSettings:
    return data_settings(OmegaConf.merge(compose("segmentation", [*overrides]), {"data": changes}))


def folder_config(root: Path, **changes: object) -> DataSettings:
    return settings("data=folder", f"data.root={root}", "data.size=32", **changes)


def configured_pairs(data: DataSettings) -> TrainingPairs:
    return find_pairs(seed=0, **data.pairing)


def loaded(config: DataSettings) -> tuple[ImageSet, ImageSet]:
    pairs = configured_pairs(config)
    return tuple(load_images(part, config, workers=2, progress=False) for part in (pairs.train, pairs.test))  # type: ignore[return-value]


def test_embedded_set_is_the_600_and_150_it_says_without_the_duplicates() -> None:
    pairs = configured_pairs(settings())
    assert (len(pairs.train), len(pairs.test)) == (600, 150)
    items = {pair.item for pair in pairs.train}
    assert items.isdisjoint(pair.item for pair in pairs.test)
    copies = {"ISIC_0012970", "ISIC_0000171", "ISIC_0012673", "ISIC_0013594", "ISIC_0013184", "ISIC_0014846"}
    assert items.isdisjoint(copies)


def test_embedded_masks_cover_the_lesions() -> None:
    """Lesions are darker than the skin around them: true of nearly all ISIC-2017 images, and of no shuffled pairing."""
    config = settings("data.size=96")
    data = load_images(configured_pairs(config).test, config, workers=2, progress=False)
    gray = data.images.float().mean(dim=1)
    inside = torch.stack([g[m == 1].mean() for g, m in zip(gray, data.masks, strict=True)])
    outside = torch.stack([g[m == 0].mean() for g, m in zip(gray, data.masks, strict=True)])
    assert (inside < outside).float().mean() > 0.9
    assert data.masks.unique().tolist() == [0, 1]


def test_loading_draws_no_bar_into_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    pairs = find_pairs("embedded", 0, limit=4).train
    load_images(pairs, settings("data.size=32"), workers=1, progress=True)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("foreground", [1, 255])
def test_masks_of_0_1_and_0_255_are_the_same(make_folder: MakeFolder, foreground: int) -> None:
    train, test = loaded(folder_config(make_folder(foreground=foreground)))
    assert (len(train), len(test)) == (10, 2)
    assert train.masks.unique().tolist() == [0, 1]
    assert train.images.shape == (10, 3, 32, 32)


def test_resizing_is_opencv_bilinear_and_nearest(make_folder: MakeFolder) -> None:
    """The published preprocessing resizes with cv2: INTER_LINEAR without antialiasing, INTER_NEAREST for masks."""
    root = make_folder()
    train, _ = loaded(folder_config(root))
    image = np.asarray(Image.open(root / f"images/{train.items[0]}.png"))
    mask = np.asarray(Image.open(root / f"masks/{train.items[0]}.png"))
    expected = cv2.resize(image, (32, 32), interpolation=cv2.INTER_LINEAR).astype(int)
    assert np.abs(train.images[0].permute(1, 2, 0).numpy().astype(int) - expected).max() <= 1
    assert np.array_equal(train.masks[0].numpy(), cv2.resize(mask, (32, 32), interpolation=cv2.INTER_NEAREST) // 255)


def test_gray_rgba_palette_and_other_formats_become_rgb(make_folder: MakeFolder) -> None:
    root = make_folder()
    original = Image.open(root / "images/a00.png")
    for i, (mode, suffix) in enumerate([("L", "png"), ("RGBA", "png"), ("P", "png"), ("RGB", "bmp"), ("RGB", "tif")]):
        (root / f"images/a{i:02d}.png").unlink()
        resized = original.convert(mode).resize((48, 40 + i))
        resized.save(root / f"images/a{i:02d}.{suffix}")
    config = folder_config(root, test_share=0.1)
    train, test = loaded(config)
    assert train.images.shape[1] == 3
    counts = {mode: train.conversions.get(mode, 0) + test.conversions.get(mode, 0) for mode in ("L", "RGBA", "P")}
    assert counts == {"L": 1, "RGBA": 1, "P": 1}


@pytest.mark.parametrize(
    "layout",
    ["images masks", "images/train images/test", "train/images test/images", "images test/images", "flat", "isic"],
)
def test_usual_layouts_are_found(make_folder: MakeFolder, tmp_path: Path, layout: str) -> None:
    source = make_folder()
    root = tmp_path / "laid out"
    for i, image in enumerate(sorted((source / "images").iterdir())):
        test = i >= 9
        mask = source / "masks" / image.name
        targets = {
            "images masks": (f"images/{image.name}", f"masks/{image.stem}_segmentation.png"),
            "images/train images/test": (
                f"images/{'test' if test else 'train'}/{image.name}",
                f"masks/{'test' if test else 'train'}/{image.name}",
            ),
            "train/images test/images": (
                f"{'test' if test else 'train'}/images/{image.name}",
                f"{'test' if test else 'train'}/masks/{image.name}",
            ),
            "images test/images": (
                f"{'test/' if test else ''}images/{image.name}",
                f"{'test/' if test else ''}masks/{image.name}",
            ),
            "flat": (image.name, f"{image.stem}_mask.png"),
            "isic": (
                f"ISIC-2017_{'Validation' if test else 'Training'}_Data/{image.name}",
                f"ISIC-2017_{'Validation' if test else 'Training'}_Part1_GroundTruth/{image.stem}_segmentation.png",
            ),
        }[layout]
        for file, target in zip((image, mask), targets, strict=True):
            (root / target).parent.mkdir(parents=True, exist_ok=True)
            (root / target).write_bytes(file.read_bytes())
        if layout == "isic":
            (root / targets[0]).with_name(f"{image.stem}_superpixels.png").write_bytes(mask.read_bytes())
    pairs = configured_pairs(folder_config(root))
    assert len(pairs.train) + len(pairs.test) == 12
    assert len(pairs.test) == (2 if layout in ("images masks", "flat") else 3)
    for pair in pairs.train + pairs.test:
        assert Path(pair.image.name).stem in Path(pair.mask.name).stem
    prepared = {(str(pair.image), str(pair.mask)) for pair in find_dataset(root).pairs}
    assert prepared == {(pair.image.name, pair.mask.name) for pair in pairs.train + pairs.test}


def test_limit_and_exclude_choose_by_name_not_by_order(make_folder: MakeFolder) -> None:
    root = make_folder()
    whole = [pair.item for pair in configured_pairs(folder_config(root)).train]
    some = [pair.item for pair in configured_pairs(folder_config(root, limit=4)).train]
    more = [pair.item for pair in configured_pairs(folder_config(root, limit=7)).train]
    assert len(some) == 4
    assert set(some) < set(more) < set(whole)
    assert whole[2] not in [pair.item for pair in configured_pairs(folder_config(root, exclude=[whole[2]])).train]
    with pytest.raises(UserError, match=f"data.exclude leaves out all {len(whole)} training images"):
        configured_pairs(folder_config(root, exclude=whole))


def damage(root: Path, how: str) -> None:
    image, mask = root / "images/a03.png", root / "masks/a03.png"
    if how == "missing mask":
        mask.unlink()
    elif how == "mask of another size":
        Image.open(mask).resize((20, 20), Image.Resampling.NEAREST).save(mask)
    elif how == "truncated image":
        image.write_bytes(image.read_bytes()[:400])
    elif how == "text for image":
        image.write_text("not a picture")
    elif how == "jpeg mask":
        Image.open(mask).save(mask.with_suffix(".jpg"), quality=60)
        mask.unlink()
    elif how == "16-bit image":
        Image.fromarray(np.zeros((43, 48), np.uint16)).save(image)
    elif how == "no images":
        for path in (root / "images").iterdir():
            path.unlink()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing mask", r"images/a03\.png: no mask for it in .*masks; expected a03\.png"),
        ("mask of another size", r"masks/a03\.png: a mask of 20 x 20 pixels, but its image has 48 x 43"),
        ("truncated image", r"images/a03\.png: cannot be read"),
        ("text for image", r"images/a03\.png: cannot be read: not an image"),
        ("jpeg mask", r"masks/a03\.jpg: a mask with \d+ values .* set data\.threshold=127"),
        ("16-bit image", r"images/a03\.png: an image with more than 8 bits"),
        ("no images", r"images: no images in it"),
    ],
)
def test_a_bad_file_is_named_with_what_was_expected(make_folder: MakeFolder, how: str, message: str) -> None:
    root = make_folder()
    damage(root, how)
    with pytest.raises(UserError, match=message):
        loaded(folder_config(root))


def test_no_folder_is_not_this_one() -> None:
    with pytest.raises(UserError, match=r"data\.root must be a path, got ''"):
        find_pairs(name="folder", root="", seed=0)
    with pytest.raises(UserError, match=r"data\.root=~nobody-of-this-name: Could not determine home"):
        find_pairs(name="folder", root="~nobody-of-this-name", seed=0)


def test_several_bad_files_are_counted(make_folder: MakeFolder) -> None:
    root = make_folder()
    for i in range(4):
        (root / f"images/a{i:02d}.png").write_text("no")
    config = folder_config(root, test_share=0.01 + 1 / 12)
    with pytest.raises(UserError, match=r"\(and [23] more failed\)"):
        loaded(config)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ([0, 0, 0], "the 3 training masks hold background alone"),
        ([1, 1, 1], "the 3 training masks hold foreground alone"),
        ([0, 2, 2], "class 1 is in no training mask; look at data.masks, data.threshold, data.classes"),
        ([0, 12, 12], "1 of 3 training masks hold no foreground at this size: a$"),
        ([12, 12, 12], "1 training images are test images, too: exclude b "),
    ],
)
def test_what_would_be_learned_or_measured_wrongly_is_said(masks: list[int], message: str) -> None:
    images = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 1, 2)
    both = torch.tensor([[divmod(value, 10)] for value in masks], dtype=torch.uint8)  # 12: pixels of class 1 and 2
    uniform = both if max(masks) > 9 else torch.tensor(masks, dtype=torch.uint8).view(3, 1, 1).expand(3, 1, 2)
    train = ImageSet(["a", "b", "c"], images, uniform, {})
    test = ImageSet(["x"], images[1:2] if masks == [12, 12, 12] else images[:1] + 9, uniform[:1], {})
    try:
        said = "\n".join(check_training_set(train, test, 3 if 2 in masks or 12 in masks else 2))
    except UserError as error:
        said = str(error)
    assert re.search(message, said, re.MULTILINE)


def test_a_gray_mask_is_cut_at_the_threshold(tmp_path: Path) -> None:
    values = np.array([[0, 100, 127], [128, 200, 255]], np.uint8)
    Image.fromarray(values).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png", "m", threshold=127).tolist() == [[0, 0, 0], [1, 1, 1]]
    with pytest.raises(UserError, match="6 values"):
        read_mask(tmp_path / "m.png", "m")
    Image.fromarray(np.eye(3, dtype=np.uint8)).save(tmp_path / "m.png")  # one of 0 and 1 among masks of 0 and 255
    with pytest.raises(UserError, match=r"m: a mask of 0 and 1, all of it background by data\.threshold=127; save"):
        read_mask(tmp_path / "m.png", "m", threshold=127)


def test_masks_of_several_classes_keep_their_values(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8)).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png", "m", classes=4).tolist() == [[0, 1], [2, 3]]
    with pytest.raises(UserError, match=re.escape("values from 0 to 3, expected 0 to 2 (data.classes=3)")):
        read_mask(tmp_path / "m.png", "m", classes=3)


def some_images(count: int = 10) -> ImageSet:
    index = torch.arange(count, dtype=torch.uint8)
    images = index[:, None, None, None].expand(-1, 3, 8, 8).contiguous()
    return ImageSet([str(i) for i in range(count)], images, index[:, None, None].expand(-1, 8, 8).contiguous(), {})


def test_image_and_mask_are_mirrored_alike_and_nothing_is_lost() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 2, (64, 6, 8), generator=generator, dtype=torch.uint8)
    images = (masks * 255)[:, None].expand(-1, 3, -1, -1).contiguous()
    mirroring = Augmentation(AugmentationSettings(flip=0.5, gamma_probability=0))
    augmented, moved = mirroring(images, masks, mirroring.draw(64, generator))
    assert torch.equal((augmented[:, 0] > 0).to(torch.uint8), moved)
    variants = [masks, masks.flip(1), masks.flip(2), masks.flip(1).flip(2)]
    seen = torch.stack([(moved == variant).flatten(1).all(dim=1) for variant in variants])
    assert seen.any(dim=0).all()
    assert seen.float().mean(dim=1).gt(0.1).all()


def test_gamma_acts_on_zero_to_one_and_stays_in_range() -> None:
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(200, 3, -1, -1).contiguous()
    masks = torch.zeros(200, 16, 16, dtype=torch.uint8)
    generator = torch.Generator().manual_seed(0)
    brightening = Augmentation(AugmentationSettings(flip=0, gamma=(0.5, 2.0), gamma_probability=1.0))
    augmented, _ = brightening(images, masks, brightening.draw(200, generator))
    unit = (augmented[:, 0].flatten(1) + 1) / 2
    exponents = unit[:, 128].log() / np.log(128 / 255)
    assert 0.49 < exponents.min() < 0.6
    assert 1.8 < exponents.max() < 2.01
    assert 0.35 < (exponents < 1).float().mean() < 0.65
    expected = (torch.arange(256) / 255)[None] ** exponents[:, None]
    torch.testing.assert_close(unit, expected, atol=1e-4, rtol=1e-4)


def test_without_augmentation_black_is_minus_one_and_white_one() -> None:
    augmented, _ = Augmentation(AugmentationSettings(flip=0, gamma=(1, 1), gamma_probability=0))(
        torch.tensor([[[[0, 255]]]], dtype=torch.uint8), torch.zeros(1, 1, 2), torch.rand(1, 5)
    )
    assert augmented.tolist() == [[[[-1.0, 1.0]]]]
    assert normalized(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]


def test_sixteen_bit_images_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(UserError, match="8-bit RGB"):
        read_image(tmp_path / "deep.png", "deep.png")
