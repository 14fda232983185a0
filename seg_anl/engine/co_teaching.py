"""Co-teaching: each network learns from the samples, or pixels, that the others find easy."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from seg_anl.losses import RobustLoss, ScheduledLoss
from seg_anl.records import UserError

from .distribution import Process
from .method import AroundLoss, Method
from .method_settings import CoTeaching as Settings

NAMES = ("first", "second", "third")


class Networks(nn.Module):
    """Two or three networks side by side; outputs ``(B, K, ...)`` become ``(B, n, K, ...)``."""

    def __init__(self, *networks: nn.Module) -> None:
        super().__init__()
        for name, network in zip(NAMES, networks, strict=False):
            self.add_module(name, network)

    def forward(self, images: Tensor) -> Tensor:
        """All outputs for the same images."""
        return torch.stack([network(images) for network in self.children()], dim=1)


class CrossedSmallLoss(AroundLoss):
    """The sum of the networks' mean loss over the units whose loss is among the smallest of every *other* network.

    Units are samples, or pixels of all masks of the batch. The share that a network calls hard rises from 0 to
    ``forget_rate`` over the first ``gradual_epochs`` epochs.

    Args:
        loss: any loss of the registry; its reduction becomes ``none``.
        settings: ``forget_rate``, the (estimated) noise rate, and ``gradual_epochs``, T_k of the paper.
        process: if there are several, losses are compared over the whole batch.

    Shape:
        - output: logits ``(B, n, K, *S)`` of n networks; target: ``(B, *S)``, or probabilities ``(B, K, *S)``.

    Reference: Han et al., Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy Labels, NeurIPS
    2018, Algorithm 1. Pixels instead of samples, and three networks: PyMIC (Wang et al., 2023).
    """

    def __init__(self, loss: RobustLoss, settings: Settings, process: Process) -> None:
        super().__init__(loss)
        loss.reduction = "none"
        self.settings, self.process = settings, process
        self.kept = 1.0

    def set_epoch(self, epoch: int) -> None:
        """Set the share of units that count as easy in ``epoch``."""
        super().set_epoch(epoch)
        self.kept = 1 - self.settings.forget_rate * min(1.0, epoch / max(self.settings.gradual_epochs - 1, 1))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """The sum of all networks' criteria; each network gets only the gradient of its own."""
        losses = torch.stack([self._units(self.loss(logits, target)) for logits in output.unbind(dim=1)])
        size = losses.shape[1] * self.process.world_size
        easy = torch.stack([self._smallest(each, size) for each in losses.detach()])
        taught = torch.stack([easy[torch.arange(len(easy)) != network].all(dim=0) for network in range(len(easy))])
        counts = taught.sum(dim=1).clamp(min=1)
        totals = losses.where(taught[:, self.process.share(size)], 0).sum(dim=1)
        return (totals / counts).sum() * self.process.world_size  # gradients are averaged over processes

    def _units(self, values: Tensor) -> Tensor:
        """The loss of each unit from losses ``(B,)`` or ``(B, *S)``."""
        if self.settings.unit == "pixel" or values.ndim == 1:
            return values.flatten()
        return values.flatten(1).mean(dim=1)

    def _smallest(self, values: Tensor, size: int) -> Tensor:
        """A mask of the easy units among the ``size`` units of all processes."""
        batch = self.process.gathered(values, size)
        indices = batch.topk(max(1, int(self.kept * size)), largest=False, sorted=False).indices
        return torch.zeros_like(batch, dtype=torch.bool).scatter(0, indices, True)


class CoTeaching(Method):
    """Trains :class:`Networks` on :class:`CrossedSmallLoss`, with one optimizer.

    ``optim.clip_norm`` limits the gradient norm of all networks together.
    """

    networks = 2

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def network(self, build: Callable[[], nn.Module]) -> nn.Module:
        """Networks with different initial weights; equal ones would choose, and learn, the same for ever."""
        networks = [build() for _ in range(self.networks)]
        for one, other in itertools.combinations(networks, 2):
            if all(map(torch.equal, one.parameters(), other.parameters())):
                raise UserError(
                    "co-teaching needs networks that differ, and model.weights makes all of them equal, head included; "
                    "use weights of another number of classes, or none"
                )
        return Networks(*networks)

    def criterion(self, loss: RobustLoss, *, epochs: int, process: Process, **sizes: int) -> ScheduledLoss:
        """The crossed small-loss criterion over ``loss``."""
        return CrossedSmallLoss(loss, self.settings, process)
