"""``seg-anl-compare --nnunet``: real trainings by nnU-Net, its audit and its page."""

import json
from pathlib import Path

import pytest

from seg_anl.compare.command import save_settings
from seg_anl.compare.plan import make_plan
from seg_anl.nnunet.environment_settings import chosen_loss, chosen_training
from seg_anl.records import UserError
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
    for name in ("ce", "anl_ce"):
        (fold,) = (tmp_path / f"out/runs/{name}-seed1").glob("Dataset501_ISIC/nnUNetTrainerRobust*/fold_0")
        summary = json.loads((fold / "summary.json").read_text())
        assert results["scores"][name] == [summary["metrics"]["test/dice"]["last_k_mean"]]
        assert (summary["loss"]["name"], summary["seed"]) == (name, 1)
    audit = json.loads((tmp_path / "out/audit/audit.json").read_text())
    assert audit
    assert "among the cases of fold 0" in results["audit"]
    assert (tmp_path / "out/compare.html").is_file()
    before = {path: path.read_bytes() for path in tmp_path.rglob("fold_0/metrics.csv")}
    assert call("compare", *command, cwd=tmp_path, **isic.variables)[0] == 0
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("nnunet", "variables", "message"),
    [
        (["3d_fullres"], {}, "has 2d"),
        (["2d"], {"nnUNet_preprocessed": ""}, "nnUNet_preprocessed is not set"),
        (["2d"], {"nnUNet_preprocessed": "elsewhere"}, "run nnUNetv2_plan_and_preprocess -d 501 -c 2d\n"),
        (["2d", "-p", "nnUNetResEncUNetLPlans"], {}, "-d 501 -c 2d -pl nnUNetPlannerResEncL\n"),
    ],
)
def test_what_nnunet_has_not_prepared_is_one_line(
    isic: NNUNet, isic_folder: Path, tmp_path: Path, nnunet: list[str], variables: dict[str, str], message: str
) -> None:
    command = [isic_folder, "--nnunet", *nnunet, "--out", tmp_path / "out"]
    status, _, errors = call("compare", *command, cwd=tmp_path, **(isic.variables | variables))
    assert (status, errors.count("\n")) == (2, 1), errors
    assert message in errors
    assert not (tmp_path / "out").exists()


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A raw data set without test images, with plans."""
    for name in ("LOSS", "TRAIN", "TEST", "SOFT", "WEIGHTS"):
        monkeypatch.delenv(f"SEG_ANL_{name}", raising=False)
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "preprocessed"))
    for number in (1, 2):
        (tmp_path / f"preprocessed/Dataset00{number}_X").mkdir(parents=True)
        (tmp_path / f"preprocessed/Dataset00{number}_X/nnUNetPlans.json").write_text('{"configurations": {"2d": {}}}')
        (tmp_path / f"Dataset00{number}_X/labelsTr").mkdir(parents=True)
        (tmp_path / f"Dataset00{number}_X/dataset.json").write_text("{}")
    return tmp_path / "Dataset001_X"


def finish(run: Path, epochs: int = 50) -> Path:
    """The files of a finished training without test images; returns the folder of the model."""
    model = run / f"Dataset001_X/nnUNetTrainerRobust-ce-epochs={epochs}__nnUNetPlans__2d"
    (model / "fold_0/validation").mkdir(parents=True)
    # The mean of the second class is NaN: no case has it, and it is not predicted.
    classes = {"1": {"Dice": 0.75, "n_ref": 40.5}, "2": {"Dice": float("nan"), "n_ref": 0.0}}
    content = {"mean": classes, "foreground_mean": {"Dice": float("nan")}}
    (model / "fold_0/validation/summary.json").write_text(json.dumps(content))
    return model


def test_without_clean_labels_the_classes_of_the_fold_are_the_test(data: Path, tmp_path: Path) -> None:
    plan = make_plan(data, [], 1, [], ("2d", "nnUNetPlans"))
    interrupted = tmp_path / "run/Dataset001_X/nnUNetTrainerRobust-ce-epochs=9__nnUNetPlans__2d/fold_0"
    interrupted.mkdir(parents=True)
    assert plan.trainer.score_file(tmp_path / "run") is None
    model = finish(tmp_path / "run")
    assert plan.trainer.read_score(tmp_path / "run") == ("validation Dice", 0.75)
    assert plan.trainer.audit_arguments(data, tmp_path / "run")[0] == str(model)
    assert plan.tested == "the cases of fold 0, whose annotations may be wrong too"


def test_runs_of_other_data_labels_and_tests_are_never_mixed_in(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    plan = make_plan(data, [], 1, [], ("2d", "nnUNetPlans"))
    save_settings(out / "commands.json", plan)
    finish(out / "runs/ce-seed1")
    save_settings(out / "commands.json", plan)
    monkeypatch.chdir(data)
    save_settings(out / "commands.json", make_plan(Path(), [], 1, [], ("2d", "nnUNetPlans")))  # the same folder
    (tmp_path / "clean/images").mkdir(parents=True)
    for variable in ("SEG_ANL_TEST", "SEG_ANL_SOFT", "SEG_ANL_WEIGHTS"):
        with monkeypatch.context() as patch:
            patch.setenv(variable, str(tmp_path / "clean"))
            other = make_plan(data, [], 1, [], ("2d", "nnUNetPlans"))
            assert other.trainer.command(other.runs["ce-seed1"], out).variables[variable] == str(tmp_path / "clean")
            with pytest.raises(UserError, match="holds ce-seed1 with other settings"):
                save_settings(out / "commands.json", other)
    (out / "runs/ce-seed1/Dataset002_X").symlink_to(out / "runs/ce-seed1/Dataset001_X")
    with pytest.raises(UserError, match="holds ce-seed1 with other settings"):
        save_settings(out / "commands.json", make_plan(tmp_path / "Dataset002_X", [], 1, [], ("2d", "nnUNetPlans")))


def test_a_named_test_folder_precedes_that_of_the_data(data: Path, tmp_path: Path, monkeypatch) -> None:
    for folder in ("imagesTs", "labelsTs"):
        (data / folder).mkdir()
    assert make_plan(data, [], 1, [], ("2d", "nnUNetPlans")).tested == str(data / "imagesTs")
    monkeypatch.setenv("SEG_ANL_TEST", str(tmp_path / "clean"))
    assert make_plan(data, [], 1, [], ("2d", "nnUNetPlans")).tested == str(tmp_path / "clean")


def test_settings_reach_nnunet_whole(data: Path, tmp_path: Path) -> None:
    plan = make_plan(data, [], 1, ["loss.class_weights=[1, 2]", "iterations=3", "device=cpu"], ("2d", "nnUNetPlans"))
    command = plan.trainer.command(plan.runs["ce-seed1"], tmp_path)
    chosen = chosen_loss(command.variables["SEG_ANL_LOSS"], "nnUNetTrainerRobust", None)
    assert chosen.settings() == {"name": "ce", "class_weights": [1, 2], "dice_weight": 1.0}
    assert chosen_training(command.variables["SEG_ANL_TRAIN"]).given() == {"epochs": 50, "iterations": 3, "seed": 1}
    assert command.arguments[-2:] == ["-device", "cpu"]


def test_what_would_be_ignored_is_refused(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data.rename(tmp_path / "lesions")
    with pytest.raises(UserError, match="lesions is not named like nnU-Net's raw data sets"):
        make_plan(tmp_path / "lesions", [], 1, [], ("2d", "nnUNetPlans"))
    for name in ("SEG_ANL_LOSS", "SEG_ANL_TRAIN"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "l1=1")
            with pytest.raises(UserError, match=f"{name} is set, but would have no effect"):
                make_plan(tmp_path / "Dataset002_X", [], 1, [], ("2d", "nnUNetPlans"))
