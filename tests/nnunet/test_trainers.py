"""Trainers in this process on real plans: steps, learned parameters, checkpoints and errors."""

import inspect
import json
import os
import pickle
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager
from PIL import Image

from seg_anl.losses import build_loss, list_losses
from seg_anl.nnunet.continuation import read_nnunet_checkpoint
from seg_anl.nnunet.environment_settings import loss_choice
from seg_anl.nnunet.robust_trainer import RobustLossTrainer
from seg_anl.nnunet.trainers import TRAINERS
from seg_anl.records import MetricRow, UserError

from .conftest import Make, stops

ROOT = Path(__file__).parents[2]


def batch() -> dict[str, Any]:
    """One batch as from nnU-Net's loader, with targets at every deep supervision resolution."""
    generator = torch.Generator().manual_seed(3)
    labels = (torch.rand(2, 1, 96, 96, generator=generator) > 0.7).to(torch.int16)
    return {
        "data": torch.randn(2, 3, 96, 96, generator=generator),
        "target": [labels[..., :: 2**i, :: 2**i].contiguous() for i in range(4)],
    }


@pytest.mark.parametrize("name", ["nnUNetTrainerANLCE", "nnUNetTrainerTLoss"])
def test_step_loss_is_build_loss_weighted_by_deep_supervision(make: Make, name: str):
    trainer = make(name)
    trainer.initialize()
    trainer.network.train()
    with torch.no_grad():
        heads = trainer.network(batch()["data"])
    loss = build_loss(trainer.loss_name, **trainer.loss_parameters)
    values = [loss(head, target) for head, target in zip(heads, batch()["target"], strict=True)]
    # nnU-Net's weights are 1, 1/2, 1/4 and 0 for the lowest resolution, normalized to 1.
    expected = (4 * values[0] + 2 * values[1] + values[2]) / 7
    assert trainer.train_step(batch())["loss"] == pytest.approx(expected.item(), rel=1e-6)


def test_every_loss_takes_a_step(make: Make):
    trainer = make("nnUNetTrainerDiceGCE")
    trainer.initialize()
    for loss in list_losses():
        values = {"transition": [[0.9, 0.1], [0.2, 0.8]]} if loss == "forward" else {}
        trainer.loss_choice = loss_choice(loss, **values)
        trainer.loss = trainer._build_loss()
        before = [parameter.clone() for parameter in trainer.network.parameters()]
        assert torch.isfinite(torch.as_tensor(trainer.train_step(batch())["loss"])), loss
        after = list(trainer.network.parameters())
        assert any(not torch.equal(b, a) for b, a in zip(before, after, strict=True)), loss


def test_trainer_classes_meet_nnunets_requirements():
    arguments = list(inspect.signature(nnUNetTrainer.__init__).parameters)
    for name, trainer in TRAINERS.items():
        assert (trainer.__name__, pickle.loads(pickle.dumps(trainer))) == (name, trainer)
        assert list(inspect.signature(trainer.__init__).parameters) == arguments


def test_every_loss_and_every_documented_name_has_a_trainer():
    named = re.findall(r"nnUNetTrainer[A-Za-z0-9]+", (ROOT / "docs" / "nnunet.md").read_text(encoding="utf-8"))
    own = {"nnUNetTrainerGCENoMirroring", "nnUNetTrainerNoMirroring"}
    assert {*named} - own <= {*TRAINERS}
    assert {trainer.loss_name for trainer in TRAINERS.values()} == {None, *list_losses()} - {"forward"}


def test_diverged_network_ends_the_training_at_once(make: Make, capsys: pytest.CaptureFixture[str]):
    """Its checkpoint would replace the last one that can be continued."""
    trainer = make("nnUNetTrainerMAE", SEG_ANL_TRAIN="epochs=60")
    trainer.initialize()
    trainer.logger.log("lrs", 0.01, 0)
    trainer.on_train_epoch_end([{"loss": 0.5}])
    next(trainer.network.parameters()).data[0] = float("nan")
    assert "diverged in epoch 0" in stops(capsys, lambda: trainer.on_train_epoch_end([{"loss": float("nan")}]))


