"""Losses with a state: T-Loss, sparse regularization, forward correction and negative learning."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import multivariate_t

from seg_anl.losses import RobustLoss, build_loss, t_loss
from seg_anl.losses.student_t import student_t_nll


def through_a_file(source: RobustLoss, target: RobustLoss) -> RobustLoss:
    file = io.BytesIO()
    torch.save(source.state_dict(), file)
    file.seek(0)
    target.load_state_dict(torch.load(file, weights_only=True))
    return target


def test_state_of_t_loss() -> None:
    logits, labels = torch.randn(2, 2, 4, 4), torch.randint(2, (2, 4, 4))
    trained = build_loss("t_loss")
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
    trained(logits, labels).backward()
    optimizer.step()
    assert trained.log_nu.item() != 1.0
    restored = through_a_file(trained, build_loss("t_loss"))
    assert torch.equal(restored(logits, labels), trained(logits, labels))
    assert restored.numbers() == {"log_nu": trained.log_nu.item()}


def test_state_of_sparse_regularization() -> None:
    logits, labels = torch.randn(5, 3), torch.randint(3, (5,))
    for name in ("ce_sr", "fl_sr", "gce_sr"):
        scheduled = build_loss(name, rho=2.0)
        scheduled.set_epoch(3)
        restored = through_a_file(scheduled, build_loss(name, rho=2.0))
        assert torch.equal(restored(logits, labels), scheduled(logits, labels)), name
        assert not torch.equal(restored(logits, labels), build_loss(name, rho=2.0)(logits, labels)), name


def test_state_of_negative_learning() -> None:
    scheduled = build_loss("nlnl")
    scheduled.set_epoch(1500)
    assert through_a_file(scheduled, build_loss("nlnl")).stage == 3


def test_state_of_forward_correction() -> None:
    logits, labels = torch.randn(5, 2), torch.randint(2, (5,))
    known = build_loss("forward", transition=[[0.9, 0.1], [0.4, 0.6]])
    restored = through_a_file(known, build_loss("forward", transition=torch.eye(2)))
    assert torch.equal(restored(logits, labels), known(logits, labels))
    assert known.numbers() == {}  # a matrix is none


# Sparse regularization


@pytest.mark.parametrize(("every", "exponents"), [(1, [0, 1, 2, 3, 4]), (2, [0, 0, 1, 1, 2])])
def test_lambda_grows_by_rho_every_so_many_epochs(every: int, exponents: list[int]) -> None:
    loss = build_loss("ce_sr", lam=1.2, rho=1.5, every=every)
    for epoch, exponent in enumerate(exponents):
        loss.set_epoch(epoch)
        assert loss.lam.item() == pytest.approx(1.2 * 1.5**exponent)
    loss.set_epoch(0)  # the schedule depends on the epoch alone, not on the calls before
    assert loss.lam.item() == pytest.approx(1.2)


def test_sparse_regularization_does_not_see_the_size_of_logits() -> None:
    logits, labels = torch.randn(5, 3, 4), torch.randint(3, (5, 4))
    loss = build_loss("ce_sr")
    torch.testing.assert_close(loss(50 * logits, labels), loss(logits, labels))


# Negative learning


def negative_learning(stage: int, **parameters: Any) -> RobustLoss:
    loss = build_loss("nlnl", nl_epochs=1, selnl_epochs=1, reduction="none", **parameters)
    loss.set_epoch(stage - 1)
    return loss


def test_stages_of_negative_learning() -> None:
    loss = build_loss("nlnl")
    for epoch, stage in ((0, 1), (719, 1), (720, 2), (1439, 2), (1440, 3), (10_000, 3), (0, 1)):
        loss.set_epoch(epoch)
        assert loss.stage.item() == stage, epoch


@pytest.mark.parametrize("classes", [2, 5])
def test_a_complementary_class_is_never_the_label(classes: int) -> None:
    """Where the label is certain, -log(1 - p_c) is 0 for every other class and 100 for the label."""
    labels = torch.randint(classes, (10_000,))
    value = negative_learning(1)(100.0 * F.one_hot(labels, classes), labels)
    assert value.max() < 1e-6


def test_complementary_classes_are_uniform() -> None:
    """Class 0 is certain: an element with another label is worth 100 when it draws class 0, else 0."""
    logits = torch.tensor([100.0, 0.0, 0.0, 0.0]).expand(30_000, 4)
    labels = torch.full((30_000,), 2)
    drawn = (negative_learning(1)(logits, labels) > 50).double().mean().item()
    assert drawn == pytest.approx(1 / 3, abs=4 * math.sqrt(2 / 9 / 30_000))


def test_two_classes_leave_no_choice() -> None:
    logits, labels = torch.randn(50, 2), torch.randint(2, (50,))
    expected = -torch.log_softmax(logits, 1).gather(1, labels.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(negative_learning(1)(logits, labels), expected)


def test_many_complements_approach_their_mean() -> None:
    logits, labels = torch.randn(8, 4, dtype=torch.float64), torch.randint(4, (8,))
    p = torch.softmax(logits, dim=1)
    others = 1 - F.one_hot(labels, 4)
    expected = -(others * torch.log1p(-p)).sum(1) / 3
    torch.testing.assert_close(negative_learning(1, complements=3000)(logits, labels), expected, rtol=0.1, atol=0.02)


def test_selective_stages_count_the_believed_elements_only() -> None:
    logits, labels = 2 * torch.randn(400, 4), torch.randint(4, (400,))
    p = torch.softmax(logits, dim=1).gather(1, labels.unsqueeze(1)).squeeze(1)
    selnl, selpl = negative_learning(2)(logits, labels), negative_learning(3)(logits, labels)
    assert torch.equal(selnl > 0, p > 1 / 4)
    torch.testing.assert_close(selpl, torch.where(p > 0.5, -p.log(), 0.0))
    mean = build_loss("nlnl", nl_epochs=0, selnl_epochs=0)(logits, labels)
    torch.testing.assert_close(mean, -p[p > 0.5].log().mean())


def test_thresholds_are_settable() -> None:
    logits, labels = 2 * torch.randn(400, 4), torch.randint(4, (400,))
    p = torch.softmax(logits, dim=1).gather(1, labels.unsqueeze(1)).squeeze(1)
    assert torch.equal(negative_learning(2, selnl_threshold=0.4)(logits, labels) > 0, p > 0.4)
    assert torch.equal(negative_learning(3, selpl_threshold=0.9)(logits, labels) > 0, p > 0.9)


@pytest.mark.parametrize("stage", [1, 3])
def test_large_logits_of_negative_learning_keep_their_digits(stage: int, evaluate: Any) -> None:
    logits, labels = 1000 + 5 * torch.randn(400, 5), torch.randint(5, (400,))
    loss = negative_learning(stage, selpl_threshold=0.0)
    value, gradient = evaluate(loss, logits, labels)
    exact, exact_gradient = evaluate(loss, logits.double(), labels)
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient.double(), exact_gradient, rtol=1e-5, atol=1e-6)


def test_torchs_generator_decides() -> None:
    logits, labels = torch.randn(100, 5), torch.randint(5, (100,))
    loss = negative_learning(1)
    first, second = (torch.manual_seed(3) and loss(logits, labels) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, loss(logits, labels))


# T-Loss


@pytest.mark.parametrize("log_nu", [-1.0, 0.0, 1.0, 3.0])
@pytest.mark.parametrize("sigma", ["identity", "official"])
def test_t_loss_is_scipys_density(log_nu: float, sigma: str) -> None:
    rng = np.random.default_rng(0)
    probability, mask = rng.random((3, 4, 5)), rng.integers(2, size=(3, 4, 5))
    # The published code fixes the log-precision of every pixel at 1, the paper's formula has the identity.
    scale = np.eye(20) * (1.0 if sigma == "identity" else math.exp(-1.0))
    expected = [
        -multivariate_t(loc=m.ravel(), shape=scale, df=math.exp(log_nu)).logpdf(p.ravel())
        for p, m in zip(probability, mask, strict=True)
    ]
    value = t_loss(torch.tensor(probability), torch.tensor(mask), torch.tensor(log_nu), sigma=sigma)
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.parametrize("log_nu", [10.0, 12.0, 30.0, 50.0])
def test_t_loss_with_many_degrees_of_freedom_is_normal(log_nu: float) -> None:
    """It goes as 1 / nu to the density of the normal distribution; two log-gammas lose all digits on the way."""
    probability, mask = torch.rand(3, 400, dtype=torch.float64), torch.randint(2, (3, 400))
    learned = torch.tensor(log_nu, dtype=torch.float64, requires_grad=True)
    value = t_loss(probability, mask, learned, sigma="identity")
    squared = (probability - mask).square().sum(1)
    normal = (squared + 400 * math.log(2 * math.pi)) / 2
    correction = (2 * 400 - (squared - 400).square()) / 4 / math.exp(log_nu)
    torch.testing.assert_close(value, normal + correction, rtol=1e-12, atol=400**3 * math.exp(-2 * log_nu))
    (slope,) = torch.autograd.grad(value.sum(), learned)
    torch.testing.assert_close(slope, -correction.sum(), rtol=800 * math.exp(-log_nu) + 1e-3, atol=1e-11)
    far = t_loss(probability, mask, torch.tensor(1e4), sigma="identity")
    torch.testing.assert_close(far, normal)


@pytest.mark.parametrize("classes", [2, 4])
def test_t_loss_of_logits_is_scipys_density(classes: int) -> None:
    logits, labels = torch.randn(2, classes, 3, 4, dtype=torch.float64), torch.randint(classes, (2, 3, 4))
    value = build_loss("t_loss", nu=0.5, sigma="identity", reduction="none")(logits, labels)
    p = torch.softmax(logits, dim=1)
    distance = (p - F.one_hot(labels, classes).movedim(-1, 1)).square()
    per_image = (distance[:, 1] if classes == 2 else distance.sum(1)).sum((1, 2))
    # The density depends on the distance from its center alone: put all of it on the first of D = 12 coordinates.
    for image, squared in enumerate(per_image):
        point = np.zeros(12)
        point[0] = math.sqrt(squared)
        expected = -multivariate_t(loc=np.zeros(12), shape=np.eye(12), df=math.exp(0.5)).logpdf(point)
        assert value[image].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("sigma", ["identity", "official"])
def test_t_loss_is_per_image(sigma: str) -> None:
    logits, labels = torch.randn(4, 2, 5, 5), torch.randint(2, (4, 5, 5))
    each = build_loss("t_loss", sigma=sigma, reduction="none")(logits, labels)
    alone = [build_loss("t_loss", sigma=sigma)(logits[i : i + 1], labels[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(each, torch.stack(alone))


def test_per_pixel_t_loss_hardly_depends_on_the_size() -> None:
    logits, labels = torch.randn(1, 2, 32, 32), torch.randint(2, (1, 32, 32))
    large_logits, large_labels = logits.repeat(1, 1, 4, 4), labels.repeat(1, 4, 4)
    loss = build_loss("t_loss", per_pixel=True)
    assert loss(large_logits, large_labels).item() == pytest.approx(loss(logits, labels).item(), rel=0.02)
    total = build_loss("t_loss", per_pixel=False)
    torch.testing.assert_close(total(logits, labels) / 1024, loss(logits, labels))


def test_t_loss_leaves_out_ignored_images() -> None:
    logits, labels = torch.randn(2, 2, 5), torch.randint(2, (2, 5))
    labels[1] = 255
    loss = build_loss("t_loss", ignore_index=255)
    torch.testing.assert_close(loss(logits, labels), loss(logits[:1], labels[:1]))
    assert build_loss("t_loss", ignore_index=255, reduction="none")(logits, labels)[1] == 0


def test_t_loss_learns_its_tail() -> None:
    """The likelihood picks the degrees of freedom: few for a distance in the tail, many for one at the center."""
    learned = []
    for wrong_pixels in (0, 40):
        loss = build_loss("t_loss", nu=1.0, sigma="identity")
        optimizer = torch.optim.Adam(loss.parameters(), lr=0.1)
        logits = torch.full((1, 2, 50), 30.0)
        logits[:, 0, :wrong_pixels] = -30.0
        logits[:, 1, wrong_pixels:] = -30.0
        labels = torch.zeros(1, 50, dtype=torch.long)
        before = loss(logits, labels).item()
        for _ in range(20):
            optimizer.zero_grad()
            loss(logits, labels).backward()
            optimizer.step()
        assert loss(logits, labels).item() < before
        learned.append(loss.log_nu.item())
    assert learned[0] != pytest.approx(learned[1], abs=0.1)


def test_t_loss_of_large_images_is_exact_in_float32() -> None:
    """Two log-gammas of the order of D log D are subtracted: float32 would lose the difference."""
    p, y = torch.rand(1, 512, 512), torch.randint(2, (1, 512, 512))
    single, double = (t_loss(p.to(dtype), y, torch.tensor(1.0)) for dtype in (torch.float32, torch.float64))
    torch.testing.assert_close(single.double(), double, rtol=1e-6, atol=0)
    # Just above the change of formula, log-gammas still have the digits to tell every term of the series.
    nu, pixels = 1.2e5, 1e6
    expected = math.lgamma(nu / 2) - math.lgamma((nu + pixels) / 2) + pixels / 2 * math.log(math.pi * nu)
    found = student_t_nll(*torch.tensor([0.0, pixels, math.log(nu)], dtype=torch.float64), sigma="identity")
    assert found.item() == pytest.approx(expected, rel=0, abs=2e-8)
