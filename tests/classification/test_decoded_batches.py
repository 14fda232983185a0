"""Batches of image files against torchvision's transforms, for any number of processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms as v1

from classification.datasets import Dataset, FileImages, Split
from classification.decoded_batches import FileBatches, evaluation_batches
from classification.settings import Augmentation
from seg_anl.engine.distribution import Process
from seg_anl.records import UserError, item_hash

CPU = Process(torch.device("cpu"))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def settings(**changes: Any) -> Augmentation:
    return Augmentation(**{"resize": 24, "crop": 20, **changes})


def training(split: Split, batch_size: int, seed: int, process: Process = CPU, workers: int = 0, **changes: Any) -> Any:
    data = Dataset(split, {}, (), "pictures", mean=MEAN, std=STD)
    sizes = [batch_size] * (len(split) // batch_size)
    return FileBatches(data, settings(**changes), sizes, seed, process, workers=workers)


def evaluated(split: Split, workers: int = 0, **changes: Any) -> list[Tensor]:
    assert isinstance(split.images, FileImages)
    return list(evaluation_batches(split.images, settings(**changes), 4, CPU.device, workers=workers))


@pytest.fixture
def split(tmp_path: Path) -> Split:
    """Eleven images of several sizes, including a gray, a palette and a transparent one."""
    generator = np.random.default_rng(0)
    paths = []
    for i in range(11):
        pixels = generator.integers(0, 256, (30 + i, 44 - i, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize((44 - i, 30 + i)).convert({3: "L", 5: "P", 7: "RGBA"}.get(i, "RGB"))
        paths.append(tmp_path / f"{i}.{'png' if i in (5, 7) else 'jpg'}")
        image.save(paths[-1])
    return Split(FileImages(tuple(paths)), np.arange(11, dtype=np.int64))


AUGMENTATIONS: list[tuple[dict[str, Any], list[Any]]] = [
    ({}, [v1.Resize(24), v1.RandomCrop(20)]),
    ({"resize": (24, 24), "flip": 0.5}, [v1.Resize((24, 24)), v1.RandomCrop(20), v1.RandomHorizontalFlip()]),
    # Clothing1M as in the ANL paper.
    (
        {"resize": (24, 24), "random_crop": False, "flip": 0.5},
        [v1.Resize((24, 24)), v1.CenterCrop(20), v1.RandomHorizontalFlip()],
    ),
    ({"crop_padding": 4, "rotation": 20.0}, [v1.Resize(24), v1.RandomCrop(20, 4), v1.RandomRotation(20)]),
    # WebVision as in the APL and ANL code.
    (
        {"crop_scale": (0.08, 1.0), "flip": 0.5, "jitter": (0.4, 0.4, 0.4, 0.2)},
        [v1.RandomResizedCrop(20), v1.RandomHorizontalFlip(), v1.ColorJitter(0.4, 0.4, 0.4, 0.2)],
    ),
]


@pytest.mark.parametrize(("changes", "steps"), AUGMENTATIONS)
def test_training_batches_match_torchvision(split, changes, steps):
    batches = training(split, 4, 7, **changes)
    by_hand = v1.Compose([*steps, v1.ToTensor(), v1.Normalize(MEAN, STD)])
    seen = []
    for images, labels in batches.epoch(3):
        for image, label in zip(images, labels.tolist(), strict=True):
            torch.manual_seed(item_hash(7, f"3 {label}", "augmentation") % 2**63)
            expected = by_hand(Image.open(split.images.paths[label]).convert("RGB"))
            torch.testing.assert_close(image, expected, rtol=1e-5, atol=1e-5)
            seen.append(label)
    assert len(seen) == len(set(seen)) == 8
    assert len(batches) == 2


def test_evaluation_matches_torchvision_in_order(split):
    by_hand = v1.Compose([v1.Resize(24), v1.CenterCrop(20), v1.ToTensor()])
    expected = torch.stack([by_hand(Image.open(path).convert("RGB")) for path in split.images.paths])
    found = evaluated(split, flip=0.5, jitter=(0.4, 0.4, 0.4, 0.2), crop_scale=(0.1, 1.0))
    assert [len(batch) for batch in found] == [4, 4, 3]
    assert torch.equal(torch.cat(found), (expected * 255).round().to(torch.uint8))


def test_batches_do_not_depend_on_workers(split):
    def two_epochs(workers: int) -> list[tuple[bytes, list[int]]]:
        random = {"crop_scale": (0.1, 1.0), "flip": 0.5, "jitter": (0.4, 0.4, 0.4, 0.1)}
        batches = training(split, 3, 1, workers=workers, **random)
        return [
            (images.numpy().tobytes(), labels.tolist()) for epoch in (0, 1) for images, labels in batches.epoch(epoch)
        ]

    alone = two_epochs(0)
    assert two_epochs(2) == alone
    assert alone[:3] != alone[3:]
    assert torch.equal(torch.cat(evaluated(split)), torch.cat(evaluated(split, workers=2)))


def test_epochs_are_independent(split):
    batches = training(split, 4, 1, flip=0.5)
    for _ in batches.epoch(0):
        break  # abandoned halfway
    for again, fresh in zip(batches.epoch(5), training(split, 4, 1, flip=0.5).epoch(5), strict=True):
        assert torch.equal(again[0], fresh[0])
        assert torch.equal(again[1], fresh[1])


def test_processes_split_the_batches(split):
    whole = training(split, 4, 1, flip=0.5).epoch(2)
    ranks = [training(split, 4, 1, Process(CPU.device, rank, 2), flip=0.5).epoch(2) for rank in (0, 1)]
    for (images, labels), *shares in zip(whole, *ranks, strict=True):
        for rank, (part, part_labels) in enumerate(shares):
            assert torch.equal(part, images[rank::2])
            assert torch.equal(part_labels, labels[rank::2])


@pytest.mark.parametrize("workers", [0, 2])
def test_global_random_state_is_unchanged(split, workers):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    list(training(split, 4, 1, workers=workers, flip=0.5).epoch(0))
    evaluated(split, workers=workers)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("damage", "workers"), [("cut off", 0), ("no image", 2), ("gone", 0)])
def test_error_names_a_damaged_image(split, damage, workers):
    path = split.images.paths[6]
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:400])
    elif damage == "no image":
        path.write_bytes(b"<html>404</html>")
    else:
        path.unlink()
    with pytest.raises(UserError) as caught:
        evaluated(split, workers=workers)
    message = str(caught.value)
    assert message.startswith(f"{path}: cannot be read: ")
    assert "\n" not in message
    with pytest.raises(UserError, match="cannot be read"):
        list(training(split, 11, 1, workers=workers).epoch(0))


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_images_with_more_than_8_bits_are_refused(split, dtype):
    """Pillow would convert values above 255 of a 12-bit radiograph to white."""
    path = split.images.paths[3]
    deep = Image.fromarray(np.arange(0, 4096, dtype=dtype).reshape(64, 64))
    deep.save(path, format="PNG" if dtype == np.uint16 else "TIFF")
    with pytest.raises(UserError, match=r"more than 8 bits per channel \(mode .*convert it to 8-bit") as caught:
        evaluated(split)
    assert str(path) in str(caught.value)


def test_exif_orientation_is_applied(split):
    path = split.images.paths[6]
    tags = Image.Exif()
    tags[0x0112] = 6  # a quarter turn
    with Image.open(path) as file:
        upright = file.convert("RGB")
    upright.save(path, "PNG")
    expected = torch.cat(evaluated(split))
    upright.transpose(Image.Transpose.ROTATE_90).save(path, "PNG", exif=tags)
    assert torch.equal(torch.cat(evaluated(split)), expected)


def test_killed_worker_is_explained(split, monkeypatch):
    monkeypatch.setattr(Image, "open", lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))  # workers inherit it
    with pytest.raises(UserError, match="lower workers=1"):
        evaluated(split, workers=1)


def test_error_names_an_image_smaller_than_the_crop(split):
    with pytest.raises(UserError, match=r"0\.jpg: 44 x 30 pixels, smaller than augmentation.crop=32"):
        evaluated(split, resize=None, crop=32)
    with pytest.raises(UserError, match=r"smaller than augmentation.crop=64"):
        list(training(split, 4, 1, resize=None, crop=64).epoch(0))
    # Padding counts if it is applied.
    assert len(list(training(split, 4, 1, resize=None, crop=32, crop_padding=1).epoch(0))) == 2


def test_images_without_a_crop_must_have_one_size(split):
    with pytest.raises(UserError, match="images of different sizes"):
        evaluated(split, resize=None, crop=None)
    assert evaluated(split, resize=(16, 18), crop=None)[0].shape == (4, 3, 16, 18)