def test_without_deep_supervision_the_loss_is_build_loss(make: Make):
    class Single(TRAINERS["nnUNetTrainerGCE"]):  # type: ignore[misc]
        def set_defaults(self) -> None:
            self.enable_deep_supervision = False

    trainer = make(Single)
    trainer.initialize()
    trainer.network.train()
    one = {"data": batch()["data"], "target": batch()["target"][0]}
    with torch.no_grad():
        expected = build_loss("gce")(trainer.network(one["data"]), one["target"])
    assert trainer.train_step(one)["loss"] == pytest.approx(expected.item(), rel=1e-6)


def test_nu_changes_and_survives_a_checkpoint(make: Make):
    trainer = make("nnUNetTrainerTLoss")
    trainer.initialize()
    trainer.train_step(batch())
    nu = trainer.robust_loss.log_nu.item()
    assert abs(nu - 1) == pytest.approx(1e-3, rel=1e-2)  # Adam's first step is the learning rate
    path = str(Path(trainer.output_folder) / "checkpoint_latest.pth")
    trainer.logger.log("mean_fg_dice", 0.5, 0)
    trainer.save_checkpoint(path)
    other = make("nnUNetTrainerTLoss", continued=True)
    other.load_checkpoint(path)
    assert other.robust_loss.log_nu.item() == nu
    other.train_step(batch())
    assert other.robust_loss.log_nu.item() != nu


def test_settings_are_in_the_folder_name_and_the_checkpoint(make: Make):
    trainer = make("nnUNetTrainerSCE", SEG_ANL_LOSS="sce alpha=0.5", SEG_ANL_TRAIN="epochs=7 seed=1")
    assert trainer.num_epochs == 7
    assert Path(trainer.output_folder).parts[-2] == "nnUNetTrainerSCE-alpha=0.5-epochs=7-seed=1__nnUNetPlans__2d"
    trainer.initialize()
    trainer.save_checkpoint(str(Path(trainer.output_folder) / "checkpoint_best.pth"))
    saved = torch.load(Path(trainer.output_folder) / "checkpoint_best.pth", weights_only=False)
    assert saved["trainer_name"] == "nnUNetTrainerSCE"  # prediction finds the class by it
    assert saved["seg_anl"]["loss"]["alpha"] == 0.5
    assert saved["seg_anl"]["training"] == {"epochs": 7, "seed": 1}


def test_second_stage_of_a_cascade_reads_the_first_with_the_same_settings(make: Make, tmp_path: Path, monkeypatch):
    previous = property(lambda manager: "3d_lowres")
    monkeypatch.setattr(ConfigurationManager, "previous_stage_name", previous)
    for settings, variant in (("", ""), ("epochs=3 seed=1", "-epochs=3-seed=1")):
        trainer = make("nnUNetTrainerMAE", SEG_ANL_TRAIN=settings)
        model = tmp_path / f"Dataset501_ISIC/nnUNetTrainerMAE{variant}__nnUNetPlans__3d_lowres"
        assert trainer.folder_with_segs_from_previous_stage == str(model / "predicted_next_stage/2d")


def test_record_has_noise_seed_and_preset(make: Make):
    noise = {"alpha": 0.7, "beta": 0.5, "kinds": ["erode"], "mode": "corrected", "seed": 3}
    trainer = make("nnUNetTrainerGCE_ISIC2017", SEG_ANL_TRAIN="seed=4")
    trainer.dataset_json["annotation_noise"] = noise
    trainer.initialize()
    record = trainer.configuration_record()
    assert record["noise"] == noise
    assert (record["seed"], record["preset"], record["epochs"]) == (4, "isic2017", 100)
    assert record["optim"] | {"name": "adam", "lr": 1e-3, "weight_decay": 5e-6} == record["optim"]


def test_environment_has_the_fields_of_the_other_trainers(tmp_path: Path):
    from seg_anl.engine.distribution import Process
    from seg_anl.engine.run_directory import RunDirectory
    from seg_anl.nnunet.run_record import environment

    ours = environment(torch.device("cpu"), 1)
    RunDirectory(tmp_path).write_environment(Process(torch.device("cpu")).machine)
    theirs = json.loads((tmp_path / "environment.json").read_text())
    assert ours.keys() == theirs.keys()
    assert ours["git_revision"] == theirs["git_revision"]


