"""The training loop. The order of its steps is what decides whether a published table reproduces, so it is all here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from seg_anl.losses import ScheduledLoss
from seg_anl.records import MetricRow, UserError

from .batches import Batch
from .checkpoint import is_finite
from .distribution import Process
from .jacobian import squared_jacobian_norm
from .ledger import Ledger, Metrics
from .optimization import add_l1_subgradient, build_optimizer, build_schedule
from .progress import Progress
from .run_directory import RunDirectory
from .settings import LoopSettings, OptimSettings, listed
from .step_graph import replayed

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}

Objective = Callable[..., Tensor]
"""Inputs, target and perhaps weight of a batch to the value to minimize."""


@dataclass(frozen=True)
class Task:
    """What a trainer brings to the loop.

    Attributes:
        batches: epoch (from 0) -> batches on the device, this process's share only.
        steps_per_epoch: how many there are.
        evaluate: (network in eval mode, epoch) -> metrics, the same in every process; called in each after every epoch,
            so that each can take its share of the work.
        headline: split and metric that ``best.pt`` and the progress bar go by; higher is better.
        after_epoch: (network in eval mode, epoch) -> metrics of the training, in every process before evaluation; may
            change the network. The rest of what a method remembers is in ``state``.
        state: what else a checkpoint holds, by name: objects with ``state_dict`` and ``load_state_dict``.
    """

    batches: Callable[[int], Iterable[Batch]]
    steps_per_epoch: int
    evaluate: Callable[[nn.Module, int], Metrics]
    headline: tuple[str, str]
    after_epoch: Callable[[nn.Module, int], dict[str, float]] | None = None
    state: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Training:
    """A network to be trained on a loss, with what feeds it and where it is written down."""

    model: nn.Module
    loss: ScheduledLoss
    task: Task
    run: RunDirectory


def fit(training: Training, settings: LoopSettings, optim: OptimSettings, process: Process) -> list[MetricRow]:
    """Train a network to the end, from the beginning or from the run's last checkpoint; returns all metric rows.

    Raises:
        UserError: settings that do not go together; a loss, weights or outputs that are no longer finite
            (the last checkpoint stays).
    """
    check_penalties(settings, optim, process)
    learner, task = Learner(training, settings, optim, process), training.task
    objective = _objective(learner)

    def step(inputs: Tensor, *targets: Tensor) -> None:
        learner.optimizer.zero_grad(set_to_none=True)
        value = objective(learner.formatted(inputs), *targets)
        learner.scaler.scale(value).backward()
        learner.step(value)

    process.wait()
    first = learner.ledger.first_epoch
    progress = Progress(settings, first_epoch=first, steps=task.steps_per_epoch, visible=process.is_main)
    with closing(learner.ledger), progress, _stream(settings, process):
        for epoch in range(first, settings.epochs):
            learner.begin(epoch)
            one = replayed(step) if settings.graph and process.device.type == "cuda" else step
            for batch in task.batches(epoch):
                one(*batch)
                progress.step()
            learner.finish(epoch)
            process.wait()
            if learner.failure is not None:
                raise learner.failure
            progress.epoch(epoch + 1, [learner.shown])
    return learner.ledger.rows


class Learner:
    """A network in training, with its optimizer, its checkpoints and, once it diverges, the reason."""

    def __init__(self, training: Training, settings: LoopSettings, optim: OptimSettings, process: Process) -> None:
        self.model, self.loss, self.task, self.run = training.model, training.loss, training.task, training.run
        self.settings, self.optim, self.process = settings, optim, process
        device, self.dtype = process.device, PRECISIONS[settings.precision]
        self.memory_format = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.model.to(device).to(memory_format=self.memory_format)
        self.loss.to(device)
        self.optimizer = build_optimizer(optim, self.model, self.loss)
        self.schedule = build_schedule(optim, self.optimizer, settings.epochs)
        # Only half precision can underflow; bfloat16 has float32's range.
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype is torch.float16)
        self.total = torch.zeros((), device=device)
        self.shown = {"loss": math.nan, " ".join(self.task.headline): math.nan}
        self.failure: UserError | None = None
        parts = {"model": self.model, "loss": self.loss, "optimiser": self.optimizer, "schedule": self.schedule}
        parts = {**parts, "scaler": self.scaler, **self.task.state}
        self.ledger = Ledger(self.run, self.task.headline, parts, process, listed(settings.logger))

    def autocast(self) -> torch.autocast:
        """Forward passes in the run's precision."""
        return torch.autocast(self.process.device.type, dtype=self.dtype, enabled=self.dtype is not None)

    def formatted(self, inputs: Tensor) -> Tensor:
        """``inputs`` as the network gets them."""
        return inputs.contiguous(memory_format=self.memory_format).requires_grad_(self.optim.jacobian > 0)

    def begin(self, epoch: int) -> None:
        """Prepare network and loss for ``epoch``."""
        self.loss.set_epoch(epoch)
        self.model.train()
        self.total.zero_()

    def step(self, value: Tensor) -> None:
        """Change the weights by the gradients of ``value``: unscale, L1 sub-gradient, clip, optimizer."""
        self.scaler.unscale_(self.optimizer)
        self.process.average_gradients(self.loss.parameters())
        add_l1_subgradient(self.model.parameters(), self.optim.l1)
        if self.optim.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.optim.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.total += value.detach()

    def finish(self, epoch: int) -> None:
        """Evaluate the network and write the epoch down; a loss that is not finite becomes the ``failure``."""
        loss = self.process.mean(self.total).item() / max(self.task.steps_per_epoch, 1)
        if not math.isfinite(loss):
            self._fail(epoch, f"the training loss became {loss}")
            return
        if not self._everywhere(is_finite(self.model, self.loss)):  # the last step's weights are in no loss yet
            self._fail(epoch, "weights are no longer finite numbers")
            return
        progress = {"loss": loss, "lr": self.optimizer.param_groups[0]["lr"]}
        self.schedule.step()
        self.model.eval()
        self.process.share_buffers(self.model)  # else every process would evaluate a different network
        if self.task.after_epoch is not None:
            progress.update(self.task.after_epoch(self.model, epoch))
        with torch.inference_mode(), self.autocast(), finite_outputs(self.model) as finite:
            metrics = self.task.evaluate(self.model, epoch)
        if not self._everywhere(bool(finite)):
            self._fail(epoch, "the network's outputs are no longer finite numbers")
            return
        if not self.process.is_main:
            return
        metrics.setdefault("train", {}).update(progress)
        due = (epoch + 1) % self.settings.checkpoint_every == 0 or epoch + 1 == self.settings.epochs
        headline = self.ledger.close_epoch(epoch, metrics, checkpoint=due)
        self.shown = {"loss": loss, " ".join(self.task.headline): headline}

    def _everywhere(self, holds: bool) -> bool:
        """Whether it holds in every process: all have to stop at once."""
        return self.process.mean(self.total.new_tensor(float(holds))).item() == 1

    def _fail(self, epoch: int, what: str) -> None:
        self.failure = UserError(
            f"{self.run.path}: {what} in epoch {epoch + 1}; "
            "lower optim.lr, or use precision=bf16 or fp32 instead of fp16"
        )


