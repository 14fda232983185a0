"""Class probabilities as targets, and weights of classes, samples and pixels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import grad, vmap

from seg_anl.losses import build_loss, t_loss
from seg_anl.losses.declarations import declarations

from .conftest import SINGLE

OWN_DEFINITION = {name for name, known in declarations().items() if known.per_image or known.draws}
EXPECTATIONS = [name for name in SINGLE if name not in OWN_DEFINITION]
STAND_INS = ["gce", "anl_ce", "anl_ce_er", "ce_sr", "forward"]


def soft_batch(classes: int, spatial: tuple[int, ...], samples: int = 4) -> tuple[Tensor, Tensor]:
    logits = 2 * torch.randn(samples, classes, *spatial, dtype=torch.float64)
    return logits, torch.softmax(2 * torch.randn_like(logits), dim=1)


def every_label(loss: Any, logits: Tensor) -> list[Tensor]:
    """L(f, k) of every element for every k, by hard labels."""
    return [loss(logits, torch.full_like(logits[:, 0], k)) for k in range(logits.shape[1])]


@pytest.mark.parametrize("name", EXPECTATIONS)
def test_a_soft_label_is_the_mean_of_hard_ones(name: str, make_loss: Any, evaluate: Any) -> None:
    for classes, spatial in ((3, ()), (2, (7,)), (4, (4, 5)), (3, (2, 3, 4))):
        logits, soft = soft_batch(classes, spatial)
        hard = make_loss(name, classes, reduction="none")

        def mean_of_hard(z: Tensor, t: Tensor, loss: Any = hard) -> Tensor:
            return sum(share * value for share, value in zip(t.unbind(1), every_label(loss, z), strict=True))

        expected, gradient = evaluate(mean_of_hard, logits, soft)
        for reduction, scale in (("none", 1), ("sum", 1), ("mean", expected.numel())):
            found = evaluate(make_loss(name, classes, reduction=reduction), logits, soft)
            reduced = expected if reduction == "none" else expected.sum() / scale
            torch.testing.assert_close(found, (reduced, gradient / scale), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", STAND_INS)
def test_a_soft_label_under_sigmoid_is_the_mean_of_absent_and_present(name: str, make_loss: Any, evaluate: Any) -> None:
    logits, _ = soft_batch(3, (5,))
    soft = torch.rand_like(logits)
    loss = make_loss(name, 2, activation="sigmoid", reduction="none")
    absent, present = evaluate(loss, logits, 0 * soft), evaluate(loss, logits, 0 * soft + 1)
    expected = [(1 - soft) * a + soft * p for a, p in zip(absent, present, strict=True)]
    if name != "anl_ce_er":  # its regularizer's gradient is a sum over elements, each with its own soft label
        torch.testing.assert_close(evaluate(loss, logits, soft)[1], expected[1])
    torch.testing.assert_close(evaluate(loss, logits, soft)[0], expected[0])
    one_channel = build_loss("gce", activation="sigmoid")
    assert torch.equal(one_channel(logits[:, :1], soft[:, 0]), one_channel(logits[:, :1], soft[:, :1]))


@pytest.mark.parametrize("name", [*STAND_INS, "t_loss", "nr_dice"])
def test_probabilities_of_0_and_1_are_hard_labels(name: str, make_loss: Any, evaluate: Any) -> None:
    """Where values cannot be looked at (``vmap``, a compiled graph, a GPU), floating-point channels are soft labels."""
    logits, labels = torch.randn(2, 4, 3, 5), torch.randint(3, (2, 4, 5))
    one_hot = F.one_hot(labels, 3).movedim(-1, 2)
    loss = make_loss(name)
    torch.testing.assert_close(vmap(grad(loss))(logits, one_hot.float()), vmap(grad(loss))(logits, one_hot))


def test_cross_entropy_of_soft_labels_is_pytorchs() -> None:
    logits, soft = soft_batch(5, (6,))
    torch.testing.assert_close(build_loss("ce")(logits, soft), F.cross_entropy(logits, soft))
    votes = torch.tensor([[0.0, 1 / 3, 2 / 3]])
    assert torch.equal(build_loss("ce")(logits[:1, :3, 0], votes), build_loss("ce")(logits[:1, :3, 0], votes.double()))


@pytest.mark.parametrize("classes", [2, 4])
def test_t_loss_measures_the_distance_to_soft_labels(classes: int) -> None:
    logits, soft = soft_batch(classes, (3, 4))
    value = build_loss("t_loss", reduction="none")(logits, soft)
    p = torch.softmax(logits, dim=1)
    of_one = (p[:, 1] - soft[:, 1]).abs() if classes == 2 else (p - soft).square().sum(1).sqrt()
    torch.testing.assert_close(value, t_loss(of_one, torch.zeros_like(of_one), torch.tensor(1.0)))
    present = build_loss("t_loss", activation="sigmoid", reduction="none")(logits[:, :1], soft[:, 0])
    expected = t_loss(torch.sigmoid(logits[:, 0]), soft[:, 0], torch.tensor(1.0))
    torch.testing.assert_close(present, expected)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_negative_learning_draws_its_labels(activation: str) -> None:
    """Class 0 is certain: an element is worth 100 when 0 is its complementary class, which it never is for label 0."""
    logits = torch.tensor([100.0, 0.0, 0.0]).expand(30_000, 3)
    soft = torch.tensor([0.5, 0.3, 0.2]).expand(30_000, 3)
    if activation == "sigmoid":
        logits, soft = torch.full((30_000, 1), 100.0), torch.full((30_000, 1), 0.75)
    values = build_loss("nlnl", reduction="none", activation=activation)(logits, soft)
    assert (values > 50).double().mean().item() == pytest.approx(0.25, abs=0.01)


# Weights


@pytest.mark.parametrize("name", [*STAND_INS, "nr_dice"])
def test_a_weight_of_three_is_three_equal_pixels(name: str, make_loss: Any, evaluate: Any) -> None:
    logits, soft = soft_batch(3, (40,), samples=1)
    counts = torch.randint(4, (40,))
    loss = make_loss(name)
    for target in (soft, soft.argmax(1)):
        value, gradient = evaluate(lambda z, t: loss(z, t, counts.unsqueeze(0)), logits, target)
        repeated = [tensor.repeat_interleave(counts, dim=-1) for tensor in (logits, target)]
        expected, of_copies = evaluate(loss, *repeated)
        torch.testing.assert_close(value, expected)
        of_pixels = torch.zeros_like(gradient).index_add(2, torch.arange(40).repeat_interleave(counts), of_copies)
        torch.testing.assert_close(gradient, of_pixels)


@pytest.mark.parametrize("spatial", [(), (7,), (4, 5), (2, 3, 4)], ids=["0D", "1D", "2D", "3D"])
def test_weights_against_explicit_sums(spatial: tuple[int, ...], make_loss: Any, evaluate: Any) -> None:
    logits, labels = torch.randn(4, 3, *spatial), torch.randint(3, (4, *spatial))
    labels[0] = 255
    of_classes, pixels, samples = torch.tensor([0.5, 0.0, 2.0]), torch.rand(4, *spatial), torch.rand(4)
    each, _ = evaluate(make_loss("nlnl", ignore_index=255, reduction="none"), logits, labels)

    def weighted(weight: Tensor, reduction: str) -> Tensor:
        loss = make_loss("nlnl", ignore_index=255, reduction=reduction, class_weights=of_classes)
        return evaluate(lambda z, t: loss(z, t, weight), logits, labels)[0]

    by_sample = samples.view(-1, *[1] * len(spatial)).expand_as(pixels)
    for given, expanded in (
        (pixels, pixels),
        (pixels.unsqueeze(1), pixels),
        (samples, by_sample),
        (by_sample[:, None], by_sample),
        (samples.view(-1, *[1] * (1 + len(spatial))), by_sample),
    ):
        counts = torch.where(labels == 255, 0, expanded * of_classes[labels.clamp(max=2)])
        torch.testing.assert_close(weighted(given, "none"), counts * each)
        torch.testing.assert_close(weighted(given, "sum"), (counts * each).sum())
        torch.testing.assert_close(weighted(given, "mean"), (counts * each).sum() / counts.sum())
    assert weighted(torch.zeros(4), "mean") == 0


def test_weights_of_soft_labels_against_explicit_sums() -> None:
    logits, soft = soft_batch(3, (5,))
    of_classes, pixels = torch.tensor([0.5, 1.0, 2.0]).double(), torch.rand(4, 5).double()
    shares = soft * of_classes.view(3, 1) * pixels.unsqueeze(1)
    values = torch.stack(every_label(build_loss("gce", reduction="none"), logits), dim=1)
    loss = build_loss("gce", class_weights=[0.5, 1, 2])
    torch.testing.assert_close(loss(logits, soft, pixels), (shares * values).sum() / shares.sum())
    # A class to be ignored has a weight of 0, elements marked in all their channels too.
    shares[:, 2] = 0
    torch.testing.assert_close(
        build_loss("gce", class_weights=[0.5, 1, 2], ignore_index=2)(logits, soft, pixels),
        (shares * values).sum() / shares.sum(),
    )
    marked = soft.clone()
    marked[1], pixels[1] = 255, 0
    torch.testing.assert_close(
        build_loss("gce", class_weights=[0.5, 1, 2], ignore_index=255)(logits, marked), loss(logits, soft, (pixels > 0))
    )
    # 2 marks them where there are two classes; 1 never does, as it is a probability.
    logits, soft = soft_batch(2, (5,))
    marked = soft.clone()
    marked[1] = 2
    torch.testing.assert_close(
        build_loss("gce", ignore_index=2)(logits, marked), build_loss("gce")(logits, soft, (pixels > 0))
    )
    marked[1] = 1
    with pytest.raises(ValueError, match="miss a sum of 1 by up to 1"):
        build_loss("gce", ignore_index=1)(logits, marked)


def test_class_weights_of_cross_entropy_are_pytorchs() -> None:
    logits, labels = torch.randn(4, 3, 6), torch.randint(3, (4, 6))
    weights = torch.tensor([0.2, 1.0, 3.0])
    loss = build_loss("ce", class_weights=weights, ignore_index=2)
    torch.testing.assert_close(loss(logits, labels), F.cross_entropy(logits, labels, weights, ignore_index=2))
    assert "class_weights=[0.2" in repr(loss)
    assert loss.state_dict() == {}


def test_class_weights_under_sigmoid_are_those_of_the_channels() -> None:
    logits, present = torch.randn(4, 3, 6), torch.randint(2, (4, 3, 6))
    weights, pixels = torch.tensor([0.2, 1.0, 3.0]), torch.rand(4, 6)
    each = build_loss("gce", activation="sigmoid", reduction="none")(logits, present)
    counts = weights.view(3, 1) * pixels.unsqueeze(1)
    loss = build_loss("gce", activation="sigmoid", class_weights=weights)
    torch.testing.assert_close(loss(logits, present, pixels), (counts * each).sum() / counts.sum())
    # One fraction among the targets does not change which are ignored.
    fraction = present.float()
    fraction[0, 0, 0] = 0.5
    for ignored in (0, 1):
        loss = build_loss("gce", activation="sigmoid", ignore_index=ignored, reduction="none")
        assert torch.equal(loss(logits, fraction) == 0, fraction == ignored)


def test_class_weights_of_noise_robust_dice_are_those_of_its_mean() -> None:
    for classes in (2, 3):
        logits, labels = torch.randn(2, classes, 6), torch.randint(classes, (2, 6))
        one_hot = torch.eye(classes)
        each = torch.stack([build_loss("nr_dice", class_weights=row)(logits, labels) for row in one_hot])
        torch.testing.assert_close(each.mean(), build_loss("nr_dice")(logits, labels))
        weights = torch.rand(classes)
        found = build_loss("nr_dice", class_weights=weights)(logits, labels)
        torch.testing.assert_close(found, (weights * each).sum() / weights.sum())


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_weights_of_t_loss_are_relative_within_an_image(activation: str) -> None:
    logits, labels = torch.randn(3, 2, 8), torch.randint(2, (3, 8))
    if activation == "sigmoid":
        labels = torch.randint(2, (3, 2, 8))
    loss = build_loss("t_loss", ignore_index=255, activation=activation)
    each = build_loss("t_loss", reduction="none", activation=activation)(logits, labels)
    samples, mask = torch.tensor([0.5, 0.0, 2.0]), (torch.rand(3, 8) < 0.7).float()
    expected = (each * samples).sum() / samples.sum()
    torch.testing.assert_close(loss(logits, labels, samples), expected)
    torch.testing.assert_close(loss(logits, labels, samples.view(3, 1).expand(3, 8)), expected)
    ignored = torch.where((mask > 0) if activation == "softmax" else (mask > 0).unsqueeze(1), labels, 255)
    torch.testing.assert_close(loss(logits, labels, mask), loss(logits, ignored))


# Errors


def test_probabilities_that_are_none() -> None:
    for target, message in (
        ([[0.2, 0.3, 0.4], [1.0, 0.0, 0.0]], "miss a sum of 1 by up to 0.1"),
        ([[0.5, 0.7, -0.2], [1.0, 0.0, 0.0]], "values from -0.2 to 1"),
        ([[0.5, 1.5, -1.0], [1.0, 0.0, 0.0]], "values from -1 to 1.5"),
        ([[0.5, 0.5, float("nan")], [1.0, 0.0, 0.0]], "values from nan"),
    ):
        with pytest.raises(ValueError, match=message):
            build_loss("anl_ce")(torch.zeros(2, 3), torch.tensor(target))


def test_weights_that_are_none() -> None:
    for weight, message in (
        (torch.tensor([1.0, -1.0]), "weight holds values from -1 to 1, expected finite numbers >= 0"),
        (torch.tensor([1.0, float("nan")]), "weight holds values from nan"),
        (torch.tensor([1.0, float("inf")]), "to inf"),
        (torch.ones(3), r"weight of shape \(3,\) does not fit input of shape \(2, 3, 4\)"),
        (torch.ones(2, 3, 4), r"\(2,\) or \(2, 4\) or"),
        (torch.ones(2, dtype=torch.complex64), "complex64"),
    ):
        with pytest.raises(ValueError, match=message):
            build_loss("gce")(torch.zeros(2, 3, 4), torch.zeros(2, 4, dtype=torch.long), weight)


def test_class_weights_that_are_none() -> None:
    for wrong in ([1, -1], [0, 0], [float("nan"), 1], "abc", 2.0, [], [[1, 2]]):
        with pytest.raises(ValueError, match="class_weights must be a number >= 0 for each class"):
            build_loss("gce", class_weights=wrong)
    for name in ("gce", "nr_dice"):
        with pytest.raises(ValueError, match=r"class_weights has 2 numbers, input of shape \(2, 3\) has 3 classes"):
            build_loss(name, class_weights=[1, 2])(torch.zeros(2, 3), torch.tensor([0, 1]))
