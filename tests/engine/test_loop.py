"""The loop's order of steps, checked against steps written out by hand, and its checkpoints."""

from __future__ import annotations

import io
import math
import os
import re
import resource
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from seg_anl.engine import step_graph
from seg_anl.engine.checkpoint import load_checkpoint, load_model, read_checkpoint, save_checkpoint
from seg_anl.engine.distribution import Process
from seg_anl.engine.loggers import TensorBoard
from seg_anl.engine.loop import Task, Training, check_penalties, fit
from seg_anl.engine.optimization import add_l1_subgradient, build_optimizer, build_schedule
from seg_anl.engine.randomness import epoch_generator, random_states, restore_random_states, seed_everything
from seg_anl.engine.run_directory import RunDirectory
from seg_anl.engine.settings import LoopSettings, OptimSettings
from seg_anl.losses import build_loss
from seg_anl.records import MetricRow, UserError, read_metrics
from seg_anl.records.ranges import checked

CPU = Process(torch.device("cpu"))
SGD = OptimSettings("sgd", lr=0.1)


def data(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = epoch_generator(0, epoch, "data")
    for _ in range(3):
        inputs = torch.randn(8, 5, generator=generator)
        yield inputs, (inputs.sum(dim=1) > 0).long()


def task(values: list[float] | None = None) -> Task:
    def evaluate(model: nn.Module, epoch: int) -> dict[str, dict[str, float]]:
        assert not model.training
        return {"test": {"accuracy": values[epoch] if values else float(epoch)}}

    return Task(data, 3, evaluate, headline=("test", "accuracy"))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))


def opened(path: Path) -> RunDirectory:
    run = RunDirectory(path)
    run.create(OmegaConf.create({"seed": 1}))
    return run


def test_steps_are_those_written_out_by_hand(tmp_path: Path) -> None:
    """forward, loss, backward, L1 sub-gradient of every parameter, clip, step; schedule once per epoch."""
    optim = OptimSettings(
        "sgd", lr=0.5, momentum=0.9, weight_decay=1e-3, schedule="exponential", gamma=0.8, clip_norm=0.3, l1=1e-2
    )
    trained = network()
    settings = LoopSettings(epochs=3, progress=False)
    rows = fit(Training(trained, build_loss("anl_ce"), task(), opened(tmp_path)), settings, optim, CPU)

    expected, velocity, losses = network(), {}, []
    for epoch in range(3):
        for inputs, target in data(epoch):
            expected.zero_grad()
            loss = build_loss("anl_ce")(expected(inputs), target)
            loss.backward()
            losses.append(loss.item())
            gradients = [p.grad + 1e-2 * p.detach().sign() for p in expected.parameters()]
            norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
            for i, (p, g) in enumerate(zip(expected.parameters(), gradients, strict=True)):
                g = g * min(1.0, 0.3 / (norm + 1e-6)) + 1e-3 * p.detach()
                velocity[i] = g if i not in velocity else 0.9 * velocity[i] + g
                p.data -= 0.5 * 0.8**epoch * velocity[i]
    for p, q in zip(trained.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)
    train = [row.values for row in rows if row.split == "train"]
    assert [row["lr"] for row in train] == pytest.approx([0.5, 0.4, 0.32])
    assert [row["loss"] for row in train] == pytest.approx([sum(losses[i : i + 3]) / 3 for i in (0, 3, 6)], rel=1e-4)


