"""Train folds x trainers x seeds with one command: here, on a Ray cluster, or as Slurm jobs.

Each training runs ``nnUNetv2_train`` in its own process. Finished trainings are skipped, unfinished ones resume from
their last checkpoint, and a failure does not stop the others.
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
from seg_anl.records.runs import SUMMARY_FILE

from . import CHECKPOINT_NAMES, TEST_VARIABLE, TRAIN_VARIABLE
from .lookup import look_up
from .plans import check_configuration, dataset_folder

# Loaded before forking, because little is safe in the child of a process with threads.
_LIBRARY = ctypes.CDLL(None) if sys.platform == "linux" else None

RESERVED = ("-tr", "-p", "--c", "--val")

Outcome = tuple["Training", str]
"""A training, and the reason of its failure, or an empty string."""


@dataclass(frozen=True)
class Training:
    """One fold of one trainer with one seed; call it to train.

    Attributes:
        name: model folder and fold.
        arguments: arguments of ``nnUNetv2_train``.
        environment: environment variables of nnU-Net and of this package.
        folder: the fold's folder, with its checkpoints.
        log: file for the output of the command.
        cwd: working directory, for relative paths.
    """

    name: str
    arguments: tuple[str, ...]
    environment: dict[str, str]
    folder: Path
    log: Path
    cwd: str

    def is_finished(self) -> bool:
        """Whether training and nnU-Net's validation after it are done."""
        return (self.folder / CHECKPOINT_NAMES[0]).is_file() and (self.folder / "validation/summary.json").is_file()

    def complete_arguments(self) -> list[str]:
        """The arguments, with ``--c`` if there is a checkpoint to continue from."""
        has_checkpoint = any((self.folder / name).is_file() for name in CHECKPOINT_NAMES)
        return [*self.arguments, *(["--c"] if has_checkpoint else [])]

    def command(self) -> str:
        """The shell command to run this training by hand."""
        variable = self.environment.get(TRAIN_VARIABLE)
        setting = f"{TRAIN_VARIABLE}={shlex.quote(variable)} " if variable else ""
        return f"{setting}seg-anl-nnunet train {shlex.join(self.complete_arguments())}"

    def __call__(self) -> str:
        """Train; returns the reason of a failure, or an empty string."""
        if self.is_finished():
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
        """submitit's hook to resubmit a job that is preempted or times out."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _run(self, log: Any) -> int:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "seg_anl.nnunet.nnunet_command", "train", *self.complete_arguments()],
            env={**os.environ, **self.environment},
            cwd=self.cwd if os.path.isdir(self.cwd) else None,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent if _LIBRARY else None,
        )
        try:
            return process.wait()
        finally:  # also if this process is interrupted; kill the whole session, including nnU-Net's workers
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def make_trainings(
    dataset: str,
    configuration: str,
    *,
    folds: Sequence[str],
    trainers: Sequence[str],
    seeds: Sequence[int],
    plans: str,
    nnunet_arguments: Sequence[str],
) -> list[Training]:
    """All combinations of trainers, seeds and folds; without seeds, one training per fold.

    Args:
        dataset: 501 or Dataset501_NAME.
        configuration: configuration in the plans.
        folds: numbers, or ``all``.
        trainers: names of trainers.
        seeds: added to ``SEG_ANL_TRAIN``, whose other settings apply to all trainings.
        plans: name of the plans.
        nnunet_arguments: further arguments of ``nnUNetv2_train``.

    Raises:
        UserError: for an unknown dataset, configuration or trainer, a bad setting in the environment, or seeds for a
            trainer that does not support them.
    """
    from .environment_settings import variant_suffix  # imports torch

    for argument in nnunet_arguments:
        if argument.partition("=")[0] in RESERVED:  # the sweep would look for checkpoints elsewhere, and start over
            raise UserError(f"{argument} after --: the sweep itself sets {', '.join(RESERVED)}")
    roots = {name: os.environ.get(f"nnUNet_{name}", "") for name in ("preprocessed", "results")}
    for name, root in roots.items():
        if not root:
            raise UserError(f"nnUNet_{name} is not set; expected a folder of nnU-Net")
    preprocessed = dataset_folder(Path(roots["preprocessed"]), dataset)
    check_configuration(preprocessed / f"{plans}.json", configuration)
    name = preprocessed.name
    results = Path(os.path.abspath(roots["results"])) / name
    inherited = {key: value for key, value in os.environ.items() if key.startswith(("nnUNet_", "SEG_ANL_"))}
    trainings = []
    for trainer in dict.fromkeys(trainers):
        trainer_class = look_up(trainer)
        for seed in dict.fromkeys(seeds) or [None]:
            settings = [inherited.get(TRAIN_VARIABLE, ""), *([] if seed is None else [f"seed={seed}"])]
            environment = {**inherited, TRAIN_VARIABLE: " ".join(filter(None, settings))}
            variant = trainer
            if hasattr(trainer_class, "choices"):
                variant += variant_suffix(trainer_class.own_loss(), *trainer_class.choices(environment))
            elif seed is not None:
                raise UserError(f"{trainer} is nnU-Net's own trainer and takes no seed; leave out --seeds")
            for fold in dict.fromkeys(folds):
                model = f"{variant}__{plans}__{configuration}"
                arguments = (name, configuration, fold, "-tr", trainer, "-p", plans, *nnunet_arguments)
                log = results / "sweep" / f"{model}__fold_{fold}.log"
                folder = results / model / f"fold_{fold}"
                trainings.append(Training(f"{model} fold {fold}", arguments, environment, folder, log, os.getcwd()))
    return trainings


def launch(trainings: Sequence[Training], launcher: str, settings: Sequence[str]) -> Iterator[Outcome]:
    """Run the trainings with a launcher of ``configs/hydra/launcher``, or here one after the other.

    Args:
        trainings: the trainings.
        launcher: ``here``, ``ray``, ``submitit_slurm`` or ``submitit_local``.
        settings: ``KEY=VALUE`` overrides of the launcher's file.

    Raises:
        UserError: for a launcher whose package is missing, or an unknown setting.
    """
    if launcher == "here":
        return ((training, training()) for training in trainings)
    run, package = LAUNCHERS[launcher]
    if importlib.util.find_spec(package) is None:
        raise UserError(f"--launcher {launcher} needs the package {package}: pip install 'seg-anl[cluster]'")
    try:
        file = OmegaConf.load(config_folder() / "hydra" / "launcher" / f"{launcher}.yaml")
        OmegaConf.set_struct(file, True)
        if "additional_parameters" in file:  # any option of sbatch
            OmegaConf.set_struct(file.additional_parameters, False)
        file.merge_with_dotlist(list(settings))
        with_root = OmegaConf.merge({"run_root": str(trainings[0].log.parent)}, file)
        resolved: Any = OmegaConf.to_container(with_root, resolve=True)
    except (OmegaConfBaseException, ValueError) as error:
        raise UserError(f"--set {' '.join(settings)}: {str(error).splitlines()[0]}") from error
    options = {key: value for key, value in resolved.items() if key not in ("run_root", "_target_")}
    return run(trainings, options, launcher)


def _run_on_ray(trainings: Sequence[Training], settings: dict[str, Any], _: str) -> Iterator[Outcome]:
    import ray

    try:
        try:
            ray.init(**settings["ray"]["init"])
        except Exception as error:  # of any type, depending on the cluster
            raise UserError(f"Ray does not start: {_first_line(error)}") from error
        train = ray.remote(**settings["ray"]["remote"])(_train)
        pending = {train.remote(training): training for training in trainings}
        while pending:
            ((done,), _not_done) = ray.wait(list(pending), num_returns=1)
            training = pending.pop(done)
            try:
                yield training, ray.get(done)
            except ray.exceptions.RayError as error:
                yield training, _first_line(error)
    finally:
        ray.shutdown()


def _run_with_submitit(trainings: Sequence[Training], settings: dict[str, Any], launcher: str) -> Iterator[Outcome]:
    import submitit

    cluster = launcher.removeprefix("submitit_")
    renamed = {"max_num_timeout": f"{cluster}_max_num_timeout"}
    executor_settings = {renamed[key]: settings.pop(key) for key in list(settings) if key in renamed}
    folder = settings.pop("submitit_folder")
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster, **executor_settings)
        executor.update_parameters(
            **{key if key in SHARED_PARAMETERS else f"{cluster}_{key}": value for key, value in settings.items()}
        )
        with executor.batch():
            jobs = {executor.submit(training): training for training in trainings}
    except (RuntimeError, submitit.core.utils.FailedJobError) as error:
        raise UserError(f"--launcher {launcher}: {_first_line(error)}") from error
    return _job_outcomes(jobs)


def _job_outcomes(jobs: Mapping[Any, Training]) -> Iterator[Outcome]:
    from submitit.helpers import as_completed

    for job in as_completed(list(jobs), poll_frequency=2):
        try:
            yield jobs[job], job.result()
        except Exception as error:  # the job was lost or raised an error; the others continue
            yield jobs[job], _first_line(error)


LAUNCHERS: Mapping[str, tuple[Callable[..., Iterator[Outcome]], str]] = {
    "ray": (_run_on_ray, "ray"),
    "submitit_slurm": (_run_with_submitit, "submitit"),
    "submitit_local": (_run_with_submitit, "submitit"),
}
# Parameters shared by all of submitit's executors; others are prefixed with the executor's name.
SHARED_PARAMETERS = {
    *("name", "timeout_min", "nodes", "tasks_per_node", "cpus_per_task", "gpus_per_node", "mem_gb", "stderr_to_stdout")
}


def sweep(trainings: Sequence[Training], launcher: str, settings: Sequence[str]) -> int:
    """Run all unfinished trainings with one line of output each; returns exit status 1 if any failed."""
    finished = [training for training in trainings if training.is_finished()]
    print(f"sweep: {len(trainings)} trainings, {len(finished)} already finished; logs in {trainings[0].log.parent}")
    for training in finished:
        if training.environment.get(TEST_VARIABLE) and not (training.folder / SUMMARY_FILE).is_file():
            print(
                f"note: {training.name} was trained without {TEST_VARIABLE}, which measures Dice during training; "
                f"to train it again, remove {training.folder}",
                file=sys.stderr,
            )
    unfinished = [training for training in trainings if training not in finished]
    failures = []
    outcomes = launch(unfinished, launcher, settings) if unfinished else iter(())
    for number, (training, reason) in enumerate(outcomes, start=1):
        print(f"[{number}/{len(unfinished)}] {training.name}: {'failed' if reason else 'finished'}", flush=True)
        if reason:
            failures.append((training, reason))
    print(f"sweep: {len(trainings) - len(failures)} finished, {len(failures)} failed", flush=True)
    for training, reason in failures:
        print(f"{training.name}: {reason} (log: {training.log})", file=sys.stderr)
    return 1 if failures else 0


def _train(training: Training) -> str:
    return training()


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"


def _end_with_parent() -> None:
    """Have Linux terminate this process when its parent is killed, so that a restarted job does not collide with it."""
    if _LIBRARY is not None:
        _LIBRARY.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
