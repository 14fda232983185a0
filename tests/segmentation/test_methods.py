"""Methods for masks: tests that fail when a method's distinguishing step is taken out, and runs that are resumed."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor, nn

from seg_anl.engine.batches import ResidentBatches
from seg_anl.engine.co_teaching import CrossedSmallLoss
from seg_anl.engine.command import compose
from seg_anl.engine.distribution import Process
from seg_anl.engine.method_settings import CoTeaching
from seg_anl.engine.run_directory import settings_digest
from seg_anl.losses import build_loss
from seg_anl.records import UserError
from seg_anl.segmentation.adele import AdaptiveCorrection, MultiScale, ScaleConsistency, correct, slows
from seg_anl.segmentation.augmentation import Augmentation
from seg_anl.segmentation.experiment import SegmentationExperiment, train
from seg_anl.segmentation.mask_prediction import predict_masks
from seg_anl.segmentation.settings import Adele, AugmentationSettings, TriNet
from seg_anl.segmentation.several_networks import MaskNetworks

ALONE = Process(torch.device("cpu"))
ITS = Adele(scales=(0.5, 1.5), consistency=1.0, certain=0.8, slowdown=0.9, confidence=0.8, every=10)
SMALL = ["data=folder", "data.size=32", "batch_size=4", "model.base_filters=8", "progress=false", "epochs=4",
         "logger=null", "device=cpu", "noise.alpha=0.7", "noise.beta=0.7"]  # fmt: skip


def curve(c: float, b: float, epochs: int) -> list[float]:
    return [0.8 * (1 - math.exp(-b * t**c)) for t in range(1, epochs + 1)]


@pytest.mark.parametrize(("b", "c"), [(0.3, 1.0), (0.6, 0.8)])
def test_a_class_slows_when_its_fitted_slope_has_fallen(b: float, c: float) -> None:
    """Against the derivative of the curve that the points lie on, in closed form."""
    slope = [b * c * t ** (c - 1) * math.exp(-b * t**c) for t in range(1, 30)]
    expected = next(t for t in range(3, 30) if slope[t - 1] < 0.1 * slope[0])
    found = next(t for t in range(1, 30) if slows(curve(c, b, t), 0.9))
    assert abs(found - expected) <= 1
    assert next(t for t in range(1, 30) if slows(curve(c, b, t), 0.5)) < found
    # Epochs in which nothing was learned yet put it off and change nothing else.
    assert [slows([0.0] * 6 + curve(c, b, t), 0.9) for t in (found - 1, found)] == [False, True]
    assert not slows([0.0] * 20, 0.9)


def test_only_confident_pixels_of_a_class_that_slows_are_corrected() -> None:
    masks = torch.tensor([[[0, 1, 1, 2, 2, 0]], [[0, 0, 2, 2, 2, 0]]])
    predicted = torch.tensor([[[1, 0, 2, 1, 0, 1]], [[1, 1, 1, 0, 0, 1]]])
    sure = torch.tensor([[[1, 1, 1, 1, 1, 0]], [[1, 1, 1, 1, 1, 1]]], dtype=torch.bool)
    found = masks.clone()
    correct(found, predicted, sure, due=[1], classes=3)
    # Class 2 is not due, neither as label nor as prediction; the second mask has no pixel of class 1.
    assert found.tolist() == [[[1, 0, 1, 2, 2, 0]], [[0, 0, 2, 2, 2, 0]]]
    correct(found, predicted, sure, due=[2], classes=3)
    # Now class 2 may go to background, and to nothing else; class 1 would be new in the second mask.
    assert found.tolist() == [[[1, 0, 1, 2, 0, 0]], [[0, 0, 2, 0, 0, 0]]]


def test_scales_that_disagree_are_pulled_together() -> None:
    generator = torch.Generator().manual_seed(0)
    output = (3 * torch.randn(2, 3, 2, 8, 8, generator=generator)).requires_grad_()
    target = torch.randint(0, 2, (2, 8, 8), generator=generator)
    probabilities = output.softmax(dim=2)
    mean = probabilities.mean(dim=1, keepdim=True)
    divergence = (probabilities * (probabilities / mean).log()).sum(dim=2).mean()
    plain = sum(F.cross_entropy(output[:, s], target) for s in range(3)) / 3
    criterion = ScaleConsistency(build_loss("ce"), ITS)
    torch.testing.assert_close(criterion(output, target), plain + divergence)
    assert divergence > 0.1
    # Where no mean probability is certain the term is left out.
    unsure = output.detach() / 30
    torch.testing.assert_close(criterion(unsure, target),
                               sum(F.cross_entropy(unsure[:, s], target) for s in range(3)) / 3)  # fmt: skip
    same = output[:, :1].detach().expand(-1, 3, -1, -1, -1)
    torch.testing.assert_close(criterion(same, target), F.cross_entropy(same[:, 0], target))


def test_the_network_sees_three_sizes_and_answers_at_one() -> None:
    sizes = []

    class Seen(nn.Conv2d):
        def forward(self, images: Tensor) -> Tensor:
            sizes.append(tuple(images.shape[2:]))
            return super().forward(images)

    network = MultiScale(Seen(3, 2, 1), (0.5, 1.5))
    images = torch.randn(2, 3, 64, 128)
    assert network.train()(images).shape == (2, 3, 2, 64, 128)
    assert sizes == [(64, 128), (32, 64), (96, 192)]
    torch.testing.assert_close(network.eval()(images), network.network(images))


class Says(nn.Module):
    """A network that knows the truth, however it looks."""

    def __init__(self, truth: Tensor) -> None:
        super().__init__()
        self.truth = F.one_hot(truth, 2).movedim(-1, 1).float() * 12

    def forward(self, images: Tensor) -> Tensor:
        return F.interpolate(self.truth, images.shape[2:])


def test_adele_corrects_wrong_masks_when_learning_slows_and_remembers_it() -> None:
    truth = torch.zeros(4, 32, 32, dtype=torch.long)
    truth[:, 8:24, 8:24] = 1
    wrong = truth.roll(4, dims=2).to(torch.uint8)
    images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)

    def started() -> tuple[AdaptiveCorrection, ResidentBatches]:
        method = AdaptiveCorrection(ITS)
        method.criterion(build_loss("ce"), epochs=9, process=ALONE, samples=4, classes=2)
        batches = ResidentBatches(images, wrong, Augmentation(AugmentationSettings()), [4], 0, ALONE)
        method.prepare(batches)
        return method, batches

    def samples() -> Iterator[Tensor]:
        return iter([images.float()])

    method, batches = started()
    network = MultiScale(Says(truth), ITS.scales).eval()
    changed = [method.after_epoch(network, epoch, samples)["corrected"] for epoch in range(12)]
    assert changed[:2] == [0, 0]  # a curve has three parameters
    assert changed[-1] == pytest.approx((wrong != truth).float().mean().item())
    assert torch.equal(batches.targets.long(), truth)
    assert (wrong != truth).any()  # the masks that were given stay as they were
    resumed, again = started()
    resumed.load_state_dict(method.state_dict())
    assert torch.equal(again.targets, batches.targets)
    assert resumed.ious == method.ious


def test_co_teaching_drops_pixels_or_whole_masks() -> None:
    """One pixel of the first mask is wrong: by pixels it alone is left out, by masks all of that mask."""
    logits = torch.zeros(2, 2, 2, 4, 4)
    logits[:, :, 1] = 2.0
    target = torch.ones(2, 4, 4, dtype=torch.long)
    target[0, 1, 1] = 0
    taught = {}
    for unit, forget in (("pixel", 1 / 32), ("sample", 0.5)):
        output = logits.clone().requires_grad_()
        criterion = CrossedSmallLoss(build_loss("ce"), CoTeaching(forget, 1, unit), ALONE)
        criterion.set_epoch(3)
        criterion(output, target).backward()
        assert output.grad is not None
        taught[unit] = output.grad.abs().sum(dim=2) > 0
    assert taught["pixel"].sum() == 2 * 31
    assert not taught["pixel"][0, :, 1, 1].any()
    assert taught["sample"].sum(dim=(1, 2, 3)).tolist() == [0, 32]


def test_a_network_of_three_learns_what_both_others_find_easy() -> None:
    """Each network finds another of four pixels hard: it is learned by that network alone, the fourth by all."""
    hard = torch.eye(4)[:3]  # of network and pixel
    output = torch.stack([4 * hard, torch.zeros(3, 4)], dim=1).view(1, 3, 2, 1, 4).requires_grad_()
    criterion = CrossedSmallLoss(build_loss("ce"), TriNet(0.25, 1, "pixel"), ALONE)
    criterion.set_epoch(1)
    value = criterion(output, torch.ones(1, 1, 4, dtype=torch.long))
    value.backward()
    assert output.grad is not None
    assert torch.equal(output.grad[0, :, 0, 0] != 0, (hard + torch.eye(4)[3]).bool())
    torch.testing.assert_close(value, torch.tensor(3 * (math.log(2) + math.log1p(math.exp(4))) / 2))


def test_a_pair_predicts_the_mean_of_its_probabilities() -> None:
    torch.manual_seed(0)
    pair = MaskNetworks(nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)).eval()
    images = torch.randn(2, 3, 8, 8)
    expected = (pair.first(images).softmax(1) + pair.second(images).softmax(1)) / 2
    torch.testing.assert_close(pair(images).softmax(1), expected)


@pytest.mark.parametrize(
    "settings",
    [
        ["method=adele", "method.slowdown=0.3", "method.confidence=0.6"],
        ["method=co_teaching", "method.unit=pixel", "loss=anl_ce"],
        ["method=trinet", "method.gradual_epochs=2"],
    ],
    ids=["adele", "co_teaching", "trinet"],
)
def test_a_run_that_was_cut_ends_as_if_undisturbed(
    settings: list[str], make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder(14)
    config = [f"data.root={root}", *SMALL, *settings]
    train(compose("segmentation", [*config, f"run_dir={tmp_path / 'whole'}"]))
    rows = [row for row in csv.DictReader((tmp_path / "whole/metrics.csv").open()) if row["split"] == "train"]
    if settings[0] == "method=adele":
        assert float(rows[2]["corrected"]) > 0

    ended = []

    def stop(*_: object) -> None:
        ended.append(0)
        if len(ended) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("seg_anl.engine.progress.Progress.epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            train(compose("segmentation", [*config, f"run_dir={tmp_path / 'cut'}"]))
    train(compose("segmentation", [*config, f"run_dir={tmp_path / 'cut'}"]))
    assert (tmp_path / "cut/metrics.csv").read_bytes() == (tmp_path / "whole/metrics.csv").read_bytes()
    assert json.loads((tmp_path / "cut/environment.json").read_text())["resumed"]
    predict_masks(tmp_path / "cut", root / "images", tmp_path / "out", overlay=False, checkpoint="last",
                  device="cpu", overwrite=False, trust=False)  # fmt: skip
    assert np.asarray(Image.open(tmp_path / "out/a03.png")).shape == (43, 48)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["method=adele", "model.deep_supervision=true"], "method=adele needs model.deep_supervision=false"),
        (["method=co_teaching", "loss.dice_weight=1"], "method=co_teaching needs loss.dice_weight=0"),
        (["method=adele", "data.raters=[a,b]", "noise.alpha=0"], "method=adele corrects masks"),
        (["method=elr"], "method.name=elr: known: adele, co_teaching, plain, trinet"),
        (["method=adele", "method.scales=[0]"], "method.scales must be a list in which each is a number > 0"),
        (["method=co_teaching", "method.unit=voxel"], "method.unit=voxel"),
    ],
)
def test_what_does_not_go_together_is_one_line(settings: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        train(compose("segmentation", ["data.root=.", *SMALL, f"run_dir={tmp_path / 'run'}", *settings]))
    assert message in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_adele_refuses_several_processes() -> None:
    experiment = SegmentationExperiment(compose("segmentation", ["method=adele"]))
    nothing: Any = (None, None)
    with pytest.raises(UserError, match="method=adele works in one process, without torchrun"):
        experiment.network(nothing, Process(torch.device("cpu"), 0, 2))


def test_plain_runs_keep_the_place_they_had() -> None:
    """``method`` is younger than recorded runs: its default does not change where a run lies."""
    config = compose("segmentation", ["loss=ce"])
    before = config.copy()
    OmegaConf.set_struct(before, False)
    for group, names in (("data", ("soft", "raters")), ("", ("method",))):
        for name in names:
            del (before[group] if group else before)[name]
    assert settings_digest(config) == settings_digest(before)
    assert settings_digest(compose("segmentation", ["loss=ce", "method=adele"])) != settings_digest(before)