def test_a_replayed_step_takes_each_batch_as_the_plain_step_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a graph that calls the step in place of a GPU, which no test on a CPU has."""
    captured = []

    def of_held(step: Callable[..., None], held: list[Tensor]) -> Callable[[], None]:
        captured.append(held)
        return lambda: step(*held)

    monkeypatch.setattr(step_graph, "_captured", of_held)
    batches = [(torch.full((3,), float(i)), torch.tensor([i])) for i in range(6)] + [(torch.ones(2), torch.ones(1))]
    found: list[list[Tensor]] = []
    step = step_graph.replayed(lambda *batch: found.append([one.clone() for one in batch]))
    for batch in batches:
        step(*batch)
    for some, batch in zip(found, batches, strict=True):
        assert all(torch.equal(*pair) for pair in zip(some, batch, strict=True))
    assert len(captured) == 1
    assert batches[3][0].eq(3).all()  # captured, and not written over by the later ones


def test_a_graph_of_steps_that_differ_is_refused() -> None:
    graph = LoopSettings(epochs=1, graph=True)
    check_penalties(graph, SGD, CPU)
    check_penalties(replace(graph, precision="bf16"), SGD, CPU)
    for settings, optim, process in (
        (graph, replace(SGD, jacobian=0.1), CPU),
        (graph, replace(SGD, name="adam"), CPU),
        (replace(graph, precision="fp16"), SGD, CPU),
        (graph, SGD, Process(torch.device("cpu"), 0, 2)),
    ):
        with pytest.raises(UserError, match="graph=true works with optim=sgd"):
            check_penalties(settings, optim, process)


def test_the_jacobian_penalty_pulls_a_linear_map_to_zero(tmp_path: Path) -> None:
    """The Jacobian of a linear network is its weight W, and half of the squared norm has W as gradient."""
    inputs = torch.zeros(4, 5)  # for which the loss itself has no gradient with respect to W

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        yield inputs, torch.tensor([0, 1, 0, 1])[:, None]

    model, loss = nn.Linear(5, 1), build_loss("ce", activation="sigmoid")
    start, value = model.weight.detach().clone(), loss(model(inputs), torch.tensor([0, 1, 0, 1])[:, None])
    brought = Task(batches, 1, task().evaluate, ("test", "accuracy"))
    settings, optim = LoopSettings(epochs=2, progress=False), OptimSettings("sgd", lr=0.5, momentum=0, jacobian=0.2)
    rows = fit(Training(model, loss, brought, opened(tmp_path)), settings, optim, CPU)
    torch.testing.assert_close(model.weight.detach(), start * (1 - 0.5 * 0.2) ** 2)
    losses = [row.values["loss"] for row in rows if row.split == "train"]
    assert losses[0] == pytest.approx((value + 0.1 * start.square().sum()).item())
    with pytest.raises(UserError, match=r"optim\.jacobian works in one process without compilation"):
        fit(Training(model, loss, brought, opened(tmp_path)), replace(settings, compile=True), optim, CPU)
    with pytest.raises(UserError, match=r"optim\.jacobian works in one process"):
        check_penalties(settings, optim, Process(torch.device("cpu"), 0, 2))


def test_the_last_epoch_has_a_checkpoint_though_none_is_due(tmp_path: Path) -> None:
    run = opened(tmp_path)
    fit(
        Training(network(), build_loss("ce"), task(), run),
        LoopSettings(epochs=3, checkpoint_every=2, progress=False),
        SGD,
        CPU,
    )
    assert read_checkpoint(run.last, CPU.device)["epoch"] == 3


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_progress_is_a_bar_on_a_terminal_and_a_line_per_epoch_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO]
) -> None:
    monkeypatch.setattr(sys, "stderr", stream())
    for epochs in (1, 3):  # the second resumes the first
        fit(Training(network(), build_loss("ce"), task(), opened(tmp_path)), LoopSettings(epochs=epochs), SGD, CPU)
    written = sys.stderr.getvalue()
    if stream is Terminal:
        assert re.search(r"epoch 3/3: 100%.* 9/9 .*loss=0\.\d{4}, test accuracy=2\.0000", written)
        assert "3/9" in written
    else:
        line = r"epoch {}: loss 0\.\d{{4}}, test accuracy {}\.0000, \S+ s an epoch, 00:0\d left\n"
        assert re.fullmatch(line.format("1/1", 0) + line.format("2/3", 1) + line.format("3/3", 2), written)


@pytest.mark.parametrize(("stop", "checkpoint_every"), [(1, 1), (2, 1), (3, 2), (1, 2)])
def test_resuming_equals_never_stopping(tmp_path: Path, stop: int, checkpoint_every: int) -> None:
    """T-Loss's own parameter, Adam's moments, batch norm's statistics and the schedule all go on.

    metrics.csv has every finished epoch, also one whose checkpoint was not due; resuming cuts it back.
    """
    optim = OptimSettings("adam", lr=1e-2, schedule="cosine")

    def run(folder: Path, settings: LoopSettings, brought: Task) -> list:
        seed_everything(3)
        model = network()
        loss = build_loss("t_loss")
        return fit(Training(model, loss, brought, opened(folder)), settings, optim, CPU)

    class StopHereError(Exception):
        pass

    def stopping(model: nn.Module, epoch: int) -> dict[str, dict[str, float]]:
        if epoch == stop:
            raise StopHereError
        return {"test": {"accuracy": float(epoch)}}

    settings = LoopSettings(epochs=4, checkpoint_every=checkpoint_every, progress=False)
    whole = run(tmp_path / "whole", settings, task())
    with pytest.raises(StopHereError):
        run(tmp_path / "cut", settings, Task(data, 3, stopping, ("test", "accuracy")))
    assert len(read_metrics(tmp_path / "cut/metrics.csv")) == 2 * stop
    assert run(tmp_path / "cut", settings, task()) == whole
    assert (tmp_path / "cut/metrics.csv").read_bytes() == (tmp_path / "whole/metrics.csv").read_bytes()
    states = [
        read_checkpoint(tmp_path / name / "checkpoints/last.pt", torch.device("cpu")) for name in ("whole", "cut")
    ]
    assert torch.equal(states[0]["loss"]["log_nu"], states[1]["loss"]["log_nu"])
    assert states[0]["loss"]["log_nu"].item() != 1.0


def test_best_is_the_epoch_with_the_highest_headline(tmp_path: Path) -> None:
    run = opened(tmp_path)
    fit(
        Training(network(), build_loss("ce"), task([0.1, 0.9, 0.5]), run),
        LoopSettings(epochs=3, progress=False),
        OptimSettings("sgd", 0.1),
        CPU,
    )
    assert read_checkpoint(run.best, CPU.device)["epoch"] == 2
    assert read_checkpoint(run.last, CPU.device)["epoch"] == 3


def test_a_diverged_run_says_so_and_keeps_the_epoch_before(tmp_path: Path) -> None:
    def exploding(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, target in data(epoch):
            yield (inputs * float("inf") if epoch == 1 else inputs), target

    run = opened(tmp_path)
    brought = Task(exploding, 3, task().evaluate, ("test", "accuracy"))
    with pytest.raises(UserError, match=r"became nan in epoch 2; lower optim\.lr"):
        fit(
            Training(network(), build_loss("ce"), brought, run),
            LoopSettings(epochs=3, progress=False),
            OptimSettings("sgd", 0.1),
            CPU,
        )
    assert read_checkpoint(run.last, CPU.device)["epoch"] == 1


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_learns(tmp_path: Path, precision: str) -> None:
    settings, run = LoopSettings(epochs=25, precision=precision, progress=False), opened(tmp_path)
    rows = fit(Training(network(), build_loss("ce"), task(), run), settings, OptimSettings("adam", 3e-2), CPU)
    losses = [row.values["loss"] for row in rows if row.split == "train"]
    assert losses[-1] < 0.5 * losses[0]
    assert bool(read_checkpoint(run.last, CPU.device)["scaler"]) == (
        precision == "fp16"
    )  # only its gradients underflow


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_steps_skipped_on_overflow_leave_no_trace(name: str) -> None:
    """Half precision overflows in its first steps; what follows is as if they had not been."""
    optim = OptimSettings(name, lr=0.1)

    def after(gradients: list[float]) -> Tensor:
        freed = [torch.full((64,), math.nan) for _ in range(50)]  # for an optimizer that takes the memory it finds
        del freed
        model = nn.Linear(64, 1, bias=False)
        nn.init.ones_(model.weight)
        optimizer = build_optimizer(optim, model, build_loss("ce"))
        scaler = torch.amp.GradScaler("cpu")
        for gradient in gradients:
            model.weight.grad = scaler.scale(torch.full_like(model.weight, gradient))
            scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
        return model.weight.detach()

    assert torch.equal(after([math.inf, 1.0, 2.0, math.inf, 3.0]), after([1.0, 2.0, 3.0]))


def test_l1_reaches_biases_and_batch_norm() -> None:
    model = network()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    add_l1_subgradient(model.parameters(), 0.25)
    for parameter in model.parameters():
        assert torch.equal(parameter.grad, 0.25 * parameter.sign())


def test_loss_parameters_have_their_own_rate_without_decay_or_schedule() -> None:
    settings = OptimSettings("adam", lr=0.1, weight_decay=0.5, schedule="exponential", gamma=0.1, loss_lr=0.007)
    loss = build_loss("t_loss")
    optimizer = build_optimizer(settings, network(), loss)
    schedule = build_schedule(settings, optimizer, epochs=5)
    optimizer.step()
    schedule.step()
    net, own = optimizer.param_groups
    assert own["params"] == [loss.log_nu]
    assert (own["lr"], own["weight_decay"]) == (0.007, 0.0)
    assert (net["lr"], net["weight_decay"]) == (pytest.approx(0.01), 0.5)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"schedule": "cosine", "eta_min": 0.1}, [1.0, 0.1 + 0.9 * 0.75, 0.1 + 0.9 * 0.25]),
        ({"schedule": "polynomial"}, [1.0, 0.694253, 0.372041]),  # (2/3)^0.9 and (1/3)^0.9
        ({"schedule": "step", "gamma": 0.5, "step_size": 2}, [1.0, 1.0, 0.5]),
        ({"schedule": "exponential", "gamma": 0.8}, [1.0, 0.8, 0.64]),
        ({"schedule": "constant"}, [1.0, 1.0, 1.0]),
        ({"schedule": "milestones", "gamma": 0.1, "milestones": [1, 2]}, [1.0, 0.1, 0.01]),
    ],
)
def test_schedules(schedule: dict, expected: list[float]) -> None:
    settings = OptimSettings("sgd", lr=1.0, **schedule)
    optimizer = build_optimizer(settings, network(), build_loss("ce"))
    steps = build_schedule(settings, optimizer, epochs=3)
    seen = []
    for _ in range(3):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        steps.step()
    assert seen == pytest.approx(expected)


def test_bad_settings_are_named() -> None:
    for settings, message in (
        ({"name": "adamm"}, "optim.name=adamm: did you mean 'adam'"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"lr": 0}, "optim.lr must be a number > 0, got 0"),
        ({"milestones": [2, 1]}, r"optim.milestones must be a list of rising epochs > 0, got \[2, 1\]"),
        ({"milestones": 3}, "optim.milestones must be a list, got 3"),
        ({"l1": -1}, "optim.l1 must be a number >= 0, got -1"),
        ({"lr": None}, "optim.lr must be a number > 0, got None"),
        ({"step_size": 1.5}, "optim.step_size must be a whole number >= 1, got 1.5"),
        ({"nesterov": "abc"}, "optim.nesterov must be true or false, got 'abc'"),
        ({"nesterov": True, "momentum": 0}, "optim.nesterov=true needs optim.momentum > 0"),
        ({"clip_norm": "big"}, "optim.clip_norm must be a number > 0 or null, got 'big'"),
    ):
        with pytest.raises(UserError, match=message):
            checked(OptimSettings, {"name": "sgd", "lr": 0.1, **settings}, "optim")


def test_random_states_round_trip(tmp_path: Path) -> None:
    import random

    import numpy as np

    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    seed_everything(5)
    draw()
    torch.save(random_states(), tmp_path / "states.pt")
    following = draw()
    seed_everything(6)
    restore_random_states(torch.load(tmp_path / "states.pt", weights_only=True))
    assert draw() == following


def test_a_file_that_is_no_checkpoint_is_refused_without_being_executed(tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "executed",))

    (tmp_path / "a.pt").write_bytes(pickle.dumps(Evil()))
    torch.save({"weights": 1}, tmp_path / "b.pt")
    (tmp_path / "c.pt").write_bytes(b"PK\x03\x04 half a file")
    for name in ("a.pt", "b.pt", "c.pt", "absent.pt"):
        with pytest.raises(UserError, match=name):
            load_checkpoint(tmp_path / name, device=CPU.device, parts={})
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("what", ["weights", "outputs"])
def test_a_run_that_diverges_in_its_last_step_is_not_finished(tmp_path: Path, what: str) -> None:
    """No loss is computed of the last step's weights; and finite weights may be so large that outputs are not."""
    model = nn.Sequential(nn.Linear(5, 6, bias=False), nn.Linear(6, 2, bias=False))
    if what == "outputs":
        inputs, optim = torch.ones(1, 5), OptimSettings("sgd", lr=1e-30, schedule="constant")

        def evaluate(model: nn.Module, epoch: int) -> dict[str, dict[str, float]]:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.fill_(1e30)
            return {"test": {"accuracy": model(inputs).argmax().item()}}
    else:
        optim = OptimSettings("sgd", lr=1e300)
        evaluate = task().evaluate
    run = opened(tmp_path)
    brought = Task(lambda epoch: list(data(epoch))[:1], 1, evaluate, ("test", "accuracy"))
    with pytest.raises(UserError, match=f"{what} are no longer finite numbers in epoch 1"):
        fit(Training(model, build_loss("mae"), brought, run), LoopSettings(epochs=1, progress=False), optim, CPU)
    assert not run.last.exists()
    assert not run.best.exists()


