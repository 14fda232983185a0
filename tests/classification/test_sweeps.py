"""Sweeps through the command: on a local Ray cluster, under Slurm, interrupted and resumed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import pytest

from seg_anl.engine import sweep
from seg_anl.records import UserError, read_metrics
from tests import processes
from tests.processes import ROOT, Process

TINY = ["data.limit=60", "data.test_limit=20", "batch_size=20", "epochs=1", "device=cpu", "progress=false"]


def start(*arguments: str, cwd: Path, **variables: str) -> Process:
    """Begin ``seg-anl-classify`` with few small images; what it starts in turn imports from this checkout."""
    variables = {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", **variables}
    return processes.start("classify", *TINY, *arguments, cwd=cwd, **variables)


def finished(root: Path) -> dict[Path, int]:
    """Modification time of the summary of each finished run."""
    return {
        path: path.stat().st_mtime_ns
        for path in root.rglob("summary.json")
        if json.loads(path.read_text())["status"] == "finished"
    }


def test_ray_sweep_skips_finished_and_survives_failed_runs(tmp_path: Path) -> None:
    assert start("loss=gce", "loss.q=0.3", "seed=1", cwd=tmp_path).wait() == 0
    before = finished(tmp_path / "runs")
    swept = start("-m", "hydra/launcher=ray", "loss=gce", "loss.q=0.3,0.4,0.5,7", "seed=1", cwd=tmp_path)
    status, out, err = swept.ended()
    assert status == 2, err
    assert "sweep: 3 run(s) finished, 1 failed" in out
    last = err.strip().splitlines()[-1]
    assert last.startswith("seg-anl-classify: error: 1 run(s) of the sweep failed: ")
    assert "loss.q=7" in last
    assert "q must be a number >= 1e-12 and <= 1, got 7" in last
    after = finished(tmp_path / "runs")
    assert len(after) == 3
    assert before.items() <= after.items()  # the one that was there is as it was
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["classification"]


def test_killed_sweep_resumes(tmp_path: Path) -> None:
    # q is a parameter of these losses, but not of the default loss.
    settings = ["-m", "loss=gce,ngce,gce_sr", "loss.q=0.4", "seed=1,2"]
    swept = start(*settings, cwd=tmp_path)
    swept.until(lambda: len(finished(tmp_path)) >= 2)
    swept.kill()
    before = finished(tmp_path)
    assert len(before) < 6
    again = start(*settings, cwd=tmp_path)
    status, out, err = again.ended()
    assert status == 0, err
    assert "sweep: 6 run(s) finished, 0 failed" in out
    after = finished(tmp_path)
    assert len(after) == 6
    assert before.items() <= after.items()


@pytest.mark.parametrize(
    ("settings", "name"),
    [("loss=ce,cee", "loss/cee"), ("optim.lrr=1,2", "optim.lrr"), ("loss=ce,gce loss.qq=1", "loss.qq")],
)
def test_sweep_over_an_unknown_setting_is_one_line(tmp_path: Path, settings: str, name: str) -> None:
    status, out, err = start("-m", *settings.split(), cwd=tmp_path).ended()
    assert (status, out) == (2, "")
    assert err.startswith("seg-anl-classify: error: ")
    assert name in err
    assert err.count("\n") == 1


def test_crashed_run_is_listed_and_does_not_stop_the_others(tmp_path: Path) -> None:
    """A crash rather than a user error: the run's folder is a file."""
    (tmp_path / "runs/classification/digits/symmetric0.4").mkdir(parents=True)
    (tmp_path / "runs/classification/digits/symmetric0.4/mae").write_text("in the way")
    swept = start("-m", "loss=mae,ce", "seed=1", cwd=tmp_path)
    status, out, err = swept.ended()
    assert status == 2
    assert "sweep: 1 run(s) finished, 1 failed" in out
    assert "loss=mae" in err.strip().splitlines()[-1]
    assert len(finished(tmp_path)) == 1


