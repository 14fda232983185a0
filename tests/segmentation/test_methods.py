"""Methods for masks: tests that fail when a method's distinguishing step is taken out, and runs that are resumed."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.networks.nets import DynUNet
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
from seg_anl.segmentation.clslsr import ConfidentLearning
from seg_anl.segmentation.confident_learning import suspected_labels
from seg_anl.segmentation.dast import DivergenceAware, SelectiveLoss, TwoBranches
from seg_anl.segmentation.experiment import SegmentationExperiment, train
from seg_anl.segmentation.mask_prediction import predict_masks
from seg_anl.segmentation.networks import build_model
from seg_anl.segmentation.settings import Adele, AugmentationSettings, ConfidentSmoothing, Dast, TriNet, data_settings
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


def test_confident_learning_suspects_what_cleanlab_suspects() -> None:
    """Probabilities and labels of pixels, a fifth of which are wrong."""
    filters = pytest.importorskip("cleanlab.filter")
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 3, (6, 20, 20), generator=generator)
    logits = 1.5 * torch.randn(6, 3, 20, 20, generator=generator) + 4 * F.one_hot(truth, 3).movedim(-1, 1)
    wrong = torch.rand(truth.shape, generator=generator) < 0.2
    given = torch.where(wrong, (truth + 1) % 3, truth)
    found = suspected_labels(logits.softmax(dim=1), given)
    rows = logits.softmax(dim=1).movedim(1, -1).reshape(-1, 3).numpy()
    expected = filters.find_label_issues(given.flatten().numpy(), rows, filter_by="both", n_jobs=1)
    assert (found.flatten().numpy() != expected).mean() < 0.002  # counts are rounded in another way
    assert wrong[found].float().mean() > 0.7
    assert found[wrong].float().mean() > 0.5


def test_clslsr_smooths_the_labels_it_suspects() -> None:
    """The first network is sure of the truth; a tenth of the masks' pixels is wrong."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 2, (4, 16, 16), generator=generator)
    wrong = torch.rand(truth.shape, generator=generator) < 0.1
    masks = (truth ^ wrong.long()).to(torch.uint8)
    method = ConfidentLearning(ConfidentSmoothing())
    method.learn(0.96 * F.one_hot(truth, 2).movedim(-1, 1).half() + 0.02)
    images = torch.zeros(4, 3, 16, 16, dtype=torch.uint8)
    batches = ResidentBatches(images, masks, Augmentation(AugmentationSettings(flip=0.0)), [4], 0, ALONE)
    method.prepare(batches)
    criterion = method.criterion(build_loss("slsr", epsilon=0.25), epochs=1, process=ALONE)
    output = torch.randn(4, 2, 16, 16, generator=generator)
    log = torch.log(0.999 * output.softmax(dim=1) + 5e-4)
    own, other = (log.gather(1, each.unsqueeze(1).long()).squeeze(1) for each in (masks, 1 - masks))
    expected = -torch.where(wrong, 0.75 * own + 0.25 * other, own).mean()
    torch.testing.assert_close(criterion(output, batches.targets), expected)
    assert method.after_epoch(nn.Identity(), 0, lambda: iter([]))["suspected"] == pytest.approx(wrong.float().mean())


def test_two_branches_share_their_encoder() -> None:
    """Against MONAI's own forward pass, of a network that is given the first one's encoder."""
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    config = compose("segmentation", ["data.size=32", "model.base_filters=8"])
    first, second = (build_model(config.model, data_settings(config)) for _ in range(2))
    assert isinstance(first, DynUNet)
    assert isinstance(second, DynUNet)
    branches = TwoBranches(first, second)
    weights = {name: value for name, value in first.state_dict().items() if not re.search("upsample|output", name)}
    second.load_state_dict(weights, strict=False)
    torch.testing.assert_close(branches(images), torch.stack([first(images), second(images)], dim=1))
    assert (branches(images)[:, 0] - branches(images)[:, 1]).abs().max() > 0.01
    mean = branches(images).softmax(dim=2).mean(dim=1)
    torch.testing.assert_close(branches.eval()(images).exp(), mean)


