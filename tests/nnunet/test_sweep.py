"""``seg-anl-nnunet sweep``: real nnU-Net trainings, here, with submitit and on Ray."""

import multiprocessing
import os
import shlex
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from seg_anl.nnunet import nnunet_command
from seg_anl.nnunet.sweep import Training, launch, sweep
from seg_anl.records import UserError
from tests.processes import ROOT

from .conftest import NNUNet, ours

SHORT = "epochs=2 iterations=1 validation_iterations=1"
STAND_IN = """
import multiprocessing
import sys
import time

def run_training_entry():
    print("training", sys.argv[1])
    if sys.argv[1] == "long":
        worker = multiprocessing.Process(target=time.sleep, args=(300,), daemon=True)
        worker.start()
        print("worker", worker.pid, flush=True)
        time.sleep(300)
    sys.exit(sys.argv[1] == "broken")
"""
REASONS = {"broken": "exit status 1: training broken", "sound": ""}
NAME = "-epochs=2-iterations=1-validation_iterations=1"


@pytest.fixture
def prepared(isic: NNUNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set nnU-Net's variables in this process; returns a new result folder of the data set."""
    for name, value in (isic.variables | {"nnUNet_results": str(tmp_path / "results")}).items():
        monkeypatch.setenv(name, value)
    for name in ("LOSS", "TRAIN", "TEST", "SOFT", "WEIGHTS"):
        monkeypatch.delenv(f"SEG_ANL_{name}", raising=False)
    monkeypatch.setenv("nnUNet_extTrainer", "")
    return tmp_path / "results" / "Dataset501_ISIC"


def test_dry_run_prints_the_commands_of_all_combinations(prepared: Path, capsys, monkeypatch):
    monkeypatch.setenv("SEG_ANL_TRAIN", "epochs=3")
    fold = prepared / "nnUNetTrainerGCE-epochs=3-seed=2__nnUNetPlans__2d" / "fold_1"
    (fold / "validation").mkdir(parents=True)
    (fold / "checkpoint_final.pth").touch()
    command = ["sweep", "501", "2d", "-f", "0", "1", "-tr", "nnUNetTrainerMAE", "nnUNetTrainerGCE", "--seeds", "1", "2"]
    nnunet_command._run([*command, "--dry-run", "--", "-device", "cpu"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(set(lines)) == 8
    assert lines[0] == (
        "SEG_ANL_TRAIN='epochs=3 seed=1' seg-anl-nnunet train Dataset501_ISIC 2d 0 -tr nnUNetTrainerMAE -p nnUNetPlans "
        "-device cpu"
    )
    assert [line for line in lines if line.endswith(" --c")] == [lines[7]]  # trained, but not validated
    (fold / "validation" / "summary.json").touch()
    nnunet_command._run([*command, "--dry-run"])
    assert capsys.readouterr().out.splitlines()[7].startswith("# finished: nnUNetTrainerGCE-epochs=3-seed=2__")


def test_another_spelling_of_a_fold_is_the_same_training(prepared: Path, capsys: pytest.CaptureFixture[str]):
    """nnU-Net trains fold 0 for 00; without --c it would replace the fold 0 that exists."""
    fold = prepared / "nnUNetTrainerMAE__nnUNetPlans__2d" / "fold_0"
    fold.mkdir(parents=True)
    (fold / "checkpoint_latest.pth").touch()
    nnunet_command._run(["sweep", "501", "2d", "-f", "00", "0", "-tr", "nnUNetTrainerMAE", "--dry-run"])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("Dataset501_ISIC 2d 0 -tr nnUNetTrainerMAE -p nnUNetPlans --c")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("501 2d -tr nnUNetTrainerANLC", "did you mean 'nnUNetTrainerANLCE'"),
        ("501 2d -tr nnUNetTrainer --seeds 1", "nnU-Net's own trainer and takes no seed"),
        ("999 2d -tr nnUNetTrainerMAE", "expected one folder Dataset999_"),
        ("501 3d_fulres -tr nnUNetTrainerMAE", "the plans have no configuration '3d_fulres'; known: 2d"),
        ("501 2d -tr nnUNetTrainerMAE -p Plan", "Plan.json: no such plans"),
        ("501 2d -tr nnUNetTrainerMAE --set x=1", "--set needs a --launcher"),
        ("501 2d -tr nnUNetTrainerMAE -- -p other", "-p after --: the sweep itself sets -tr, -p"),
        ("501 2d -tr nnUNetTrainerMAE --launcher submitit_local --set gpu=1", "--set gpu=1: Key 'gpu'"),
    ],
)
def test_bad_input_is_one_line(prepared: Path, arguments: str, message: str):
    with pytest.raises(UserError, match=message):
        nnunet_command._run(["sweep", *arguments.split()])


def children(process: int) -> list[int]:
    found = subprocess.run(["ps", "--ppid", str(process), "-o", "pid="], capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


@pytest.mark.slow
def test_killed_fold_resumes_under_submitit(isic: NNUNet, tmp_path: Path):
    arguments = ("sweep", "501", "2d", "-f", "0", "-tr", "nnUNetTrainerMAE")
    after = ("--", "-device", "cpu")
    settings = {"SEG_ANL_TRAIN": SHORT, "nnUNet_results": str(tmp_path)}
    process = isic.start(ours, *arguments, *after, **settings)
    model = f"nnUNetTrainerMAE{NAME}__nnUNetPlans__2d"
    log = tmp_path / "Dataset501_ISIC" / "sweep" / f"{model}__fold_0.log"
    process.until(lambda: log.exists() and "Epoch 1" in log.read_text())
    (training,) = children(process.pid)
    os.kill(training, signal.SIGKILL)
    status, output, errors = process.ended()
    assert status == 1
    assert f"[1/1] {model} fold 0: failed\n" in output
    (line,) = errors.splitlines()
    assert line.startswith(f"{model} fold 0: exit status -9: ")
    assert line.endswith(f"(log: {log})")

    before = log.read_text()
    output = isic.succeed(ours, *arguments, "--launcher", "submitit_local", *after, **settings)
    assert f"[1/1] {model} fold 0: finished\nsweep: 1 finished, 0 failed" in output
    again = log.read_text()[len(before) :]
    assert "Epoch 1" in again
    assert "Epoch 0" not in again
    assert (tmp_path / "Dataset501_ISIC" / model / "fold_0" / "validation" / "summary.json").is_file()


@pytest.fixture
def two(tmp_path: Path) -> list[Training]:
    """A training that fails and one that succeeds, at once: a stand-in for nnU-Net, whose import takes seconds."""
    package = tmp_path / "stand_in" / "nnunetv2"
    (package / "run").mkdir(parents=True)
    for folder in (package, package / "run"):
        (folder / "__init__.py").touch()
    (package / "run" / "run_training.py").write_text(STAND_IN)
    variables = {"PYTHONPATH": os.pathsep.join([str(package.parent), str(ROOT)])}

    def training(name: str) -> Training:
        return Training(name, (name,), variables, tmp_path / name, tmp_path / f"{name}.log", str(tmp_path))

    return [training("broken"), training("sound")]


def test_a_failure_does_not_stop_the_others(two: list[Training], capsys):
    finished = replace(two[1], name="finished")
    (finished.folder / "validation").mkdir(parents=True)
    for name in ("checkpoint_final.pth", "validation/summary.json"):
        (finished.folder / name).touch()
    sound = replace(two[1], folder=two[1].folder.parent / "new")
    finished = replace(finished, environment={**finished.environment, "SEG_ANL_TEST": "clean"})
    assert sweep([two[0], finished, sound], "here", []) == 1
    said = capsys.readouterr()
    first, *others = said.out.splitlines()
    assert first.startswith("sweep: 3 trainings, 1 already finished; logs in ")
    assert others == ["[1/2] broken: failed", "[2/2] sound: finished", "sweep: 2 finished, 1 failed"]
    note, last = said.err.splitlines(keepends=True)
    assert note.startswith("note: finished was trained without SEG_ANL_TEST")
    assert last == f"broken: exit status 1: training broken (log: {two[0].log})\n"
    assert sound.log.read_text() == "training sound\n"


def test_a_terminated_sweep_leaves_no_worker_of_nnunet(two: list[Training]):
    long = replace(two[0], arguments=("long",))
    process = multiprocessing.get_context("fork").Process(target=sweep, args=([long], "here", []))
    process.start()
    deadline = time.monotonic() + 60
    while not (long.log.exists() and "worker" in long.log.read_text()):
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    worker = Path("/proc", long.log.read_text().split()[-1])
    assert worker.exists()
    process.terminate()
    process.join(60)
    assert process.exitcode == -signal.SIGTERM
    while worker.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_slurm_scripts_train(two: list[Training], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A stand-in for sbatch; the submitted script is then run once per job of the array, as Slurm would."""
    pytest.importorskip("submitit")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sbatch", "srun", "sacct"):
        (programs / name).write_text("#!/bin/sh\necho Submitted batch job 7\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    outcomes = launch(two, "submitit_slurm", ["timeout_min=30", "partition=gpu", "additional_parameters.nice=5"])
    (script,) = (tmp_path / ".submitit").glob("*/*_submission.sh")
    for option in ("--requeue", "--nice=5", "--gpus-per-node=1", "--time=30", "--partition=gpu", "--array=0-1%2"):
        assert f"#SBATCH {option}\n" in script.read_text()
    (command,) = (shlex.split(line) for line in script.read_text().splitlines() if line.startswith("srun"))
    slurm = {"SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    slurm |= {"SLURM_JOB_ID": "8", "SLURM_ARRAY_JOB_ID": "7", "SLURM_NTASKS": "1", "SUBMITIT_EXECUTOR": "slurm"}
    for number in range(2):
        environment = {**os.environ, **slurm, "SLURM_ARRAY_TASK_ID": str(number)}
        subprocess.run(command[command.index("-u") - 1 :], cwd="/", env=environment, check=True, timeout=300)
    assert {training.name: reason for training, reason in outcomes} == REASONS


@pytest.mark.slow
def test_failure_on_ray_is_reported(two: list[Training]):
    pytest.importorskip("ray")
    outcomes = launch(two, "ray", ["ray.remote.num_cpus=0.5"])
    assert {training.name: reason for training, reason in outcomes} == REASONS