def test_missing_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sweep.PLUGINS, "hydra/launcher=ray", ("no_such_plugin", "cluster"))
    with pytest.raises(UserError, match=r"hydra/launcher=ray needs .* pip install 'seg-anl\[cluster\]'"):
        sweep.run_with_hydra("x", "classification", ["-m", "hydra/launcher=ray"], lambda config: None)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("runs_per_device=2 seed=1,2,3 loss=ce,mae", "runs_per_device=2 seed=[1,2],[3] loss=ce,mae"),
        ("seed=range(1,6) runs_per_device=3", "seed=[1,2,3],[4,5] runs_per_device=3"),
        ("seed=1,2,3 loss=ce", "seed=1,2,3 loss=ce"),
        ("seed=[1,2],[3] runs_per_device=2", "seed=[1,2],[3] runs_per_device=2"),
        ("seed=4 runs_per_device=2", "seed=4 runs_per_device=2"),
    ],
)
def test_seeds_trained_at_once_are_one_job(given: str, expected: str) -> None:
    assert " ".join(sweep.seeds_together(given.split())) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("data=cifar10,cifar100 data.root=A", "data=cifar10,cifar100 data.root=choice(A)"),
        ("data.root='A,B' data=cifar10,cifar100", "data.root=choice('A,B') data=cifar10,cifar100"),
        ("data=cifar10 data.root=A loss=ce,mae", "data=cifar10 data.root=A loss=ce,mae"),
        ("loss=ce,gce loss.q=0.1,0.5 optim.lr=1", "loss=ce,gce loss.q=0.1,0.5 optim.lr=1"),
        ("loss=ce,gce loss.q=", "loss=ce,gce loss.q="),
    ],
)
def test_settings_of_a_swept_group_follow_it(given: str, expected: str) -> None:
    assert " ".join(sweep.with_their_groups(given.split())) == expected


def test_sweep_over_seeds_trained_at_once(tmp_path: Path) -> None:
    """Three seeds, two at once, with two losses: six runs, equal to those of a sequential sweep."""
    for folder, more in (("together", ["runs_per_device=2"]), ("apart", [])):
        swept = start("-m", "loss=anl_ce,gce", "seed=1,2,3", f"run_root={folder}", *more, cwd=tmp_path)
        status, out, err = swept.ended()
        assert status == 0, err
        assert f"sweep: {4 if more else 6} run(s) finished, 0 failed" in out
    runs = {path.relative_to(tmp_path / "together").parent for path in finished(tmp_path / "together")}
    assert runs == {path.relative_to(tmp_path / "apart").parent for path in finished(tmp_path / "apart")}
    assert len(runs) == 6
    for run in runs:
        files = [{file.name for file in (tmp_path / root / run).iterdir()} for root in ("together", "apart")]
        assert files[0] == files[1]
        for name in ("config.yaml", "inputs.json", "noise/labels.npy"):
            assert (tmp_path / "together" / run / name).read_bytes() == (tmp_path / "apart" / run / name).read_bytes()
        together, apart = (read_metrics(tmp_path / root / run / "metrics.csv") for root in ("together", "apart"))
        for one, other in zip(together, apart, strict=True):
            assert (one.epoch, one.split) == (other.epoch, other.split)
            if one.split == "train":
                assert one.values["loss"] == pytest.approx(other.values["loss"], rel=1e-5)