def test_dast_singles_out_masks_by_divergence() -> None:
    """One trusted mask and one other, of one pixel each: the branches say 0.8 and 0.6 of its label."""
    its = Dast("", consistency=0.3, supplement=0.7, gradual_epochs=1, recent=2, share=0.5, sharpness=16)
    output = torch.tensor([[[0, 0], [0, 0]], [[0, math.log(4)], [0, math.log(1.5)]]])[..., None, None]
    target = torch.ones(2, 1, 1, dtype=torch.long)
    supervised = (math.log(2) - math.log(0.6)) / 2
    diverged = (0.2 * math.log(4 / 3) + 0.2 * math.log(2)) / 2  # sum of (p - q) log(p / q), halved
    high, low = 9.0, 0.0

    def value(first: float, second: float, output: Tensor = output) -> float:
        criterion = SelectiveLoss(build_loss("ce"), its)
        criterion.set_epoch(1)
        criterion.recent.copy_(torch.tensor([[first] * 2, [second] * 2]))
        found = criterion(output, target).item()
        assert criterion.counts[0] == 1
        assert (criterion.recent[:, 0] == torch.tensor([first, second])).all()  # the oldest score has gone
        return float(found)

    assert value(low, high) == pytest.approx(supervised)
    assert value(low, low) == pytest.approx(supervised + 0.3 * diverged)
    assert value(high, high) == pytest.approx(supervised + 0.7 * 0.2)
    assert value(high, low) == pytest.approx(supervised + 0.3 * diverged + 0.7 * 0.2)
    assert value(-1.0, -1.0) == pytest.approx(supervised)  # too few scores to compare with
    swapped = output.flip(1)  # the trusted branch is further from the label: nothing is singled out
    assert value(high, low, swapped) == pytest.approx((math.log(2) - math.log(0.8)) / 2)


def test_dast_shows_trusted_masks_in_half_of_each_batch() -> None:
    method = DivergenceAware(Dast("", 0.1, 0.1, 1, 2, 0.2, 16))
    method.trusted = torch.arange(10) < 2
    order = method.order(10, [4, 4, 3], torch.Generator().manual_seed(0))
    assert (order < 2).tolist() == [True, True, False, False] * 2 + [True, False, False]
    others = order[order >= 2]
    assert len(others.unique()) == len(others)
    assert order[:2].sum() == 1


def test_a_pair_predicts_the_mean_of_its_probabilities() -> None:
    torch.manual_seed(0)
    pair = MaskNetworks(nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)).eval()
    images = torch.randn(2, 3, 8, 8)
    expected = torch.stack([each(images).softmax(1) for each in pair.children()]).mean(dim=0)
    torch.testing.assert_close(pair(images).softmax(1), expected)
    assert pair(1e4 * images).isfinite().all()  # also where both are certain


@pytest.mark.parametrize(
    "settings",
    [
        ["method=adele", "method.slowdown=0.3", "method.confidence=0.6"],
        ["method=co_teaching", "method.unit=pixel", "loss=anl_ce"],
        ["method=trinet", "method.gradual_epochs=2"],
        ["method=clslsr"],
        [
            "method=dast",
            "method.recent=4",
            "method.share=0.5",
            "method.gradual_epochs=2",
            "method.trusted_file=TRUSTED",
        ],
    ],
    ids=["adele", "co_teaching", "trinet", "clslsr", "dast"],
)
def test_a_run_that_was_cut_ends_as_if_undisturbed(
    settings: list[str], make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder(14)
    (tmp_path / "trusted.txt").write_text("a01\na02\na03\na04\n")
    config = [f"data.root={root}", *SMALL, *(each.replace("TRUSTED", f"{tmp_path}/trusted.txt") for each in settings)]
    train(compose("segmentation", [*config, f"run_dir={tmp_path / 'whole'}"]))
    rows = [row for row in csv.DictReader((tmp_path / "whole/metrics.csv").open()) if row["split"] == "train"]
    for method, metric in (("adele", "corrected"), ("clslsr", "suspected"), ("dast", "almost_right")):
        if settings[0] == f"method={method}":
            assert any(float(row[metric]) > 0 for row in rows)

    ended = []
    first_network = 4 * (settings[0] == "method=clslsr")  # which is trained before, for as many epochs

    def stop(*_: object) -> None:
        ended.append(0)
        if len(ended) == first_network + 3:
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
    if settings[0] == "method=dast":
        (tmp_path / "cut/summary.json").unlink()
        (tmp_path / "trusted.txt").write_text("a01\na02\na03\n")
        with pytest.raises(UserError, match=r"changed since this run began: method.trusted_file"):
            train(compose("segmentation", [*config, f"run_dir={tmp_path / 'cut'}"]))
    if first_network:  # is not trained before the refusal
        shutil.rmtree(tmp_path / "cut/first_network")
        (tmp_path / "cut/summary.json").unlink()
        with pytest.raises(UserError, match=r"other settings \(epochs=4 there, 5 now\)"):
            train(compose("segmentation", [*config, "epochs=5", f"run_dir={tmp_path / 'cut'}"]))
        assert not (tmp_path / "cut/first_network").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["method=adele", "model.deep_supervision=true"], "method=adele needs model.deep_supervision=false"),
        (["method=co_teaching", "loss.dice_weight=1"], "method=co_teaching needs loss.dice_weight=0"),
        (["method=adele", "data.raters=[a,b]", "noise.alpha=0"], "method=adele looks for wrong masks"),
        (["method=clslsr", "loss=ce"], "method=clslsr is defined for loss=slsr, got loss=ce"),
        (["method=dast"], "method=dast needs method.trusted_file=FILE"),
        (["method=elr"], "method.name=elr: known: adele, clslsr, co_teaching, dast, plain, trinet"),
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
