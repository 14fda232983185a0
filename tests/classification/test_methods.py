"""Methods: each test fails if the distinguishing step of its method is removed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from classification import settings
from classification.experiment import train
from classification.methods import build_method
from classification.methods.d2l import DimensionalityDriven, local_intrinsic_dimensionality
from classification.methods.forward import estimate_transition
from classification.networks import build_model
from seg_anl.engine.co_teaching import CrossedSmallLoss, Networks
from seg_anl.engine.command import compose
from seg_anl.engine.distribution import Process
from seg_anl.losses import ScheduledLoss, build_loss
from seg_anl.records import UserError

ALONE = Process(torch.device("cpu"))


def test_co_teaching_selects_samples_by_the_other_network() -> None:
    """A network gets gradients only from samples with a small loss in the *other* network."""
    target = torch.zeros(4, dtype=torch.long)
    first = torch.tensor([[9.0, 0], [9, 0], [0, 9], [0, 9]])  # small loss on samples 0 and 1
    second = torch.tensor([[0.0, 9], [9, 0], [9, 0], [0, 9]])  # small loss on samples 1 and 2
    output = torch.stack([first, second], dim=1).requires_grad_()
    criterion = CrossedSmallLoss(build_loss("ce"), settings.CoTeaching(0.5, 1), ALONE)
    criterion.set_epoch(5)
    criterion(output, target).backward()
    assert output.grad is not None
    # Sample 1 is already learned. With its own selection neither network would learn sample 0 or 2.
    taught = output.grad.abs().sum(dim=2) > 1e-3
    assert taught[:, 0].tolist() == [False, False, True, False]
    assert taught[:, 1].tolist() == [True, False, False, False]


def test_co_teaching_increases_the_forget_rate_gradually() -> None:
    criterion = CrossedSmallLoss(build_loss("ce"), settings.CoTeaching(0.4, 5), ALONE)
    kept = []
    for epoch in range(7):
        criterion.set_epoch(epoch)
        kept.append(criterion.kept)
    assert kept == pytest.approx([1.0, 0.9, 0.8, 0.7, 0.6, 0.6, 0.6])


def test_co_teaching_without_forgetting_is_two_plain_losses() -> None:
    output = torch.randn(6, 2, 3, generator=torch.Generator().manual_seed(0))
    target = torch.arange(6) % 3
    criterion = CrossedSmallLoss(build_loss("ce"), settings.CoTeaching(0.0, 3), ALONE)
    plain = build_loss("ce")
    torch.testing.assert_close(criterion(output, target), plain(output[:, 0], target) + plain(output[:, 1], target))


def test_co_teaching_networks_differ() -> None:
    torch.manual_seed(0)
    method = build_method(settings.CoTeaching(0.2, 3))
    pair = method.network(lambda: nn.Linear(4, 3))
    assert isinstance(pair, Networks)
    assert not torch.equal(pair.first.weight, pair.second.weight)
    assert pair(torch.zeros(5, 4)).shape == (5, 2, 3)


def test_co_teaching_of_equal_networks_is_refused(tmp_path: Path) -> None:
    """As of a file of weights whose head fits, too."""
    torch.save(build_model("cnn4", 10, 1, (8, 8)).state_dict(), tmp_path / "weights.pt")
    method = build_method(settings.CoTeaching(0.2, 3))
    with pytest.raises(UserError, match=r"networks that differ, and model\.weights makes all of them equal"):
        method.network(lambda: build_model("cnn4", 10, 1, (8, 8), str(tmp_path / "weights.pt")))
    method.network(lambda: build_model("cnn4", 9, 1, (8, 8), str(tmp_path / "weights.pt")))  # own heads


def test_transition_is_recovered() -> None:
    """The exact noisy posterior of nearly pure samples recovers the matrix."""
    transition = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.6, 0.4], [0.2, 0.0, 0.8]])
    pure = torch.full((300, 3), 1e-4)
    pure[torch.arange(300), torch.arange(300) % 3] = 1 - 2e-4
    torch.testing.assert_close(estimate_transition(pure @ transition, 100), transition, atol=1e-3, rtol=0)


def test_transition_ignores_outliers() -> None:
    """One outlier in a hundred samples determines a row at percentile 100, but not at 97."""
    honest = torch.tensor([[0.8, 0.2], [0.3, 0.7]]).repeat(200, 1)
    outlier = torch.tensor([[0.99, 0.01]])
    probabilities = torch.cat([honest, outlier])
    torch.testing.assert_close(estimate_transition(probabilities, 97)[0], torch.tensor([0.8, 0.2]))
    torch.testing.assert_close(estimate_transition(probabilities, 100)[0], outlier[0])


def test_forward_trains_with_the_estimated_matrix() -> None:
    method = build_method(settings.ForwardEstimated(100))
    method.learn(torch.eye(3).repeat(5, 1) * 0.7 + 0.1)
    output, target = torch.randn(8, 3, generator=torch.Generator().manual_seed(1)), torch.arange(8) % 3
    matrix = torch.eye(3) * 0.7 + 0.1
    expected = -(output.softmax(dim=1) @ matrix)[torch.arange(8), target].log().mean()
    criterion = method.criterion(build_loss("ce"), epochs=3, process=ALONE)
    torch.testing.assert_close(criterion(output, target), expected)
    assert abs(criterion(output, target) - build_loss("ce")(output, target)) > 1e-2


@pytest.mark.parametrize("dimension", [2, 5])
def test_dimensionality_of_a_linear_subspace(dimension: int) -> None:
    """Samples of a d-dimensional ball, rotated into 12 dimensions, have a local dimension of about d."""
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(2000, dimension, generator=generator)
    flat = flat / flat.norm(dim=1, keepdim=True) * torch.rand(2000, 1, generator=generator) ** (1 / dimension)
    turned = flat.double() @ torch.linalg.qr(torch.randn(12, dimension, generator=generator)).Q.T.double()
    found = local_intrinsic_dimensionality(turned, 20)
    assert found.mean().item() == pytest.approx(dimension, rel=0.2)
    torch.testing.assert_close(local_intrinsic_dimensionality(turned * 8, 20), found)


def test_dimensionality_of_equal_samples_is_undefined() -> None:
    assert local_intrinsic_dimensionality(torch.ones(30, 4), 5).isnan().all()


class Scripted(DimensionalityDriven):
    """Returns the dimensions given by the test."""

    script: tuple[float, ...] = ()

    def _dimension(self, model: nn.Module, epoch: int, samples: object) -> float:
        return self.script[epoch]


def no_samples(epoch: int, count: int) -> Iterator[Tensor]:
    return iter(())


def test_d2l_restores_weights_and_lowers_the_label_weight() -> None:
    method = Scripted(settings.DimensionalityDriven(1, 3))
    method.script = (8.0, 4.0, 3.0, 3.1, 2.9, 6.0, 5.8)
    criterion = method.criterion(build_loss("ce"), epochs=10, process=ALONE)
    model = nn.Linear(2, 2)
    weights = []
    for epoch in range(7):
        with torch.no_grad():
            model.weight.fill_(float(epoch))
        found = method.after_epoch(model, epoch, no_samples)
        weights.append((model.weight[0, 0].item(), found["label_weight"]))
    # The dimension jumps in epoch 5: the weights of epoch 4 are restored; later epochs are kept.
    assert [weight for weight, _ in weights] == [0, 1, 2, 3, 4, 4, 6]
    assert [alpha for _, alpha in weights[:5]] == [1.0] * 5
    assert weights[5][1] == pytest.approx(math.exp(-6 / 10 * 6.0 / 2.9), rel=1e-5)
    assert weights[6][1] == pytest.approx(math.exp(-7 / 10 * 5.8 / 2.9), rel=1e-5)
    # The target is now mostly the network's own prediction.
    output, target = torch.tensor([[3.0, 0.0]]), torch.tensor([1])
    alpha = weights[6][1]
    log_probs = output.log_softmax(dim=1)[0]
    torch.testing.assert_close(criterion(output, target), -(alpha * log_probs[1] + (1 - alpha) * log_probs[0]))


def test_d2l_without_a_turning_point_is_cross_entropy() -> None:
    method = Scripted(settings.DimensionalityDriven(1, 3))
    method.script = tuple(8.0 - epoch for epoch in range(7))
    criterion = method.criterion(build_loss("ce"), epochs=7, process=ALONE)
    for epoch in range(7):
        assert method.after_epoch(nn.Linear(2, 2), epoch, no_samples)["label_weight"] == 1.0
    output = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    target = torch.arange(5) % 3
    torch.testing.assert_close(criterion(output, target), build_loss("ce")(output, target))


def test_d2l_resumes_from_its_state() -> None:
    script = (8.0, 4.0, 3.0, 3.1, 2.9, 6.0, 5.8)
    whole, before, after = (Scripted(settings.DimensionalityDriven(1, 3)) for _ in range(3))
    for method in (whole, before, after):
        method.script = script
        method.criterion(build_loss("ce"), epochs=10, process=ALONE)
    model = nn.Linear(2, 2)
    expected = [whole.after_epoch(model, epoch, no_samples) for epoch in range(7)]
    for epoch in range(5):
        before.after_epoch(model, epoch, no_samples)
    for name, part in after.state.items():
        part.load_state_dict(before.state[name].state_dict())
    assert [after.after_epoch(model, epoch, no_samples) for epoch in (5, 6)] == expected[5:]


def test_elr_averages_predictions_and_regularizes_towards_them() -> None:
    """Value and gradient against the paper's formulas, for two passes over the samples in different order."""
    beta, strength = 0.7, 3.0
    method = build_method(settings.EarlyLearning(strength, beta))
    criterion = method.criterion(build_loss("ce"), epochs=3, process=ALONE, samples=5, classes=3)
    generator = torch.Generator().manual_seed(0)
    target = torch.tensor([0, 1, 2, 0])
    remembered = torch.zeros(5, 3)
    for index in (torch.tensor([4, 0, 2, 1]), torch.tensor([2, 4, 1, 0])):
        output = torch.randn(4, 3, generator=generator).requires_grad_()
        p = output.detach().softmax(dim=1)
        remembered[index] = beta * remembered[index] + (1 - beta) * p
        t = remembered[index]
        agreement = (t * p).sum(dim=1)
        value = criterion(output, target, index)
        expected = -p[torch.arange(4), target].log().mean() + strength * (1 - agreement).log().mean()
        torch.testing.assert_close(value, expected)
        value.backward()
        # d/dz of log(1 - <p, t>) is p (<p, t> - t) / (1 - <p, t>), without gradient through the memory.
        of_memory = p * (agreement[:, None] - t) / (1 - agreement)[:, None]
        of_labels = p - torch.eye(3)[target]
        torch.testing.assert_close(output.grad, (of_labels + strength * of_memory) / 4)
    torch.testing.assert_close(criterion.state_dict()["memory"], remembered)
    assert remembered[3].sum() == 0  # never seen


