"""ANL-CE with its gradient written out against ANL-CE by automatic differentiation."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from seg_anl.losses import RobustLoss, build_loss, fused_anl_ce, labeled_log_probs
from seg_anl.losses.active_negative import anl_ce

PARAMETERS = [{}, {"alpha": 0.0}, {"beta": 0.0}, {"alpha": 10.0, "beta": 1.0}, {"p_min": 1e-2}, {"p_min": 0.05}]


def defined(loss: RobustLoss, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The mean of the definition, free of the fused code."""
    return anl_ce(labeled_log_probs(logits, labels), **loss.hyperparameters).mean()


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_value_and_gradient(parameters: dict[str, Any], evaluate: Any) -> None:
    loss = build_loss("anl_ce", **parameters)
    for scale, shape in itertools.product((1.0, 10.0, 100.0), ((9, 3), (4, 2, 6, 5), (2, 7, 3, 3, 3))):
        logits = scale * torch.randn(shape, dtype=torch.float64)
        labels = torch.randint(shape[1], (shape[0], *shape[2:]))
        value, gradient = evaluate(loss, logits, labels)
        expected, expected_gradient = evaluate(lambda x, y: defined(loss, x, y), logits, labels)
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-14)
        with torch.no_grad():
            torch.testing.assert_close(loss(logits, labels), expected)


def test_a_batch_in_several_parts(monkeypatch: pytest.MonkeyPatch, evaluate: Any) -> None:
    logits, labels = torch.randn(5, 3, 4), torch.randint(3, (5, 4))
    whole = evaluate(build_loss("anl_ce"), logits, labels)
    for at_once in (1, 24, 36):  # one, two and three samples
        monkeypatch.setattr(fused_anl_ce, "LOGITS_AT_ONCE", at_once)
        torch.testing.assert_close(evaluate(build_loss("anl_ce"), logits, labels), whole)


def test_weighted_elements() -> None:
    logits, labels = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True), torch.randint(4, (3, 5))
    weights = torch.rand(3, 5, dtype=torch.float64)
    loss = build_loss("anl_ce", reduction="none")
    (gradient,) = torch.autograd.grad((weights * loss(logits, labels)).sum(), logits)
    by_definition = anl_ce(labeled_log_probs(logits, labels), **loss.hyperparameters)
    (expected,) = torch.autograd.grad((weights * by_definition).sum(), logits)
    torch.testing.assert_close(gradient, expected)


def test_second_derivatives() -> None:
    logits, labels = torch.randn(3, 4, dtype=torch.float64, requires_grad=True), torch.randint(4, (3,))
    loss = build_loss("anl_ce")
    torch.autograd.gradgradcheck(lambda logits: loss(logits, labels), logits)
    ours, theirs = (
        torch.autograd.grad(value, logits, create_graph=True)[0].square().sum()
        for value in (loss(logits, labels), defined(loss, logits, labels))
    )
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(ours, logits), torch.autograd.grad(theirs, logits))


def test_backward_twice() -> None:
    logits, labels = torch.randn(3, 4, requires_grad=True), torch.randint(4, (3,))
    value = build_loss("anl_ce")(logits, labels)
    value.backward(retain_graph=True)
    once = logits.grad.clone()
    value.backward()
    torch.testing.assert_close(logits.grad, 2 * once)


def test_through_a_network() -> None:
    network, images, labels = torch.nn.Conv2d(1, 3, 3), torch.randn(2, 1, 8, 8), torch.randint(3, (2, 6, 6))
    loss = build_loss("anl_ce")
    loss(network(images), labels).backward()
    ours = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    defined(loss, network(images), labels).backward()
    for mine, expected in zip(ours, network.parameters(), strict=True):
        torch.testing.assert_close(mine, expected.grad)
