"""Many trainings from one command: folds, trainers and seeds; here, on a Ray cluster, or as jobs of Slurm.

Every training is a process of ``nnUNetv2_train``. What is finished is left alone, what was begun goes on from its last
checkpoint, and what breaks does not stop the others.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seg_anl.records import UserError, config_folder
from seg_anl.records.lock import locked

from . import CHECKPOINT_NAMES, TRAIN_VARIABLE
from .lookup import look_up
from .plans import dataset_folder

# Loaded before a fork: of a process with threads, its child may do little.
_LIBRARY = ctypes.CDLL(None) if sys.platform == "linux" else None

Outcome = tuple["Training", str]
"""A training, and why it broke; empty when it ended well."""


@dataclass(frozen=True)
class Training:
    """One fold of one trainer under one seed; called, it trains, in whatever process that is.

    Attributes:
        name: of the model's folder and the fold.
        arguments: of ``nnUNetv2_train``.
        environment: nnU-Net's variables and this project's.
        folder: of the fold, with its checkpoints.
        log: what the command prints.
        place: the folder to start it in, which relative paths begin at.
    """

    name: str
    arguments: tuple[str, ...]
    environment: dict[str, str]
    folder: Path
    log: Path
    place: str

    def finished(self) -> bool:
        """Whether training and nnU-Net's validation after it are done."""
        return (self.folder / CHECKPOINT_NAMES[0]).is_file() and (self.folder / "validation/summary.json").is_file()

    def complete_arguments(self) -> list[str]:
        """With ``--c`` where there is something to continue."""
        begun = any((self.folder / name).is_file() for name in CHECKPOINT_NAMES)
        return [*self.arguments, *(["--c"] if begun else [])]

    def command(self) -> str:
        """What to type to train it by hand."""
        variable = self.environment.get(TRAIN_VARIABLE)
        setting = f"{TRAIN_VARIABLE}={shlex.quote(variable)} " if variable else ""
        return f"{setting}seg-anl-nnunet train {shlex.join(self.complete_arguments())}"

    def __call__(self) -> str:
        """Train; returns why that ended badly, or nothing."""
        if self.finished():
            return ""
        try:
            with (
                locked(self.log.parent, f"{self.name} is being trained", name=f".{self.log.name}.lock"),
                open(self.log, "ab") as log,
            ):
                start = log.tell()
                status = self._run(log)
        except UserError as error:
            return str(error)
        if status == 0:
            return ""
        lines = self.log.read_bytes()[start:].decode(errors="replace").split("\n")
        return f"exit status {status}: {next((line.strip() for line in reversed(lines) if line.strip()), 'no output')}"

    def checkpoint(self) -> Any:
        """What submitit submits again for a job that is preempted or runs out of time."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _run(self, log: Any) -> int:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "seg_anl.nnunet.nnunet_command", "train", *self.complete_arguments()],
            env={**os.environ, **self.environment},
            cwd=self.place if os.path.isdir(self.place) else None,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent if _LIBRARY else None,
        )
        try:
            return process.wait()
        finally:  # also when this process is told to end; in a session, for nnU-Net's own processes would stay
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def trainings(
    dataset: str,
    configuration: str,
    *,
    folds: Sequence[str],
    trainers: Sequence[str],
    seeds: Sequence[int],
    plans: str,
    others: Sequence[str],
) -> list[Training]:
    """Every fold of every trainer under every seed, or under none where no seed is given.

    Args:
        dataset: 501 or Dataset501_NAME.
        configuration: of the plans.
        folds: numbers, or ``all``.
        trainers: names that nnU-Net finds.
        seeds: for ``SEG_ANL_TRAIN``, which also holds for all what else it says.
        plans: their name.
        others: further arguments of ``nnUNetv2_train``.

    Raises:
        UserError: for an unknown dataset or trainer, a bad setting in the environment, or seeds for a trainer that
            takes none.
    """
    from .environment_settings import variant_suffix  # imports torch

    roots = {name: os.environ.get(f"nnUNet_{name}", "") for name in ("preprocessed", "results")}
    for name, root in roots.items():
        if not root:
            raise UserError(f"nnUNet_{name} is not set; nnU-Net's folders must be known")
    name = dataset_folder(Path(roots["preprocessed"]), dataset).name
    results = Path(os.path.abspath(roots["results"])) / name
    ours = {key: value for key, value in os.environ.items() if key.startswith(("nnUNet_", "SEG_ANL_"))}
    made = []
    for trainer in trainers:
        found = look_up(trainer)
        for seed in list[int | None](seeds) or [None]:
            given = [ours.get(TRAIN_VARIABLE, ""), *([] if seed is None else [f"seed={seed}"])]
            environment = {**ours, TRAIN_VARIABLE: " ".join(filter(None, given))}
            variant = trainer
            if hasattr(found, "choices"):
                variant += variant_suffix(found.own_loss(), *found.choices(environment))
            elif seed is not None:
                raise UserError(f"{trainer} is nnU-Net's own and takes no seed; leave out --seeds for it")
            for fold in folds:
                model = f"{variant}__{plans}__{configuration}"
                arguments = (name, configuration, fold, "-tr", trainer, "-p", plans, *others)
                log = results / "sweep" / f"{model}__fold_{fold}.log"
                folder = results / model / f"fold_{fold}"
                made.append(Training(f"{model} fold {fold}", arguments, environment, folder, log, os.getcwd()))
    return made


def launch(made: Sequence[Training], launcher: str, settings: Sequence[str]) -> Iterator[Outcome]:
    """Run the trainings by a launcher of ``configs/hydra/launcher``, or here one after the other.

    Args:
        made: the trainings.
        launcher: ``here``, ``ray``, ``submitit_slurm`` or ``submitit_local``.
        settings: ``KEY=VALUE`` to replace in the launcher's file.

    Raises:
        UserError: for a launcher whose package is missing, or that does not know a setting.
    """
    if launcher == "here":
        return ((training, training()) for training in made)
    run, package = LAUNCHERS[launcher]
    if importlib.util.find_spec(package) is None:
        raise UserError(f"--launcher {launcher} needs another package: pip install 'seg-anl[cluster]'")
    try:
        file = OmegaConf.load(config_folder() / "hydra" / "launcher" / f"{launcher}.yaml")
        OmegaConf.set_struct(file, True)
        if "additional_parameters" in file:  # any of sbatch's
            OmegaConf.set_struct(file.additional_parameters, False)
        file.merge_with_dotlist(list(settings))
        named = OmegaConf.merge({"run_root": str(made[0].log.parent)}, file)
        chosen: Any = OmegaConf.to_container(named, resolve=True)
    except (OmegaConfBaseException, ValueError) as error:
        raise UserError(f"--set {' '.join(settings)}: {str(error).splitlines()[0]}") from error
    return run(made, {key: value for key, value in chosen.items() if key not in ("run_root", "_target_")}, launcher)


def _by_ray(made: Sequence[Training], settings: dict[str, Any], _: str) -> Iterator[Outcome]:
    import ray

    try:
        try:
            ray.init(**settings["ray"]["init"])
        except Exception as error:  # of any kind, by what of a cluster is missing
            raise UserError(f"Ray does not start: {_first_line(error)}") from error
        begin = ray.remote(**settings["ray"]["remote"])(_train)
        waiting = {begin.remote(training): training for training in made}
        while waiting:
            ((done,), _others) = ray.wait(list(waiting), num_returns=1)
            training = waiting.pop(done)
            try:
                yield training, ray.get(done)
            except ray.exceptions.RayError as error:
                yield training, _first_line(error)
    finally:
        ray.shutdown()


def _by_submitit(made: Sequence[Training], settings: dict[str, Any], launcher: str) -> Iterator[Outcome]:
    import submitit

    cluster = launcher.removeprefix("submitit_")
    own = {"max_num_timeout": f"{cluster}_max_num_timeout"}
    first = {own[key]: settings.pop(key) for key in list(settings) if key in own}
    folder = settings.pop("submitit_folder")
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster, **first)
        executor.update_parameters(
            **{key if key in EVERYWHERE else f"{cluster}_{key}": value for key, value in settings.items()}
        )
        with executor.batch():
            jobs = {executor.submit(training): training for training in made}
    except (RuntimeError, submitit.core.utils.FailedJobError) as error:
        raise UserError(f"--launcher {launcher}: {_first_line(error)}") from error
    return _ended(jobs)


def _ended(jobs: Mapping[Any, Training]) -> Iterator[Outcome]:
    from submitit.helpers import as_completed

    for job in as_completed(list(jobs), poll_frequency=2):
        try:
            yield jobs[job], job.result()
        except Exception as error:  # a lost job, or what was raised in it; the others go on
            yield jobs[job], _first_line(error)


LAUNCHERS: Mapping[str, tuple[Callable[..., Iterator[Outcome]], str]] = {
    "ray": (_by_ray, "ray"),
    "submitit_slurm": (_by_submitit, "submitit"),
    "submitit_local": (_by_submitit, "submitit"),
}
# Settings that submitit has for all its executors; those of one begin with its name.
EVERYWHERE = {
    *("name", "timeout_min", "nodes", "tasks_per_node", "cpus_per_task", "gpus_per_node", "mem_gb", "stderr_to_stdout")
}


def sweep(made: Sequence[Training], launcher: str, settings: Sequence[str]) -> int:
    """Run what is not finished, with a line each; returns the exit status, 1 when some broke, which are listed."""
    open_ones = [training for training in made if not training.finished()]
    print(f"sweep: {len(made)} trainings, {len(made) - len(open_ones)} finished before; logs in {made[0].log.parent}")
    broken = []
    outcomes = launch(open_ones, launcher, settings) if open_ones else iter(())
    for number, (training, reason) in enumerate(outcomes, start=1):
        print(f"[{number}/{len(open_ones)}] {training.name}: {'failed' if reason else 'finished'}", flush=True)
        if reason:
            broken.append((training, reason))
    print(f"sweep: {len(made) - len(broken)} finished, {len(broken)} failed", flush=True)
    for training, reason in broken:
        print(f"{training.name}: {reason} (log: {training.log})", file=sys.stderr)
    return 1 if broken else 0


def _train(training: Training) -> str:
    return training()


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"


def _end_with_parent() -> None:
    """Have Linux end this process when the one that began it is killed: a job that is run again would meet it."""
    if _LIBRARY is not None:
        _LIBRARY.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
