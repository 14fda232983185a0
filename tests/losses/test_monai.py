"""Our losses inside MONAI's wrappers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DeepSupervisionLoss

from seg_anl.losses import build_loss


@pytest.mark.parametrize("name", ["anl_ce", "gce", "nr_dice"])
@pytest.mark.parametrize("soft", [False, True])
def test_deep_supervision_is_the_weighted_sum_over_the_heads(name: str, soft: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    heads = [torch.randn(2, 3, 16 // 2**i, 8 // 2**i, generator=generator).requires_grad_() for i in range(3)]
    target = torch.randint(0, 3, (2, 1, 16, 8), generator=generator).float()
    if soft:
        target = torch.rand(2, 3, 16, 8, generator=generator).softmax(dim=1)
    value = DeepSupervisionLoss(build_loss(name), weight_mode="exp")(heads, target)
    scaled = [F.interpolate(target, head.shape[2:], mode="nearest-exact") for head in heads]
    expected = sum(0.5**i * build_loss(name)(head, t) for i, (head, t) in enumerate(zip(heads, scaled, strict=True)))
    torch.testing.assert_close(value, expected)
    value.backward()
    assert all(head.grad is not None and head.grad.abs().sum() > 0 for head in heads)
