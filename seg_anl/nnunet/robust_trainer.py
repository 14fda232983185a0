"""The base class of all trainers: nnU-Net's trainer with a robust loss.

It can be combined with other trainers: ``class Mine(RobustLossTrainer, nnUNetTrainerNoMirroring): loss_name = "gce"``.
"""

from __future__ import annotations

import random
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from torch import nn

from seg_anl.records import MetricRow, UserError, written_aside

from .configured_trainer import one_line_errors
from .continuation import read_nnunet_checkpoint, refuse_other_settings, refuse_other_test
from .criterion import NNUNetCriterion
from .environment_settings import AUTO, LossChoice
from .loss_optimizer import LossOptimizer
from .tested_trainer import TestedTrainer
from .training_cases import inverse_frequency, label_counts

CHECKPOINT_KEY = "seg_anl"  # nnU-Net ignores keys it does not know


class RobustLossTrainer(TestedTrainer):
    """nnU-Net's trainer with a loss of :mod:`seg_anl.losses`.

    Attributes:
        loss_name: the loss, or None to take any from ``SEG_ANL_LOSS``.
        loss_parameters: parameters that differ from the loss's defaults.
        dice_weight: weight of nnU-Net's own Dice loss, which is added.
        loss_learning_rate: constant learning rate (Adam) of the loss's own parameters.
        preset: name of the published protocol the trainer follows.
    """

    criterion: NNUNetCriterion
    loss_optimizer: LossOptimizer | None = None

    def initialize(self) -> None:
        """Set up network, optimizer and loss, and an optimizer for the loss's own parameters."""
        if self.train_choice.seed is not None:
            # Processes draw different batches; DDP copies the weights of the first to all.
            seed = (self.train_choice.seed + self.local_rank) % 2**32
            for set_seed in (random.seed, np.random.seed, torch.manual_seed):
                set_seed(seed)
        super().initialize()
        if any(True for _ in self.robust_loss.parameters()):
            self.loss_optimizer = LossOptimizer(
                self.robust_loss, self.optimizer, learning_rate=self.loss_learning_rate, scaler=self.grad_scaler
            )
        if self.train_choice.l1:
            self.optimizer.register_step_pre_hook(self._add_l1_subgradient)
        for name, value in self.label_choice.given().items():
            self.print_to_log_file(f"seg_anl: {name} {value}, from {getattr(self.label_choice, name)}")
        training = self.train_choice.given() or "with the trainer's defaults"
        self.print_to_log_file(f"seg_anl: loss {self.loss_choice}; training {training}")
        self.print_to_log_file(f"seg_anl: to predict with this model: nnUNetv2_predict ... -tr {self.variant}")

    @torch.no_grad()
    def _add_l1_subgradient(self, *_: object) -> None:
        """Add delta * sign(theta) to all gradients, after nnU-Net's clipping: ANL's L1 penalty."""
        for parameter in self.network.parameters():
            if parameter.grad is not None:
                parameter.grad.add_(parameter.sign(), alpha=self.train_choice.l1)

    def _build_loss(self) -> nn.Module:
        # Build nnU-Net's loss for its Dice loss and deep supervision weights, then replace the wrapped loss.
        nnunet_loss = super()._build_loss()
        original = nnunet_loss.loss if isinstance(nnunet_loss, DeepSupervisionWrapper) else nnunet_loss
        criterion = NNUNetCriterion(
            self._with_class_weights(self.loss_choice),
            has_regions=self.label_manager.has_regions,
            ignore_label=self.label_manager.ignore_label,
            dice=getattr(original, "dc", None),
        )
        self.criterion = criterion.to(self.device)
        self.robust_loss = criterion.loss
        if nnunet_loss is original:
            return criterion
        nnunet_loss.loss = criterion
        return nnunet_loss

    def _with_class_weights(self, choice: LossChoice) -> LossChoice:
        if choice.parameters.get("class_weights") != AUTO:
            return choice
        cases = self.training_cases()  # sets dataset_class, too
        dataset = self.dataset_class(self.preprocessed_dataset_folder, cases)
        weights = inverse_frequency(label_counts(dataset, self.label_manager))
        self.print_to_log_file(f"seg_anl: class weights {' '.join(f'{weight:.6g}' for weight in weights)}")
        return replace(choice, parameters={**choice.parameters, "class_weights": weights})

    def on_train_epoch_start(self) -> None:
        """Set the epoch of the loss."""
        self.robust_loss.set_epoch(self.current_epoch)
        super().on_train_epoch_start()

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """nnU-Net's step with case weights; the loss's own parameters step with the network's optimizer."""
        if self.loss_optimizer is not None:
            self.loss_optimizer.adam.zero_grad()  # also clears gradients of skipped steps
        if self.case_weights is not None:
            weights = [self.case_weights[case] for case in batch["keys"]]
            self.criterion.case_weights = torch.tensor(weights, device=self.device)
        try:
            return super().train_step(batch)
        finally:
            self.criterion.case_weights = None  # validation is unweighted

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        """End the training if the network has diverged, before a checkpoint of it replaces a sound one."""
        super().on_train_epoch_end(train_outputs)
        with one_line_errors():
            if not all(weight.isfinite().all() for weight in self.network.parameters()):
                raise UserError(f"training diverged in epoch {self.current_epoch}: NaN or infinite weights")

    def on_validation_epoch_end(self, val_outputs: list[dict[str, Any]]) -> None:
        """Log the loss's learned parameters in addition to nnU-Net's pseudo Dice."""
        super().on_validation_epoch_end(val_outputs)
        if self.loss_optimizer is not None:
            learned = ", ".join(f"{name} {value:.6f}" for name, value in self.robust_loss.numbers().items())
            self.print_to_log_file(f"seg_anl: {learned}")

    def save_checkpoint(self, filename: str) -> None:
        """Write nnU-Net's checkpoint atomically, with the settings and state of the loss."""
        if self.local_rank != 0 or self.disable_checkpointing:
            super().save_checkpoint(filename)
            return
        with written_aside(Path(filename)) as aside:
            super().save_checkpoint(str(aside))
            checkpoint = torch.load(aside, map_location="cpu", weights_only=False)
            checkpoint[CHECKPOINT_KEY] = {
                **self.chosen_settings(),
                "loss_state": self.robust_loss.state_dict(),
                "loss_optimiser": None if self.loss_optimizer is None else self.loss_optimizer.adam.state_dict(),
                "rows": [asdict(row) for row in self.metric_rows],
                "test_folder": self.test_folder,
            }
            torch.save(checkpoint, aside)

    def load_checkpoint(self, filename_or_checkpoint: Any) -> None:
        """Restore network, loss and metrics; exit if the checkpoint was trained with other settings."""
        checkpoint = filename_or_checkpoint
        with one_line_errors():
            if not isinstance(checkpoint, dict):
                checkpoint = read_nnunet_checkpoint(Path(checkpoint))
            own = checkpoint.get(CHECKPOINT_KEY)
            refuse_other_settings(own, self.chosen_settings(), str(filename_or_checkpoint))
            rows = [MetricRow(**row) for row in own["rows"]]
            if self.test_folder and any(row.split == "test" for row in rows):
                refuse_other_test(own.get("test_folder"), self.test_folder, str(filename_or_checkpoint))
        super().load_checkpoint(filename_or_checkpoint)  # unpickles the file again, which was checked above
        self.robust_loss.load_state_dict(own["loss_state"])
        if self.loss_optimizer is not None:
            self.loss_optimizer.adam.load_state_dict(own["loss_optimiser"])
        self.metric_rows = rows
