"""Batched crop, flip and rotation against torchvision's per-image transforms with the same parameters."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as vision
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision.transforms import Normalize, RandomHorizontalFlip, RandomRotation, ToTensor

from classification.crop_flip_rotate import CropFlipRotate, Draws, apply, normalize
from classification.settings import Augmentation

HALF = ((0.5,) * 3, (0.25,) * 3)


def pictures(count: int, channels: int = 3, height: int = 32, width: int = 32, seed: int = 0) -> Tensor:
    """Random images without black pixels, so that black means outside the image."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, 256, (count, channels, height, width), dtype=torch.uint8, generator=generator)


def drawn(count: int, seed: int, **settings: float) -> Draws:
    return CropFlipRotate(Augmentation(**settings), *HALF).draw(count, torch.Generator().manual_seed(seed))


def with_torchvision(image: Tensor, draws: Draws, index: int, padding: int) -> Tensor:
    """Transform one image ``(C, H, W)`` with torchvision and this sample's parameters."""
    height, width = image.shape[-2:]
    if draws.offset is not None:
        top, left = (int(n) + padding for n in draws.offset[:, index])
        image = vision.crop(vision.pad(image, [padding] * 4), top, left, height, width)
    if draws.mirrored is not None and draws.mirrored[index]:
        image = vision.hflip(image)
    if draws.angle is not None:
        image = vision.rotate(image, float(draws.angle[index]), fill=[0.0] * len(image))
    return image


def ambiguous(angles: Tensor, height: int, width: int, tolerance: float) -> Tensor:
    """``(B, H, W)``: pixels whose source is so close to a pixel border that rounding decides."""
    radians = angles.double()[:, None, None] * math.pi / 180
    y = (torch.arange(height).double() - (height - 1) / 2)[:, None]
    x = (torch.arange(width).double() - (width - 1) / 2)[None, :]
    row = radians.sin() * x + radians.cos() * y + (height - 1) / 2
    column = radians.cos() * x - radians.sin() * y + (width - 1) / 2
    return ((row - row.floor() - 0.5).abs() < tolerance) | ((column - column.floor() - 0.5).abs() < tolerance)


@given(
    padding=st.integers(0, 6),
    flip=st.sampled_from([0.0, 0.5, 1.0]),
    channels=st.sampled_from([1, 3]),
    height=st.integers(4, 9),
    width=st.integers(4, 9),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_crop_and_flip_match_torchvision(
    padding: int, flip: float, channels: int, height: int, width: int, seed: int
) -> None:
    images = pictures(5, channels, height, width, seed)
    draws = drawn(5, seed, crop_padding=padding, flip=flip)
    expected = torch.stack([with_torchvision(image, draws, i, padding) for i, image in enumerate(images)])
    assert torch.equal(apply(images, draws), expected)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (28, 28), (9, 14)])
@pytest.mark.parametrize(("padding", "flip"), [(0, 0.0), (4, 0.5)])
def test_rotation_after_crop_and_flip_matches_torchvision(height: int, width: int, padding: int, flip: float) -> None:
    images = pictures(64, 3, height, width)
    draws = drawn(64, 1, crop_padding=padding, flip=flip, rotation=180.0)
    expected = torch.stack([with_torchvision(image, draws, i, padding) for i, image in enumerate(images)])
    result = apply(images, draws)
    assert draws.angle is not None
    decided = ~ambiguous(draws.angle, height, width, 1e-5)[:, None].expand_as(images)
    assert decided.float().mean() > 0.99
    assert torch.equal(result[decided], expected[decided])
    assert (result == 0).any()


def test_rotation_matches_pillow() -> None:
    # The published code rotates Pillow images, with fixed-point arithmetic.
    images = pictures(64)
    draws = drawn(64, 2, rotation=20.0)
    assert draws.angle is not None
    rotated = [
        np.asarray(vision.rotate(Image.fromarray(image.permute(1, 2, 0).numpy()), float(angle)))
        for image, angle in zip(images, draws.angle, strict=True)
    ]
    expected = torch.from_numpy(np.stack(rotated)).permute(0, 3, 1, 2)
    decided = ~ambiguous(draws.angle, 32, 32, 1e-3)[:, None].expand_as(images)
    assert decided.float().mean() > 0.99
    assert torch.equal(apply(images, draws)[decided], expected[decided])


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_exact(turns: int) -> None:
    images = pictures(3, height=8, width=8)
    angle = torch.full((3,), 90.0 * turns)
    assert torch.equal(apply(images, Draws(None, None, angle)), images.rot90(turns, (2, 3)))


