"""The steps of a run, for any task: check, load, lock, make noise once, prepare, train, finish, summarize."""

from __future__ import annotations

import itertools
import shlex
import statistics
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Generic, TypeVar

from omegaconf import DictConfig
from torch import nn

from seg_anl.losses import ScheduledLoss
from seg_anl.records import MetricRow, UserError, write_json
from seg_anl.records.files import file_sha256
from seg_anl.records.paths import configured_path
from seg_anl.records.recipes import flat
from seg_anl.records.runs import SUMMARY_FILE, finished_summary

from .distribution import Process, is_main_process, started
from .loop import Task, Training, check_penalties, fit
from .method import Method
from .randomness import seed_everything
from .run_directory import RunDirectory
from .settings import OptimSettings, RunSettings, of_each_run, plain
from .side_by_side import fit_together

Data = TypeVar("Data")
Noisy = TypeVar("Noisy")


class Experiment(ABC, Generic[Data, Noisy]):
    """What a trainer implements: a configuration with one seed.

    The constructor reads and writes nothing; it refuses settings that are wrong for any data.

    Attributes:
        config: the composed configuration, kept in the run directory.
        settings, optim: its top level and its ``optim`` group.
        run: the run directory.
        headline: the ``split/metric`` that runs are compared by.
        at_once: number of networks to train side by side.
        data_seed: the seed that :meth:`load` draws with, if it does not belong to the ``data`` group.
        method: the training method.
        first_run: the run of the network that the method learns from, if it needs one.
    """

    config: DictConfig
    settings: RunSettings
    optim: OptimSettings
    run: RunDirectory
    headline: str
    at_once: int = 1
    data_seed: int | None = None
    method: Method = Method()
    first_run: RunDirectory | None = None

    @abstractmethod
    def load(self) -> tuple[Data, list[str]]:
        """The data set, read once for all runs that share it, and remarks to print about it; refuses files that do not
        fit before it reads any image."""

    @abstractmethod
    def network(self, data: Data, process: Process) -> nn.Module:
        """The network with its initial weights; refuses settings that do not fit the data."""

    @abstractmethod
    def fingerprints(self, data: Data) -> dict[str, str]:
        """Digests of the run's inputs, by name."""

    @abstractmethod
    def noisy(self, data: Data) -> Noisy:
        """The wrong annotations, made and written into the run directory, or read if they are there already."""

    @abstractmethod
    def prepare(self, data: Data, noisy: Noisy, process: Process) -> tuple[ScheduledLoss, Task, str]:
        """The criterion, the task for the loop, and a remark to print about the noise."""

    @abstractmethod
    def finish(self, model: nn.Module, rows: list[MetricRow], process: Process) -> Mapping[str, int | None]:
        """Write the trained network's pictures and records; returns the counts for the summary."""


Experiments = Sequence[Experiment[Any, Any]]
Build = Callable[[DictConfig], Experiment[Any, Any]]
"""Makes the experiment of a configuration with one seed."""


def run_configuration(config: DictConfig, build: Build) -> list[RunDirectory]:
    """Finish the runs of a configuration, one for each seed and fold.

    Raises:
        UserError: for files that do not fit, before anything is written; for runs that diverged, after all have ended.
    """
    experiments = [build(one) for one in of_each_run(config)]
    waiting = []
    for one in experiments:
        one.run.check(one.config)
        if one.run.finished:
            _say(f"{one.run.path}: finished already, left alone")
        else:
            waiting.append(one)
    if waiting and waiting[0].method.first_loss is not None:
        _train_first_networks(waiting, config, build)
    if waiting:
        _train_all(waiting)
    return [one.run for one in experiments]


def _train_first_networks(waiting: Experiments, config: DictConfig, build: Build) -> None:
    """Train the networks that the method learns from; their runs are plain ones with the method's first loss."""
    first, loss = config.copy(), config.loss
    first.loss = {"name": waiting[0].method.first_loss, **{key: loss[key] for key in loss if key == "dice_weight"}}
    first.method = {"name": "plain"}
    first.run_dir = None if config.run_dir is None else str(waiting[0].run.path / "first_network")
    for fold in dict.fromkeys(one.settings.fold for one in waiting):
        of_fold = [one for one in waiting if one.settings.fold == fold]
        first.seed, first.fold = [one.settings.seed for one in of_fold], fold
        for one, run in zip(of_fold, run_configuration(first, build), strict=True):
            one.first_run = run


