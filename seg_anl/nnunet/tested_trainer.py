"""A trainer that is tested on clean labels during training and writes the files that seg-anl-report reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import distributed
from torch._dynamo import OptimizedModule

from seg_anl.losses import RobustLoss
from seg_anl.records import MetricRow
from seg_anl.records.atomic import remove_partial
from seg_anl.records.runs import METRICS_FILE, SUMMARY_FILE

from .configured_trainer import one_line_errors
from .evaluation_set import EvaluationSet
from .labels_trainer import LabelsTrainer
from .overlap import dice_from_overlaps
from .run_record import LAST_K, RunRecord

NOISE_KEY = "annotation_noise"  # in the dataset.json of a dataset that seg-anl-noise made


class TestedTrainer(LabelsTrainer):
    """With ``SEG_ANL_TEST``: measures Dice on that folder in the last epochs, and writes the files of a run directory.

    Attributes:
        robust_loss: the training loss.
        metric_rows: metrics of all epochs so far.
    """

    robust_loss: RobustLoss
    loss_learning_rate: float = 1e-3
    metric_rows: Sequence[MetricRow] = ()
    record: RunRecord | None = None

    def on_train_start(self) -> None:
        """Start the training; with a test folder, write config.yaml and environment.json."""
        with one_line_errors():
            if self.test_set is not None:
                self.test_set.check(self._part())
            super().on_train_start()
            if self.local_rank != 0:
                return
            folder = Path(self.output_folder)
            remove_partial(folder, below=False)
            if self.current_epoch < self.num_epochs:  # otherwise --c only repeats the validation
                for name in (SUMMARY_FILE, METRICS_FILE):  # of an earlier training
                    (folder / name).unlink(missing_ok=True)
            if self.test_set is not None:
                self.record = RunRecord(folder, self.configuration_record())
                self.record.begin(self.device, self._part()[1], self.current_epoch)
                self.record.write_rows(self.metric_rows)

    def on_validation_epoch_end(self, val_outputs: list[dict[str, Any]]) -> None:
        """Record losses, pseudo Dice and, in the last epochs, test Dice, before the checkpoint is written."""
        super().on_validation_epoch_end(val_outputs)
        if self.test_set is None:
            return

        def last_logged(key: str) -> float:
            return float(self.logger.get_value(key, step=-1))

        values = {
            "train": {"loss": last_logged("train_losses"), "lr": last_logged("lrs")},
            "validation": {"loss": last_logged("val_losses"), "pseudo_dice": last_logged("mean_fg_dice")},
        }
        if self.current_epoch >= self.num_epochs - LAST_K:
            with one_line_errors():
                values["test"] = self._test(self.test_set)
            self.print_to_log_file(f"seg_anl: test {values['test']}")
        new = (MetricRow(self.current_epoch, split, metrics) for split, metrics in values.items())
        self.metric_rows = [*self.metric_rows, *new]
        if self.record is not None:
            self.record.write_rows(self.metric_rows)

    def on_train_end(self) -> None:
        """End the training; with a test folder, write summary.json."""
        super().on_train_end()
        if self.record is not None and self.test_set is not None:
            counts = {"train": len(self.training_cases()), "test": len(self.test_set.cases)}
            self.record.finish(self.metric_rows, counts, self.robust_loss.numbers())

    def configuration_record(self) -> dict[str, Any]:
        """The content of config.yaml."""
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
            "test_folder": self.test_folder,
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
            overlaps = [counts for part in gathered for counts in part]
        return dice_from_overlaps(overlaps)

    def _part(self) -> tuple[int, int]:
        """This process's part of the test cases: index, number of parts."""
        return (distributed.get_rank(), distributed.get_world_size()) if self.is_ddp else (0, 1)
