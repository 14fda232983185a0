"""The published ISIC-2017 setting: optimizer, schedule and length (the plans configuration is in :mod:`.plans`)."""

from __future__ import annotations

import torch
from torch.optim.lr_scheduler import LRScheduler

from .robust_trainer import RobustLossTrainer


class DecayPerEpoch(LRScheduler):
    """rate = initial * 0.8^epoch, for callers that name the epoch, as nnU-Net does."""

    def step(self, epoch: int | None = None) -> None:
        """Set the rate of ``epoch`` (from 0); without it, of the next."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * 0.8**self.last_epoch
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


class ISIC2017Protocol(RobustLossTrainer):
    """Adam at 1e-3, x0.8 per epoch, weight decay 5e-6, 100 epochs; an epoch is one pass over the training cases.

    Augmentation stays nnU-Net's, which does more than the paper's mirroring, flipping and gamma.

    Reference: Ye et al., Active Negative Loss: A Robust Framework for Learning with Noisy Labels, Section VI-B.
    """

    preset = "isic2017"

    def set_defaults(self) -> None:
        """The paper's numbers."""
        super().set_defaults()
        self.initial_lr, self.weight_decay, self.num_epochs = 1e-3, 5e-6, 100

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, LRScheduler]:
        """Adam (weight decay as L2, as torch's Adam has it) and its schedule."""
        optimizer = torch.optim.Adam(self.network.parameters(), self.initial_lr, weight_decay=self.weight_decay)
        return optimizer, DecayPerEpoch(optimizer)

    def on_train_start(self) -> None:
        """Count the batches of one pass, which needs the fold's split."""
        if self.train_choice.iterations is None:
            cases = len(self.do_split()[0])
            self.num_iterations_per_epoch = max(1, cases // self.configuration_manager.batch_size)
        super().on_train_start()
