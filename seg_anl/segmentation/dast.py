"""DAST: a branch for trusted masks, one for the others, and selection of masks by their divergence."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from monai.networks.nets import DynUNet
from torch import Tensor, nn

from seg_anl.engine.distribution import Process
from seg_anl.engine.method import AroundLoss, Method, Samples
from seg_anl.losses import RobustLoss, ScheduledLoss
from seg_anl.records import UserError
from seg_anl.records.item_files import read_items
from seg_anl.records.paths import configured_path

from .settings import Dast
from .several_networks import together

EMPTY = -1.0  # no score yet; scores are not negative


class TwoBranches(nn.Module):
    """A DynUNet with two decoders: logits ``(B, 2, C, H, W)``, the trusted branch first.

    In evaluation, the logarithm of their mean probabilities, ``(B, C, H, W)``.
    """

    def __init__(self, network: DynUNet, other: DynUNet) -> None:
        super().__init__()
        self.encoder = nn.ModuleList([network.input_block, *network.downsamples, network.bottleneck])
        self.decoders = nn.ModuleList(nn.ModuleList([*one.upsamples, one.output_block]) for one in (network, other))

    def forward(self, images: Tensor) -> Tensor:
        """Both branches in training, their mean in evaluation."""
        features = [images]
        for block in self.encoder:
            features.append(block(features[-1]))
        outputs = []
        for decoder in self.decoders:
            (*blocks, head), found = decoder.children(), features[-1]
            for block, skipped in zip(blocks, features[-2:0:-1], strict=True):
                found = block(found, skipped)
            outputs.append(head(found))
        both = torch.stack(outputs, dim=1)
        return both if self.training else together(both)


class SelectiveLoss(AroundLoss):
    """``loss`` of each branch on its masks, and two terms for masks selected by the branches' divergence d.

    e_1 and e_2 are the cross entropies of the trusted and the other branch with a mask, means over pixels weighted by
    exp(-16 d). Among masks with e_1 < e_2

    - one with the largest e_2 of recent masks counts as very wrong: d is minimized there;
    - one with the smallest e_1 as almost right: the trusted branch learns it, averaged with both predictions and
      sharpened.

    Shape:
        - output: logits ``(B, 2, C, *S)``; target: ``(B, *S)``, trusted masks in the first half of the batch.

    Reference: Yang et al., Learning COVID-19 Pneumonia Lesion Segmentation from Imperfect Annotations via
    Divergence-Aware Selective Training, JBHI 2022; formulas as in PyMIC (Wang et al., 2023), which scores batches
    instead of masks.
    """

    recent: Tensor
    counts: Tensor

    def __init__(self, loss: RobustLoss, its: Dast) -> None:
        super().__init__(loss)
        self.its, self.ramp = its, 0.0
        self.register_buffer("recent", torch.full((2, its.recent), EMPTY))
        self.register_buffer("counts", torch.zeros(3))  # in this epoch: masks, the very wrong, the almost right

    def set_epoch(self, epoch: int) -> None:
        """Set the weight of the two terms."""
        super().set_epoch(epoch)
        self.counts.zero_()
        self.ramp = math.exp(-5 * (1 - min(1.0, epoch / self.its.gradual_epochs)) ** 2)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """The scalar criterion; updates the scores."""
        trusted = len(target) // 2
        labels, both = target[trusted:].long(), output[trusted:]
        value: Tensor = (self.loss(output[:trusted, 0], target[:trusted]) + self.loss(both[:, 1], labels)) / 2
        log_probs = both.float().log_softmax(dim=2)
        divergences = divergence(log_probs[:, 0], log_probs[:, 1])
        worst, best = self._singled_out(log_probs.detach(), labels, divergences.detach())
        gap = (log_probs[:, 0].exp() - refined(both, labels)).abs().mean(dim=1)
        self.counts += torch.stack([torch.ones_like(worst), worst, best]).sum(dim=1)
        apart, wide = (each.flatten(1).mean(dim=1) for each in (divergences, gap))
        selected = self.its.consistency * (worst * apart).mean() + self.its.supplement * (best * wide).mean()
        return value + self.ramp * selected

    def _singled_out(self, log_probs: Tensor, labels: Tensor, divergences: Tensor) -> tuple[Tensor, Tensor]:
        """Which masks ``(B,)`` are very wrong, and which almost right, by their rank among recent scores."""
        index = labels[:, None, None].expand(-1, 2, 1, *labels.shape[1:])
        entropies = -torch.log(0.999 * log_probs.gather(2, index).squeeze(2).exp() + 5e-4)
        scores = (entropies * torch.exp(-self.its.sharpness * divergences)[:, None]).flatten(2).mean(dim=2).t()
        below = (self.recent[:, None] < scores[:, :, None]).float().mean(dim=2)
        judged = (scores[0] < scores[1]) & (self.recent != EMPTY).all()
        self.recent.copy_(torch.cat([self.recent, scores], dim=1)[:, -self.its.recent :])
        return judged & (below[1] >= 1 - self.its.share), judged & (below[0] <= self.its.share)


def divergence(first: Tensor, second: Tensor) -> Tensor:
    """The mean of both Kullback-Leibler divergences ``(B, *S)`` of log-probabilities ``(B, C, *S)``, without gradient
    of the reference."""
    forward = first.detach().exp() * (first.detach() - second)
    backward = second.detach().exp() * (second.detach() - first)
    return (forward + backward).sum(dim=1) / 2


def refined(both: Tensor, labels: Tensor) -> Tensor:
    """The sharpened mean ``(B, C, *S)`` of masks ``(B, *S)`` and both predictions of logits ``(B, 2, C, *S)``."""
    votes = torch.cat([both.detach().argmax(dim=2), labels.unsqueeze(1)], dim=1)
    mean = F.one_hot(votes, both.shape[2]).float().mean(dim=1).movedim(-1, 1)
    return mean**2 / (mean**2 + (1 - mean) ** 2)


class DivergenceAware(Method):
    """Trains :class:`TwoBranches` on :class:`SelectiveLoss`; half of each batch has trusted masks."""

    one_process = True

    def __init__(self, its: Dast) -> None:
        self.its = its
        self.trusted: Tensor

    def identify(self, items: Sequence[str], known: Sequence[str]) -> None:
        """Read the ids of the trusted masks."""
        path = configured_path(self.its.trusted_file, "method.trusted_file")
        named = read_items(path, known)
        self.trusted = torch.tensor([item in named for item in items])
        if self.trusted.all() or not self.trusted.any():
            count = int(self.trusted.sum())
            raise UserError(f"{path}: expected some, not all, of the {len(items)} training images, got {count}")

    def network(self, build: Callable[[], nn.Module]) -> nn.Module:
        """A network with two decoders."""
        first, second = build(), build()
        assert isinstance(first, DynUNet)
        assert isinstance(second, DynUNet)
        return TwoBranches(first, second)

    def order(self, samples: int, sizes: Sequence[int], generator: torch.Generator) -> Tensor:
        """Trusted images in the first half of each batch, others in the second."""
        halves, rests = [size // 2 for size in sizes], [size - size // 2 for size in sizes]
        first = repeated(self.trusted.nonzero().squeeze(1), sum(halves), generator).split(halves)
        second = repeated((~self.trusted).nonzero().squeeze(1), sum(rests), generator).split(rests)
        return torch.cat([part for batch in zip(first, second, strict=True) for part in batch])

    def criterion(self, loss: RobustLoss, *, epochs: int, process: Process, **sizes: int) -> ScheduledLoss:
        """``loss`` of both branches, and the terms of selected masks."""
        self.selective = SelectiveLoss(loss, self.its)
        return self.selective

    def after_epoch(self, model: nn.Module, epoch: int, samples: Samples) -> dict[str, float]:
        """The shares of the untrusted masks that were selected."""
        masks, worst, best = self.selective.counts.tolist()
        return {"very_wrong": worst / masks, "almost_right": best / masks}


def repeated(positions: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """``count`` of ``positions``, reshuffled whenever all have been taken."""
    rounds = math.ceil(count / len(positions))
    return torch.cat([positions[torch.randperm(len(positions), generator=generator)] for _ in range(rounds)])[:count]