def test_l1_and_weight_decay_can_be_set(make: Make):
    """L1 adds delta * sign(theta) to every gradient that the optimizer sees."""
    gradients = []
    for delta in ("0", "0.25"):
        trainer = make("nnUNetTrainerANLCE", SEG_ANL_TRAIN=f"seed=1 l1={delta} weight_decay=0.125")
        trainer.initialize()
        assert trainer.optimizer.param_groups[0]["weight_decay"] == 0.125
        weights = [weight.detach().clone() for weight in trainer.network.parameters()]
        trainer.train_step(batch())
        gradients.append([weight.grad for weight in trainer.network.parameters()])
    for plain, penalized, weight in zip(*gradients, weights, strict=True):
        if plain is not None:
            torch.testing.assert_close(penalized - plain, 0.25 * weight.sign(), rtol=1e-3, atol=1e-4)


def test_checkpoint_with_code_is_not_executed(make: Make, capsys, tmp_path: Path):
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"seg_anl": Evil()}, tmp_path / "foreign.pth")
    trainer = make("nnUNetTrainerANLCE")
    assert "holds other objects" in stops(capsys, lambda: trainer.load_checkpoint(str(tmp_path / "foreign.pth")))
    assert not (tmp_path / "executed").exists()


def test_seed_determines_the_weights(make: Make):
    first, second, third = (make("nnUNetTrainerMAE", SEG_ANL_TRAIN=f"seed={seed}") for seed in (1, 1, 2))
    for trainer in (first, second, third):
        trainer.initialize()
    weights = [next(trainer.network.parameters()) for trainer in (first, second, third)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_processes_with_a_seed_draw_different_batches(make: Make):
    drawn = []
    for rank in (0, 1):
        trainer = make("nnUNetTrainerMAE", SEG_ANL_TRAIN="seed=1")
        trainer.local_rank = rank
        trainer.initialize()
        drawn.append(np.random.random())
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"SEG_ANL_LOSS": "anl_ce alpha=-1"}, "alpha must be a number >= 0"),
        ({"SEG_ANL_TRAIN": "epochs=none"}, "epochs must be a whole number"),
        ({"SEG_ANL_TEST": "/nowhere"}, "SEG_ANL_TEST=/nowhere"),
        ({"SEG_ANL_WEIGHT": "w.csv"}, "unknown environment variable SEG_ANL_WEIGHT"),
    ],
)
def test_bad_value_stops_before_anything_is_written(make: Make, tmp_path: Path, capsys, variables, message):
    assert message in stops(capsys, lambda: make("nnUNetTrainerANLCE", **variables))
    assert not list(tmp_path.iterdir())


def test_loss_for_other_classes_stops_before_anything_is_written(make: Make, tmp_path: Path, capsys):
    transition = "transition=[[0.8,0.1,0.1],[0,1,0],[0,0,1]]"
    line = stops(capsys, lambda: make("nnUNetTrainerRobust", SEG_ANL_LOSS=f"forward {transition}"))
    assert "transition is for 3 classes, input has 2" in line
    line = stops(capsys, lambda: make("nnUNetTrainerDiceANLCE", SEG_ANL_LOSS="class_weights=[1,2,3]"))
    assert "class_weights" in line
    assert not list(tmp_path.iterdir())


def test_trainer_combines_with_nnunets_variants(make: Make):
    from nnunetv2.training.nnUNetTrainer.variants.training_length.nnUNetTrainer_Xepochs import nnUNetTrainer_5epochs

    class Short(RobustLossTrainer, nnUNetTrainer_5epochs):
        loss_name = "nce_agce"

    trainer = make(Short)
    assert trainer.num_epochs == 5
    trainer.initialize()
    assert torch.isfinite(torch.as_tensor(trainer.train_step(batch())["loss"]))