def test_elr_memory_includes_all_processes() -> None:
    """Two halves of a batch in two processes give the same memory and mean loss as the whole batch."""
    generator = torch.Generator().manual_seed(0)
    output, target = torch.randn(6, 3, generator=generator), torch.arange(6) % 3
    index = torch.tensor([5, 2, 0, 7, 1, 3])
    options = settings.EarlyLearning(3.0, 0.7)

    def criterion(process: Process) -> ScheduledLoss:
        return build_method(options).criterion(build_loss("ce"), epochs=1, process=process, samples=8, classes=3)

    whole = criterion(ALONE)
    expected = whole(output, target, index)

    class Rank(Process):
        """One of two processes, with the other's data."""

        def gathered(self, part: Tensor, count: int) -> Tensor:
            assert count == 6
            return output.softmax(dim=1).clamp(1e-4, 1 - 1e-4) if part.is_floating_point() else index

    values = []
    for rank in (0, 1):
        half = criterion(Rank(torch.device("cpu"), rank, 2))
        values.append(half(output[rank::2], target[rank::2], index[rank::2]))
        torch.testing.assert_close(half.state_dict()["memory"], whole.state_dict()["memory"])
    torch.testing.assert_close(sum(values) / 2, expected)


def test_resumed_elr_run_matches_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def config(name: str, *more: str) -> DictConfig:
        small = ["method=elr", "data.limit=120", "data.test_limit=60", "batch_size=20", "epochs=3", "progress=false"]
        return compose("classification", [*small, "logger=null", "device=cpu", f"run_dir={tmp_path / name}", *more])

    def metrics(name: str) -> str:
        return (tmp_path / name / "metrics.csv").read_text()

    train(config("whole"))
    train(config("weak", "method.strength=0"))
    assert metrics("weak") != metrics("whole")
    with monkeypatch.context() as patch:
        patch.setattr("seg_anl.engine.progress.Progress.epoch", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(config("cut"))
    train(config("cut"))
    assert metrics("cut") == metrics("whole")
    for more, message in (
        (["runs_per_device=2", "seed=[1,2]"], "use runs_per_device=1"),
        (["data.weights_file=w.csv"], "method=elr does not support data.weights_file"),
        (["method=co_teaching", "method.unit=pixel"], "method.unit=pixel is for masks"),
    ):
        with pytest.raises(UserError, match=message):
            train(config("none", "run_dir=null", *more))
