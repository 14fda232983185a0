"""The trainer that all others inherit from: nnU-Net's, with its loss replaced and everything that follows from that.

It also combines with other trainers: ``class Mine(RobustLossTrainer, nnUNetTrainerNoMirroring): loss_name = "gce"``.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.paths import nnUNet_preprocessed, nnUNet_results
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import distributed, nn
from torch._dynamo import OptimizedModule

from seg_anl.losses import RobustLoss
from seg_anl.records import MetricRow, UserError, exit_with_error, written_aside
from seg_anl.records.foreign_files import check_regular

from . import TRAIN_VARIABLE
from .continuation import refuse_other_settings, refuse_other_variant
from .criterion import NNUNetCriterion
from .environment_settings import (
    AUTO,
    LOSS_VARIABLE,
    TEST_VARIABLE,
    LabelChoice,
    LossChoice,
    TrainChoice,
    chosen_labels,
    chosen_loss,
    chosen_training,
    loss_choice,
    variant_suffix,
)
from .evaluation_set import EvaluationSet, find_cases
from .loss_optimizer import LossOptimizer
from .overlap import dice_from_overlaps
from .run_record import LAST_K, RunRecord
from .soft_labels import SoftLabels
from .training_cases import inverse_frequency, label_counts, weights_of_cases

CHECKPOINT_KEY = "seg_anl"  # next to nnU-Net's own keys, which its predictor reads by name
ANNOTATIONS = "gt_segmentations"  # nnU-Net's copy of labelsTr among the preprocessed data
NOISE_KEY = "annotation_noise"  # in the dataset.json of a dataset that seg-anl-noise made
NNUNET_ATTRIBUTES = {
    "epochs": "num_epochs",
    "iterations": "num_iterations_per_epoch",
    "validation_iterations": "num_val_iterations_per_epoch",
    "weight_decay": "weight_decay",
}


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the process with one line for a :class:`UserError`: nnU-Net's commands would print a traceback."""
    try:
        yield
    except UserError as error:
        exit_with_error("seg_anl", error)


def read_nnunet_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """nnU-Net's checkpoint, of tensors, NumPy's numbers and plain values alone: nnU-Net itself would execute it.

    Raises:
        UserError: for a file that is damaged or holds more.
    """
    check_regular(path)
    number = np.float64(0).__reduce__()[0]
    try:
        with torch.serialization.safe_globals([number, np.dtype, type(np.dtype("f4")), type(np.dtype("f8"))]):
            content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # damaged files fail in any way
        raise UserError(f"{path}: damaged, or more than a checkpoint of nnU-Net") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a checkpoint of nnU-Net")
    return content


