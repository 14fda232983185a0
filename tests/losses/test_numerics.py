"""Finite at any finite logits; gradients that are the derivative of the value."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch

from seg_anl.losses import build_loss, labeled_log_probs, loss_parameters
from seg_anl.losses.bi_tempered import _tempered_log_softmax
from seg_anl.losses.declarations import declarations
from seg_anl.losses.powers import one_minus_exp
from seg_anl.records.ranges import Interval

from .conftest import SINGLE

SEE_SIGMOID = [
    *("anl_ce", "anl_ce_er", "ce_sr", "forward", "nlnl", "nr_dice", "slsr", "t_loss"),
    *("epsilon_softmax", "logit_bias", "logit_clip", "sharpened"),
]
EXTREMES = [
    *((1e4, dtype) for dtype in (torch.float32, torch.float16, torch.bfloat16)),
    (3e38, torch.float32),
    (3e38, torch.bfloat16),
    (65504.0, torch.float16),
]


def variants(name: str) -> list[dict[str, Any]]:
    """The defaults, and every switch that changes where a loss could break."""
    own = loss_parameters(name)
    switches: list[dict[str, Any]] = [{}]
    if "exact_official" in own:
        switches.append({"exact_official": False})
    if "detach_modulation" in own:
        switches += [{"detach_modulation": False}, {"detach_modulation": False, "gamma": 0.01}, {"gamma": 0.0}]
    if "normalize" in own:
        sharpness = "temperature" if "temperature" in own else "tau"
        switches += [{"normalize": False}, {"normalize": False, sharpness: 0.01}]
    if name in ("el", "el_lsr"):
        switches += [{"epsilon": epsilon} for epsilon in (0.0, 1e-30, 1e-9, 1e9)]
    if "base" in own:  # one of each kind
        switches += [{"base": base} for base in ("anl_fl", "ce_sr", "t_loss", "nr_dice")]
    if name == "logit_clip":
        switches += [{"threshold": "official"}, {"lp": 1.0}, {"max_norm": 1e-6}, {"max_norm": 1e6}]
    if name == "bi_tempered":
        switches += [{"t1": 0.0, "t2": 10.0}, {"t1": 1.0, "t2": 1.0}, {"label_smoothing": 0.1}]
    if name == "forward":
        switches.append({"transition": torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])})
    return switches


def extreme_batch(size: float, dtype: torch.dtype, channels: int) -> torch.Tensor:
    """Rows of every combination of -size, 0 and size, so that there are ties, winners and losers."""
    return torch.cartesian_prod(*[torch.tensor([-size, 0.0, size])] * channels).reshape(-1, channels).to(dtype)


@pytest.mark.parametrize("name", SINGLE)
def test_finite_at_extreme_logits(name: str, make_loss: Any, evaluate: Any) -> None:
    for (size, dtype), classes in itertools.product(EXTREMES, (2, 3)):
        logits = extreme_batch(size, dtype, classes)
        assert logits.isfinite().all()
        labels = torch.arange(classes).repeat_interleave(len(logits))
        for parameters in variants(name):
            if classes == 2 and "transition" in parameters:
                continue
            loss = make_loss(name, classes, reduction="none", **parameters)
            value, gradient = evaluate(loss, logits.repeat(classes, 1), labels)
            assert value.isfinite().all(), (size, dtype, parameters)
            assert gradient.isfinite().all(), (size, dtype, parameters)
    for parameters in variants(name):
        value, gradient = evaluate(make_loss(name, **parameters), torch.zeros(2, 3, 4), torch.zeros(2, 4))
        assert value.isfinite()
        assert gradient.isfinite().all()
    scaled = extreme_batch(60.0, torch.float32, 3).requires_grad_()
    (65536.0 * make_loss(name)(scaled, torch.zeros(len(scaled)))).backward()  # as mixed precision does
    assert scaled.grad.isfinite().all()


def test_one_minus_an_exponential_is_accurate_near_zero_and_far_from_it() -> None:
    for dtype, digits in ((torch.float32, 4e-7), (torch.float64, 1e-15)):
        exponent = -torch.logspace(-30, 2, 2000, dtype=torch.float64).to(dtype)
        expected = -torch.expm1(exponent.double())
        torch.testing.assert_close(one_minus_exp(exponent).double(), expected, rtol=digits, atol=0)
        learned = exponent.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(one_minus_exp(learned).sum(), learned)
        torch.testing.assert_close(gradient, -exponent.exp(), rtol=1e-6, atol=1e-7)


def test_the_tempered_softmax_is_solved_to_machine_precision() -> None:
    for t, classes, scale in itertools.product(
        (1.01, 1.2, 1.5, 1.51, 2.0, 5.0, 10.0), (2, 10, 1000), (0.01, 1.0, 50.0, 1e4)
    ):
        logits = scale * torch.randn(50, classes, dtype=torch.float64)
        log_q = _tempered_log_softmax(logits, t)
        torch.testing.assert_close(log_q.exp().sum(dim=1), torch.ones(50, dtype=torch.float64), rtol=1e-13, atol=0)
        # exp_t(z - lambda): differences of log_t q are those of the logits.
        log_t = torch.expm1((1 - t) * log_q) / (1 - t)
        rounding = 1e-12 * log_t.abs().max().item()
        torch.testing.assert_close(log_t - log_t[:, :1], logits - logits[:, :1], rtol=1e-9, atol=rounding)


# Every other loss sees a channel as two classes.
@pytest.mark.parametrize("name", ["gce", *SEE_SIGMOID])
def test_finite_at_extreme_logits_under_sigmoid(name: str, make_loss: Any, evaluate: Any) -> None:
    for size, dtype in EXTREMES:
        logits = extreme_batch(size, dtype, 2)
        for parameters in variants(name):
            if "transition" in parameters:
                continue
            loss = make_loss(name, 2, activation="sigmoid", reduction="none", **parameters)
            value, gradient = evaluate(loss, logits.repeat(2, 1), torch.cat((torch.zeros(9, 2), torch.ones(9, 2))))
            assert value.isfinite().all(), (size, dtype, parameters)
            assert gradient.isfinite().all(), (size, dtype, parameters)


@pytest.mark.parametrize("name", SINGLE)
def test_gradient_is_the_derivative(name: str, make_loss: Any) -> None:
    own = {"detach_modulation": False} if "detach_modulation" in loss_parameters(name) else {}
    for shape in ((3, 4), (1, 2, 2, 2)):
        loss = make_loss(name, shape[1], reduction="none", **own)
        labels = torch.randint(shape[1], (shape[0], *shape[2:]))

        def value(logits: torch.Tensor, loss: Any = loss, labels: torch.Tensor = labels) -> torch.Tensor:
            torch.manual_seed(1)
            return loss(logits, labels)

        torch.autograd.gradcheck(value, torch.randn(shape, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("name", ["nfl", "anl_ce", "anl_fl_er", "fl_sr", "forward", "nr_dice", "t_loss"])
def test_gradient_under_sigmoid_is_the_derivative(name: str, make_loss: Any) -> None:
    own = {"detach_modulation": False} if "detach_modulation" in loss_parameters(name) else {}
    loss = make_loss(name, 2, activation="sigmoid", ignore_index=255, **own)
    present = torch.tensor([[[0, 1, 255], [1, 1, 0]]])
    logits = torch.randn(1, 2, 3, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda logits: loss(logits, present), logits)


@pytest.mark.parametrize("name", ["nnce", "anl_ce", "nnfl", "nce", "ngce"])
def test_float32_holds_for_a_thousand_classes(name: str) -> None:
    logits, labels = 15 * torch.randn(64, 1000, dtype=torch.float64), torch.randint(1000, (64,))
    loss = build_loss(name, reduction="none")
    torch.testing.assert_close(loss(logits.float(), labels).double(), loss(logits, labels), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("classes", [2, 5])
def test_what_a_class_misses_is_what_the_others_have(classes: int) -> None:
    logits, labels = 3 * torch.randn(50, classes, dtype=torch.float64), torch.randint(classes, (50,))
    pred, p = labeled_log_probs(logits, labels), torch.softmax(logits, dim=1)
    torch.testing.assert_close(pred.misses(), p.sum(dim=1, keepdim=True) - p)
    torch.testing.assert_close(pred.miss(), pred.misses().gather(1, labels.unsqueeze(1)).squeeze(1))


def test_what_one_of_two_classes_misses_is_known_where_its_probability_rounds_to_one() -> None:
    logits = torch.tensor([[0.0, -30.0]])
    missed = labeled_log_probs(logits, torch.tensor([0])).misses()[0, 0]
    assert missed.item() == pytest.approx(9.357622968839299e-14, rel=1e-5)  # 1 / (1 + e^30)


def test_every_parameter_is_computable_over_its_declared_range(make_loss: Any, evaluate: Any) -> None:
    """At the smallest and largest number that is taken, value and gradient are finite."""
    logits, labels = 3 * torch.randn(12, 3), torch.randint(3, (12,))
    logits[:3] = torch.tensor([[0.0, 0.0, 0.0], [60.0, 0.0, 0.0], [0.0, -60.0, 0.0]])
    annotated = [(name, *pair) for name, known in declarations().items() for pair in known.annotations.items()]
    for name, key, annotation in annotated:
        interval = next(
            (extra for extra in getattr(annotation, "__metadata__", ()) if isinstance(extra, Interval)), None
        )
        if interval is None or key in ("nl_epochs", "selnl_epochs", "complements", "every"):  # of any length
            continue
        tiny = 1e-9 if interval.whole is False else 1
        ends = {interval.least, interval.most, interval.above + tiny, interval.below - tiny} - {math.inf, -math.inf}
        assert len(ends) >= 2, (name, key, "needs both ends, as in Interval(least=1, most=100)")
        for end in ends:
            if key == "p_min" and end > 0.3:  # refused for three classes
                continue
            loss = make_loss(name, **{key: int(end) if interval.whole else end})
            loss.set_epoch(10_000)
            value, gradient = evaluate(loss, logits, labels)
            assert value.isfinite(), (name, key, end)
            assert gradient.isfinite().all(), (name, key, end)
