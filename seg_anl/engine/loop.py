"""The training loop. The order of its steps is what decides whether a published table reproduces, so it is all here."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from tqdm import tqdm

from seg_anl.losses import ScheduledLoss
from seg_anl.records import MetricRow, UserError, is_whole_number, nearest_names

from .distribution import Process
from .jacobian import squared_jacobian_norm
from .ledger import Ledger, Metrics
from .optimization import OptimSettings, add_l1_subgradient, build_optimizer, build_schedule
from .run_directory import RunDirectory
from .settings import check_switches
from .stack import LossStack, Stack

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class LoopSettings:
    """How long and how to run the loop.

    Attributes:
        epochs: number of passes over the training data.
        precision: ``fp32``, ``bf16`` or ``fp16`` (autocast; the loss is computed in float32 whatever this says).
        channels_last: memory format of network and images.
        compile: hand network and loss to ``torch.compile``.
        checkpoint_every: epochs between checkpoints; a killed run repeats at most that many.
        progress: show a progress bar.
    """

    epochs: int
    precision: str = "fp32"
    channels_last: bool = False
    compile: bool = False
    checkpoint_every: int = 1
    progress: bool = True

    @classmethod
    def from_config(cls, config: DictConfig) -> LoopSettings:
        """The settings of that name in a trainer's configuration."""
        check_switches(config, "channels_last", "compile", "progress")
        return cls(
            epochs=config.epochs,
            precision=str(config.precision),
            channels_last=bool(config.channels_last),
            compile=bool(config.compile),
            checkpoint_every=config.checkpoint_every,
            progress=bool(config.progress),
        )

    @property
    def memory_format(self) -> torch.memory_format:
        """How images and weights lie in memory."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UserError(f"precision={self.precision}: {nearest_names(str(self.precision), PRECISIONS)}")
        for name in ("epochs", "checkpoint_every"):
            value = getattr(self, name)
            if not is_whole_number(value) or value < 1:
                raise UserError(f"{name} must be a whole number >= 1, got {value!r}")


@dataclass(frozen=True)
class Task:
    """What a trainer brings to the loop.

    Attributes:
        batches: epoch (from 0) -> batches, this process's share only: ``(inputs, target)`` on the device, or what
            ``finish`` makes them from.
        steps_per_epoch: how many there are.
        evaluate: (network in eval mode, epoch) -> metrics, the same in every process; called in each after every epoch,
            so that each can take its share of the work.
        headline: split and metric that ``best.pt`` and the progress bar go by; higher is better.
        after_epoch: (network in eval mode, epoch) -> metrics of the training, in every process before evaluation; may
            change the network. The rest of what a method remembers is in ``state``.
        state: what else a checkpoint holds, by name: objects with ``state_dict`` and ``load_state_dict``.
        finish: one batch of each task that is trained at once -> ``(inputs, target)`` of each; does for all of them in
            one go what need not be done for each (augmentation). The tasks have this function in common.
    """

    batches: Callable[[int], Iterable[Any]]
    steps_per_epoch: int
    evaluate: Callable[[nn.Module, int], Metrics]
    headline: tuple[str, str]
    after_epoch: Callable[[nn.Module, int], dict[str, float]] | None = None
    state: Mapping[str, Any] = field(default_factory=dict)
    finish: Callable[[Sequence[Any]], Sequence[tuple[Tensor, Tensor]]] = list


@dataclass(frozen=True, eq=False)
class Training:
    """A network to be trained on a loss, with what feeds it and where it is written down."""

    model: nn.Module
    loss: ScheduledLoss
    task: Task
    run: RunDirectory


def fit(
    model: nn.Module,
    loss: ScheduledLoss,
    task: Task,
    settings: LoopSettings,
    optim: OptimSettings,
    run: RunDirectory,
    process: Process,
) -> list[MetricRow]:
    """Train ``model`` to the end, from the beginning or from the run's last checkpoint; returns all metric rows.

    Raises:
        UserError: settings that do not go together; a loss that is no longer finite (the last checkpoint stays).
    """
    (outcome,) = fit_together([Training(model, loss, task, run)], settings, optim, process)
    if isinstance(outcome, UserError):
        raise outcome
    return outcome


def fit_together(
    trainings: Sequence[Training], settings: LoopSettings, optim: OptimSettings, process: Process
) -> list[list[MetricRow] | UserError]:
    """Train several networks of one architecture at once, each as :func:`fit` would train it alone, up to rounding.

    Only the passes through the networks are one; losses, penalties, clipping, optimizers and checkpoints are each
    network's own. A run that its last checkpoint left behind the others catches up first; one whose loss is no longer
    finite is left out from then on.

    Returns:
        For each training its metric rows, or why it was left out.

    Raises:
        UserError: settings that do not go together.
    """
    _check_together(trainings, settings, optim, process)
    learners = [_Learner(training, settings, optim, process) for training in trainings]
    process.wait()
    objective, learning, memory_format = None, learners[:0], settings.memory_format
    with ExitStack() as closing:
        for learner in learners:
            closing.callback(learner.ledger.close)
        bar = closing.enter_context(_bar(learners, settings, process))
        for epoch in range(min(learner.ledger.first_epoch for learner in learners), settings.epochs):
            present = [learner for learner in learners if learner.learns_in(epoch)]
            if not present:
                continue
            if objective is None or present != learning:
                objective, learning = _objective(present, epoch, settings, optim, process), present
            for learner in present:
                learner.begin(epoch)
            for batches in zip(*(learner.task.batches(epoch) for learner in present), strict=True):
                for learner in present:
                    learner.optimizer.zero_grad(set_to_none=True)
                finished = present[0].task.finish(batches)
                inputs = [
                    images.contiguous(memory_format=memory_format).requires_grad_(optim.jacobian > 0)
                    for images, _ in finished
                ]
                values = objective(inputs, [target for _, target in finished])
                scaled = [learner.scaler.scale(value) for learner, value in zip(present, values, strict=True)]
                functools.reduce(torch.add, scaled).backward()
                for learner, value in zip(present, values, strict=True):
                    learner.scaler.unscale_(learner.optimizer)
                    process.average_gradients(learner.loss.parameters())
                    add_l1_subgradient(learner.model.parameters(), optim.l1)
                    if optim.clip_norm is not None:
                        nn.utils.clip_grad_norm_(learner.model.parameters(), optim.clip_norm)
                    learner.scaler.step(learner.optimizer)
                    learner.scaler.update()
                    learner.total += value.detach()
                bar.update()
            for learner in present:
                learner.finish(epoch, settings, process)
            process.wait()
            _tell(bar, present, epoch + 1, settings)
    return [learner.ledger.rows if learner.failure is None else learner.failure for learner in learners]


class _Learner:
    """A training with what the loop adds to it: its optimizer and, once it goes wrong, why."""

    def __init__(self, training: Training, settings: LoopSettings, optim: OptimSettings, process: Process) -> None:
        self.model, self.loss, self.task, self.run = training.model, training.loss, training.task, training.run
        device, dtype = process.device, PRECISIONS[settings.precision]
        self.model.to(device).to(memory_format=settings.memory_format)
        self.loss.to(device)
        self.optimizer = build_optimizer(optim, self.model, self.loss)
        self.schedule = build_schedule(optim, self.optimizer, settings.epochs)
        # Only half precision can underflow; bfloat16 has float32's range.
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
        self.total = torch.zeros((), device=device)
        self.told = {"loss": math.nan, " ".join(self.task.headline): math.nan}
        self.failure: UserError | None = None
        parts = {"model": self.model, "loss": self.loss, "optimiser": self.optimizer, "schedule": self.schedule}
        parts = {**parts, "scaler": self.scaler, **self.task.state}
        self.ledger = Ledger(self.run, self.task.headline, parts, process)

    def learns_in(self, epoch: int) -> bool:
        return self.ledger.first_epoch <= epoch and self.failure is None

    def begin(self, epoch: int) -> None:
        self.loss.set_epoch(epoch)
        self.model.train()
        self.total.zero_()

    def finish(self, epoch: int, settings: LoopSettings, process: Process) -> None:
        """Evaluate the network and write the epoch down."""
        device, dtype = process.device, PRECISIONS[settings.precision]
        loss = process.mean(self.total).item() / max(self.task.steps_per_epoch, 1)
        if not math.isfinite(loss):
            self.failure = UserError(
                f"{self.run.path}: the training loss became {loss} in epoch {epoch + 1}; "
                "lower optim.lr, or use precision=bf16 or fp32 in the place of fp16"
            )
            return
        progress = {"loss": loss, "lr": self.optimizer.param_groups[0]["lr"]}
        self.schedule.step()
        self.model.eval()
        process.share_buffers(self.model)  # else each would see another network, and decide otherwise
        if self.task.after_epoch is not None:
            progress.update(self.task.after_epoch(self.model, epoch))
        with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            metrics = self.task.evaluate(self.model, epoch)
        if not process.is_main:
            return
        metrics.setdefault("train", {}).update(progress)
        due = (epoch + 1) % settings.checkpoint_every == 0 or epoch + 1 == settings.epochs
        headline = self.ledger.close_epoch(epoch, metrics, checkpoint=due)
        self.told = {"loss": loss, " ".join(self.task.headline): headline}


def _objective(
    learners: Sequence[_Learner], epoch: int, settings: LoopSettings, optim: OptimSettings, process: Process
) -> Callable[[Sequence[Tensor], Sequence[Tensor]], Sequence[Tensor]]:
    """Inputs and targets of each learner to the value that it is to make small."""
    device, dtype = process.device, PRECISIONS[settings.precision]
    networks: Callable[[Sequence[Tensor]], Sequence[Tensor]]
    losses: Callable[[Sequence[Tensor], Sequence[Tensor]], Sequence[Tensor]]
    if len(learners) == 1:
        network, loss = process.wrapped(learners[0].model), learners[0].loss
        networks = lambda inputs: [network(inputs[0])]  # noqa: E731
        losses = lambda outputs, targets: [loss(outputs[0], targets[0])]  # noqa: E731
    else:
        networks = stack = Stack([learner.model for learner in learners])
        losses = LossStack([learner.loss for learner in learners])
        examples = learners[0].task.finish([next(iter(learner.task.batches(epoch))) for learner in learners])
        stack.check([inputs for inputs, _ in examples])

    def objective(inputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Sequence[Tensor]:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            outputs = networks(inputs)
        values = losses(outputs, targets)
        if optim.jacobian:
            norms = [squared_jacobian_norm(images, output) for images, output in zip(inputs, outputs, strict=True)]
            values = [value + optim.jacobian / 2 * norm for value, norm in zip(values, norms, strict=True)]
        return values

    return torch.compile(objective) if settings.compile else objective


def _check_together(
    trainings: Sequence[Training], settings: LoopSettings, optim: OptimSettings, process: Process
) -> None:
    if optim.jacobian and (settings.compile or process.world_size > 1):
        # Neither compiled graphs nor DistributedDataParallel differentiate a gradient.
        raise UserError("optim.jacobian works in one process without compilation: use compile=false, without torchrun")
    if len(trainings) == 1:
        return
    if process.world_size > 1:
        raise UserError("runs_per_device works in one process: use runs_per_device=1 with torchrun")
    if optim.jacobian or any(training.loss.draws for training in trainings):
        # From one generator for all: what a run draws would depend on its neighbors.
        raise UserError(
            "a loss or penalty that draws random numbers (nlnl, optim.jacobian) cannot be trained beside others: "
            "use runs_per_device=1"
        )


def _bar(learners: Sequence[_Learner], settings: LoopSettings, process: Process) -> tqdm[None]:
    steps = learners[0].task.steps_per_epoch
    first = min(learner.ledger.first_epoch for learner in learners)
    return tqdm(
        desc=f"epoch {first + 1}/{settings.epochs}",
        total=settings.epochs * steps,
        initial=first * steps,
        disable=not (settings.progress and process.is_main),
        unit="step",
        dynamic_ncols=True,
    )


def _tell(bar: tqdm[None], learners: Sequence[_Learner], done: int, settings: LoopSettings) -> None:
    """Show the means over ``learners`` beside the bar."""
    bar.set_description(f"epoch {min(done + 1, settings.epochs)}/{settings.epochs}", refresh=False)
    told = [learner.told for learner in learners]
    bar.set_postfix({name: f"{statistics.fmean(each[name] for each in told):.4f}" for name in told[0]})
