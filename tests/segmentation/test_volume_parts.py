"""Plans, patches, augmentation, noise and scores of volumes, each against something known otherwise."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from data_prep.mask_noise import MaskNoiseSettings
from seg_anl.engine.distribution import Process
from seg_anl.records import UserError
from seg_anl.records.ranges import checked
from seg_anl.segmentation.volumes.augmentation import VolumeAugmentation
from seg_anl.segmentation.volumes.labels import IGNORED, Labels
from seg_anl.segmentation.volumes.noise import noisy_volumes
from seg_anl.segmentation.volumes.patches import MOST_PLACES, PatchBatches, _places
from seg_anl.segmentation.volumes.planning import build_volume_model, planned_resolutions
from seg_anl.segmentation.volumes.preparation import Volume
from seg_anl.segmentation.volumes.scores import case_scores, dice_of, mean_scores
from seg_anl.segmentation.volumes.settings import VolumeAugmentationSettings
from seg_anl.segmentation.volumes.shelf import Shelf

from .volume_files import affine_of, balls

HERE = Process(torch.device("cpu"))
TWO = Labels.plain((0, 1, 2))
NOTHING = VolumeAugmentationSettings()
LISTED = ("rotation", "scaling", "noise", "blur", "brightness", "contrast", "low_resolution", "gamma", "inverted_gamma")


def test_resolutions_are_those_of_nnunet() -> None:
    topology = pytest.importorskip("nnunetv2.experiment_planning.experiment_planners.network_topology")
    spacings = [(1, 1, 1), (5, 0.8, 0.8), (3.3, 1.2, 1.2), (0.7, 0.7, 2.5), (1, 1), (1, 2.3)]
    sizes = [16, 20, 32, 40, 56, 96, 160]
    for spacing in spacings:
        for patch in itertools.islice(itertools.product(sizes, repeat=len(spacing)), 0, None, 7):
            kernels, strides = planned_resolutions(spacing, patch)
            _, expected_strides, expected_kernels, *_ = topology.get_pool_and_conv_props(spacing, patch, 4, 999999)
            assert strides == [list(each) for each in expected_strides], (spacing, patch)
            assert kernels == [list(each) for each in expected_kernels], (spacing, patch)


@pytest.mark.parametrize(
    ("spacing", "patch"), [((1, 1, 1), (32, 32, 32)), ((4, 1, 1), (8, 64, 32)), ((1, 1), (64, 32))]
)
def test_planned_networks_have_the_heads_that_nnunet_weighs(spacing: tuple[int, ...], patch: tuple[int, ...]) -> None:
    """nnU-Net has a head at all resolutions but the coarsest, and gives the coarsest of these no weight."""
    stages = len(planned_resolutions(spacing, patch)[1])
    config = OmegaConf.create({"name": "nnunet", "base_filters": 2, "max_filters": 8})
    model = build_volume_model(config, channels=2, heads=3, spacing=spacing, patch=patch)
    image = torch.rand(1, 2, *patch)
    assert model.train()(image).shape == (1, stages - 2, 3, *patch)
    assert model.eval()(image).shape == (1, 3, *patch)
    for small, asked, message in (
        ((8, 16, 8), None, "too small to be halved twice"),
        (patch, 2, "model.stages=2 must be from 3 to"),
    ):
        with pytest.raises(UserError, match=message):
            build_volume_model(
                OmegaConf.merge(config, {"stages": asked}),
                channels=2,
                heads=3,
                spacing=spacing,
                patch=small[: len(patch)],
            )


def places_as_image(shape: tuple[int, ...], item: str = "a") -> Volume:
    """A volume whose channels are the places of its voxels, counted from 1, with one labeled voxel."""
    image = np.stack(np.meshgrid(*(np.arange(1, n + 1) for n in shape), indexing="ij")).astype(np.float32)
    mask = np.zeros(shape, np.uint8)
    mask[2, 3, 17], mask[0, :, :] = 1, IGNORED
    return Volume(item, image, mask, (1.0, 1.0, 1.0))


def batches(
    volumes: list[Volume], process: Process = HERE, changes: VolumeAugmentationSettings = NOTHING, **more: object
) -> PatchBatches:
    settings = {"patches": 1, "foreground": 0.33, "sizes": [2] * (len(volumes) // 2), "seed": 3} | more
    augmentation = VolumeAugmentation(changes, volumes[0].spacing, (8, 12, 8))
    return PatchBatches(volumes, (8, 12, 8), augmentation=augmentation, process=process, **settings)


def test_patches_are_parts_of_their_volumes_some_of_them_labeled() -> None:
    made = batches([places_as_image((6, 30, 20), str(i)) for i in range(40)])
    seen = set()
    for images, masks in made.epoch(0):
        assert (images.shape, masks.shape) == ((2, 3, 8, 12, 8), (2, 8, 12, 8))
        assert (masks[1] == 1).any()  # the last third of a batch
        for image, mask in zip(images, masks, strict=True):
            inside = image[0] > 0
            assert inside.sum() == 6 * 12 * 8  # one voxel of padding before and behind the short axis
            assert inside[1:7].all()
            assert (mask == IGNORED).sum() == 12 * 8
            steps = image[1, 1:7].diff(dim=1), image[2, 1:7].diff(dim=2)
            assert all((step == 1).all() for step in steps)
            seen.add((float(image[1, 1, 0, 0]), float(image[2, 1, 0, 0])))
    assert len(seen) > 15  # the twenty labeled ones lie around the same voxel


def test_no_more_than_some_thousand_labeled_voxels_are_kept() -> None:
    mask = np.zeros((40, 40, 40), np.uint8)
    mask[4:36, 4:36, 4:36], mask[0, 0, :3] = 1, 2
    large, small = _places(mask)
    assert MOST_PLACES / 2 < len(large) <= MOST_PLACES
    assert set(large) <= set(np.flatnonzero(mask == 1))
    assert small.tolist() == [0, 1, 2]
    assert large.base is None  # nor the array they were taken from


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 1.5, 2.0)])
def test_what_a_turned_or_shrunk_patch_shows_is_the_volume(spacing: tuple[float, ...]) -> None:
    """Distances in mm between voxels of a turned patch are those of the volume, of a scaled one all scaled alike."""
    volumes = [replace(places_as_image((60, 60, 60), str(i)), spacing=spacing) for i in range(8)]
    mm = torch.tensor(spacing)

    def distances(image: torch.Tensor) -> torch.Tensor:
        places = image.flatten(1).T * mm
        return (places - image[:, 4, 6, 4] * mm).norm(dim=1)[: 4 * 12 * 8]  # the half before the middle

    (whole, *_), _ = next(iter(batches(volumes, foreground=0.0).epoch(0)))
    shares = []
    for name in ("rotation", "scaling"):
        changes = replace(NOTHING, scaling=(0.85, 1.4), **{f"{name}_probability": 1.0})
        for images, _ in batches(volumes, foreground=0.0, changes=changes).epoch(0):
            for image in images:
                middle = image[:, 4, 6, 4]
                if middle.min() > 12 and middle.max() < 48:  # in sight of no border
                    ratios = distances(image) / distances(whole)
                    expected = ratios[0] if name == "scaling" else torch.tensor(1.0)
                    shares.append(float(ratios.isclose(expected, rtol=1e-3).float().mean()))
    assert len(shares) >= 6
    assert min(shares) > 0.97  # corners see zeros where rotations about three axes add up


def test_the_margin_changes_no_patch_that_is_not_moved() -> None:
    volumes = [places_as_image((9, 30, 20), str(i)) for i in range(8)]
    seldom = replace(NOTHING, rotation_probability=1e-300, scaling_probability=1e-300)
    for plain, cut in zip(batches(volumes).epoch(2), batches(volumes, changes=seldom).epoch(2), strict=True):
        torch.testing.assert_close(plain, cut, rtol=0, atol=0)
    assert batches(volumes).augmentation.margin == (0, 0, 0)
    assert min(batches(volumes, changes=seldom).augmentation.margin) > 0


def test_the_margin_holds_a_patch_that_stands_on_its_corner() -> None:
    """One of 31 x 41 mm then reaches over its diagonal of 51.4 mm in both directions, and never farther."""
    for rotation, margin in ((0, (0, 0)), (60, (11, 11)), (90, (11, 11)), (180, (11, 11))):
        turning = replace(NOTHING, rotation=rotation, rotation_probability=0.2)
        assert VolumeAugmentation(turning, (1.0, 0.5), (31, 82)).margin == margin


def test_an_epoch_repeats_and_processes_share_it() -> None:
    volumes = [places_as_image((9, 30, 20), str(i)) for i in range(8)]
    first, again, other = (list(batches(volumes).epoch(epoch)) for epoch in (5, 5, 6))
    halves = [list(batches(volumes, Process(torch.device("cpu"), rank, 2)).epoch(5)) for rank in range(2)]
    for whole, same, left, right in zip(first, again, *halves, strict=True):
        torch.testing.assert_close(whole, same, rtol=0, atol=0)
        torch.testing.assert_close(whole[0], torch.cat((left[0], right[0])), rtol=0, atol=0)
    assert any(not torch.equal(a[0], b[0]) for a, b in zip(first, other, strict=True))


def changed(
    name: str, image: torch.Tensor, mask: torch.Tensor, spacing: tuple[float, ...] = (1, 1, 1)
) -> list[torch.Tensor]:
    settings = checked(VolumeAugmentationSettings, {f"{name}_probability": 1.0})
    augmentation = VolumeAugmentation(settings, spacing)
    draws = augmentation.draw(len(image), torch.Generator().manual_seed(0))
    return list(augmentation(image.clone(), mask.clone(), draws))


@pytest.mark.parametrize("name", LISTED)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_each_change_changes_what_it_should(name: str, dimensions: int) -> None:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(4, 2, *(24,) * dimensions, generator=generator)
    mask = (image[:, 0] > 0.5).byte()
    image = image + mask.unsqueeze(1)
    made, moved = changed(name, image, mask, (1,) * dimensions)
    assert made.isfinite().all()
    assert not torch.equal(made, image)
    assert torch.equal(made, changed(name, image, mask, (1,) * dimensions)[0])
    assert torch.equal(moved, mask) == (name not in ("rotation", "scaling"))
    axes = tuple(range(2, made.ndim))
    if "gamma" in name:
        torch.testing.assert_close(made.mean(axes), image.mean(axes), atol=1e-4, rtol=0)
        torch.testing.assert_close(made.std(axes), image.std(axes), atol=1e-4, rtol=0)
    if name == "contrast":
        assert (made.amin(axes) >= image.amin(axes)).all()
        assert (made.amax(axes) <= image.amax(axes)).all()


def test_rotation_is_of_the_body_not_of_the_grid() -> None:
    """A ball in mm stays where it is on a grid of 1 x 1 x 2 mm, and an image moves as its mask does."""
    spacing = (1.0, 1.0, 2.0)
    places = torch.stack(torch.meshgrid(*(torch.arange(n) + 0.5 for n in (32, 32, 16)), indexing="ij"), -1)
    inside = (((places - torch.tensor([16.0, 16, 8])) * torch.tensor(spacing)).norm(dim=-1) < 10).expand(6, -1, -1, -1)
    image, mask = changed("rotation", inside.float().unsqueeze(1), inside.byte(), spacing)
    assert ((mask > 0) ^ inside).sum() < 0.15 * inside.sum()  # turned on the grid it would be 0.37
    assert ((image[:, 0] > 0.5) ^ (mask > 0)).float().mean() < 0.02
    mirrored = VolumeAugmentation(replace(NOTHING, mirror=1.0), spacing)
    turned, _ = mirrored(places.movedim(-1, 0)[None, :1].clone(), mask[:1], mirrored.draw(1, torch.Generator()))
    assert torch.equal(turned[0, 0], places[..., 0].flip(0, 1, 2))


def test_noise_respects_mm_and_leaves_unlabeled_voxels(tmp_path: Path) -> None:
    affine = affine_of((1, 1, 2))
    clean = []
    for number in range(6):
        _, mask = balls((28, 28, 16), affine, number)
        mask[:, :14][mask[:, :14] == 0] = IGNORED
        clean.append(Volume(f"sub/{number}", np.zeros((1, *mask.shape), np.float32), mask, (1.0, 1.0, 2.0)))
    noise = MaskNoiseSettings(alpha=0.5, beta=0.5, kinds=("dilate",))
    made, records = noisy_volumes(tmp_path, clean, noise, {}, 3, Shelf(10**9, tmp_path))
    assert sum(record.kind != "none" for record in records) == 3
    for before, after, record in zip(clean, made, records, strict=True):
        np.testing.assert_array_equal(before.mask == IGNORED, after.mask == IGNORED)
        inside = np.isin(before.mask, (1, 2))
        assert record.realised == pytest.approx((before.mask != after.mask).sum() / inside.sum())
        if record.kind == "dilate":
            grown = np.argwhere(before.mask != after.mask)
            assert np.ptp(grown[:, 0]) > np.ptp(grown[:, 2])  # in mm as far along both, so in voxels half
    again, same = noisy_volumes(tmp_path, clean, noise, {}, 3, Shelf(0, tmp_path / "cache"))
    assert same == records
    for first, second in zip(made, again, strict=True):
        np.testing.assert_array_equal(first.mask, second.mask)
    other = [replace(volume, mask=np.where(volume.mask == 1, 2, volume.mask).astype(np.uint8)) for volume in clean]
    with pytest.raises(UserError, match="has changed since the noise was made"):
        noisy_volumes(tmp_path, other, noise, {}, 3, Shelf(10**9, tmp_path))
    assert json.loads((tmp_path / "manifest.json").read_text())["items"][0]["item"] == "sub/0"


def test_scores_of_boxes() -> None:
    """A box moved by two voxels of 1.5 mm: HD95 is 3 mm; all surface is within 3 mm and part of it within 1 mm."""
    truth, predicted = (torch.zeros(24, 24, 12, dtype=torch.uint8) for _ in range(2))
    truth[4:14, 4:14, 3:9], predicted[6:16, 4:14, 3:9] = 1, 1
    near, far = (case_scores(predicted, truth, TWO, (1.5, 1, 2), tolerance) for tolerance in (1.0, 3.0))
    assert near[0, :3].tolist() == [480, 600, 600]
    assert (near[0, 3].item(), far[0, 4].item()) == pytest.approx((3.0, 1.0))
    assert 0.3 < near[0, 4] < 0.9
    assert dice_of(near).tolist() == pytest.approx([0.8, 1.0])  # the second structure is in neither
    assert (near[1, 3].isnan(), near[1, 4].item()) == (True, 1.0)
    unlabeled = truth.clone()
    unlabeled[14:] = IGNORED
    assert case_scores(predicted, unlabeled, TWO, (1, 1, 1), None)[0, :3].tolist() == [480, 480, 600]
    alone = case_scores(torch.full_like(truth, 2), truth, TWO, (1, 1, 1), 1.0)
    assert (dice_of(alone)[1].item(), alone[1, 4].item()) == (0, 0)
    found = mean_scores(torch.stack((near, alone)), TWO)
    assert found["dice"] == pytest.approx((0.8 + 1 + 0 + 0) / 4)
    assert found["dice_1"] == pytest.approx(0.4)
    assert found["dice_pooled"] == pytest.approx((2 * 480 / (600 + 1200) + 0) / 2)
    assert found["hd95"] == pytest.approx(3.0)
    named = mean_scores(torch.stack((near, alone)), replace(TWO, names=("pooled", "2")))
    assert named["dice_pooled"] == found["dice_pooled"]


def test_what_an_earlier_run_left_in_files_is_read_into_memory_that_is_there(tmp_path: Path) -> None:
    array = np.arange(1000, dtype=np.float32)
    mapped = Shelf(0, tmp_path).kept(array, "a")
    assert isinstance(mapped, np.memmap)
    assert isinstance(Shelf(3999, tmp_path).kept(mapped, "a"), np.memmap)
    resident = Shelf(4000, tmp_path).kept(mapped, "a")
    assert not isinstance(resident, np.memmap)
    np.testing.assert_array_equal(resident, array)
