"""``seg-anl-compare --nnunet``: real trainings by nnU-Net, its audit and its page."""

import json
from pathlib import Path

import pytest

from seg_anl.compare import trainers
from tests.processes import call

from .conftest import NNUNet

SHORT = ["epochs=1", "iterations=1", "validation_iterations=1", "device=cpu"]


@pytest.mark.slow
def test_fold_0_of_each_loss_is_trained_compared_and_audited(isic: NNUNet, isic_folder: Path, tmp_path: Path) -> None:
    arguments = ["--losses", "ce loss.dice_weight=1", "anl_ce loss.alpha=2", "--seeds", 1, "--nnunet", "2d"]
    command = [isic_folder, *SHORT, *arguments, "--out", tmp_path / "out"]
    status, output, errors = call("compare", *command, cwd=tmp_path, **isic.variables)
    assert status == 0, output + errors
    results = json.loads((tmp_path / "out/compare.json").read_text())
    assert results["metric"] == "test/dice"
    assert results["tested_on"] == str(isic_folder / "imagesTs")
    for name, words in (("ce", "-dice_weight=1"), ("anl_ce", "NCE")):
        (fold,) = (tmp_path / f"out/runs/{name}-seed1").glob("Dataset501_ISIC/nnUNetTrainerRobust*/fold_0")
        summary = json.loads((fold / "summary.json").read_text())
        assert results["scores"][name] == [summary["metrics"]["test/dice"]["last_k_mean"]]
        assert (summary["loss"]["name"], summary["seed"]) == (name, 1), words
    audit = json.loads((tmp_path / "out/audit/audit.json").read_text())
    assert audit
    assert "among the cases of fold 0" in results["audit"]
    assert (tmp_path / "out/compare.html").is_file()
    before = {path: path.read_bytes() for path in tmp_path.rglob("fold_0/metrics.csv")}
    assert call("compare", *command, cwd=tmp_path, **isic.variables)[0] == 0
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("configuration", "variables", "message"),
    [
        ("3d_fullres", {}, "has 2d"),
        ("2d", {"nnUNet_preprocessed": ""}, "nnUNet_preprocessed is not set"),
        ("2d", {"nnUNet_preprocessed": "elsewhere"}, "run nnUNetv2_plan_and_preprocess -d 501 -c 2d"),
    ],
)
def test_what_nnunet_has_not_prepared_is_one_line(
    isic: NNUNet, isic_folder: Path, tmp_path: Path, configuration: str, variables: dict[str, str], message: str
) -> None:
    command = [isic_folder, "--nnunet", configuration, "--out", tmp_path / "out"]
    status, _, errors = call("compare", *command, cwd=tmp_path, **(isic.variables | variables))
    assert (status, errors.count("\n")) == (2, 1), errors
    assert message in errors
    assert not (tmp_path / "out").exists()


def test_without_clean_labels_the_fold_is_the_test(tmp_path: Path) -> None:
    trainer = trainers.NNUNetTrainer("", (), configuration="2d")
    fold = tmp_path / "run/Dataset1_X/nnUNetTrainerRobust__nnUNetPlans__2d/fold_0"
    (fold / "validation").mkdir(parents=True)
    assert trainer.score_file(tmp_path / "run") is None
    (fold / "validation/summary.json").write_text('{"foreground_mean": {"Dice": 0.75}}')
    assert trainer.read_score(tmp_path / "run") == ("validation Dice", 0.75)
