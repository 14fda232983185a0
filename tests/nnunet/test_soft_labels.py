"""Soft labels, case weights and class weights, in this process on real plans and with nnU-Net's command."""

import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK
import torch
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoDA import nnUNetTrainerNoDA
from PIL import Image

from seg_anl.nnunet.criterion import NNUNetCriterion
from seg_anl.nnunet.environment_settings import loss_choice
from seg_anl.nnunet.robust_trainer import RobustLossTrainer
from seg_anl.nnunet.soft_labels import SoftLabels, _ReplaceLabels

from .conftest import Make, NNUNet, nnunet_train, ours, stops


class Plain(RobustLossTrainer, nnUNetTrainerNoDA):
    """Without augmentation."""

    loss_name = "gce"
    dice_weight = 1.0


def write_soft_labels(folder: Path, probabilities: dict[str, np.ndarray]) -> str:
    """Write soft labels in nnU-Net's format: background and one foreground class, ``(2, 1, H, W)``."""
    folder.mkdir(exist_ok=True)
    for case, present in probabilities.items():
        np.savez_compressed(folder / f"{case}.npz", probabilities=np.stack((1 - present, present))[:, None])
    return str(folder)


@pytest.fixture
def masks(isic_folder: Path) -> dict[str, np.ndarray]:
    paths = sorted((isic_folder / "labelsTr").glob("*.png"))
    return {path.stem: np.asarray(Image.open(path)).astype(np.float32) for path in paths}


def first_batch(trainer: Any, seed: int = 0) -> dict[str, Any]:
    trainer.initialize()
    np.random.seed(seed)
    return next(trainer.get_dataloaders()[0])


def test_one_hot_probabilities_train_like_labels(make: Make, masks: dict[str, np.ndarray], tmp_path: Path):
    folder = write_soft_labels(tmp_path / "hard", masks)
    hard, soft = make(Plain, SEG_ANL_TRAIN="seed=1"), make(Plain, SEG_ANL_TRAIN="seed=1", SEG_ANL_SOFT=folder)
    batches = [first_batch(trainer) for trainer in (hard, soft)]
    torch.testing.assert_close(batches[0]["data"], batches[1]["data"])
    for labels, probabilities in zip(batches[0]["target"], batches[1]["target"], strict=True):
        factor = batches[0]["target"][0].shape[-1] // labels.shape[-1]
        blocks = batches[0]["target"][0].float().unflatten(3, (-1, factor)).unflatten(2, (-1, factor))
        expected = blocks.mean(dim=(3, 5))[:, 0]  # foreground share of each block
        torch.testing.assert_close(probabilities[:, 1], expected)
        torch.testing.assert_close(probabilities.sum(1), torch.ones_like(expected))
    values = []
    for trainer, batch in zip((hard, soft), batches, strict=True):
        heads = trainer.network(batch["data"])
        values.append(trainer.criterion(heads[0], batch["target"][0]))
    torch.testing.assert_close(values[0], values[1])


def test_soft_labels_follow_nnunets_own_augmentation(make: Make, masks: dict[str, np.ndarray], tmp_path: Path):
    """An image equal to the probabilities stays equal: same crop, rotation, scaling, mirroring and padding."""
    trainer = make("nnUNetTrainerGCE", SEG_ANL_SOFT=write_soft_labels(tmp_path / "soft", masks))
    rotated = SpatialTransform(
        (64, 64), 0, False, p_rotation=1, p_scaling=1, scaling=(0.7, 1.6), border_mode_seg="constant"
    )
    transforms = ComposeTransforms([rotated, MirrorTransform((0, 1))])
    augment = trainer._soft_labels().wrap_transforms(transforms, image_channels=3)
    present = torch.from_numpy(next(iter(masks.values()))) * 0.75
    for seed in range(5):
        torch.manual_seed(seed)
        np.random.seed(seed)
        joint = {"image": present.expand(4, -1, -1).clone(), "segmentation": (present > 0)[None].short()}
        out = augment(**joint)
        assert out["image"].shape == (3, 64, 64)
        torch.testing.assert_close(out["segmentation"][1], out["image"][0], atol=1e-6, rtol=0)
        assert ((out["segmentation"][1] > 0.01) & (out["segmentation"][1] < 0.74)).any()  # interpolated, not rounded
        torch.testing.assert_close(out["segmentation"].sum(0), torch.ones(64, 64))