def _train_all(waiting: Experiments) -> None:
    """Train runs in groups of ``at_once``; a setting of the data may follow the seed (``${seed}``)."""
    failures: list[UserError] = []
    with started(str(waiting[0].settings.device)) as process:
        check_penalties(waiting[0].settings, waiting[0].optim, process)
        for _, runs in itertools.groupby(waiting, lambda one: (plain(one.config.data), one.data_seed)):
            together = list(runs)
            data, remarks = together[0].load()
            for remark in remarks:
                _say(remark)
            at_once = together[0].at_once
            for start in range(0, len(together), at_once):
                failures += _train(together[start : start + at_once], data, process)
    if failures:
        raise UserError("; ".join(map(str, failures)))


def _train(group: Experiments, data: Any, process: Process) -> list[UserError]:
    """Train a group of runs side by side; returns the errors of those that diverged."""
    failures: list[UserError] = []
    with ExitStack() as locks:
        trainings = [_begin(one, data, process, locks) for one in group]
        for one, training, outcome in zip(group, trainings, _fitted(group[0], trainings, process), strict=True):
            if isinstance(outcome, UserError):
                failures.append(outcome)
            elif process.is_main:
                counts = one.finish(training.model, outcome, process)
                summary = finished_summary(
                    plain(one.config),
                    outcome,
                    headline=one.headline,
                    k=one.config.evaluation.last_k,
                    counts=counts,
                    loss_state=training.loss.numbers(),
                )
                write_json(one.run.path / SUMMARY_FILE, summary)  # last, because it marks the run as finished
        process.wait()
    return failures


def _begin(one: Experiment[Any, Any], data: Any, process: Process, locks: ExitStack) -> Training:
    """Build the network, and lock and fill the run directory; ``locks`` keeps the lock."""
    seed_everything(one.settings.seed)
    model = one.network(data, process)
    noisy = None
    if process.is_main:
        locks.enter_context(one.run.locked())
        inputs = {**one.fingerprints(data), **_file_fingerprints(one.config)}
        one.run.check_inputs(inputs)
        noisy = one.noisy(data)
        one.run.create(one.config, inputs)
    process.wait()
    criterion, task, remark = one.prepare(data, one.noisy(data) if noisy is None else noisy, process)
    if process.is_main:
        state = "resumes" if one.run.last.exists() else "begins"
        size = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        machine = f"on {process.described}, a network of {size:.2f} million parameters"
        print(*filter(None, [remark]), f"{one.run.path} {state} {machine}", sep="\n")
    return Training(model, criterion, task, one.run)


def _file_fingerprints(config: DictConfig) -> dict[str, str]:
    """Digests of the files that settings such as ``data.weights_file`` name."""
    settings = flat({group: plain(config[group]) for group in ("data", "method")})
    return {
        name: file_sha256(configured_path(value, name))
        for name, value in settings.items()
        if name.endswith("_file") and value is not None
    }


def _fitted(
    first: Experiment[Any, Any], trainings: Sequence[Training], process: Process
) -> list[list[MetricRow] | UserError]:
    if len(trainings) > 1:
        return fit_together(trainings, first.settings, first.optim, process)
    try:
        return [fit(trainings[0], first.settings, first.optim, process)]
    except UserError as error:
        return [error]


def tuning_metric(runs: Sequence[RunDirectory]) -> float:
    """The objective of a search: the mean headline of finished runs, on the part of the noisy training set that
    ``data.tuning`` holds out, else on the test set."""
    values = []
    for run in runs:
        summary = run.summary
        assert summary is not None
        metrics, headline = summary["metrics"], summary["headline"]
        held_out = f"tuning/{headline.partition('/')[2]}"
        values.append(metrics[held_out if held_out in metrics else headline]["last_k_mean"])
    return statistics.fmean(values)


def print_result(run: RunDirectory, *hints: str) -> None:
    """Print the table of a finished run, and ``hints`` about what to do next."""
    summary = run.summary if is_main_process() else None
    if summary is None:
        return
    k = min(summary["k"], summary["epochs"])
    over = f"mean and std over the last {k} epochs; " if k > 1 else ""
    print(f"\n{'metric':<28}{'last':>9}{'mean':>9}{'std':>9}{'best':>9}   ({over}best as seen on the split itself)")
    for name, values in summary["metrics"].items():
        if "/marginal_" in name:
            continue
        spread = "" if values["last_k_std"] is None else f"{values['last_k_std']:.4f}"
        numbers = "".join(f"{values[key]:>9.4f}" for key in ("last", "last_k_mean"))
        print(f"{name:<28}{numbers}{spread:>9}{values['best']:>9.4f}   epoch {values['best_epoch'] + 1}")
    board = run.path / "tb"
    curves = [f"curves    tensorboard --logdir {shlex.quote(str(board))}"] if board.exists() else []
    print("", *curves, *hints, sep="\n")


def _say(message: str) -> None:
    if is_main_process():
        print(message)