def test_continuing_with_other_settings_is_refused(make: Make, capsys):
    trainer = make("nnUNetTrainerANLCE", SEG_ANL_LOSS="alpha=10")
    trainer.initialize()
    trainer.save_checkpoint(str(Path(trainer.output_folder) / "checkpoint_latest.pth"))
    # Other settings have another folder, where nnU-Net would start from scratch.
    line = stops(capsys, lambda: make("nnUNetTrainerANLCE", continued=True, SEG_ANL_LOSS="alpha=1"))
    assert "nnUNetTrainerANLCE-alpha=10" in line
    assert "nnUNetTrainerANLCE-alpha=10" in stops(capsys, lambda: make("nnUNetTrainerANLCE", continued=True))
    # If a class's defaults change, the folder is the same, but the checkpoint has the old settings.
    other = make("nnUNetTrainerANLCE", continued=True, SEG_ANL_LOSS="alpha=10")
    other.loss_choice.parameters["beta"] = 1.0
    path = str(Path(trainer.output_folder) / "checkpoint_latest.pth")
    assert "beta=5.0 in the checkpoint, 1.0 now" in stops(capsys, lambda: other.load_checkpoint(path))


def test_checkpoint_of_another_trainer_is_refused(make: Make, capsys, tmp_path):
    torch.save({"network_weights": {}}, tmp_path / "foreign.pth")
    trainer = make("nnUNetTrainerANLCE")
    assert "has no record of its loss" in stops(capsys, lambda: trainer.load_checkpoint(str(tmp_path / "foreign.pth")))


def test_error_names_an_invalid_test_folder(make: Make, isic_folder: Path, capsys, tmp_path):
    folder = tmp_path / "clean"
    (folder / "labels").mkdir(parents=True)
    (folder / "images").symlink_to(isic_folder / "imagesTs")
    variables = {"SEG_ANL_TEST": str(folder)}
    assert "no *.png file" in stops(capsys, lambda: make("nnUNetTrainerANLCE", **variables))
    (folder / "labels" / "unknown.png").touch()
    assert "unknown.png has no image" in stops(capsys, lambda: make("nnUNetTrainerANLCE", **variables))
    (folder / "labels" / "unknown.png").unlink()
    first = min((isic_folder / "labelsTs").iterdir())
    (folder / "labels" / first.name).touch()
    trainer = make("nnUNetTrainerANLCE", **variables)
    assert f"{first.name} cannot be read" in stops(capsys, trainer.on_train_start)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda image: image.write_bytes(b"not a picture"), "cannot be read"),
        (lambda image: Image.new("L", (96, 96)).save(image), "1 channels, but the dataset has 3"),
        (
            lambda image: Image.new("RGB", (96, 95)).save(image),
            "shape (1, 96, 96), but its image has shape (1, 95, 96)",
        ),
    ],
)
def test_the_last_test_image_is_read_before_training(make: Make, isic_folder, tmp_path: Path, capsys, change, message):
    """It is predicted in the last ten of a thousand epochs, where an error would cost days."""
    folder = tmp_path / "clean"
    shutil.copytree(isic_folder / "imagesTs", folder / "images")
    (folder / "labels").symlink_to(isic_folder / "labelsTs")
    last = max((folder / "images").iterdir())
    change(last)
    trainer = make("nnUNetTrainerANLCE", SEG_ANL_TEST=str(folder))
    line = stops(capsys, trainer.on_train_start)
    assert last.name.removesuffix("_0000.png") in line
    assert message in line


def test_the_second_stage_of_a_cascade_is_not_tested(make: Make, isic_folder: Path, capsys):
    trainer = make("nnUNetTrainerANLCE", SEG_ANL_TEST=str(isic_folder))
    trainer.configuration_manager.configuration["previous_stage"] = "3d_lowres"
    assert "second stage of a cascade" in stops(capsys, trainer.on_train_start)


def test_new_training_leaves_no_results_of_an_earlier_one(make: Make, isic_folder: Path):
    trainer = make("nnUNetTrainerANLCE")
    folder = Path(trainer.output_folder)
    names = ("summary.json", "metrics.csv", ".partial-0123abcd.pth")  # the last of a process that was killed
    for name in names:
        (folder / name).touch()
    trainer.on_train_start()
    assert not any((folder / name).exists() for name in names)
    (folder / "summary.json").touch()
    again = make("nnUNetTrainerANLCE")
    again.current_epoch = again.num_epochs  # --c of a finished training
    again.on_train_start()
    assert (folder / "summary.json").exists()


