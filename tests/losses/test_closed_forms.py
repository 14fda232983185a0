"""Losses against their formulas, written from the papers in NumPy for probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.special import softmax

from seg_anl.losses import build_loss

Array = NDArray[np.float64]
Formula = Callable[[Array, NDArray[np.int64]], Array]
# In powers of two: the matrix is kept in float32.
TRANSITION = np.array([[5, 2, 1, 0], [0, 7, 1, 0], [2, 2, 2, 2], [0, 0, 3, 5]]) / 8


def of_label(p: Array, y: NDArray[np.int64]) -> Array:
    return p[np.arange(len(p)), y]


def one_hot(p: Array, y: NDArray[np.int64]) -> Array:
    return np.eye(p.shape[1])[y]


def equal_loss(epsilon: float) -> Formula:
    return lambda p, y: -(1 + epsilon) * np.log((of_label(p, y) + epsilon) / (1 + epsilon))


def equal_loss_smoothed(epsilon: float, smoothing: float) -> Formula:
    def formula(p: Array, y: NDArray[np.int64]) -> Array:
        target = (1 - smoothing) * one_hot(p, y) + smoothing / p.shape[1]
        return (target * -(1 + epsilon) * np.log((p + epsilon) / (1 + epsilon))).sum(1)

    return formula


def smoothed(smoothing: float) -> Formula:
    return lambda p, y: -(((1 - smoothing) * one_hot(p, y) + smoothing / p.shape[1]) * np.log(p)).sum(1)


def bootstrapped(beta: float, believed: Callable[[Array], Array]) -> Formula:
    return lambda p, y: -((beta * one_hot(p, y) + (1 - beta) * believed(p)) * np.log(p)).sum(1)


def partially_huberized(tau: float) -> Formula:
    def formula(p: Array, y: NDArray[np.int64]) -> Array:
        py = of_label(p, y)
        return np.where(py <= 1 / tau, -tau * py + np.log(tau) + 1, -np.log(py))

    return formula


def taylor(order: int) -> Formula:
    return lambda p, y: sum((1 - of_label(p, y)) ** i / i for i in range(1, order + 1))


def focal(p: Array, gamma: float) -> Array:
    return -((1 - p) ** gamma) * np.log(p)


def normalized_focal(gamma: float) -> Formula:
    return lambda p, y: focal(of_label(p, y), gamma) / focal(p, gamma).sum(1)


def normalized_negative_focal(gamma: float, p_min: float) -> Formula:
    def formula(p: Array, y: NDArray[np.int64]) -> Array:
        p = np.maximum(p, p_min)
        highest = focal(np.float64(p_min), gamma)
        return 1 - (highest - focal(of_label(p, y), gamma)) / (highest - focal(p, gamma)).sum(1)

    return formula


def entropy_regularized(formula: Formula, lam: float) -> Formula:
    def regularized(p: Array, y: NDArray[np.int64]) -> Array:
        marginal = p.mean(0)
        return formula(p, y) + lam * (np.log(p.shape[1]) + (marginal * np.log(marginal)).sum())

    return regularized


def plus(alpha: float, first: Formula, beta: float, second: Formula) -> Formula:
    return lambda p, y: alpha * first(p, y) + beta * second(p, y)


def biased(p: Array, y: NDArray[np.int64], bias: float) -> Array:
    raised = p * np.exp(bias * one_hot(p, y))
    return raised / raised.sum(1, keepdims=True)


def jensen_shannon(pi: float) -> Formula:
    def divergence(p: Array, m: Array) -> Array:
        return np.where(p > 0, p * np.log(np.maximum(p, 1e-300) / m), 0).sum(1)

    def formula(p: Array, y: NDArray[np.int64]) -> Array:
        label = one_hot(p, y)
        mixture = pi * label + (1 - pi) * p
        value = pi * divergence(label, mixture) + (1 - pi) * divergence(p, mixture)
        return value / (-(1 - pi) * np.log(1 - pi))

    return formula


ANL_FL = plus(5, normalized_focal(0.5), 5, normalized_negative_focal(0.5, 1e-7))

FORMULAS: list[tuple[str, dict[str, Any], Formula]] = [
    ("nmae", {}, lambda p, y: (1 - of_label(p, y)) / (p.shape[1] - 1)),
    ("nrce", {}, lambda p, y: (1 - of_label(p, y)) / (p.shape[1] - 1)),
    ("el", {}, equal_loss(0.1)),
    ("el", {"epsilon": 0.8}, equal_loss(0.8)),
    ("el", {"epsilon": 5.0}, equal_loss(5.0)),
    ("el_lsr", {}, equal_loss_smoothed(0.1, 0.1)),
    ("el_lsr", {"epsilon": 2.0, "smoothing": 0.3}, equal_loss_smoothed(2.0, 0.3)),
    ("lsr", {}, smoothed(0.1)),
    ("bootstrap_soft", {}, bootstrapped(0.95, lambda p: p)),
    ("bootstrap_hard", {}, bootstrapped(0.8, lambda p: np.eye(p.shape[1])[p.argmax(1)])),
    ("phuber_ce", {}, partially_huberized(2.0)),
    ("phuber_ce", {"tau": 10.0}, partially_huberized(10.0)),
    ("taylor_ce", {}, taylor(2)),
    ("taylor_ce", {"t": 6}, taylor(6)),
    ("forward", {"transition": TRANSITION}, lambda p, y: -np.log(of_label(p @ TRANSITION, y))),
    ("gce", {"q": 0.3, "exact_official": False}, lambda p, y: (1 - of_label(p, y) ** 0.3) / 0.3),
    ("agce", {}, lambda p, y: (2.0**2 - (1 + of_label(p, y)) ** 2) / 2),
    ("agce", {"a": 0.3, "q": 0.5}, lambda p, y: (1.3**0.5 - (0.3 + of_label(p, y)) ** 0.5) / 0.5),
    ("aul", {}, lambda p, y: ((1.5 - of_label(p, y)) ** 0.9 - 0.5**0.9) / 0.9),
    ("ael", {}, lambda p, y: np.exp(-of_label(p, y) / 3)),
    ("focal", {"gamma": 2.0}, lambda p, y: focal(of_label(p, y), 2.0)),
    ("nfl", {"gamma": 1.3}, normalized_focal(1.3)),
    ("nnfl", {"gamma": 2.0, "p_min": 1e-3}, normalized_negative_focal(2.0, 1e-3)),
    ("amse", {"a": 4.0}, lambda p, y: ((p - 4 * one_hot(p, y)) ** 2).mean(1)),
    ("unhinged", {}, lambda p, y: np.log(p).mean(1) - np.log(of_label(p, y))),
    ("js", {"pi": 0.3}, jensen_shannon(0.3)),
    ("logit_bias", {"base": "mae", "bias": 1.5}, lambda p, y: 1 - of_label(biased(p, y, 1.5), y)),
    ("logit_bias", {"base": "gce", "q": 0.5, "bias": -1.0}, lambda p, y: 2 - 2 * of_label(biased(p, y, -1), y) ** 0.5),
    ("slsr", {}, lambda p, y: -np.log(0.999 * of_label(p, y) + 5e-4)),
    ("anl_fl_er", {"lam": 0.7}, entropy_regularized(ANL_FL, 0.7)),
]


@pytest.mark.parametrize(("name", "parameters", "formula"), FORMULAS)
def test_formula(name: str, parameters: dict[str, Any], formula: Formula) -> None:
    rng = np.random.default_rng(0)
    scale = np.repeat([[0.3], [3.0]], 100, axis=0)
    logits, labels = scale * rng.standard_normal((200, 4)), rng.integers(4, size=200)
    value = build_loss(name, reduction="none", **parameters)(torch.tensor(logits), torch.tensor(labels))
    np.testing.assert_allclose(value, formula(softmax(logits, axis=1), labels), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("epsilon", [1e-3, 0.1, 1.0, 30.0])
def test_gradient_of_equal_loss_is_a_weighted_one_of_ce(epsilon: float, evaluate: Any) -> None:
    """Eq. 5 of the paper: (1 + eps) p_y / (p_y + eps) times that of CE."""
    logits, labels = 2 * torch.randn(50, 4, dtype=torch.float64), torch.randint(4, (50,))
    _, gradient = evaluate(build_loss("el", epsilon=epsilon), logits, labels)
    _, of_ce = evaluate(build_loss("ce"), logits, labels)
    p = torch.softmax(logits, dim=1).gather(1, labels.unsqueeze(1))
    torch.testing.assert_close(gradient, (1 + epsilon) * p / (p + epsilon) * of_ce)


def test_gradient_of_a_detached_focal_loss_is_a_weighted_one_of_ce(evaluate: Any) -> None:
    logits, labels = 2 * torch.randn(50, 4, dtype=torch.float64), torch.randint(4, (50,))
    _, gradient = evaluate(build_loss("focal", gamma=0.5), logits, labels)
    _, of_ce = evaluate(build_loss("ce"), logits, labels)
    p = torch.softmax(logits, dim=1).gather(1, labels.unsqueeze(1))
    torch.testing.assert_close(gradient, (1 - p).sqrt() * of_ce)


def test_gradient_of_nnce_is_the_papers() -> None:
    """Eq. 16 of the paper, with respect to the probabilities."""
    highest = -np.log(1e-7)
    p = torch.softmax(torch.randn(1, 5, dtype=torch.float64), dim=1).requires_grad_()
    # Softmax of log p is p, and p_j enters the loss through log p_j alone.
    log_probs = p.log()
    y = 2
    flipped = highest + log_probs
    expected = (1 / p * flipped[:, y] / flipped.sum() ** 2).detach()
    expected[:, y] = (-(flipped.sum() - flipped[:, y]) / (p[:, y] * flipped.sum() ** 2)).detach()

    value = build_loss("nnce")(log_probs, torch.tensor([y]))
    (of_logits,) = torch.autograd.grad(value, p)
    # The softmax in between takes out the mean of p dL/dp, which the simplex does not see.
    torch.testing.assert_close(of_logits, expected - (expected * p.detach()).sum() * torch.ones_like(p))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_clamped_and_smooth_floor_agree_above_it(gamma: float) -> None:
    logits, labels = torch.randn(20, 4, dtype=torch.float64), torch.randint(4, (20,))
    for name, own in (("nnce", {}), ("nnfl", {"gamma": gamma}), ("gce", {}), ("ngce", {}), ("anl_ce", {})):
        clamped = build_loss(name, **own)(logits, labels)
        smooth = build_loss(name, exact_official=False, **own)(logits, labels)
        torch.testing.assert_close(smooth, clamped, rtol=1e-5, atol=1e-6)


def test_the_published_clamp_freezes_hopeless_samples_and_its_absence_does_not(evaluate: Any) -> None:
    logits, labels = torch.tensor([[-20.0, 0.0, 0.1]], dtype=torch.float64), torch.tensor([0])
    for name in ("gce", "nnce"):
        assert evaluate(build_loss(name), logits, labels)[1][0, 0].abs() < 1e-8
    assert evaluate(build_loss("gce", exact_official=False), logits, labels)[1][0, 0].abs() > 1e-8


def test_sparse_regularization_is_the_papers() -> None:
    rng = np.random.default_rng(0)
    logits, labels = 3 * rng.standard_normal((40, 5)), rng.integers(5, size=40)
    p = softmax(logits / np.linalg.norm(logits, axis=1, keepdims=True) / 0.3, axis=1)
    expected = -np.log(of_label(p, labels)) + 2.0 * (p**0.2).sum(1)
    loss = build_loss("ce_sr", tau=0.3, p=0.2, lam=2.0, reduction="none")
    np.testing.assert_allclose(loss(torch.tensor(logits), torch.tensor(labels)), expected, rtol=1e-6)


def test_spatial_smoothing_under_sigmoid_is_a_binary_cross_entropy() -> None:
    logits, present, noisy = torch.randn(2, 3, 8), torch.randint(2, (2, 3, 8)), torch.randint(2, (2, 8))
    loss = build_loss("slsr", epsilon=0.3, activation="sigmoid", reduction="none")
    flipped = 0.3 * noisy.unsqueeze(1)
    smoothed = torch.where(present == 1, 1 - flipped, flipped)
    expected = F.binary_cross_entropy(0.999 * torch.sigmoid(logits) + 5e-4, smoothed, reduction="none")
    for mask in (noisy, 7 * noisy.unsqueeze(1)):  # of any number but 0
        torch.testing.assert_close(loss(logits, present, noisy=mask), expected)
    with pytest.raises(ValueError, match="smooths hard labels"):
        loss(logits, smoothed, noisy=noisy)