def saved(path: Path, **changes: object) -> Path:
    """A checkpoint of :func:`network` with some of its parts exchanged; None takes one out."""
    save_checkpoint(path, epoch=1, rows=[MetricRow(0, "test", {"accuracy": 0.5})], parts={"model": network()})
    if changes:
        state = {**torch.load(path, weights_only=True), **changes}
        torch.save({name: part for name, part in state.items() if part is not ...}, path)
    return path


def written(state: object) -> str:
    """Every value of a state, those of tensors too."""
    if isinstance(state, dict):
        return str({name: written(value) for name, value in state.items()})
    return str(state.tolist() if isinstance(state, Tensor) else state)


def test_a_flipped_bit_never_goes_unnoticed(tmp_path: Path) -> None:
    path = saved(tmp_path / "last.pt")
    whole, state, refused = path.read_bytes(), read_checkpoint(path, CPU.device), 0
    generator = np.random.default_rng(0)
    for position in generator.choice(len(whole), 300, replace=False).tolist():
        flipped = bytearray(whole)
        flipped[position] ^= 1 << int(generator.integers(8))
        path.write_bytes(flipped)
        try:
            found = read_checkpoint(path, CPU.device)
        except UserError:
            refused += 1
        else:  # a bit between the parts, or of an entry's date
            assert written(found) == written(state)
    assert refused > 200
    path.write_bytes(whole)
    assert load_checkpoint(path, device=CPU.device, parts={"model": network()})[0] == 1


