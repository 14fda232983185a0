"""The criterion against nnU-Net's own compound losses, and invariance to ignored pixels."""

import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

from seg_anl.losses import build_loss
from seg_anl.nnunet.criterion import NNUNetCriterion
from seg_anl.nnunet.environment_settings import loss_choice

DICE = {"batch_dice": True, "smooth": 1e-5, "ddp": False}


def softmax_batch(ignore: bool, spatial: tuple[int, ...] = (8, 8)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 3, *spatial, generator=generator)
    # nnU-Net's targets are int16 and have a channel
    return logits, torch.randint(0, 4 if ignore else 3, (2, 1, *spatial), generator=generator).short()


@pytest.mark.parametrize(("spatial", "ignore_label"), [((8, 8), None), ((4, 8, 8), 3)])
def test_ce_plus_dice_matches_nnunet(ignore_label, spatial):
    logits, target = softmax_batch(ignore_label is not None, spatial)
    theirs = DC_and_CE_loss(
        {**DICE, "do_bg": False}, {}, ignore_label=ignore_label, dice_class=MemoryEfficientSoftDiceLoss
    )
    ours = NNUNetCriterion(
        loss_choice("ce", dice_weight=1.0), has_regions=False, ignore_label=ignore_label, dice=theirs.dc
    )
    torch.testing.assert_close(ours(logits, target), theirs(logits, target))


@pytest.mark.parametrize(
    ("dtype", "ignore"), [(torch.bool, True), (torch.bool, False), (torch.int16, True), (torch.float32, False)]
)
def test_ce_of_regions_plus_dice_matches_nnunet(ignore, dtype):
    logits, _ = softmax_batch(False)
    target = torch.rand(2, 4 if ignore else 3, 8, 8, generator=torch.Generator().manual_seed(2)) > 0.5
    theirs = DC_and_BCE_loss(
        {}, {**DICE, "do_bg": True}, use_ignore_label=ignore, dice_class=MemoryEfficientSoftDiceLoss
    )
    # With an ignore label nnU-Net divides the sum over channels and pixels by the number of pixels only.
    theirs.weight_ce = 1 / logits.shape[1] if ignore else 1
    ours = NNUNetCriterion(
        loss_choice("ce", dice_weight=1.0), has_regions=True, ignore_label=4 if ignore else None, dice=theirs.dc
    )
    torch.testing.assert_close(ours(logits, target.to(dtype)), theirs(logits, target.to(dtype)))


@pytest.mark.parametrize("name", ["anl_ce_er", "t_loss", "ce_sr"])
@pytest.mark.parametrize("regions", [False, True])
def test_logits_under_the_ignore_label_do_not_matter(name, regions):
    logits, target = softmax_batch(ignore=True)
    unlabeled = target == 3
    if regions:
        target = torch.cat([(target == label) for label in (1, 2, 3)], dim=1)
        logits = logits[:, :2]
    criterion = NNUNetCriterion(loss_choice(name), has_regions=regions, ignore_label=3)
    other = torch.where(unlabeled, torch.full_like(logits, 7.0), logits)
    logits.requires_grad_()
    value = criterion(logits, target)
    torch.testing.assert_close(criterion(other, target), value.detach())
    value.backward()
    assert logits.grad is not None
    assert (logits.grad * unlabeled).abs().max() == 0
    assert logits.grad.abs().max() > 0


def test_unlabeled_batch_has_zero_gradient():
    logits = torch.randn(1, 2, 4, 4, requires_grad=True)
    criterion = NNUNetCriterion(loss_choice("anl_ce"), has_regions=False, ignore_label=2)
    criterion(logits, torch.full((1, 1, 4, 4), 2)).backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0


def test_half_precision_logits_under_autocast_give_a_float32_loss():
    logits, target = softmax_batch(ignore=False)
    criterion = NNUNetCriterion(loss_choice("anl_ce"), has_regions=False, ignore_label=None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = criterion(logits.half(), target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, build_loss("anl_ce")(logits.half().float(), target))


def test_dice_weight_without_a_dice_loss_raises():
    with pytest.raises(ValueError, match="needs a Dice loss"):
        NNUNetCriterion(loss_choice("ce", dice_weight=1.0), has_regions=False, ignore_label=None)
