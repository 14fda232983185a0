"""The Jacobian penalty against networks whose Jacobian is known."""

from __future__ import annotations

import pytest
import torch

from seg_anl.engine.jacobian import squared_jacobian_norm


def test_one_output_leaves_nothing_to_chance() -> None:
    """With one output the direction is +1 or -1: the penalty of a linear network is its squared weight, exactly."""
    torch.manual_seed(0)
    network = torch.nn.Linear(7, 1)
    inputs = torch.randn(5, 7, requires_grad=True)
    penalty = squared_jacobian_norm(inputs, network(inputs))
    torch.testing.assert_close(penalty, network.weight.square().sum())
    penalty.backward()
    torch.testing.assert_close(network.weight.grad, 2 * network.weight.detach())


def test_on_average_the_frobenius_norm() -> None:
    torch.manual_seed(0)
    network = torch.nn.Linear(7, 4)
    inputs = torch.randn(4000, 7, requires_grad=True)
    penalty = squared_jacobian_norm(inputs, network(inputs))
    assert penalty.item() == pytest.approx(network.weight.square().sum().item(), rel=0.05)


def test_samples_count_by_their_own_jacobian() -> None:
    """f(x) = x^2 / 2 has the Jacobian x: the mean over the batch of x^2."""
    inputs = torch.tensor([[1.0], [3.0]], requires_grad=True)
    torch.testing.assert_close(squared_jacobian_norm(inputs, inputs**2 / 2), torch.tensor(5.0))