def test_dice_of_two_test_folders_is_not_mixed(make: Make, isic_folder: Path, tmp_path: Path, capsys):
    shutil.copytree(isic_folder, tmp_path / "other")
    trainer = make("nnUNetTrainerANLCE", SEG_ANL_TEST=str(isic_folder))
    trainer.initialize()
    path = str(Path(trainer.output_folder) / "checkpoint_latest.pth")
    trainer.save_checkpoint(path)  # before the last ten epochs
    make("nnUNetTrainerANLCE", continued=True, SEG_ANL_TEST=str(tmp_path / "other")).load_checkpoint(path)
    trainer.metric_rows = [MetricRow(990, "test", {"dice": 0.5})]
    trainer.save_checkpoint(path)
    other = make("nnUNetTrainerANLCE", continued=True, SEG_ANL_TEST=str(tmp_path / "other"))
    assert f"was tested on {isic_folder}" in stops(capsys, lambda: other.load_checkpoint(path))
    for variables in ({}, {"SEG_ANL_TEST": os.path.relpath(isic_folder)}):
        same = make("nnUNetTrainerANLCE", continued=True, **variables)
        same.load_checkpoint(path)
        assert same.metric_rows == trainer.metric_rows


def test_checkpoints_of_numpy_1_are_read(tmp_path: Path):
    """nnU-Net logs NumPy's numbers, whose module NumPy 2 renamed."""
    value = {"dice": np.float64(0.5), "count": np.int64(7), "loss": np.float32(0.25)}
    torch.save(value, tmp_path / "new.pth")
    with zipfile.ZipFile(tmp_path / "new.pth") as new, zipfile.ZipFile(tmp_path / "old.pth", "w") as old:
        contents = {name: new.read(name) for name in new.namelist()}
        assert any(b"numpy._core" in content for content in contents.values())
        for name, content in contents.items():
            old.writestr(name, content.replace(b"numpy._core", b"numpy.core"))
    assert read_nnunet_checkpoint(tmp_path / "old.pth") == value
    assert read_nnunet_checkpoint(tmp_path / "new.pth") == value
    (tmp_path / "empty.pth").touch()
    with pytest.raises(UserError, match=r"empty\.pth: damaged"):
        read_nnunet_checkpoint(tmp_path / "empty.pth")


def test_processes_share_the_test_cases(make: Make, isic_folder: Path):
    trainer = make("nnUNetTrainerANLCE", SEG_ANL_TEST=str(isic_folder))
    trainer.initialize()
    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()

    def overlaps(part: int, parts: int) -> list[list[list[int]]]:
        counts = trainer.test_set.overlaps(trainer.network, trainer.device, print, (part, parts))
        return [each.tolist() for each in counts]

    assert sorted(overlaps(0, 2) + overlaps(1, 2)) == sorted(overlaps(0, 1))
    assert len(overlaps(1, 4)) == 2


def test_published_protocol(make: Make):
    trainer = make("nnUNetTrainerCE_ISIC2017")
    trainer.initialize()
    assert isinstance(trainer.optimizer, torch.optim.Adam)
    assert trainer.num_epochs == 100
    (group,) = trainer.optimizer.param_groups
    assert group["weight_decay"] == 5e-6
    rates = []
    for epoch in (0, 1, 2, 5):
        trainer.lr_scheduler.step(epoch)
        rates.append(group["lr"])
    assert rates == pytest.approx([1e-3, 8e-4, 6.4e-4, 1e-3 * 0.8**5])


def test_published_epoch_is_one_pass_and_can_be_shortened(make: Make, tmp_path: Path):
    trainer = make("nnUNetTrainerMAE_ISIC2017")
    trainer.on_train_start()
    assert trainer.num_iterations_per_epoch == 9  # 19 cases of fold 0 in batches of 2
    (tmp_path / "w.csv").write_text("item,weight\n" + "".join(f"{case},0\n" for case in trainer.do_split()[0][:8]))
    trainer = make("nnUNetTrainerMAE_ISIC2017", SEG_ANL_WEIGHTS=str(tmp_path / "w.csv"))
    trainer.on_train_start()
    assert trainer.num_iterations_per_epoch == 5  # 11 cases are drawn
    assert make("nnUNetTrainerMAE_ISIC2017", SEG_ANL_TRAIN="epochs=3 iterations=4").num_iterations_per_epoch == 4
    assert make("nnUNetTrainerMAE_ISIC2017", SEG_ANL_TRAIN="epochs=3 iterations=4").num_epochs == 3