def test_search_uses_the_held_out_noisy_labels(tmp_path: Path) -> None:
    """Optuna maximizes the mean tuning metric over two seeds; a failed trial does not end the search."""
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    search = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "hydra.sweeper.sampler.seed=1"]
    space = ["loss=gce", "loss.q=choice(0.2,0.7,7)", "optim.lr=tag(log,interval(0.001,0.1))"]
    storage = ["hydra.sweeper.storage=sqlite:///study.db", "hydra.sweeper.study_name=ours"]
    swept = start(*search, *space, *storage, "seed=[1,2]", "data.tuning=0.25", cwd=tmp_path)
    status, out, err = swept.ended()
    assert "q must be a number >= 1e-12 and <= 1, got 7" in err
    assert status == 2, err
    by_trial: dict[tuple[float, float], list[float]] = {}
    for path in finished(tmp_path / "runs"):
        run = json.loads(path.read_text())
        trial = (run["loss"]["q"], run["optim"]["lr"])
        by_trial.setdefault(trial, []).append(run["metrics"]["tuning/accuracy"]["last_k_mean"])
    assert 2 <= len(by_trial) < 4
    assert {len(seeds) for seeds in by_trial.values()} == {2}
    named = re.search(r"best (\S+): loss.q=(\S+) optim.lr=(\S+)\n$", out)
    assert named is not None, out
    assert fmean(by_trial[float(named[2]), float(named[3])]) == max(map(fmean, by_trial.values()))
    assert float(named[1]) == pytest.approx(max(map(fmean, by_trial.values())), abs=1e-4)


