"""The published ISIC-2017 protocol: optimizer, schedule and length (for the plans configuration see :mod:`.plans`)."""

from __future__ import annotations

import torch
from torch.optim.lr_scheduler import LRScheduler

from .robust_trainer import RobustLossTrainer


class DecayPerEpoch(LRScheduler):
    """Multiply the learning rate by 0.8 per epoch; ``step`` takes the epoch, as nnU-Net calls it."""

    def step(self, epoch: int | None = None) -> None:
        """Set the learning rate of ``epoch`` (from 0), or of the next epoch."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * 0.8**self.last_epoch
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


class ISIC2017Protocol(RobustLossTrainer):
    """Adam at 1e-3, times 0.8 per epoch, weight decay 5e-6, 100 epochs of one pass over the training cases each.

    Augmentation is nnU-Net's, which does more than the paper's mirroring, flipping and gamma.

    Reference: Ye et al., Active Negative Loss: A Robust Framework for Learning with Noisy Labels, Section VI-B.
    """

    preset = "isic2017"

    def set_defaults(self) -> None:
        """Set the paper's values."""
        super().set_defaults()
        self.initial_lr, self.weight_decay, self.num_epochs = 1e-3, 5e-6, 100

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, LRScheduler]:
        """Adam (with L2 weight decay, as in ``torch.optim.Adam``) and its schedule."""
        optimizer = torch.optim.Adam(self.network.parameters(), self.initial_lr, weight_decay=self.weight_decay)
        return optimizer, DecayPerEpoch(optimizer)

    def on_train_start(self) -> None:
        """Set the number of batches of one pass, which depends on the fold's split."""
        if self.train_choice.iterations is None:
            cases = len(self.training_cases())
            self.num_iterations_per_epoch = max(1, cases // self.configuration_manager.batch_size)
        super().on_train_start()
