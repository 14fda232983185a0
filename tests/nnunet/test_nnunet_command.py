"""The command ``seg-anl-nnunet``."""

import subprocess
import sys
from pathlib import Path

import pytest

from seg_anl.nnunet import lookup, nnunet_command, trainer_folder
from seg_anl.nnunet.lookup import check, require_nnunet, trainers, with_our_folder
from seg_anl.records import UserError

from .conftest import NNUNet, ours


def absent() -> None:
    """The command where nnU-Net is not installed."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "nnunetv2"]:
        del sys.modules[name]
    sys.modules["nnunetv2"] = None  # type: ignore[assignment]
    ours()


@pytest.fixture
def empty(tmp_path: Path) -> NNUNet:
    return NNUNet(tmp_path)


def one_line(status: int, output: str, errors: str) -> str:
    assert status == 2
    assert output == ""
    (line,) = errors.strip().splitlines()
    assert line.startswith("seg-anl-nnunet: error: ")
    return line


def test_importing_the_package_does_not_import_nnunet():
    code = (
        "import seg_anl, seg_anl.nnunet, sys; assert 'torch' not in sys.modules; "
        "import seg_anl.losses, seg_anl.nnunet.nnunet_command, seg_anl.nnunet.criterion; "
        "assert not [name for name in sys.modules if name.startswith('nnunetv2')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("command", ["path", "train 501 2d 0"])
def test_missing_nnunet_names_what_to_install(empty: NNUNet, command: str):
    line = one_line(*empty.run(absent, *command.split()))
    assert line.endswith("nnU-Net v2 is not installed; pip install 'seg-anl[nnunet]', or pip install 'nnunetv2>=2.8'")


def test_old_nnunet_is_refused(monkeypatch):
    monkeypatch.setattr(lookup.metadata, "version", lambda _: "2.6.2")
    with pytest.raises(UserError, match=r"nnU-Net 2\.6\.2 is too old"):
        require_nnunet()


def test_trainer_folder_holds_one_module():
    assert [path.name for path in trainer_folder().glob("*.py")] == ["seg_anl_nnunet_trainers.py"]


def test_our_folder_is_put_first_once():
    ours = str(trainer_folder())
    assert with_our_folder(None) == ours
    assert with_our_folder(f"/other:{ours}") == f"{ours}:/other"


def test_list_shows_losses_and_defaults(capsys):
    nnunet_command._run(["list"])
    lines = capsys.readouterr().out.splitlines()
    assert "nnUNetTrainerGCE              gce q=0.7 exact_official=True" in lines
    assert {line.split()[0] for line in lines} == set(trainers())


def test_check_finds_every_trainer(monkeypatch, capsys):
    monkeypatch.setenv("nnUNet_extTrainer", str(trainer_folder()))
    nnunet_command._run(["check"])
    assert f"finds {len(trainers())} trainer(s)" in capsys.readouterr().out


def test_broken_package_is_not_blamed_on_our_folder(monkeypatch):
    monkeypatch.setenv("nnUNet_extTrainer", str(trainer_folder()))
    monkeypatch.setitem(sys.modules, "seg_anl.nnunet.trainers", None)  # as with a broken torchvision
    with pytest.raises(UserError, match=r"nnU-Net cannot be imported: ModuleNotFoundError.*another version of torch"):
        check([])


def test_check_without_the_variable(empty: NNUNet):
    line = one_line(*empty.run(ours, "check"))
    assert "nnUNet_extTrainer is not set; export nnUNet_extTrainer=$(seg-anl-nnunet path)" in line


@pytest.mark.parametrize(
    ("folders", "name", "message"),
    [
        ("/nowhere", "nnUNetTrainerMAE", "/nowhere, which is not a folder"),
        ("{ours}", "nnUNetTrainerANCLE", "did you mean 'nnUNetTrainerANLCE'"),
        ("{tmp}/empty", "nnUNetTrainerMAE", "finds no trainer 'nnUNetTrainerMAE'"),
        ("{tmp}/same_name:{ours}", "nnUNetTrainerMAE", "another class named nnUNetTrainerMAE, in a_copy"),
        ("{tmp}/broken:{ours}", "nnUNetTrainerMAE", "failed with ModuleNotFoundError.* is there a broken module"),
        ("{tmp}/raising:{ours}", "nnUNetTrainerMAE", "failed with RuntimeError: no license; is there a broken module"),
    ],
)
def test_check_reports_the_problem(tmp_path: Path, monkeypatch, folders: str, name: str, message: str):
    for folder, text in {
        "empty": "",
        "same_name": "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        "class nnUNetTrainerMAE(nnUNetTrainer): pass\n",
        "broken": "import a_module_that_is_not_there\n",
        "raising": "raise RuntimeError('no license')\n",  # the type nnU-Net raises if it finds nothing
    }.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a_copy.py").write_text(text)
    monkeypatch.setenv("nnUNet_extTrainer", folders.format(ours=trainer_folder(), tmp=tmp_path))
    with pytest.raises(UserError, match=message):
        check([name])


@pytest.mark.parametrize("arguments", [[], ["foo"], ["plan"], ["plan", "501", "--batch-size", "0"]])
def test_bad_arguments_are_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as exit_info:
        nnunet_command._run(arguments)
    assert exit_info.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_bad_value_stops_before_nnunet_starts(monkeypatch):
    monkeypatch.setenv("nnUNet_extTrainer", "")
    monkeypatch.setenv("SEG_ANL_LOSS", "anl_ce q=1")
    with pytest.raises(UserError, match=r"SEG_ANL_LOSS='anl_ce q=1'.*no parameter 'q'"):
        nnunet_command._run(["train", "501", "2d", "0", "-tr", "nnUNetTrainerANLCE"])


def test_unknown_trainer_suggests_the_nearest(monkeypatch):
    monkeypatch.setenv("nnUNet_extTrainer", "")  # the command sets it
    with pytest.raises(UserError, match="did you mean 'nnUNetTrainerANLCE'"):
        nnunet_command._run(["train", "501", "2d", "0", "-tr", "nnUNetTrainerANLC"])


def test_plan_adds_the_published_batch_and_patch(isic: NNUNet):
    output = isic.succeed(ours, "plan", "501")
    assert "configuration 2d_isic2017: 2d with batch 16, patch 256 x 256" in output
    assert "note: the median image size is 96 x 96, not 256 x 256" in output
    isic.succeed(ours, "plan", "501")
    assert "other values" in one_line(*isic.run(ours, "plan", "501", "--batch-size", "8"))
    assert "found none" in one_line(*isic.run(ours, "plan", "999"))


@pytest.mark.parametrize(
    ("command", "module", "entry", "option"),
    [
        ("train", "run.run_training", "run_training_entry", "--c"),
        ("predict", "inference.predict_from_raw_data", "predict_entry_point", "--continue_prediction"),
    ],
)
def test_interrupted_command_names_the_option_that_continues(monkeypatch, capsys, command, module, entry, option):
    """Without it nnU-Net starts over and replaces what there is."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"nnunetv2.{module}.{entry}", interrupt)
    monkeypatch.delenv("SEG_ANL_LOSS", raising=False)
    monkeypatch.setattr(sys, "argv", ["seg-anl-nnunet", command])
    with pytest.raises(SystemExit) as caught:
        nnunet_command.main()
    assert caught.value.code == 130
    errors = capsys.readouterr().err
    assert f"interrupted; add {option} " in errors
    assert errors.count("\n") == 1


def test_variables_that_a_trainer_of_nnunet_ignores_are_named(monkeypatch, capsys):
    """Without -tr nnU-Net trains its own loss."""
    monkeypatch.setattr("nnunetv2.run.run_training.run_training_entry", lambda: None)
    monkeypatch.setenv("SEG_ANL_LOSS", "gce")
    for arguments, noted in ((["501", "2d", "0"], True), (["501", "2d", "0", "-tr", "nnUNetTrainerRobust"], False)):
        nnunet_command._run(["train", *arguments])
        errors = capsys.readouterr().err
        assert ("nnUNetTrainer is not a trainer of this package and ignores SEG_ANL_LOSS" in errors) == noted