def test_identity_settings_change_nothing() -> None:
    images = pictures(3)
    for draws in (
        Draws(None, None, None),
        Draws(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(3, dtype=torch.bool), torch.zeros(3)),
    ):
        assert torch.equal(apply(images, draws), images)


def test_input_is_unchanged_and_samples_are_independent() -> None:
    images = pictures(6)
    before = images.clone()
    draws = drawn(6, 5, crop_padding=4, flip=0.5, rotation=20.0)
    result = apply(images, draws)
    assert torch.equal(images, before)
    assert draws.offset is not None
    assert draws.mirrored is not None
    assert draws.angle is not None
    order = torch.tensor([5, 3, 1, 0, 2, 4])
    shuffled = Draws(draws.offset[:, order], draws.mirrored[order], draws.angle[order])
    assert torch.equal(apply(images[order], shuffled), result[order])


def test_parameters_are_distributed_as_in_torchvision() -> None:
    count, padding = 20_000, 4
    draws = drawn(count, 0, crop_padding=padding, flip=0.3, rotation=20.0)
    assert draws.offset is not None
    assert draws.mirrored is not None
    assert draws.angle is not None
    for axis in draws.offset:
        counts = torch.bincount(axis + padding, minlength=9).double()
        assert len(counts) == 9
        expected = count / 9
        assert ((counts - expected) ** 2 / expected).sum() < 26.1  # chi-squared, 8 degrees of freedom, p = 0.001
    assert abs(draws.mirrored.double().mean() - 0.3) < 4 * math.sqrt(0.3 * 0.7 / count)
    low, high = RandomRotation(20).degrees
    assert low <= draws.angle.min() < 0.99 * low
    assert 0.99 * high < draws.angle.max() <= high
    assert abs(draws.angle.double().mean()) < 4 * 20 / math.sqrt(3 * count)
    joint = torch.stack([*draws.offset.double(), draws.mirrored.double(), draws.angle.double()])
    assert (torch.corrcoef(joint) - torch.eye(4)).abs().max() < 5 / math.sqrt(count)


def test_batches_depend_only_on_the_generator() -> None:
    images, labels = pictures(16), torch.arange(16)
    transform = CropFlipRotate(Augmentation(crop_padding=4, flip=0.5, rotation=20.0), *HALF)
    one, same, other = (
        transform(images, labels, transform.draw(16, torch.Generator().manual_seed(seed)))[0] for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    mirrored = CropFlipRotate(Augmentation(flip=1.0), *HALF)
    found, kept = mirrored(images, labels, mirrored.draw(16, torch.Generator()))
    assert torch.equal(found, normalize(RandomHorizontalFlip(p=1.0)(images), *HALF))
    assert torch.equal(kept, labels)


@pytest.mark.parametrize("settings", [{}, {"flip": 0.5}, {"crop_padding": 2, "flip": 0.5, "rotation": 20.0}])
def test_slice_of_the_draws_matches_its_images(settings: dict[str, float]) -> None:
    """Each process augments its part of a batch as in the whole batch."""
    images, draws = pictures(6), drawn(6, 3, **settings)
    assert torch.equal(apply(images[1::2], draws[1::2]), apply(images, draws)[1::2])


def test_normalize_matches_torchvision() -> None:
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    images = torch.arange(256, dtype=torch.uint8).repeat(3).view(1, 3, 16, 16).expand(2, -1, -1, -1)
    one = Image.fromarray(images[0].permute(1, 2, 0).numpy())
    expected = Normalize(mean, std)(ToTensor()(one))
    result = normalize(images, mean, std)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, torch.stack([expected, expected]), rtol=0, atol=1e-6)


@pytest.mark.cuda
def test_gpu_is_never_synchronized_and_matches_the_cpu() -> None:
    images, labels = pictures(64), torch.arange(64)
    transform = CropFlipRotate(Augmentation(crop_padding=4, flip=0.5, rotation=20.0), *HALF)
    draws = transform.draw(64, torch.Generator().manual_seed(1))
    resident, resident_labels = images.cuda(), labels.cuda()
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        result, _ = transform(resident, resident_labels, draws)
    finally:
        torch.cuda.set_sync_debug_mode(mode)
    assert (result.cpu() != transform(images, labels, draws)[0]).float().mean() < 1e-4
