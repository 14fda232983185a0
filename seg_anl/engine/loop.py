"""The training loop. The order of its steps is what decides whether a published table reproduces, so it is all here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from seg_anl.losses import ScheduledLoss
from seg_anl.records import MetricRow, UserError, nearest_names

from .checkpoint import load_checkpoint, save_checkpoint
from .distribution import Process
from .jacobian import squared_jacobian_norm
from .optimisation import OptimSettings, add_l1_subgradient, build_optimiser, build_schedule
from .run_directory import RunDirectory

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}

Metrics = dict[str, dict[str, float]]
"""Split -> metric -> value."""


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
        return cls(
            epochs=config.epochs,
            precision=str(config.precision),
            channels_last=bool(config.channels_last),
            compile=bool(config.compile),
            checkpoint_every=config.checkpoint_every,
            progress=bool(config.progress),
        )

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UserError(f"precision={self.precision}: {nearest_names(str(self.precision), PRECISIONS)}")
        for name in ("epochs", "checkpoint_every"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UserError(f"{name} must be a whole number >= 1, got {value!r}")


@dataclass(frozen=True)
class Task:
    """What a trainer brings to the loop.

    Attributes:
        batches: epoch (from 0) -> batches ``(inputs, target)`` on the device, augmented, this process's share only.
        steps_per_epoch: how many there are.
        evaluate: (network in eval mode, epoch) -> metrics; called by the main process after every epoch.
        headline: split and metric that ``best.pt`` and the progress bar go by; higher is better.
        after_epoch: (network in eval mode, epoch) -> metrics of the training, in every process before evaluation; may
            change the network. The rest of what a method remembers is in ``state``.
        state: what else a checkpoint holds, by name: objects with ``state_dict`` and ``load_state_dict``.
    """

    batches: Callable[[int], Iterable[tuple[Tensor, Tensor]]]
    steps_per_epoch: int
    evaluate: Callable[[nn.Module, int], Metrics]
    headline: tuple[str, str]
    after_epoch: Callable[[nn.Module, int], dict[str, float]] | None = None
    state: Mapping[str, Any] = field(default_factory=dict)


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
    _check_together(settings, optim, process)
    device = process.device
    memory_format = torch.channels_last if settings.channels_last else torch.contiguous_format
    model.to(device).to(memory_format=memory_format)
    loss.to(device)
    optimiser = build_optimiser(optim, model, loss)
    schedule = build_schedule(optim, optimiser, settings.epochs)
    dtype = PRECISIONS[settings.precision]
    # Only half precision can underflow; bfloat16 has float32's range.
    scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
    parts: dict[str, Any] = {"model": model, "loss": loss, "optimiser": optimiser, "schedule": schedule}
    ledger = _Ledger(task, settings, run, process, {**parts, "scaler": scaler, **task.state})
    process.wait()
    trained = process.wrapped(model)

    def objective(inputs: Tensor, target: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            output = trained(inputs)
        value: Tensor = loss(output, target)
        if optim.jacobian:
            value = value + optim.jacobian / 2 * squared_jacobian_norm(inputs, output)
        return value

    step_objective = torch.compile(objective) if settings.compile else objective
    with ledger:
        for epoch in range(ledger.first_epoch, settings.epochs):
            loss.set_epoch(epoch)
            trained.train()
            total = torch.zeros((), device=device)
            for inputs, target in task.batches(epoch):
                optimiser.zero_grad(set_to_none=True)
                inputs = inputs.contiguous(memory_format=memory_format).requires_grad_(optim.jacobian > 0)
                value = step_objective(inputs, target)
                scaler.scale(value).backward()
                scaler.unscale_(optimiser)
                process.average_gradients(loss.parameters())
                add_l1_subgradient(model.parameters(), optim.l1)
                if optim.clip_norm is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), optim.clip_norm)
                scaler.step(optimiser)
                scaler.update()
                total += value.detach()
                ledger.bar.update()
            progress = {"loss": total.item() / max(task.steps_per_epoch, 1), "lr": optimiser.param_groups[0]["lr"]}
            _refuse_divergence(progress["loss"], epoch, run)
            schedule.step()
            model.eval()
            if task.after_epoch is not None:
                process.share_buffers(model)  # else each would see another network, and decide otherwise
                progress.update(task.after_epoch(model, epoch))
            if process.is_main:
                with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                    metrics = task.evaluate(model, epoch)
                metrics.setdefault("train", {}).update(progress)
                ledger.close_epoch(epoch, metrics)
            process.wait()
    return ledger.rows


class _Ledger:
    """What is kept of a run: metric rows, checkpoints, TensorBoard's events and the progress bar.

    Made before training, it restores ``parts`` from the last checkpoint. Only the main process writes.
    """

    def __init__(
        self, task: Task, settings: LoopSettings, run: RunDirectory, process: Process, parts: Mapping[str, Any]
    ) -> None:
        self.settings, self.run, self.parts = settings, run, parts
        self.split, self.metric = task.headline
        self.first_epoch = 0
        self.rows: list[MetricRow] = []
        if run.last.exists():
            self.first_epoch, self.rows = load_checkpoint(run.last, device=process.device, parts=parts)
        self.best = max(
            (row.values.get(self.metric, -math.inf) for row in self.rows if row.split == self.split), default=-math.inf
        )
        self.board = None
        if process.is_main:
            run.write_environment(process, resumed_at=self.first_epoch)
            run.write_metrics(self.rows)
            self.board = SummaryWriter(str(run.path / "tb"), purge_step=self.first_epoch)
        self.bar = tqdm(
            desc=f"epoch {self.first_epoch + 1}/{settings.epochs}",
            total=settings.epochs * task.steps_per_epoch,
            initial=self.first_epoch * task.steps_per_epoch,
            disable=not (settings.progress and process.is_main),
            unit="step",
            dynamic_ncols=True,
        )

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self.bar.close()
        if self.board is not None:
            self.board.close()

    def close_epoch(self, epoch: int, metrics: Metrics) -> None:
        """Write down a finished epoch: rows, events, and checkpoints where they are due."""
        assert self.board is not None
        done = epoch + 1
        self.rows.extend(MetricRow(epoch, split, values) for split, values in metrics.items())
        for split, values in metrics.items():
            for name, value in values.items():
                self.board.add_scalar(f"{split}/{name}", value, epoch)
        headline = metrics.get(self.split, {}).get(self.metric, -math.inf)
        if headline > self.best:
            self.best = headline
            save_checkpoint(self.run.best, epoch=done, rows=self.rows, parts=self.parts)
        if done % self.settings.checkpoint_every == 0 or done == self.settings.epochs:
            save_checkpoint(self.run.last, epoch=done, rows=self.rows, parts=self.parts)
        self.run.write_metrics(self.rows)
        self.bar.set_description(f"epoch {min(done + 1, self.settings.epochs)}/{self.settings.epochs}", refresh=False)
        self.bar.set_postfix(
            {"loss": f"{metrics['train']['loss']:.4f}", f"{self.split} {self.metric}": f"{headline:.4f}"}
        )


def _check_together(settings: LoopSettings, optim: OptimSettings, process: Process) -> None:
    if optim.jacobian and (settings.compile or process.world_size > 1):
        # Neither compiled graphs nor DistributedDataParallel differentiate a gradient.
        raise UserError("optim.jacobian works in one process without compilation: use compile=false, without torchrun")


def _refuse_divergence(loss: float, epoch: int, run: RunDirectory) -> None:
    if not math.isfinite(loss):
        raise UserError(
            f"{run.path}: the training loss became {loss} in epoch {epoch + 1}; "
            "lower optim.lr, or use precision=bf16 or fp32 in the place of fp16"
        )
