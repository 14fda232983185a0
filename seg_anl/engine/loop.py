"""The training loop. It is all in one place, because the order of its steps decides whether a table reproduces."""

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


@dataclass(frozen=True)
class Task:
    """What a trainer gives to the loop.

    Attributes:
        batches: epoch (from 0) -> this process's share of the batches, on the device.
        steps_per_epoch: their number.
        evaluate: (network in eval mode, epoch) -> metrics; called in every process, which may share the work, and must
            return the same in each.
        headline: split and metric that choose ``best.pt`` and are shown as progress; higher is better.
        after_epoch: (network in eval mode, epoch) -> metrics of the training; called in every process before
            evaluation, and may change the network.
        state: further parts of a checkpoint, by name: objects with ``state_dict`` and ``load_state_dict``.
    """

    batches: Callable[[int], Iterable[Batch]]
    steps_per_epoch: int
    evaluate: Callable[[nn.Module, int], Metrics]
    headline: tuple[str, str]
    after_epoch: Callable[[nn.Module, int], dict[str, float]] | None = None
    state: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Training:
    """A network to train on a loss, its data and its run directory."""

    model: nn.Module
    loss: ScheduledLoss
    task: Task
    run: RunDirectory


def fit(training: Training, settings: LoopSettings, optim: OptimSettings, process: Process) -> list[MetricRow]:
    """Train a network to the end, starting from the run's last checkpoint if there is one; returns all metric rows.

    Raises:
        UserError: for settings that do not go together; if loss, weights or outputs are no longer finite (the last
            checkpoint stays).
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
            train = replayed(step) if settings.graph and process.device.type == "cuda" else step
            for batch in task.batches(epoch):
                train(*batch)
                progress.step()
            learner.finish(epoch)
            process.wait()
            if learner.failure is not None:
                raise learner.failure
            progress.epoch(epoch + 1, [learner.shown])
    return learner.ledger.rows


class Learner:
    """A network in training, with optimizer, checkpoints and, if it diverges, the error (``failure``)."""

    def __init__(self, training: Training, settings: LoopSettings, optim: OptimSettings, process: Process) -> None:
        self.model, self.loss, self.task, self.run = training.model, training.loss, training.task, training.run
        self.settings, self.optim, self.process = settings, optim, process
        device, self.dtype = process.device, PRECISIONS[settings.precision]
        self.memory_format = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.model.to(device).to(memory_format=self.memory_format)
        self.loss.to(device)
        self.optimizer = build_optimizer(optim, self.model, self.loss)
        self.schedule = build_schedule(optim, self.optimizer, settings.epochs)
        # Only float16 gradients underflow; bfloat16 has float32's range.
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
        """``inputs`` in the network's memory format, with gradients for the Jacobian penalty."""
        return inputs.contiguous(memory_format=self.memory_format).requires_grad_(self.optim.jacobian > 0)

    def begin(self, epoch: int) -> None:
        """Prepare network and loss for ``epoch``."""
        self.loss.set_epoch(epoch)
        self.model.train()
        self.total.zero_()

    def step(self, value: Tensor) -> None:
        """Update the weights after the backward pass of ``value``: unscale, L1 sub-gradient, clip, optimizer."""
        self.scaler.unscale_(self.optimizer)
        self.process.average_gradients(self.loss.parameters())
        add_l1_subgradient(self.model.parameters(), self.optim.l1)
        if self.optim.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.optim.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.total += value.detach()

    def finish(self, epoch: int) -> None:
        """Evaluate the network and save the epoch; a loss that is not finite sets ``failure``."""
        loss = self.process.mean(self.total).item() / max(self.task.steps_per_epoch, 1)
        if not math.isfinite(loss):
            self._fail(epoch, f"the training loss became {loss}")
            return
        if not self._everywhere(is_finite(self.model, self.loss)):  # no loss has seen the last step's weights
            self._fail(epoch, "weights are no longer finite numbers")
            return
        progress = {"loss": loss, "lr": self.optimizer.param_groups[0]["lr"]}
        self.schedule.step()
        self.model.eval()
        self.process.share_buffers(self.model)  # else the processes would evaluate different networks
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
        name = " ".join(self.task.headline)
        self.shown = {"loss": loss, name: self.shown[name] if math.isnan(headline) else headline}

    def _everywhere(self, holds: bool) -> bool:
        """Whether a condition holds in every process, so that all stop together."""
        return self.process.mean(self.total.new_tensor(float(holds))).item() == 1

    def _fail(self, epoch: int, what: str) -> None:
        self.failure = UserError(
            f"{self.run.path}: {what} in epoch {epoch + 1}; "
            "lower optim.lr, or use precision=bf16 or fp32 instead of fp16"
        )


@contextmanager
def finite_outputs(model: nn.Module) -> Iterator[Tensor]:
    """Yield a scalar tensor that is true while outputs of ``model`` are finite, without synchronizing the device."""
    finite = torch.ones((), dtype=torch.bool, device=next(model.parameters()).device)

    def check(module: nn.Module, inputs: Any, output: Tensor) -> None:
        finite.logical_and_(output.isfinite().all())

    handle = model.register_forward_hook(check)
    try:
        yield finite
    finally:
        handle.remove()


def check_penalties(settings: LoopSettings, optim: OptimSettings, process: Process) -> None:
    """Refuse the Jacobian penalty with compilation or DistributedDataParallel, whose gradients are not differentiable,
    and CUDA graphs of steps that vary."""
    if optim.jacobian and (settings.compile or process.world_size > 1):
        raise UserError("optim.jacobian works in one process without compilation: use compile=false, without torchrun")
    if settings.graph and (
        optim.jacobian or optim.name != "sgd" or settings.precision == "fp16" or process.world_size > 1
    ):
        raise UserError("graph=true works with optim=sgd in fp32 or bf16, without optim.jacobian, in one process")


def _stream(settings: LoopSettings, process: Process) -> AbstractContextManager[Any]:
    """The stream to train on; CUDA graphs cannot be captured on the default one."""
    if not settings.graph or process.device.type != "cuda":
        return nullcontext()
    torch.cuda.synchronize()
    return torch.cuda.stream(torch.cuda.Stream(process.device))


def _objective(learner: Learner) -> Callable[..., Tensor]:
    """A function from inputs, target and, if present, weight of a batch to the value to minimize."""
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
    """``objective``, compiled after a reset: the compiler gives up on functions that it compiles in run after run."""
    torch.compiler.reset()
    return torch.compile(objective)
