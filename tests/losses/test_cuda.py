"""Every loss on a GPU in single precision against the CPU in double precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from seg_anl.losses import list_losses
from seg_anl.losses.inputs import gather_by_sum


def batch() -> tuple[Tensor, Tensor]:
    labels = torch.randint(3, (2, 16, 16))
    labels[0, :2] = 255
    return 3 * torch.randn(2, 3, 16, 16, dtype=torch.float64), labels


def close(found: Tensor, expected: Tensor, name: str = "") -> None:
    scale = expected.abs().max().item()
    torch.testing.assert_close(
        found.cpu().double(), expected, rtol=1e-3, atol=1e-4 * scale, msg=lambda said: f"{name}: {said}"
    )


@pytest.mark.cuda
def test_value_and_gradient(make_loss: Any, evaluate: Any) -> None:
    logits, labels = batch()
    for name in list_losses():
        loss = make_loss(name, ignore_index=255)
        if loss.draws:  # each device draws numbers of its own
            continue
        expected = evaluate(loss, logits, labels)
        found = evaluate(loss.cuda(), logits.float().cuda(), labels.cuda())
        for part, of_double in zip(found, expected, strict=True):
            close(part, of_double, name)


@pytest.mark.cuda
@pytest.mark.parametrize("name", ["ce", "anl_ce", "anl_ce_er", "gce", "t_loss"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_for_a_gpu(name: str, dtype: torch.dtype, make_loss: Any, evaluate: Any) -> None:
    logits, labels = torch.randn(4, 10, 12, 12).to(dtype), torch.randint(10, (4, 12, 12))
    loss = make_loss(name, 10)
    expected, expected_gradient = evaluate(loss, logits.double(), labels)
    torch.compiler.reset()
    compiled = torch.compile(loss.cuda(), fullgraph=True)
    value, gradient = evaluate(compiled, logits.cuda(), labels.cuda())
    close(value, expected)
    torch.testing.assert_close(
        gradient.cpu().double(), expected_gradient, rtol=2e-2, atol=1e-2 * expected_gradient.abs().max().item()
    )


@pytest.mark.cuda
@pytest.mark.parametrize("name", ["anl_ce", "ce", "gce"])
def test_a_batch_that_is_reduced_in_chunks(name: str, make_loss: Any, evaluate: Any) -> None:
    logits, labels = torch.randn(2, 3, 1100, 1100, dtype=torch.float64), torch.randint(3, (2, 1100, 1100))
    expected = evaluate(make_loss(name), logits, labels)
    for part, of_double in zip(
        evaluate(make_loss(name).cuda(), logits.float().cuda(), labels.cuda()), expected, strict=True
    ):
        close(part, of_double)


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 4, 4)])
def test_what_the_compiler_gets_in_place_of_a_gather(shape: tuple[int, ...]) -> None:
    log_probs = torch.randn(shape).log_softmax(1).requires_grad_()
    index = torch.randint(shape[1], (shape[0], 1, *shape[2:]))
    gathered, found = log_probs.gather(1, index).squeeze(1), gather_by_sum(log_probs, index)
    assert torch.equal(found, gathered)
    ones = torch.ones_like(found)
    assert torch.equal(*(torch.autograd.grad(one, log_probs, ones)[0] for one in (found, gathered)))
