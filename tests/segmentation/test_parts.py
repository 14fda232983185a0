"""Evaluation, criterion, networks and the noise of the trainer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.losses import DiceLoss
from omegaconf import OmegaConf
from PIL import Image

from data_prep.pictures import IGNORED, read_mask
from seg_anl.engine.command import compose
from seg_anl.losses import build_loss, list_losses, loss_parameters
from seg_anl.records import MetricRow, UserError, array_digest
from seg_anl.segmentation.criterion import SegmentationCriterion, build_criterion
from seg_anl.segmentation.datasets import ImageSet
from seg_anl.segmentation.dice import dice_per_image, dice_scores
from seg_anl.segmentation.experiment import SegmentationExperiment
from seg_anl.segmentation.networks import build_model, planned_stages, predict_losses, predict_probabilities
from seg_anl.segmentation.run_picture import save_report, worst_and_best
from seg_anl.segmentation.settings import data_settings, read_settings

TRANSITION = {"forward": ["loss.transition=[[0.9,0.1],[0.2,0.8]]"]}


def masks(*rows: list[int]) -> torch.Tensor:
    return torch.tensor(rows)[:, None, :]


def test_dice_by_hand() -> None:
    predicted = masks([1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0])
    truth = masks([1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0])
    # 2*1/3; both empty: 1; truth empty, prediction not: 0; missed: 0
    assert dice_per_image(predicted, truth, 2).tolist() == pytest.approx([2 / 3, 1, 0, 0])
    scores = dice_scores(predicted, truth, 2)
    assert scores["dice"] == pytest.approx((2 / 3 + 1) / 4)
    assert scores["dice_pooled"] == pytest.approx(2 * 1 / (3 + 4))


def test_unlabeled_pixels_count_in_no_score_and_no_loss(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 6, 5, generator=generator)
    stored = (torch.rand(2, 6, 5, generator=generator) > 0.5).to(torch.uint8) * 255
    stored[:, 4:] = 254  # two unlabeled rows
    for index, mask in enumerate(stored):
        Image.fromarray(mask.numpy()).save(tmp_path / f"{index}.png")
    read = torch.stack([torch.from_numpy(read_mask(tmp_path / f"{i}.png", "m", ignore=254)) for i in range(2)])
    labels = (stored[:, :4] == 255).to(torch.uint8)  # what is left
    predicted, rest = logits.argmax(1), logits[:, :, :4]
    assert dice_scores(predicted, read, 2) == dice_scores(predicted[:, :4], labels, 2)
    config = compose("segmentation", ["data=folder", "data.root=x", "loss=anl_ce"]).loss
    passing, plain = build_criterion(config, 0.0, ignore_index=IGNORED), build_criterion(config, 0.0)
    assert passing(logits, read).item() == pytest.approx(plain(rest, labels).item(), rel=1e-6)
    images, cpu = torch.zeros(2, 3, 6, 5), torch.device("cpu")
    known = predict_losses(lambda _: logits, images, read, cpu)  # type: ignore[arg-type]
    cut = predict_losses(lambda _: rest, images, labels, cpu)  # type: ignore[arg-type]
    assert known.tolist() == pytest.approx(cut.tolist(), rel=1e-5)
    wanted = ["data=folder", "data.root=x", "data.ignore=254", "noise.alpha=0.5"]
    with pytest.raises(UserError, match=r"data\.ignore needs noise\.alpha=0"):
        read_settings(compose("segmentation", wanted))


def test_the_picture_of_a_run_of_one_image_with_unlabeled_pixels(tmp_path: Path) -> None:
    mask = torch.zeros(1, 24, 24, dtype=torch.uint8)
    mask[:, 6:12], mask[:, 18:] = 1, IGNORED
    image = ImageSet(["a"], torch.full((1, 3, 24, 24), 90, dtype=torch.uint8), mask, {})
    cases = [
        worst_and_best(name, image, noisy, torch.zeros_like(mask), 2) for name, noisy in (("x", image), ("y", None))
    ]
    save_report(tmp_path / "report.png", "one", cases, [MetricRow(0, "test", {"dice": 0.5})])
    assert np.asarray(Image.open(tmp_path / "report.png")).std() > 20


def test_dice_of_several_classes_is_their_mean() -> None:
    predicted, truth = masks([0, 1, 2, 2]), masks([0, 1, 1, 2])
    per_class = [2 * 1 / 3, 2 * 1 / 3, 1.0]  # class 3 is in neither
    assert dice_per_image(predicted, truth, 4).item() == pytest.approx(sum(per_class) / 3)


def test_deep_supervision_weighs_heads_by_halves() -> None:
    torch.manual_seed(0)
    heads, target = torch.randn(2, 3, 2, 8, 8), torch.randint(0, 2, (2, 8, 8))
    loss = build_loss("gce")
    values = [loss(heads[:, i], target) for i in range(3)]
    expected = (values[0] + values[1] / 2 + values[2] / 4) / 1.75
    torch.testing.assert_close(SegmentationCriterion(loss)(heads, target), expected)


def test_dice_is_added_with_its_weight() -> None:
    logits, target = torch.randn(2, 2, 8, 8), torch.randint(0, 2, (2, 8, 8))
    dice = DiceLoss(include_background=False, to_onehot_y=True, softmax=True)(logits, target[:, None])
    criterion = build_criterion(compose("segmentation", ["loss=mae", "loss.dice_weight=0.3"]).loss, 0.3)
    torch.testing.assert_close(criterion(logits, target), build_loss("mae")(logits, target) + 0.3 * dice)


def test_every_loss_can_be_chosen_with_its_declared_defaults_and_trains_a_step() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 2, 8, 8), torch.randint(0, 2, (2, 8, 8))
    for name in list_losses():
        config = compose("segmentation", [f"loss={name}", *TRANSITION.get(name, [])]).loss
        settings = OmegaConf.to_container(config)
        assert settings.pop("name") == name
        assert settings.pop("dice_weight") == 0
        assert {**settings, "transition": None} == {**loss_parameters(name), "transition": None}
        criterion = build_criterion(config, 0)
        criterion.set_epoch(1)
        inputs = logits.clone().requires_grad_()
        criterion(inputs, target).backward()
        assert inputs.grad is not None
        assert inputs.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("size", "stages"), [((256, 256), 7), ((64, 64), 5), ((96, 64), 5), ((1024, 1024), 7), ((48, 48), 4)]
)
def test_network_is_planned_from_the_image_size(size: tuple[int, int], stages: int) -> None:
    assert planned_stages(size, None) == stages
    assert min(size) // 2 ** (stages - 1) >= 3


def test_networks_keep_the_size_and_give_a_channel_per_class() -> None:
    for overrides in (
        ["data.size=32", "model.base_filters=4"],
        ["data.size=[32,48]", "model.base_filters=4", "data.classes=3", "model.deep_supervision=true"],
        [
            "data.size=32",
            "model=monai",
            "model.network=BasicUNet",
            "+model.features=[4,4,4,4,4,4]",
        ],
    ):
        config = compose("segmentation", overrides)
        model = build_model(config.model, data_settings(config))
        size = config.data.size if isinstance(config.data.size, int) else tuple(config.data.size)
        height, width = (size, size) if isinstance(size, int) else size
        output = model(torch.zeros(2, 3, height, width))
        assert output.shape[-3:] == (config.data.classes, height, width)
        assert output.ndim == (5 if config.model.get("deep_supervision") else 4)
        nothing = torch.empty(0, 3, height, width, dtype=torch.uint8)  # a fold whose images are all left out
        assert not list(predict_probabilities(model, nothing, torch.device("cpu")))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.size=30"], "can be halved 1 times only"),
        (["model.stages=9"], "model.stages must be from 3 to 5"),
        (["model=monai", "model.network=BasicUNets"], "did you mean 'BasicUNet'"),
        (["model=monai", "model.network=BasicUNet", "+model.depth=3"], "model.depth: BasicUNet has no such argument"),
        (["model=monai", "model.network=UNet", "+model.channels=[4,8]", "+model.strides=[[]]"], "cannot be built"),
        (["model.base_filters=1000000", "model.max_filters=1000000"], "weights, more than"),
        (["model=own", "model._target_=os.getcwd"], "cannot be built"),
        (["model=own", "model._target_=collections.Counter"], "is not a network"),
        (["data.size=big"], "data.size must be"),
    ],
)
def test_a_network_that_cannot_be_is_explained_in_one_line(overrides: list[str], message: str) -> None:
    config = compose("segmentation", ["data.size=64", *overrides])
    with pytest.raises(UserError, match=message) as raised:
        build_model(config.model, data_settings(config))
    assert "\n" not in str(raised.value)


def discs(count: int = 10) -> ImageSet:
    rows, columns = np.mgrid[:64, :64]
    shapes = [((rows - 32) ** 2 + (columns - 20 - 2 * i) ** 2 < (8 + i) ** 2).astype(np.uint8) for i in range(count)]
    return ImageSet(
        [f"i{i}" for i in range(count)],
        torch.zeros(count, 3, 64, 64, dtype=torch.uint8),
        torch.from_numpy(np.stack(shapes)),
        {},
    )


def experiment(folder: Path, *overrides: str) -> SegmentationExperiment:
    return SegmentationExperiment(compose("segmentation", [f"run_dir={folder}", *overrides]))


def test_noise_is_made_once_recorded_and_read_again(tmp_path: Path) -> None:
    clean, run = discs(), experiment(tmp_path, "noise.alpha=0.7", "noise.beta=0.5")
    noisy, records = run.noisy((clean, clean))
    assert sum(record.kind != "none" for record in records) == 7
    for index, record in enumerate(records):
        changed = int((noisy.masks[index] != clean.masks[index]).sum()) / int(clean.masks[index].sum())
        assert record.realised == pytest.approx(changed)
        assert record.result_sha256 == array_digest(noisy.masks[index].numpy())
    before = {path.name: path.read_bytes() for path in (tmp_path / "noise").iterdir()}
    run.run.create(run.config)  # before, noise would be made anew
    again, read = experiment(tmp_path, "noise.alpha=0.7", "noise.beta=0.5").noisy((clean, clean))
    assert torch.equal(again.masks, noisy.masks)
    assert read == records
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "noise").iterdir()}
    other = clean.with_masks(np.roll(clean.masks.numpy(), 1, axis=2))
    with pytest.raises(UserError, match="the clean masks have changed"):
        run.noisy((other, other))


def test_without_noise_the_masks_are_the_clean_ones(tmp_path: Path) -> None:
    clean = discs()
    noisy, records = experiment(tmp_path).noisy((clean, clean))
    assert torch.equal(noisy.masks, clean.masks)
    assert {record.kind for record in records} == {"none"}
