"""Losses under the transforms of ``torch.func``, against a Python loop over plain automatic differentiation."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jvp, stack_module_state, vmap

from seg_anl.losses import build_loss

NAMES = ["gce", "anl_ce", "anl_fl_er", "ce_sr", "forward", "nlnl", "nr_dice", "t_loss"]  # one of each kind
# With "same", every batch draws what it would draw alone after the generator was seeded anew.
RANDOMNESS = "same"


def stacked_batches(
    activation: str = "softmax", *, classes: int = 3, ignored: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Four batches of two images: logits (4, 2, C, 5), targets (4, 2, 5) or multi-hot (4, 2, C, 5)."""
    logits = 2 * torch.randn(4, 2, classes, 5)
    target = torch.randint(2, logits.shape) if activation == "sigmoid" else torch.randint(classes, (4, 2, 5))
    if ignored:  # another number of elements counts in each batch; in the last none
        target[0, 0, 0] = target[1, :, :3] = target[3] = 255
    return logits, target


def one_by_one(evaluate: Any, loss: Any, logits: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Values and gradients of each batch by a loop."""
    pairs = [evaluate(loss, *batch) for batch in zip(logits, target, strict=True)]
    return tuple(torch.stack(part) for part in zip(*pairs, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_stacked_batches(name: str, make_loss: Any, evaluate: Any) -> None:
    for activation, ignored in itertools.product(("softmax", "sigmoid"), (False, True)):
        logits, target = stacked_batches(activation, ignored=ignored)
        classes = 2 if activation == "sigmoid" else 3
        loss = make_loss(name, classes, activation=activation, ignore_index=255 if ignored else None)
        values, gradients = one_by_one(evaluate, loss, logits, target)

        torch.manual_seed(1)
        torch.testing.assert_close(vmap(loss, randomness=RANDOMNESS)(logits, target), values)
        torch.manual_seed(1)
        torch.testing.assert_close(vmap(grad(loss), randomness=RANDOMNESS)(logits, target), gradients)


@pytest.mark.parametrize("name", ["anl_ce", "t_loss"])
def test_targets_of_other_forms(name: str, make_loss: Any) -> None:
    logits, labels = stacked_batches()
    one_hot = torch.nn.functional.one_hot(labels, 3).movedim(-1, 2)
    per_batch = vmap(grad(make_loss(name)))
    for other in (labels.float(), labels.unsqueeze(2), one_hot, one_hot > 0):
        assert torch.equal(per_batch(logits, other), per_batch(logits, labels))


@pytest.mark.parametrize("name", ["anl_ce", "nlnl", "nr_dice", "t_loss"])
def test_gradient_in_64_bits_and_one_value_per_element(name: str, make_loss: Any, evaluate: Any) -> None:
    logits, labels = (part[0] for part in stacked_batches())
    loss = make_loss(name, reduction="none")
    weights = torch.rand_like(loss(logits, labels)).double()

    def weighted(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return (weights * loss(logits, labels)).sum()

    _, expected = evaluate(weighted, logits.double(), labels)
    torch.manual_seed(1)
    torch.testing.assert_close(grad(weighted)(logits.double(), labels), expected)


@pytest.mark.parametrize("name", NAMES)
def test_directional_derivative_is_the_gradient_in_that_direction(name: str, make_loss: Any, evaluate: Any) -> None:
    logits, labels = (part[0] for part in stacked_batches())
    direction = torch.randn_like(logits)
    loss = make_loss(name)
    value, gradient = evaluate(loss, logits, labels)
    torch.manual_seed(1)
    pushed_value, pushed = jvp(lambda x: loss(x, labels), (logits,), (direction,))
    torch.testing.assert_close(pushed_value, value)
    torch.testing.assert_close(pushed, (gradient * direction).sum(), rtol=1e-5, atol=1e-5)

    torch.manual_seed(1)
    with forward_ad.dual_level():
        dual = loss(forward_ad.make_dual(logits, direction), labels)
        torch.testing.assert_close(forward_ad.unpack_dual(dual).tangent, pushed)


@pytest.mark.parametrize("name", ["ce", "anl_ce", "anl_ce_er", "t_loss", "ce_sr", "forward", "el_lsr"])
def test_hessian_is_that_of_autograd(name: str, make_loss: Any) -> None:
    logits, labels = torch.randn(2, 3, dtype=torch.float64), torch.tensor([0, 2])
    loss = make_loss(name)
    expected = torch.autograd.functional.hessian(lambda x: loss(x, labels), logits)
    torch.testing.assert_close(hessian(lambda x: loss(x, labels))(logits), expected)


@pytest.mark.parametrize("name", ["anl_ce", "nlnl", "nr_dice", "t_loss"])
def test_per_sample_gradients_of_a_network(name: str, make_loss: Any) -> None:
    network, images, labels = torch.nn.Conv1d(2, 3, 1), torch.randn(4, 2, 5), torch.randint(3, (4, 5))
    loss = make_loss(name)

    def of_sample(parameters: Any, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return loss(functional_call(network, parameters, (image.unsqueeze(0),)), label.unsqueeze(0))

    parameters = dict(network.named_parameters())
    torch.manual_seed(1)
    gradients = vmap(grad(of_sample), in_dims=(None, 0, 0), randomness=RANDOMNESS)(parameters, images, labels)
    for sample in range(4):
        torch.manual_seed(1)
        value = loss(network(images[sample : sample + 1]), labels[sample : sample + 1])
        for parameter, expected in zip(parameters, torch.autograd.grad(value, parameters.values()), strict=True):
            torch.testing.assert_close(gradients[parameter][sample], expected)


# The state of a loss, given from outside.


def test_gradient_of_t_loss_in_its_own_parameter() -> None:
    logits, labels = (part[0] for part in stacked_batches())
    loss = build_loss("t_loss", nu=0.3)
    (expected,) = torch.autograd.grad(loss(logits, labels), loss.log_nu)
    state = {"log_nu": torch.tensor(0.3)}
    by_func = grad(lambda state: functional_call(loss, state, (logits, labels)))(state)
    torch.testing.assert_close(by_func["log_nu"], expected)


@pytest.mark.parametrize(
    ("name", "variants"),
    [
        ("t_loss", [{"nu": nu} for nu in (-1.0, 0.5, 2.0)]),
        ("ce_sr", [{"lam": lam} for lam in (0.0, 0.7, 4.0)]),
        ("forward", [{"transition": (1 - r) * torch.eye(3) + r / 3} for r in (0.0, 0.2, 0.5)]),
        ("nlnl", [{"nl_epochs": a, "selnl_epochs": b} for a, b in ((1, 1), (0, 1), (0, 0))]),
    ],
)
def test_an_ensemble_of_losses_by_their_stacked_states(name: str, variants: list[dict[str, Any]]) -> None:
    logits, labels = (part[0] for part in stacked_batches())
    losses = [build_loss(name, **parameters) for parameters in variants]
    expected = []
    for loss in losses:
        torch.manual_seed(1)
        expected.append(loss(logits, labels))
    state = {**stack_module_state(losses)[0], **stack_module_state(losses)[1]}
    torch.manual_seed(1)
    by_state = vmap(lambda state: functional_call(losses[0], state, (logits, labels)), randomness=RANDOMNESS)(state)
    torch.testing.assert_close(by_state, torch.stack(expected))
    assert len(set(by_state.tolist())) == len(variants)


# What is refused.


def test_random_complementary_classes_want_to_know_how_random() -> None:
    logits, labels = stacked_batches()
    with pytest.raises(RuntimeError, match="randomness"):
        vmap(build_loss("nlnl"))(logits, labels)
    same_batch = logits[:1].expand_as(logits), labels[:1].expand_as(labels)
    drawn = vmap(build_loss("nlnl"), randomness="different")(*same_batch)
    assert len(set(drawn.tolist())) == len(drawn)


def test_labels_that_all_batches_share_are_still_checked() -> None:
    logits, _ = stacked_batches()
    with pytest.raises(ValueError, match="from 3 to 3, expected classes 0 to 2"):
        vmap(grad(build_loss("anl_ce")), in_dims=(0, None))(logits, torch.full((2, 5), 3))


@pytest.mark.parametrize("name", ["anl_ce", "t_loss"])
def test_stacked_labels_out_of_range_are_no_class_either(name: str) -> None:
    logits, labels = stacked_batches()
    with pytest.raises(RuntimeError, match="out of bounds"):
        vmap(build_loss(name))(logits, torch.full_like(labels, 3))