ROW = {"epoch": 0, "split": "test", "values": {"accuracy": 0.5}}
ROWS_WITH = [[{**ROW, "values": values}] for values in (None, [1], {"accuracy": "x"}, {"accuracy": None})]
WRONG_FORMS: dict[str, list[object]] = {  # "..." is a part left out
    "epoch": [..., "one", None, 1.0, -1, 7, True, torch.ones(2)],
    "rows": [..., None, "text", [1], [{}], [[ROW]], [{**ROW, "epoch": 1}], [{**ROW, "more": 1}], *ROWS_WITH],
    "random": [..., None, [], {}, {"python": 1}, {"python": [3, [1], None], "numpy": []}],
    "model": [..., None, [], "text", 1, {}, {"0.weight": "x"}, {1: 2}, {"0.weight": torch.ones(1)}],
    "schema": [None, "1", 2, torch.ones(2), [1], True],
}


@pytest.mark.parametrize("part", WRONG_FORMS)
def test_a_checkpoint_of_another_inner_form_is_one_line(tmp_path: Path, part: str) -> None:
    for value in WRONG_FORMS[part]:
        path = saved(tmp_path / "last.pt", **{part: value})
        with pytest.raises(UserError, match=r"last\.pt: ") as refusal:
            load_checkpoint(path, device=CPU.device, parts={"model": network()})
        assert "\n" not in str(refusal.value)