@contextmanager
def finite_outputs(model: nn.Module) -> Iterator[Tensor]:
    """A scalar tensor that is true as long as what ``model`` puts out is finite; nothing waits for the device."""
    finite = torch.ones((), dtype=torch.bool, device=next(model.parameters()).device)

    def look(module: nn.Module, inputs: Any, output: Tensor) -> None:
        finite.logical_and_(output.isfinite().all())

    handle = model.register_forward_hook(look)
    try:
        yield finite
    finally:
        handle.remove()


def check_penalties(settings: LoopSettings, optim: OptimSettings, process: Process) -> None:
    """Refuse a Jacobian penalty where gradients cannot be differentiated: compiled graphs, DistributedDataParallel; and
    graphs of steps that are not the same each time."""
    if optim.jacobian and (settings.compile or process.world_size > 1):
        raise UserError("optim.jacobian works in one process without compilation: use compile=false, without torchrun")
    if settings.graph and (
        optim.jacobian or optim.name != "sgd" or settings.precision == "fp16" or process.world_size > 1
    ):
        raise UserError("graph=true works with optim=sgd in fp32 or bf16, without optim.jacobian, in one process")


def _stream(settings: LoopSettings, process: Process) -> AbstractContextManager[Any]:
    """The stream that training runs on: with graphs one of its own, on which alone they can be captured."""
    if not settings.graph or process.device.type != "cuda":
        return nullcontext()
    torch.cuda.synchronize()
    return torch.cuda.stream(torch.cuda.Stream(process.device))


def _objective(learner: Learner) -> Objective:
    network, jacobian = learner.process.wrapped(learner.model), learner.optim.jacobian

    def objective(inputs: Tensor, *targets: Tensor) -> Tensor:
        with learner.autocast():
            output = network(inputs)
        value: Tensor = learner.loss(output, *targets)
        if jacobian:
            value = value + jacobian / 2 * squared_jacobian_norm(inputs, output)
        return value

    return compiled(objective) if learner.settings.compile else objective


def compiled(objective: Callable[..., Any]) -> Callable[..., Any]:
    """``objective`` compiled anew: of one function in several runs of a process the compiler would give up."""
    torch.compiler.reset()
    return torch.compile(objective)
