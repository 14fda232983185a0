"""The trainer that all others inherit from: nnU-Net's, with its loss replaced and everything that follows from that.

It also combines with other trainers: ``class Mine(RobustLossTrainer, nnUNetTrainerNoMirroring): loss_name = "gce"``.
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
from .continuation import read_nnunet_checkpoint, refuse_other_settings
from .criterion import NNUNetCriterion
from .environment_settings import AUTO, LossChoice
from .loss_optimizer import LossOptimizer
from .tested_trainer import TestedTrainer
from .training_cases import inverse_frequency, label_counts

CHECKPOINT_KEY = "seg_anl"  # next to nnU-Net's own keys, which its predictor reads by name


class RobustLossTrainer(TestedTrainer):
    """nnU-Net's trainer with a loss of :mod:`seg_anl.losses`.

    Attributes:
        loss_name: the loss, or None to take any from ``SEG_ANL_LOSS``.
        loss_parameters: where they differ from the loss's defaults.
        dice_weight: weight of nnU-Net's own Dice loss, which is added.
        loss_learning_rate: of parameters that the loss itself has (Adam, constant).
        preset: name of the published setting the trainer follows.
    """

    criterion: NNUNetCriterion
    loss_optimizer: LossOptimizer | None = None

    def initialize(self) -> None:
        """Network, optimizer and loss, and the optimizer of the loss's own parameters."""
        if self.train_choice.seed is not None:
            for start in (random.seed, np.random.seed, torch.manual_seed):
                start(self.train_choice.seed)
        super().initialize()
        if any(True for _ in self.robust_loss.parameters()):
            self.loss_optimizer = LossOptimizer(
                self.robust_loss, self.optimizer, learning_rate=self.loss_learning_rate, scaler=self.grad_scaler
            )
        if self.train_choice.l1:
            self.optimizer.register_step_pre_hook(self._add_l1_subgradient)
        for what, value in self.label_choice.given().items():
            self.print_to_log_file(f"seg_anl: {what} {value}, from {getattr(self.label_choice, what)}")
        training = self.train_choice.given() or "as the trainer says"
        self.print_to_log_file(f"seg_anl: loss {self.loss_choice}; training {training}")
        self.print_to_log_file(f"seg_anl: to predict with this model: nnUNetv2_predict ... -tr {self.variant}")

    @torch.no_grad()
    def _add_l1_subgradient(self, *_: object) -> None:
        """Add delta * sign(theta) to every gradient, after nnU-Net's clipping: ANL's penalty of all parameters."""
        for parameter in self.network.parameters():
            if parameter.grad is not None:
                parameter.grad.add_(parameter.sign(), alpha=self.train_choice.l1)

    def _build_loss(self) -> nn.Module:
        # nnU-Net's loss is built for its Dice and its deep supervision weights, then its inside is exchanged.
        built = super()._build_loss()
        original = built.loss if isinstance(built, DeepSupervisionWrapper) else built
        criterion = NNUNetCriterion(
            self._with_class_weights(self.loss_choice),
            has_regions=self.label_manager.has_regions,
            ignore_label=self.label_manager.ignore_label,
            dice=getattr(original, "dc", None),
        )
        with one_line_errors():
            try:
                criterion.check(self.label_manager.num_segmentation_heads)
            except ValueError as error:
                raise UserError(str(error)) from error
        self.criterion = criterion.to(self.device)
        self.robust_loss = criterion.loss
        if built is original:
            return criterion
        built.loss = criterion
        return built

    def _with_class_weights(self, choice: LossChoice) -> LossChoice:
        if choice.parameters.get("class_weights") != AUTO:
            return choice
        cases = self.counted_cases(self.do_split()[0])
        dataset = self.dataset_class(self.preprocessed_dataset_folder, cases)
        weights = inverse_frequency(label_counts(dataset, self.label_manager))
        self.print_to_log_file(f"seg_anl: class weights {' '.join(f'{weight:.6g}' for weight in weights)}")
        return replace(choice, parameters={**choice.parameters, "class_weights": weights})

    def on_train_epoch_start(self) -> None:
        """Give the loss the epoch that begins."""
        self.robust_loss.set_epoch(self.current_epoch)
        super().on_train_epoch_start()

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """nnU-Net's step with its cases' weights; the loss's own parameters follow the network's optimizer."""
        if self.loss_optimizer is not None:
            self.loss_optimizer.adam.zero_grad()  # also of a step that was skipped
        if self.case_weights is not None:
            weights = [self.case_weights[case] for case in batch["keys"]]
            self.criterion.case_weights = torch.tensor(weights, device=self.device)
        try:
            return super().train_step(batch)
        finally:
            self.criterion.case_weights = None  # of validation, where all count alike

    def on_validation_epoch_end(self, val_outputs: list[dict[str, Any]]) -> None:
        """Log what the loss has learned, beside nnU-Net's pseudo Dice."""
        super().on_validation_epoch_end(val_outputs)
        if self.loss_optimizer is not None:
            learned = ", ".join(f"{name} {value:.6f}" for name, value in self.robust_loss.numbers().items())
            self.print_to_log_file(f"seg_anl: {learned}")

    def on_train_end(self) -> None:
        """nnU-Net's end, for a network that has not diverged."""
        with one_line_errors():
            if not all(weight.isfinite().all() for weight in self.network.parameters()):
                raise UserError("the network's weights are no longer finite numbers; this training is not finished")
        super().on_train_end()

    def save_checkpoint(self, filename: str) -> None:
        """nnU-Net's checkpoint with the loss's choice and state in it, whole on the disk or not there."""
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
            }
            torch.save(checkpoint, aside)

    def load_checkpoint(self, filename_or_checkpoint: Any) -> None:
        """Restore network, loss and metrics; stop when the checkpoint was trained under other settings."""
        checkpoint = filename_or_checkpoint
        with one_line_errors():
            if not isinstance(checkpoint, dict):
                checkpoint = read_nnunet_checkpoint(Path(checkpoint), self.device)
            own = checkpoint.get(CHECKPOINT_KEY)
            refuse_other_settings(own, self.chosen_settings(), str(filename_or_checkpoint))
        super().load_checkpoint(filename_or_checkpoint)  # it takes no dictionary; what it executes was looked at above
        self.robust_loss.load_state_dict(own["loss_state"])
        if self.loss_optimizer is not None:
            self.loss_optimizer.adam.load_state_dict(own["loss_optimiser"])
        self.metric_rows = [MetricRow(**row) for row in own["rows"]]