class RobustLossTrainer(nnUNetTrainer):
    """nnU-Net's trainer with a loss of :mod:`seg_anl.losses`.

    Attributes:
        loss_name: the loss, or None to take any from ``SEG_ANL_LOSS``.
        loss_parameters: where they differ from the loss's defaults.
        dice_weight: weight of nnU-Net's own Dice loss, which is added.
        loss_learning_rate: of parameters that the loss itself has (Adam, constant).
        preset: name of the published setting the trainer follows.
    """

    loss_name: str | None = None
    loss_parameters: Mapping[str, Any] = {}
    dice_weight: float = 0.0
    loss_learning_rate: float = 1e-3
    preset: str = "nnunet"

    # nnU-Net reads the arguments' names off the subclass: they must be exactly these.
    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int | str,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008  (nnU-Net's own default)
    ) -> None:
        with one_line_errors():
            self.loss_choice, self.train_choice, self.label_choice = self.choices(os.environ)
            chosen = (self.loss_choice, self.train_choice, self.label_choice)
            self.variant = type(self).__name__ + variant_suffix(self.own_loss(), *chosen)
            self.case_weights = None
            if self.label_choice.weights is not None:
                annotations = Path(nnUNet_preprocessed) / plans["dataset_name"] / ANNOTATIONS
                self.case_weights = weights_of_cases(
                    self.label_choice.weights, annotations, dataset_json["file_ending"]
                )
            test_folder = os.environ.get(TEST_VARIABLE)
            cases = find_cases(Path(test_folder), dataset_json["file_ending"]) if test_folder else None
            if plans.get("continue_training") and nnUNet_results.is_set():
                results = Path(nnUNet_results) / plans["dataset_name"]
                place = f"__{plans['plans_name']}__{configuration}"
                refuse_other_variant(results, type(self).__name__, self.variant, place, fold)
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.set_defaults()
        for name, value in self.train_choice.given().items():
            if name in NNUNET_ATTRIBUTES:
                setattr(self, NNUNET_ATTRIBUTES[name], value)
        self.metric_rows: list[MetricRow] = []
        self.loss_optimizer: LossOptimizer | None = None
        self.robust_loss: RobustLoss
        self.criterion: NNUNetCriterion
        self.record: RunRecord | None = None
        self.test_set = None
        if cases is not None:
            managers = (self.plans_manager, self.configuration_manager)
            self.test_set = EvaluationSet(cases, *managers, dataset_json, type(self).__name__)

    @classmethod
    def own_loss(cls) -> LossChoice | None:
        """The loss that the class stands for; None when it takes any."""
        if cls.loss_name is None:
            return None
        return loss_choice(cls.loss_name, dice_weight=cls.dice_weight, **cls.loss_parameters)

    @classmethod
    def choices(cls, environ: Mapping[str, str]) -> tuple[LossChoice, TrainChoice, LabelChoice]:
        """What the environment makes of the class.

        Raises:
            UserError: for unknown names and values out of range.
        """
        loss = chosen_loss(environ.get(LOSS_VARIABLE), cls.__name__, cls.own_loss())
        return loss, chosen_training(environ.get(TRAIN_VARIABLE)), chosen_labels(environ)

    def set_defaults(self) -> None:
        """Hook: set learning rate, number of epochs, ...; what ``SEG_ANL_TRAIN`` gives comes after and wins."""

    @property
    def output_folder_base(self) -> str | None:
        """The folder of all folds; a run with other than the trainer's own settings has one of its own."""
        return self._output_folder_base

    @output_folder_base.setter
    def output_folder_base(self, path: str | None) -> None:
        if path is not None:
            folder = Path(path)
            path = str(folder.with_name(folder.name.replace(type(self).__name__, self.variant, 1)))
        self._output_folder_base = path

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
        cases = self._that_count(self.do_split()[0])
        dataset = self.dataset_class(self.preprocessed_dataset_folder, cases)
        weights = inverse_frequency(label_counts(dataset, self.label_manager))
        self.print_to_log_file(f"seg_anl: class weights {' '.join(f'{weight:.6g}' for weight in weights)}")
        return replace(choice, parameters={**choice.parameters, "class_weights": weights})

    def _that_count(self, cases: list[str]) -> list[str]:
        """The cases whose weight is not 0."""
        if self.case_weights is None:
            return cases
        counted = [case for case in cases if self.case_weights[case]]
        if not counted:
            with one_line_errors():
                raise UserError(f"{self.label_choice.weights}: all training cases of this fold weigh 0")
        return counted

    def get_tr_and_val_datasets(self) -> tuple[Any, Any]:
        """nnU-Net's; for training without cases that weigh 0, with soft labels where a folder has them."""
        training, validation = super().get_tr_and_val_datasets()
        training.identifiers = self._that_count(training.identifiers)
        if self.label_choice.soft is None:
            return training, validation
        annotations = Path(self.preprocessed_dataset_folder_base) / ANNOTATIONS
        if self.local_rank == 0:
            self._soft_labels().preprocessed(training, annotations)
        if self.is_ddp:
            distributed.barrier()
        return self._soft_labels().preprocessed(training, annotations), validation

    def get_training_transforms(self, *arguments: Any, **keywords: Any) -> Any:
        """nnU-Net's augmentation, through which soft labels go along where there are some."""
        transforms = super().get_training_transforms(*arguments, **keywords)
        if self.label_choice.soft is None:
            return transforms
        return self._soft_labels().through(transforms, images=len(self.configuration_manager.normalization_schemes))

    def _soft_labels(self) -> SoftLabels:
        assert self.label_choice.soft is not None
        managers = (self.plans_manager, self.configuration_manager, self.label_manager)
        return SoftLabels(self.label_choice.soft, *managers, self.dataset_json["file_ending"])

    def on_train_start(self) -> None:
        """nnU-Net's start; with a test folder also config.yaml and environment.json."""
        with one_line_errors():
            if self.test_set is not None:
                self.test_set.check()
            super().on_train_start()
            if self.test_set is not None and self.local_rank == 0:
                self.record = RunRecord(Path(self.output_folder), self.configuration_record())
                self.record.begin(self.device, self._part()[1], self.current_epoch)
                self.record.write_rows(self.metric_rows)

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
        """nnU-Net's pseudo Dice and, in the last epochs, Dice on the test folder, before a checkpoint is written."""
        super().on_validation_epoch_end(val_outputs)
        if self.loss_optimizer is not None:
            learned = ", ".join(f"{name} {value:.6f}" for name, value in self.robust_loss.numbers().items())
            self.print_to_log_file(f"seg_anl: {learned}")
        if self.test_set is None:
            return

        def logged(key: str) -> float:
            return float(self.logger.get_value(key, step=-1))

        values = {
            "train": {"loss": logged("train_losses"), "lr": logged("lrs")},
            "validation": {"loss": logged("val_losses"), "pseudo_dice": logged("mean_fg_dice")},
        }
        if self.current_epoch >= self.num_epochs - LAST_K:
            with one_line_errors():
                values["test"] = self._test(self.test_set)
            self.print_to_log_file(f"seg_anl: test {values['test']}")
        self.metric_rows += [MetricRow(self.current_epoch, split, metrics) for split, metrics in values.items()]
        if self.record is not None:
            self.record.write_rows(self.metric_rows)

    def on_train_end(self) -> None:
        """nnU-Net's end, for a network that has not diverged; with a test folder also summary.json."""
        with one_line_errors():
            if not all(weight.isfinite().all() for weight in self.network.parameters()):
                raise UserError("the network's weights are no longer finite numbers; this training is not finished")
        super().on_train_end()
        if self.record is not None and self.test_set is not None:
            counts = {"train": len(self.do_split()[0]), "test": len(self.test_set.cases)}
            self.record.finish(self.metric_rows, counts, self.robust_loss.numbers())

    def save_checkpoint(self, filename: str) -> None:
        """nnU-Net's checkpoint with the loss's choice and state in it, whole on the disk or not there."""
        if self.local_rank != 0 or self.disable_checkpointing:
            super().save_checkpoint(filename)
            return
        with written_aside(Path(filename)) as aside:
            super().save_checkpoint(str(aside))
            checkpoint = torch.load(aside, map_location="cpu", weights_only=False)
            checkpoint[CHECKPOINT_KEY] = {
                **self._chosen(),
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
            refuse_other_settings(own, self._chosen(), str(filename_or_checkpoint))
        super().load_checkpoint(filename_or_checkpoint)  # it takes no dictionary; what it executes was looked at above
        self.robust_loss.load_state_dict(own["loss_state"])
        if self.loss_optimizer is not None:
            self.loss_optimizer.adam.load_state_dict(own["loss_optimiser"])
        self.metric_rows = [MetricRow(**row) for row in own["rows"]]

    def configuration_record(self) -> dict[str, Any]:
        """What config.yaml and summary.json say the run is."""
        configuration = self.configuration_manager
        return {
            "task": "segmentation",
            "data": {"name": self.plans_manager.dataset_name, "fold": self.fold, **self.label_choice.given()},
            "model": {
                "name": "nnunet",
                "trainer": type(self).__name__,
                "plans": self.plans_manager.plans_name,
                "configuration": self.configuration_name,
                "architecture": configuration.network_arch_class_name,
                "patch_size": [int(size) for size in configuration.patch_size],
                "batch_size": int(configuration.batch_size),
            },
            "preset": self.preset,
            "loss": self.loss_choice.settings(),
            "optim": {
                "name": type(self.optimizer).__name__.lower(),
                "lr": self.initial_lr,
                "weight_decay": self.weight_decay,
                "l1": self.train_choice.l1 or 0.0,
                "schedule": type(self.lr_scheduler).__name__,
                "loss_lr": self.loss_learning_rate,
            },
            "noise": self.dataset_json.get(NOISE_KEY),
            "seed": self.train_choice.seed,
            "epochs": self.num_epochs,
            "iterations": self.num_iterations_per_epoch,
            "test_folder": os.environ.get(TEST_VARIABLE),
        }

    def _test(self, test_set: EvaluationSet) -> dict[str, float]:
        network = self.network.module if self.is_ddp else self.network
        if isinstance(network, OptimizedModule):
            network = network._orig_mod
        self.set_deep_supervision_enabled(False)
        network.eval()
        try:
            overlaps = test_set.overlaps(network, self.device, self.print_to_log_file, self._part())
        finally:
            self.set_deep_supervision_enabled(self.enable_deep_supervision)
        if self.is_ddp:
            gathered: list[Any] = [None] * distributed.get_world_size()
            distributed.all_gather_object(gathered, overlaps)
            overlaps = [found for part in gathered for found in part]
        return dice_from_overlaps(overlaps)

    def _part(self) -> tuple[int, int]:
        """Which part of the test cases is this process's, of how many."""
        return (distributed.get_rank(), distributed.get_world_size()) if self.is_ddp else (0, 1)

    def _chosen(self) -> dict[str, Any]:
        return {
            "loss": self.loss_choice.settings(),
            "training": self.train_choice.given(),
            "labels": self.label_choice.given(),
        }