@pytest.mark.parametrize("regions", [False, True])
def test_unlabeled_pixels_are_excluded_at_every_resolution(regions: bool):
    """Lower resolutions average labeled pixels; without any, they have the ignore label."""
    present = torch.full((1, 4, 4), 0.5)
    present[0, 0, 0], present[0, 2:, 2:] = 1.0, 0.0
    unlabeled = torch.zeros(1, 4, 4)
    unlabeled[0, 0, 1], unlabeled[0, 2:, 2:] = 1, 1
    labels = torch.zeros(1, 4, 4).short()
    labels[0, 1, 0] = 2  # unlabeled in nnU-Net's labels
    levels = [labels, labels[:, ::2, ::2]]
    if regions:
        levels = [torch.cat((level == 1, level == 2)) for level in levels]
    transform = _ReplaceLabels(regions=regions, ignored=2)
    soft = torch.cat((unlabeled, present * (1 - unlabeled)))
    full, low = transform(image=None, segmentation=levels, regression_target=soft)["segmentation"]
    shown, marked = (low[0], low[1] == 1) if regions else (low[1], low[1] == 2)
    assert marked.tolist() == [[False, False], [False, True]]
    assert shown[0].tolist() == [0.75, 0.5]  # mean of 1 and 0.5: two of the four are unlabeled
    assert ((full[-1] == (1 if regions else 2)) == (unlabeled[0].bool() | (labels[0] == 2))).all()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_axis_order_is_inferred_from_the_labels(tmp_path: Path, dimensions: int):
    """nnU-Net's probabilities have the reverse axis order of arrays that nibabel reads."""
    labels = np.zeros((4,) * dimensions, np.uint8)
    labels[..., 0, 1:3] = 1  # z, y, x; a cube or square, so that the shape does not help
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(labels), tmp_path / "a.nii.gz")
    managers = (
        SimpleNamespace(image_reader_writer_class=SimpleITKIO),
        None,
        SimpleNamespace(num_segmentation_heads=2, has_regions=False, ignore_label=None),
    )
    soft = SoftLabels(tmp_path, *managers, ".nii.gz")
    for inside, outside in ((0.9, 0.2), (0.45, 0.3)):  # also where no annotator has a majority
        present = np.where(labels, inside, outside)
        for array in (present, present.T):
            np.savez(tmp_path / "a.npz", probabilities=np.stack((1 - array, array)))
            read = soft.read(tmp_path / "a.npz", tmp_path / "a.nii.gz")[0]
            np.testing.assert_allclose(read.reshape(labels.shape), present, atol=1e-6)


def test_the_axes_of_pictures_stay_whatever_their_labels(tmp_path: Path):
    """Wrong labels may fit the transposed probabilities better."""
    present = np.zeros((4, 4))
    present[0, 1:] = 1
    Image.fromarray(present.T.astype(np.uint8)).save(tmp_path / "a.png")
    np.savez(tmp_path / "a.npz", probabilities=np.stack((1 - present, present)))
    managers = (
        SimpleNamespace(image_reader_writer_class=NaturalImage2DIO),
        None,
        SimpleNamespace(num_segmentation_heads=2, has_regions=False, ignore_label=None),
    )
    read = SoftLabels(tmp_path, *managers, ".png").read(tmp_path / "a.npz", tmp_path / "a.png")
    np.testing.assert_allclose(read[0, 0], present, atol=1e-6)


def test_replaced_probabilities_are_read_again_whatever_their_time(
    make: Make, masks: dict[str, np.ndarray], tmp_path: Path
):
    """Probabilities that were copied with their old time, or moved there from another folder."""
    case = next(iter(masks))
    for value, time in ((0.25, 2_000_000_000), (0.75, 1_000_000_000)):
        folder = write_soft_labels(tmp_path / "soft", {case: np.full((96, 96), value, np.float32)})
        os.utime(tmp_path / f"soft/{case}.npz", (time, time))
        trainer = make(Plain, SEG_ANL_SOFT=folder)
        trainer.do_split = lambda: ([case], [case])
        target = first_batch(trainer)["target"][0]
        assert target[:, 1].max().item() == pytest.approx(value, abs=1e-3)  # the rest is padding


def test_folders_of_the_same_name_have_their_own_runs(make: Make, masks: dict[str, np.ndarray], tmp_path: Path):
    """``seg-anl-prep raters`` names every folder of probabilities ``soft``."""
    folders = [write_soft_labels(tmp_path / name, masks) for name in ("mean", "staple")]
    variants = []
    for folder in folders:
        (Path(folder) / "soft").mkdir()
        variants.append(make(Plain, SEG_ANL_SOFT=f"{folder}/soft").output_folder)
    assert variants[0] != variants[1]
    assert make(Plain, SEG_ANL_SOFT=f"{folders[0]}/../mean/soft/").output_folder == variants[0]


