"""Every loss compiles into one graph, and a schedule does not compile it again."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from .conftest import SINGLE

HAS_COMPILER = any(shutil.which(compiler) for compiler in ("c++", "g++", "clang++"))


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch.compiler.reset()


@pytest.mark.parametrize("name", SINGLE)
def test_one_graph_with_the_same_value_and_gradient(name: str, make_loss: Any, evaluate: Any) -> None:
    logits, labels = torch.randn(2, 3, 4, 4), torch.randint(3, (2, 4, 4))
    labels[0, 0] = 255
    loss = make_loss(name, ignore_index=255)
    expected, expected_gradient = evaluate(loss, logits, labels)
    value, gradient = evaluate(torch.compile(loss, fullgraph=True, backend="eager"), logits, labels)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, expected_gradient)


def test_generated_code_gives_the_same_values_and_gradient(make_loss: Any, evaluate: Any) -> None:
    """In one piece, as compiling takes many seconds: the most used loss, a statistic of the batch, a learned parameter.

    Each by its own weight, so that nothing of one stands in for another.
    """
    logits, labels = torch.randn(2, 2, 8, 8), torch.randint(2, (2, 8, 8))
    losses = torch.nn.ModuleList([make_loss(name, 2) for name in ("anl_ce", "anl_fl_er", "t_loss")])

    class Together(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.losses = losses

        def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return torch.stack([(k + 1) * loss(logits + k, labels) for k, loss in enumerate(self.losses)])

    expected, expected_gradient = evaluate(Together(), logits, labels)
    backend = "inductor" if HAS_COMPILER else "eager"
    values, gradient = evaluate(torch.compile(Together(), fullgraph=True, backend=backend), logits, labels)
    torch.testing.assert_close(values, expected)
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize(("activation", "dtype"), [("softmax", torch.float32), ("sigmoid", torch.bfloat16)])
def test_traced_derivatives_are_the_same(activation: str, dtype: torch.dtype, make_loss: Any, evaluate: Any) -> None:
    logits, target = torch.randn(2, 2, 5).to(dtype), torch.randint(2, (2, 5))
    target = torch.nn.functional.one_hot(target, 2).movedim(-1, 1)
    loss = make_loss("anl_ce", activation=activation)
    expected, expected_gradient = evaluate(loss, logits, target)
    value, gradient = evaluate(torch.compile(loss, fullgraph=True, backend="aot_eager"), logits, target)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize(
    ("name", "parameters", "epochs"),
    [
        ("ce_sr", {"rho": 2.0}, (0, 1, 7)),
        ("nlnl", {"nl_epochs": 1, "selnl_epochs": 1}, (0, 1, 2)),
        ("anl_ce", {}, (0, 1)),
    ],
)
def test_a_new_epoch_does_not_compile_again(
    name: str, parameters: dict[str, Any], epochs: tuple[int, ...], make_loss: Any, evaluate: Any
) -> None:
    logits, labels = torch.randn(4, 3, 6), torch.randint(3, (4, 6))
    loss = make_loss(name, **parameters)
    counter = CompileCounter()
    compiled = torch.compile(loss, fullgraph=True, backend=counter)
    values = []
    for epoch in epochs:
        loss.set_epoch(epoch)
        values.append(evaluate(compiled, logits, labels)[0])
        torch.testing.assert_close(values[-1], evaluate(loss, logits, labels)[0])
    assert counter.frame_count == 1
    assert name == "anl_ce" or len({value.item() for value in values}) == len(epochs)


def test_labels_are_not_checked_in_a_graph(make_loss: Any) -> None:
    """A look at their values would break the graph or wait for the device; `fullgraph` would refuse the first."""
    compiled = torch.compile(make_loss("ce"), fullgraph=True, backend="eager")
    assert compiled(torch.randn(2, 3), torch.tensor([0.0, 1.0])).isfinite()
