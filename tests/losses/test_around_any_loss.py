"""Losses around any other, and those that take more than logits and labels."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seg_anl.losses import AbstentionLoss, ADSLoss, GJSLoss, build_loss, chunked

from .conftest import SINGLE

AROUND = ["epsilon_softmax", "logit_clip", "sharpened", "logit_bias"]


@pytest.mark.parametrize("name", AROUND)
def test_around_every_loss(name: str, make_loss: Any, evaluate: Any) -> None:
    logits, labels = torch.randn(3, 4, 5), torch.randint(4, (3, 5))
    labels[0, 0] = 255
    for base in SINGLE:
        own = {"transition": 0.7 * torch.eye(4) + 0.3 / 4} if base == "forward" else {}
        loss = build_loss(name, base=base, ignore_index=255, class_weights=[1, 2, 3, 4], **own)
        value, gradient = evaluate(loss, logits, labels)
        assert value.isfinite(), base
        assert gradient.isfinite().all(), base
        assert loss.per_image == make_loss(base, 4).per_image
        assert set(loss.state_dict()) == {f"base.{key}" for key in make_loss(base, 4).state_dict()}


def test_what_is_changed_reaches_the_base() -> None:
    logits, labels = 4 * torch.randn(6, 3, dtype=torch.float64), torch.randint(3, (6,))
    for lp in (1.0, 3.0, 2.0):
        length = logits.abs().pow(lp).sum(dim=1, keepdim=True).pow(1 / lp)
        short = torch.where(length > 2, 2 * logits / length, logits)
        clipped = build_loss("logit_clip", base="anl_fl", max_norm=2.0, lp=lp, alpha=3.0)
        torch.testing.assert_close(clipped(logits, labels), build_loss("anl_fl", alpha=3.0)(short, labels))
    image, mask = logits.T.reshape(1, 3, 6), labels.reshape(1, 6)
    of_image = build_loss("logit_clip", base="t_loss", max_norm=2.0)(image, mask)
    torch.testing.assert_close(of_image, build_loss("t_loss")(short.T.reshape(1, 3, 6), mask))
    raised = logits + 1.5 * torch.nn.functional.one_hot(labels, 3)
    biased = build_loss("logit_bias", base="nce_rce", bias=1.5)
    torch.testing.assert_close(biased(logits, labels), build_loss("nce_rce")(raised, labels))


@pytest.mark.parametrize("base", ["t_loss", "nr_dice"])
def test_channels_of_a_loss_of_images(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transform that changes nothing changes no value, whole or in chunks."""
    logits, target = torch.randn(2, 3, 6, 4), torch.randint(2, (2, 3, 6, 4))
    for weights in (None, [1.0, 2.0, 3.0]):
        around = build_loss("logit_clip", base=base, max_norm=1e6, activation="sigmoid", class_weights=weights)
        expected = build_loss(base, activation="sigmoid", class_weights=weights)(logits, target)
        torch.testing.assert_close(around(logits, target), expected)
    monkeypatch.setattr(chunked, "CHUNK_SIZE", 16)
    torch.testing.assert_close(around(logits, target), expected)


def test_schedules_and_keywords_of_the_base() -> None:
    loss = build_loss("logit_clip", base="ce_sr", rho=2.0)
    loss.set_epoch(3)
    assert loss.base.lam.item() == 1.2 * 8
    assert loss.hyperparameters["base"] == "ce_sr"
    assert loss.hyperparameters["rho"] == 2.0
    assert repr(loss).startswith("LogitClipLoss(\n  base=ce_sr, max_norm=1.0")
    with pytest.raises(ValueError, match=r"'gama'.*'gamma'"):
        build_loss("logit_clip", base="focal", gama=1.0)
    with pytest.raises(ValueError, match=r"'max_nrm'.*'max_norm'"):
        build_loss("logit_clip", max_nrm=1.0)
    with pytest.raises(ValueError, match=r"'anl'.*'anl_ce'"):
        build_loss("logit_clip", base="anl")
    soft = torch.tensor([[0.5, 0.5]])
    with pytest.raises(ValueError, match="around 't_loss' it takes hard labels only"):
        build_loss("logit_bias", base="t_loss")(torch.zeros(1, 2), soft)