@pytest.mark.parametrize("batch_dice", [True, False])
@pytest.mark.parametrize("form", ["hard", "soft", "regions"])
def test_weighted_batch_is_the_mean_of_weight_times_loss(form: str, batch_dice: bool):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 2, 8, 8, generator=generator, requires_grad=True)
    present = torch.rand(3, 1, 8, 8, generator=generator)
    target = {
        "hard": (present > 0.5).short(),
        "soft": torch.cat((1 - present, present), 1),
        "regions": torch.cat((present > 0.3, present > 0.7), 1),
    }[form]
    dice = MemoryEfficientSoftDiceLoss(batch_dice=batch_dice, smooth=1e-5, ddp=False)

    def criterion(dice_weight: float, weights: list[float] | None = None) -> NNUNetCriterion:
        result = NNUNetCriterion(
            loss_choice("gce", dice_weight=dice_weight), has_regions=form == "regions", ignore_label=None, dice=dice
        )
        result.case_weights = None if weights is None else torch.tensor(weights)
        return result

    with_dice = 0.0 if batch_dice else 1.0  # batch Dice is not a mean over cases
    each = [criterion(with_dice)(logits[i : i + 1], target[i : i + 1]) for i in range(3)]
    weighted = criterion(with_dice, [2.0, 0.5, 0.0])(logits, target)
    torch.testing.assert_close(weighted, (2 * each[0] + 0.5 * each[1]) / 3)
    value = criterion(1.0, [1.0, 1.0, 0.0])(logits, target)
    torch.testing.assert_close(criterion(1.0, [1.0, 1.0, 1.0])(logits, target), criterion(1.0)(logits, target))
    without = criterion(1.0)(logits[:2], target[:2])
    if batch_dice:
        torch.testing.assert_close(value, without * 2 / 3)
    (gradient,) = torch.autograd.grad(value, logits)
    assert not gradient[2].any()
    torch.testing.assert_close(gradient, torch.autograd.grad(without * 2 / 3, logits)[0])


@pytest.mark.parametrize("weighted_classes", [True, False])
@pytest.mark.parametrize("form", ["hard", "soft", "regions"])
def test_a_case_counts_by_its_weight_whatever_its_share_of_the_labeled_pixels(form: str, weighted_classes: bool):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 8, 8, generator=generator, requires_grad=True)
    present = torch.rand(2, 1, 8, 8, generator=generator)
    unlabeled = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    unlabeled[1, 0, 1:] = True  # an eighth of the other's pixels
    target = {
        "hard": (present > 0.5).short().masked_fill(unlabeled, 2),
        "soft": torch.cat((1 - present, present), 1).masked_fill(unlabeled, 2),
        "regions": torch.cat((present > 0.3, present > 0.7, unlabeled), 1),
    }[form]
    choice = loss_choice("gce", class_weights=[0.5, 5.0] if weighted_classes else None)
    criterion = NNUNetCriterion(choice, has_regions=form == "regions", ignore_label=2)
    (without,) = torch.autograd.grad(criterion(logits, target), logits)
    criterion.case_weights = torch.tensor([0.1, 2.0])
    (gradient,) = torch.autograd.grad(criterion(logits, target), logits)
    torch.testing.assert_close(gradient, without * torch.tensor([0.1, 2.0]).view(2, 1, 1, 1))
    nothing = torch.ones_like(target) if form == "regions" else torch.full_like(target, 2)
    assert criterion(logits, nothing) == 0


def test_case_weights_come_from_the_table(make: Make, masks: dict[str, np.ndarray], tmp_path: Path):
    first, second, third, *_ = masks
    (tmp_path / "w.csv").write_text(f"item,score,weight\n{first},9,0\n{second}.png,8,0.25\n")
    trainer = make(Plain, SEG_ANL_WEIGHTS=str(tmp_path / "w.csv"), SEG_ANL_TRAIN="seed=1")
    assert [trainer.case_weights[case] for case in (first, second, third)] == [0, 0.25, 1]
    trainer.do_split = lambda: ([first, second], [third])
    batch = first_batch(trainer)
    assert set(batch["keys"]) == {second}  # the case with weight 0 is not sampled
    weighted = trainer.train_step(batch)["loss"]
    assert trainer.criterion.case_weights is None
    other = make(Plain, SEG_ANL_TRAIN="seed=1")
    other.initialize()
    assert weighted == pytest.approx(0.25 * other.train_step(batch)["loss"], rel=1e-5)