def test_a_checkpoint_that_unfolds_or_is_no_file_is_not_opened(tmp_path: Path) -> None:
    whole = saved(tmp_path / "last.pt")
    with (
        zipfile.ZipFile(whole) as archive,
        zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in archive.namelist():
            packed.writestr(name, archive.read(name) + bytes(1 << 20))
    os.mkfifo(tmp_path / "fifo.pt")
    (tmp_path / "folder.pt").mkdir()
    for name in ("packed.pt", "fifo.pt", "folder.pt"):
        with pytest.raises(UserError, match=name):
            read_checkpoint(tmp_path / name, CPU.device)


def test_weights_that_are_not_finite_predict_nothing(tmp_path: Path) -> None:
    weights = network().state_dict()
    weights["0.bias"][0] = math.nan
    with pytest.raises(UserError, match="not finite"):
        load_model(saved(tmp_path / "last.pt", model=weights), network(), CPU.device)


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file can grow beyond ``size`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tmp_path: Path, size: int) -> None:
    path = saved(tmp_path / "last.pt")
    before = path.read_bytes()
    with full_disk(size), pytest.raises(UserError, match=r"cannot write .*last\.pt: ") as refusal:
        saved(path)
    assert "\n" not in str(refusal.value)
    assert [each.name for each in tmp_path.iterdir()] == ["last.pt"]
    assert path.read_bytes() == before


def test_events_read_back_and_a_full_disk_ends_them_in_one_line(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first in (0, 2):  # killed and resumed from epoch 2: what was said of epoch 2 no longer holds
        board = TensorBoard(RunDirectory(tmp_path), first)
        for epoch in range(first, first + 3):
            board.log(epoch, {"test/accuracy": epoch + 0.5 * (first > 0)})
        board.close()
    events = EventAccumulator(str(tmp_path / "tb")).Reload().Scalars("test/accuracy")
    assert [(each.step, each.value) for each in events] == [(0, 0), (1, 1), (2, 2.5), (3, 3.5), (4, 4.5)]
    with full_disk(10), pytest.raises(UserError, match=r"cannot write .*tfevents"):
        TensorBoard(RunDirectory(tmp_path / "other"), 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file is a file"):
        TensorBoard(RunDirectory(tmp_path / "file"), 0)