def test_lambda_is_kept_in_double_precision() -> None:
    loss = build_loss("ce_sr", lam=1.2, rho=1.03)
    loss.set_epoch(30)
    assert loss.lam.item() == 1.2 * 1.03**30
    loss.set_epoch(10**6)
    assert loss.lam.item() == 1e30

    def to_a_device_without(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return tensor

    assert loss._apply(to_a_device_without).lam.dtype == torch.float32


# More than logits and labels


def test_equal_views_are_one_view() -> None:
    logits, labels = torch.randn(4, 3, 5, dtype=torch.float64), torch.randint(3, (4, 5))
    soft = torch.softmax(torch.randn_like(logits), dim=1)
    for target in (labels, soft):
        one = build_loss("js", pi=0.3)(logits, target)
        torch.testing.assert_close(GJSLoss(pi=0.3)([logits], target), one)
        torch.testing.assert_close(GJSLoss(pi=0.3)([logits] * 3, target), one)
    weight = torch.rand(4)
    weighted = build_loss("js", ignore_index=2)(logits, labels, weight)
    torch.testing.assert_close(GJSLoss(ignore_index=2)([logits, logits], labels, weight), weighted)
    with pytest.raises(ValueError, match="one shape"):
        GJSLoss()([logits, logits[:, :, :4]], labels)


def test_without_abstention_it_is_the_loss_alone() -> None:
    logits, labels = torch.randn(4, 4, 5), torch.randint(3, (4, 5))
    loss = AbstentionLoss("gac", noise_rate=0.2, epochs=10, warmup=5, q=0.5, ignore_index=2)
    alone = build_loss("gce", q=0.5, exact_official=False, ignore_index=2)(logits[:, :3], labels)
    assert torch.equal(loss(logits, labels), alone)
    loss.set_epoch(7)
    assert not torch.equal(loss(logits, labels), alone)
    assert torch.equal(loss.eval()(logits, labels), alone)
    resumed = AbstentionLoss("gac", noise_rate=0.2, epochs=10, warmup=5, q=0.5, ignore_index=2)
    resumed.load_state_dict(loss.state_dict())
    value = loss.train()(logits, labels)
    assert torch.equal(resumed(logits, labels), value)
    soft = torch.softmax(torch.randn(4, 3, 5), dim=1)
    with torch.autocast("cpu"):
        under_autocast = loss(logits, soft)
    assert torch.equal(under_autocast, loss(logits, soft))
    # A weight of three is three equal pixels.
    counts = torch.randint(4, (5,))
    expected = loss(*[part.repeat_interleave(counts, dim=-1) for part in (logits, labels)])
    assert expected.isfinite()
    torch.testing.assert_close(loss(logits, labels, counts.expand(4, 5)), expected)


def test_published_schedules_of_abstention() -> None:
    for kind, alpha, gamma, warmup in (("gac", 2, 2, 15), ("sac", 1, 3, 20), ("idac", 1, 0, 10), ("ads", 4, 1.5, 10)):
        loss = ADSLoss(noise_rate=0.1) if kind == "ads" else AbstentionLoss(kind, noise_rate=0.1)
        for epoch in (0, warmup - 1, warmup, 30, 49, 60):
            loss.set_epoch(epoch)
            assert loss.abstains.item() == (epoch >= warmup), kind
            if epoch >= warmup:
                share = min(1, (epoch - warmup + 1) / (50 - warmup))
                assert loss.weight_of_price.item() == pytest.approx(alpha * share**gamma), (kind, epoch)


def test_abstaining_dice_is_its_formula() -> None:
    """Of what is not ignored; a noise rate may be 0."""
    logits, labels, head = torch.randn(2, 3, 20, dtype=torch.float64), torch.randint(3, (2, 20)), torch.randn(2, 3)
    labels[:, :6] = 255
    loss = ADSLoss(noise_rate=[0.0, 0.2, 0.4], epochs=21, ignore_index=255)
    loss.set_epoch(20)
    p, truth = torch.softmax(logits[:, :, 6:], dim=1), torch.eye(3)[labels[:, 6:]].movedim(-1, 1)
    dice = 1 - 2 * (p * truth).sum(2) / (p.sum(2) + truth.sum(2))
    a = torch.sigmoid(head.double())
    priced = (1 - a) * dice + 4 * torch.log((1 - torch.tensor([0.0, 0.2, 0.4])) / (1 - a)).abs()
    torch.testing.assert_close(loss(logits, labels, head), priced.mean(), rtol=1e-6, atol=0)
    torch.testing.assert_close(loss.eval()(logits, labels, head), dice.mean())


def test_abstention_that_is_refused() -> None:
    for wrong, message in (
        (lambda: AbstentionLoss("gca", noise_rate=0.2), "did you mean 'gac'"),
        (lambda: AbstentionLoss("gac"), "needs noise_rate="),
        (lambda: AbstentionLoss("sac", noise_rate=0.2, epochs=10), "0 < warmup < epochs"),
        (lambda: AbstentionLoss("idac", noise_rate=0.2, q=0.5), "'ce' has no parameter 'q'"),
        (lambda: ADSLoss(noise_rate=[0.1, 1.0]), "noise_rate must be from 0 to below 1"),
        (lambda: ADSLoss(noise_rate=0.1)(torch.zeros(2, 3, 4), torch.zeros(2, 4), torch.zeros(2, 2)), "head of shape"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()