def titled(name: bytes, variable: bytes) -> list[int]:
    """Processes with a title and a variable in their environment, to find only our own."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if not process.name.isdecimal() or not (process / "cmdline").read_bytes().startswith(name):
                continue
            if variable in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


@pytest.fixture
def ray_cluster() -> Iterator[dict[str, str]]:
    """A head without CPUs and a worker with one CPU and one (pretended) GPU, each started by ``ray start``."""
    # A separate folder, so that other programs do not find the cluster; short, because of the limit on socket paths.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as place:
        variables = {"RAY_TMPDIR": place, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
        # One token for all parts. Otherwise the head uses one that Ray may have left in the home folder, and the other
        # parts, which do not look there, are refused.
        variables |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        common = ["--block", "--node-ip-address=127.0.0.1", "--disable-usage-stats"]
        head = ["--head", "--port=0", "--num-cpus=0", "--include-dashboard=false"]
        # Read the port that Ray chose; choosing a free one ourselves would be a race.
        recorded = Path(place, "ray", "ray_current_cluster")
        nodes: list[subprocess.Popen] = []
        try:
            for options in (head, ["--num-cpus=1", "--num-gpus=1"]):
                if nodes:
                    options = [f"--address={recorded.read_text().strip()}", *options]
                log = Path(place, f"log{len(nodes)}")
                command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, *common]
                nodes.append(
                    subprocess.Popen(
                        command,
                        env={**os.environ, **variables},
                        stdout=log.open("w"),
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
                deadline = time.monotonic() + 120
                while "Ray runtime started" not in log.read_text():
                    assert nodes[-1].poll() is None, log.read_text()
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(0.2)
            yield {**variables, "address": recorded.read_text().strip()}
        finally:
            for node in reversed(nodes):
                node.terminate()  # it stops what it has started
            for node in nodes:
                node.wait(timeout=60)


@pytest.mark.slow
def test_existing_ray_cluster_with_fractional_gpus(tmp_path: Path, ray_cluster: dict[str, str]) -> None:
    address = ray_cluster.pop("address")
    settings = ["-m", "hydra/launcher=ray", "hydra.launcher.ray.remote.num_gpus=0.5", "loss=gce", "seed=1", "epochs=60"]
    swept = start(*settings, "loss.q=0.3,0.7", cwd=tmp_path, **ray_cluster, RAY_ADDRESS=address)
    # A lost process is replaced, and the run resumes from its checkpoint.
    swept.until(lambda: any(tmp_path.rglob("last.pt")))
    (lost,) = titled(b"ray::_run_job", f"RAY_TMPDIR={ray_cluster['RAY_TMPDIR']}".encode())
    os.kill(lost, signal.SIGKILL)
    status, out, err = swept.ended()
    assert status == 0, err
    assert "sweep: 2 run(s) finished, 0 failed" in out
    runs = finished(tmp_path / "runs")
    assert len(runs) == 2
    environments = [json.loads((run.parent / "environment.json").read_text()) for run in runs]
    resumed = [start["epoch"] > 0 for environment in environments for start in environment.get("resumed", [])]
    assert resumed == [True]


def test_slurm_job_outlives_an_interrupted_sweep(tmp_path: Path) -> None:
    """A stand-in for sbatch checks the script; the job then trains although the sweep has ended."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sbatch", "srun", "sacct"):
        (programs / name).write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/{name}\necho Submitted batch job 7\n')
        (programs / name).chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    swept = start(
        "-m", "hydra/launcher=submitit_slurm", "loss=gce", "loss.q=0.3,0.7", "seed=1", cwd=tmp_path, PATH=path
    )
    swept.until(lambda: any((tmp_path / "runs/.submitit").glob("7_*/7_1_submitted.pkl")))
    swept.send_signal(signal.SIGINT)
    swept.wait()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [".submitit"]
    script = Path((tmp_path / "sbatch").read_text().split()[-1]).read_text()
    for option in ("--requeue", "--gpus-per-node=1", "--time=240", "--signal=USR2@120", "--array=0-1%2"):
        assert f"#SBATCH {option}\n" in script
    (command,) = (shlex.split(line) for line in script.splitlines() if line.startswith("srun"))
    slurm = {"SLURM_JOB_ID": "8", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "1", "SLURM_NTASKS": "1"}
    slurm |= {"SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    job = command[command.index("-u") - 1 :]
    environment = {**os.environ, **slurm, "SUBMITIT_EXECUTOR": "slurm", "OMP_NUM_THREADS": "1", "PATH": path}
    done = subprocess.run(job, cwd="/", env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    (summary,) = finished(tmp_path / "runs")
    assert json.loads(summary.read_text())["loss"]["q"] == 0.7


def test_preempted_submitit_job_resumes(tmp_path: Path) -> None:
    swept = start("-m", "hydra/launcher=submitit_local", "loss=gce", "seed=1", "epochs=60", cwd=tmp_path)
    swept.until(lambda: any(tmp_path.rglob("last.pt")))
    (folder,) = (path for path in (tmp_path / "runs/.submitit").iterdir() if path.name.isdecimal())
    (task,) = Path(f"/proc/{folder.name}/task/{folder.name}/children").read_text().split()
    os.kill(int(task), signal.SIGUSR2)
    status, out, err = swept.ended()
    assert status == 0, err
    assert "sweep: 1 run(s) finished, 0 failed" in out
    (log,) = folder.glob("*_log.out")
    assert [word for word in log.read_text().split() if word in ("begins", "resumes")] == ["begins", "resumes"]
    (summary,) = finished(tmp_path / "runs")
    assert json.loads(summary.read_text())["epochs"] == 60


def test_search_without_a_successful_trial_says_why(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    search = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "loss=gce", "loss.q=choice(7,8)", "seed=1"]
    status, out, err = start(*search, cwd=tmp_path).ended()
    assert status == 2
    assert "sweep: 0 run(s) finished, 2 failed" in out
    assert err.strip().splitlines()[-1].startswith("seg-anl-classify: error: 2 run(s) of the sweep failed: ")
    assert "Traceback" not in err


def test_the_folder_of_a_sweep_is_named_as_hydra_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sweep.sweep_root("classification", ["seed=1,2"]) == tmp_path / "runs"
    assert sweep.sweep_root("classification", ["seed=1,2", 'run_root="my runs"']) == tmp_path / "my runs"
    for given, message in {"a,b": "run_root=a,b: a sweep has one run_root", "null": "run_root must be a path"}.items():
        with pytest.raises(UserError, match=message):
            sweep.sweep_root("classification", [f"run_root={given}"])
