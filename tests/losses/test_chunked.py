"""Losses reduced in parts, and ANL-CE with its gradient written out, against plain automatic differentiation."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from seg_anl.losses import RobustLoss, build_loss, chunked, labeled_log_probs, list_losses
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


def test_elements_of_elementwise_losses_do_not_see_each_other(make_loss: Any) -> None:
    """Those of all others do, or are images, or draw numbers: what is elementwise is chunked."""
    logits, labels = torch.randn(6, 3), torch.randint(3, (6,))
    for name in list_losses():
        loss = make_loss(name, reduction="none")
        alone = torch.allclose(loss(logits[2:4], labels[2:4]), loss(logits, labels)[2:4])
        assert loss.elementwise == (alone and not loss.draws and not loss.per_image), name


# Through log-probabilities, with written slopes, those that make something else of the logits first, those of sums.
@pytest.mark.parametrize(
    "name",
    [
        *["gce", "anl_ce", "ce_sr", "forward", "slsr", "epsilon_softmax", "logit_bias", "logit_clip"],
        *["t_loss", "nr_dice", "nlnl", "anl_fl_er"],
    ],
)
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_batch_in_several_parts(
    name: str, activation: str, make_loss: Any, evaluate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole samples and places of one, hard and soft labels, weights, ignored elements: all as in one piece."""
    classes = 2 if activation == "sigmoid" else 3
    loss = make_loss(name, classes, activation=activation, ignore_index=255, class_weights=[1.0, 0.5, 2.0])
    for spatial in ((), (4, 5)):
        logits, weight = 2 * torch.randn(5, 3, *spatial, dtype=torch.float64), torch.rand(5, *spatial)
        soft = torch.softmax(torch.randn_like(logits), dim=1)
        hard = torch.randint(classes, (5, *spatial) if activation == "softmax" else logits.shape)
        hard[1] = 255
        for target in (hard, soft):
            found = []
            for at_once in (10**9, 13, 70, 130):
                monkeypatch.setattr(chunked, "CHUNK_SIZE", at_once)
                monkeypatch.setattr(chunked, "MAX_CHUNKS", 1000)
                torch.manual_seed(1)
                found.append(evaluate(lambda z, t, w=weight: loss(z, t, w), logits, target))
                torch.manual_seed(1)
                with torch.no_grad():
                    found.append((loss(logits, target, weight), found[-1][1]))
            for one in found[1:]:
                torch.testing.assert_close(one, found[0], rtol=1e-10, atol=1e-12)


def test_large_batches_leave_little_memory_behind() -> None:
    """Peak of a step beyond logits and labels, in logits; cross entropy has 3."""
    logits, labels = torch.randn(1, 4, 128, 64, 64, requires_grad=True), torch.randint(4, (1, 128, 64, 64))
    for name in ("anl_ce", "anl_fl", "ce_sr", "ngce", "t_loss", "nr_dice", "nlnl", "anl_fl_er"):
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as trace:
            build_loss(name)(logits, labels).backward()
        logits.grad = None
        events = [e for e in trace.profiler.kineto_results.events() if e.name() == "[memory]"]  # type: ignore[union-attr]
        sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
        assert max(itertools.accumulate(sizes)) < 4.5 * 4 * logits.numel(), name


def test_learned_weights_and_labels_get_their_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked, "CHUNK_SIZE", 4)
    logits, soft = torch.randn(6, 3, requires_grad=True), torch.full((6, 3), 1 / 3, requires_grad=True)
    weight = torch.rand(6, requires_grad=True)
    each = build_loss("anl_ce", reduction="none")(logits, torch.zeros(6))
    (found,) = torch.autograd.grad(build_loss("anl_ce", reduction="sum")(logits, torch.zeros(6), weight), weight)
    torch.testing.assert_close(found, each)
    (found,) = torch.autograd.grad(build_loss("ce", reduction="sum")(logits, soft), soft)
    torch.testing.assert_close(found, -torch.log_softmax(logits, dim=1))


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


@pytest.mark.parametrize("name", ["t_loss", "nr_dice", "anl_ce_er"])
def test_second_derivatives_of_chunked_sums(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked, "CHUNK_SIZE", 4)
    loss = build_loss(name).double()
    logits, labels = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True), torch.randint(3, (2, 4))
    torch.autograd.gradgradcheck(lambda logits: loss(logits, labels), logits)


def test_backward_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first backward pass has its gradient from the forward pass; each other computes it again."""
    logits, labels = torch.randn(3, 4, requires_grad=True), torch.randint(4, (3,))
    loss, computed = build_loss("anl_ce"), []
    derivatives = loss.values_and_derivatives
    monkeypatch.setattr(loss, "values_and_derivatives", lambda *given: computed.append(1) or derivatives(*given))
    value = loss(logits, labels)
    assert len(computed) == 1
    value.backward(retain_graph=True)
    assert len(computed) == 1
    once = logits.grad.clone()
    value.backward(retain_graph=True)
    torch.testing.assert_close(logits.grad, 2 * once)
    value.backward()
    torch.testing.assert_close(logits.grad, 3 * once)
    assert len(computed) == 3