def test_class_weights_are_the_inverse_frequency_of_the_training_labels(make: Make, masks: dict[str, np.ndarray]):
    trainer = make("nnUNetTrainerANLCE", SEG_ANL_LOSS="anl_ce class_weights=auto")
    assert "ANLCE-class_weights=auto__" in trainer.output_folder
    trainer.initialize()
    present = np.mean([masks[case].mean() for case in trainer.do_split()[0]])
    expected = [0.5 / (1 - present), 0.5 / present]
    assert trainer.robust_loss.class_weights.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder, case: (folder / f"{case}.npz").unlink(), r"no {case}\.npz or \.npy or \.png in it"),
        (
            lambda folder, case: np.savez(folder / f"{case}.npz", np.zeros((2, 1, 5, 4))),
            r"expected 2 classes of shape \(1, 96",
        ),
        (lambda folder, case: np.savez(folder / f"{case}.npz", np.full((2, 1, 96, 96), 3.0)), "values from 3 to 3"),
        (lambda folder, case: np.savez(folder / f"{case}.npz", np.full((2, 96, 96), np.nan)), "values from nan"),
        (lambda folder, case: np.savez(folder / f"{case}.npz", np.full((2, 96, 96), 0.4)), "sum to 0.800, not to 1"),
        (lambda folder, case: (folder / f"{case}.npz").write_bytes(b"PK"), "not a NumPy file"),
    ],
)
def test_bad_probabilities_are_one_line(
    make: Make, masks: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str], change, message: str
):
    folder, case = Path(write_soft_labels(tmp_path / "soft", masks)), next(iter(masks))
    change(folder, case)
    trainer = make("nnUNetTrainerGCE", SEG_ANL_SOFT=str(folder))
    trainer.do_split = lambda: ([case], [case])
    line = stops(capsys, trainer.on_train_start)
    assert re.search(message.format(case=case), line), line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item,weight\nnobody,1\n", "no training item 'nobody'"),
        ("item,weight\n{case},-1\n", "must be a number >= 0, got -1"),
        ("item,weight\n{case},1\n{case},0\n", "is listed 2 times"),
        ("item,weight\n{case},1\n{case}.png,0\n", "is listed twice, with and without .png"),
        ("item,score\n{case},1\n", "expected the columns item and weight"),
        (None, "no such file|No such file"),
    ],
)
def test_bad_tables_of_weights_are_one_line(make, masks, tmp_path, capsys, text, message):
    table = tmp_path / "w.csv"
    if text is not None:
        table.write_text(text.format(case=next(iter(masks))))
    line = stops(capsys, lambda: make("nnUNetTrainerGCE", SEG_ANL_WEIGHTS=str(table)))
    assert str(table) in line
    assert re.search(message, line), line


@pytest.mark.slow
def test_nnunets_own_command_with_soft_labels_weights_and_class_weights(
    isic: NNUNet, isic_folder: Path, masks: dict[str, np.ndarray], tmp_path: Path
):
    """Killed in its second epoch and continued; continuing without the variables is refused."""
    table = tmp_path / "audit.csv"
    table.write_text("item,weight\n" + "".join(f"{case},{i % 3 / 2}\n" for i, case in enumerate(masks)))
    train = ("501", "2d", "0", "-tr", "nnUNetTrainerDiceANLCE", "-device", "cpu")
    settings = {
        "nnUNet_extTrainer": isic.succeed(ours, "path").strip(),
        "SEG_ANL_LOSS": "class_weights=auto",
        "SEG_ANL_TRAIN": "epochs=2 iterations=3 validation_iterations=1",
    }
    label_settings = {
        "SEG_ANL_SOFT": write_soft_labels(tmp_path / "mean3", {case: 0.1 + 0.8 * mask for case, mask in masks.items()}),
        "SEG_ANL_WEIGHTS": str(table),
    }
    isic.kill_in_second_epoch(nnunet_train, *train, **settings, **label_settings)
    status, _, errors = isic.run(nnunet_train, *train, "--c", **settings)
    assert status == 2
    assert "SEG_ANL_SOFT and SEG_ANL_WEIGHTS as for that run" in errors
    one_worker = {"nnUNet_n_proc_DA": "1"}  # augmentation in another process
    log = isic.succeed(nnunet_train, *train, "--c", **settings, **label_settings | one_worker)
    assert "Epoch 1" in log
    assert "Epoch 0" not in log
    assert re.search(r"class weights 0\.\d+ [1-9]", log)
    (folder,) = (isic.root / "results/Dataset501_ISIC").glob("nnUNetTrainerDiceANLCE-class_weights=auto-*")
    assert re.search(r"-soft=mean3_[0-9a-f]{8}-weights=[0-9a-f]{8}__nnUNetPlans__2d$", folder.name)
    saved = torch.load(folder / "fold_0" / "checkpoint_final.pth", weights_only=False)["seg_anl"]
    assert saved["labels"].keys() == {"soft", "weights"}
    assert saved["loss"]["class_weights"] == "auto"
