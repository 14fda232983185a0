"""Networks trained together are held to networks trained alone."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from seg_anl.engine.checkpoint import read_checkpoint
from seg_anl.engine.distribution import Process
from seg_anl.engine.ledger import Metrics
from seg_anl.engine.loop import Task, Training, fit
from seg_anl.engine.randomness import epoch_generator
from seg_anl.engine.run_directory import RunDirectory
from seg_anl.engine.settings import LoopSettings, OptimSettings
from seg_anl.engine.side_by_side import LossStack, Stack, fit_together
from seg_anl.losses import RobustLoss, build_loss
from seg_anl.records import UserError, read_metrics

CPU = Process(torch.device("cpu"))
SEEDS = (1, 2, 3)
SETTINGS = LoopSettings(epochs=3, progress=False)
OPTIM = OptimSettings("sgd", lr=0.05, weight_decay=1e-3, schedule="cosine", clip_norm=0.5, l1=1e-3)


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 5),
    )


def task(seed: int) -> Task:
    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = epoch_generator(seed, epoch, "data")
        for _ in range(4):
            images = torch.randn(6, 3, 8, 8, generator=generator)
            yield images, torch.randint(0, 5, (6,), generator=generator)

    def evaluate(model: nn.Module, epoch: int) -> Metrics:
        assert not model.training
        images, _ = next(iter(task(100).batches(0)))
        return {"test": {"spread": model(images).std().item()}}

    return Task(batches, 4, evaluate, headline=("test", "spread"))


def training(folder: Path, seed: int, loss: RobustLoss | None = None) -> Training:
    run = RunDirectory(folder / str(seed))
    run.create(OmegaConf.create({"seed": seed}))
    return Training(network(seed), loss or build_loss("anl_ce_er"), task(seed), run)


def alone(one: Training, settings: LoopSettings = SETTINGS, optim: OptimSettings = OPTIM) -> None:
    fit(one, settings, optim, CPU)


def metrics(run: RunDirectory) -> dict[tuple[int, str, str], float]:
    rows = read_metrics(run.path / "metrics.csv")
    return {(row.epoch, row.split, name): value for row in rows for name, value in row.values.items()}


@pytest.mark.parametrize("optim", [OPTIM, replace(OPTIM, name="adam", lr=1e-2)], ids=["sgd", "adam"])
@pytest.mark.parametrize("loss", ["anl_ce_er", "ce_sr", "t_loss"])
def test_together_is_alone_up_to_rounding(tmp_path: Path, loss: str, optim: OptimSettings) -> None:
    """Penalty, clipping, schedules of optimizer and loss, batch norm and a loss's own parameters: each run's own."""
    together = [training(tmp_path / "together", seed, build_loss(loss)) for seed in SEEDS]
    outcomes = fit_together(together, SETTINGS, optim, CPU)
    for seed, found, outcome in zip(SEEDS, together, outcomes, strict=True):
        expected = training(tmp_path / "alone", seed, build_loss(loss))
        alone(expected, optim=optim)
        assert outcome == read_metrics(found.run.path / "metrics.csv")
        assert metrics(found.run) == pytest.approx(metrics(expected.run), rel=1e-4)
        states = [read_checkpoint(one.run.last, CPU.device) for one in (found, expected)]
        assert states[0].keys() == states[1].keys()
        for part in ("model", "loss"):
            for name, value in states[1][part].items():
                torch.testing.assert_close(states[0][part][name], value, rtol=1e-3, atol=1e-5)
    assert len({metrics(one.run)[2, "train", "loss"] for one in together}) == len(SEEDS)


def test_compiled_is_not_compiled_up_to_rounding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced and differentiated by the compiler; test_compile.py of the losses generates code, which takes long."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    for compiled in (True, False):
        runs = [training(tmp_path / str(compiled), seed) for seed in SEEDS]
        fit_together(runs, replace(SETTINGS, compile=compiled), OPTIM, CPU)
    for seed in SEEDS:
        found, expected = (metrics(RunDirectory(tmp_path / name / str(seed))) for name in ("True", "False"))
        assert found == pytest.approx(expected, rel=1e-4)


def test_half_precision_scales_each_run_by_its_own(tmp_path: Path) -> None:
    """A run whose first gradients overflow skips steps; its neighbor takes them all, as it would alone."""
    settings = replace(SETTINGS, precision="fp16", epochs=1)

    def pair(folder: Path) -> list[Training]:
        loud, quiet = training(folder, 1), training(folder, 2)
        with torch.no_grad():
            loud.model[-1].weight *= 1000
        return [loud, quiet]

    together, lone = pair(tmp_path / "together"), pair(tmp_path / "alone")
    fit_together(together, settings, OPTIM, CPU)
    scales = []
    for one, expected in zip(together, lone, strict=True):
        alone(expected, settings)
        states = [read_checkpoint(run.last, CPU.device)["scaler"] for run in (one.run, expected.run)]
        assert states[0] == states[1]
        scales.append(states[0]["scale"])
    assert scales[0] < scales[1]


def test_a_run_that_was_left_behind_catches_up(tmp_path: Path) -> None:
    """Killed between two checkpoints of one epoch, or begun alone: all end where they would have."""
    for seed in SEEDS:
        alone(training(tmp_path / "whole", seed))
    begun = [training(tmp_path / "cut", seed) for seed in SEEDS]
    for one, epochs in zip(begun, (2, 1, 3), strict=True):

        def stopping(model: nn.Module, epoch: int, last: int = epochs, evaluate: Any = one.task.evaluate) -> Metrics:
            if epoch == last:
                raise KeyboardInterrupt
            return evaluate(model, epoch)

        if epochs == SETTINGS.epochs:
            alone(one)
        else:
            with pytest.raises(KeyboardInterrupt):
                alone(replace(one, task=replace(one.task, evaluate=stopping)))
    before = (tmp_path / "cut/3/metrics.csv").read_bytes()
    fit_together([training(tmp_path / "cut", seed) for seed in SEEDS], SETTINGS, OPTIM, CPU)
    for seed in SEEDS:
        expected = metrics(RunDirectory(tmp_path / "whole" / str(seed)))
        assert metrics(RunDirectory(tmp_path / "cut" / str(seed))) == pytest.approx(expected, rel=1e-4)
    assert (tmp_path / "cut/3/metrics.csv").read_bytes() == before


def test_a_stack_that_is_stopped_and_resumed_ends_the_same_to_the_byte(tmp_path: Path) -> None:
    fit_together([training(tmp_path / "whole", seed) for seed in SEEDS], SETTINGS, OPTIM, CPU)

    def stopped(model: nn.Module, epoch: int) -> Metrics:
        if epoch == 1:
            raise KeyboardInterrupt
        return task(SEEDS[0]).evaluate(model, epoch)

    cut = [training(tmp_path / "cut", seed) for seed in SEEDS]
    cut[0] = replace(cut[0], task=replace(cut[0].task, evaluate=stopped))
    with pytest.raises(KeyboardInterrupt):
        fit_together(cut, SETTINGS, OPTIM, CPU)
    fit_together([training(tmp_path / "cut", seed) for seed in SEEDS], SETTINGS, OPTIM, CPU)
    for seed in SEEDS:
        whole, resumed = (tmp_path / name / str(seed) / "metrics.csv" for name in ("whole", "cut"))
        assert whole.read_bytes() == resumed.read_bytes()


def test_a_diverged_run_leaves_the_others_as_they_would_be(tmp_path: Path) -> None:
    def broken(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, target in task(2).batches(epoch):
            yield inputs * (math.nan if epoch == 1 else 1.0), target

    runs = [training(tmp_path, seed) for seed in SEEDS]
    runs[1] = replace(runs[1], task=replace(runs[1].task, batches=broken))
    first, second, third = fit_together(runs, SETTINGS, OPTIM, CPU)
    assert isinstance(second, UserError)
    assert "became nan in epoch 2" in str(second)
    assert str(runs[1].run.path) in str(second)
    assert read_checkpoint(runs[1].run.last, CPU.device)["epoch"] == 1
    for seed, rows in ((1, first), (3, third)):
        assert not isinstance(rows, UserError)
        expected = training(tmp_path / "alone", seed)
        alone(expected)
        assert metrics(RunDirectory(tmp_path / str(seed))) == pytest.approx(metrics(expected.run), rel=1e-4)


def test_a_run_of_a_stack_goes_on_alone(tmp_path: Path) -> None:
    """Its run directory is that of any run."""
    two = replace(SETTINGS, epochs=2)
    constant = replace(OPTIM, schedule="constant")
    fit_together([training(tmp_path / "stack", seed) for seed in SEEDS], two, constant, CPU)
    resumed, whole = training(tmp_path / "stack", 2), training(tmp_path / "whole", 2)
    shutil.rmtree(tmp_path / "stack/1")
    alone(resumed, optim=constant)
    alone(whole, optim=constant)
    assert metrics(resumed.run) == pytest.approx(metrics(whole.run), rel=1e-4)


def test_values_gradients_and_statistics_are_each_networks_own() -> None:
    networks, lone = [network(seed).double() for seed in SEEDS], [network(seed).double() for seed in SEEDS]
    losses, lone_losses = ([build_loss("t_loss", nu=1.0 + seed) for seed in SEEDS] for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, 6, 3, 8, 8, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 5, (3, 6), generator=generator)
    values = LossStack(losses)(Stack(networks)(inputs), targets)
    sum(values).backward()
    for number, (one, loss) in enumerate(zip(lone, lone_losses, strict=True)):
        expected = loss(one(inputs[number]), targets[number])
        expected.backward()
        torch.testing.assert_close(values[number], expected)
        found = [*networks[number].parameters(), *losses[number].parameters()]
        for here, there in zip(found, [*one.parameters(), *loss.parameters()], strict=True):
            torch.testing.assert_close(here.grad, there.grad)
        for here, there in zip(networks[number].buffers(), one.buffers(), strict=True):
            torch.testing.assert_close(here, there)


class Scaled(nn.Module):
    """Divides by the number of channels: what lies beside a network would change it."""

    def forward(self, images: Tensor) -> Tensor:
        return images / images.shape[1]


def test_networks_that_would_mix_are_refused() -> None:
    inputs = list(torch.randn(2, 4, 3, 8, 8))
    plain = [network(seed) for seed in (1, 2)]
    Stack(plain).check(inputs)
    assert all(module.training for module in plain)
    with pytest.raises(UserError, match="side by side: use runs_per_device=1"):
        Stack([nn.Sequential(Scaled(), one) for one in plain]).check(inputs)
    with pytest.raises(UserError, match="networks with GroupNorm layers"):
        Stack([nn.Sequential(nn.GroupNorm(1, 3), one) for one in plain])


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_low_precision_reaches_the_layers(precision: torch.dtype) -> None:
    found = []
    stack = Stack([network(seed) for seed in SEEDS])
    for layer in stack.wide.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _, __, output: found.append(output.dtype))
    with torch.autocast("cpu", dtype=precision):
        outputs = stack(list(torch.randn(3, 6, 3, 8, 8)))
    assert found == [precision]
    assert outputs[0].dtype == precision


def test_a_checkpoint_holds_its_own_run_alone(tmp_path: Path) -> None:
    """Weights that are part of a stack must not take the stack with them onto the disk."""
    many = [training(tmp_path / "together", seed) for seed in range(16)]
    fit_together(many, replace(SETTINGS, epochs=1), OPTIM, CPU)
    lone = training(tmp_path / "alone", 1)
    alone(lone, replace(SETTINGS, epochs=1))
    assert many[1].run.last.stat().st_size == pytest.approx(lone.run.last.stat().st_size, rel=0.02)


def test_what_would_depend_on_its_neighbors_is_refused(tmp_path: Path) -> None:
    dropout = [nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)) for _ in range(2)]
    with pytest.raises(UserError, match="dropout"):
        Stack(dropout)
    for loss, optim in (("nlnl", OPTIM), ("ce", replace(OPTIM, jacobian=0.1))):
        runs = [training(tmp_path / loss, seed, build_loss(loss)) for seed in SEEDS]
        with pytest.raises(UserError, match="runs_per_device=1"):
            fit_together(runs, SETTINGS, optim, CPU)
        assert not (runs[0].run.path / "metrics.csv").exists()
