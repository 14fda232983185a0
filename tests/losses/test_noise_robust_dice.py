"""Noise-robust Dice against its formula, its two limits, and what makes it robust."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss

from seg_anl.losses import build_loss


def by_hand(probability: list[float], truth: list[int], gamma: float, power: int) -> float:
    """Of one class, in plain Python."""
    error = sum(abs(p - g) ** gamma for p, g in zip(probability, truth, strict=True))
    return error / sum(p**power + g**power for p, g in zip(probability, truth, strict=True))


@pytest.mark.parametrize(("areas", "power"), [("official", 1), ("squared", 2)])
def test_it_is_the_formula(areas: str, power: int) -> None:
    foreground, mask = [0.9, 0.2, 0.6, 0.01], [1, 0, 1, 1]  # more foreground than background
    logits = torch.tensor(foreground, dtype=torch.float64).logit()
    two, labels = torch.stack([torch.zeros(4), logits]).reshape(1, 2, 2, 2), torch.tensor(mask).reshape(1, 2, 2)
    for gamma in (1.0, 1.5, 2.0):
        present = by_hand(foreground, mask, gamma, power)
        absent = by_hand([1 - p for p in foreground], [1 - g for g in mask], gamma, power)
        both = build_loss("nr_dice", gamma=gamma, areas=areas)(two, labels)
        assert both.item() == pytest.approx((present + absent) / 2, rel=1e-4), gamma
        foreground_alone = build_loss("nr_dice", gamma=gamma, areas=areas, include_background=False)(two, labels)
        assert foreground_alone.item() == pytest.approx(present, rel=1e-4), gamma
        channel = build_loss("nr_dice", gamma=gamma, areas=areas, activation="sigmoid")(two[:, 1:], labels)
        assert channel.item() == pytest.approx(present, rel=1e-4), gamma


@pytest.mark.parametrize("include_background", [True, False])
def test_with_gamma_2_it_is_the_dice_loss_with_squared_areas(include_background: bool) -> None:
    """|p - g|^2 sums to the areas less twice what they share."""
    logits, labels = torch.randn(3, 4, 6, 5), torch.randint(4, (3, 6, 5))
    dice = DiceLoss(
        softmax=True, to_onehot_y=True, squared_pred=True, batch=True, include_background=include_background
    )
    ours = build_loss("nr_dice", gamma=2.0, areas="squared", include_background=include_background)
    torch.testing.assert_close(ours(logits, labels), dice(logits, labels[:, None]), atol=1e-5, rtol=1e-5)


def test_a_batch_is_one_large_image() -> None:
    logits, labels = torch.randn(4, 3, 6, 5), torch.randint(3, (4, 6, 5))
    value = build_loss("nr_dice")(logits, labels)
    joined = logits.movedim(1, 0).reshape(1, 3, 24, 5)
    torch.testing.assert_close(build_loss("nr_dice")(joined, labels.reshape(1, 24, 5)), value)
    each = build_loss("nr_dice", reduction="none")(logits, labels)
    torch.testing.assert_close(each.mean(), value)
    # An image that no pixel of counts takes no part.
    labels[2] = 255
    left = torch.tensor([0, 1, 3])
    for reduction in ("mean", "sum"):
        of_three = build_loss("nr_dice", reduction=reduction)(logits[left], labels[left])
        ignoring = build_loss("nr_dice", reduction=reduction, ignore_index=255)
        torch.testing.assert_close(ignoring(logits, labels), of_three)
    # A class to ignore, also in soft labels.
    soft = F.one_hot(labels[left], 3).movedim(-1, 1) * (1 - 1e-7) + 1e-7 / 3
    loss = build_loss("nr_dice", ignore_index=2)
    torch.testing.assert_close(loss(logits[left], soft), loss(logits[left], labels[left]))


def test_a_class_that_is_neither_there_nor_predicted_costs_nothing() -> None:
    logits = torch.tensor([30.0, 0.0, -30.0]).reshape(1, 3, 1, 1).expand(2, 3, 8, 8).clone().requires_grad_()
    value = build_loss("nr_dice")(logits, torch.zeros(2, 8, 8, dtype=torch.long))
    value.backward()
    assert value.item() == pytest.approx(0.0, abs=1e-6)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_a_smaller_gamma_pulls_less_at_what_is_far_off_against_what_is_near() -> None:
    """Wrong masks are far off: what they pull, relative to a pixel that is nearly right, falls with gamma."""
    foreground = torch.tensor([[-1.5, 1.5, *[6.0] * 1000]])
    logits = torch.stack([torch.zeros_like(foreground), foreground], dim=1)
    ratios = []
    for gamma in (1.0, 1.5, 2.0):
        own = logits.clone().requires_grad_()
        build_loss("nr_dice", gamma=gamma, include_background=False)(
            own, torch.ones(foreground.shape, dtype=torch.long)
        ).backward()
        assert own.grad is not None
        far, near = own.grad[0, 1, :2].abs().tolist()
        ratios.append(far / near)
    assert ratios == sorted(ratios)
    assert ratios[0] < ratios[2] / 2
