"""What is learned from a training case: how much it counts, and soft labels in place of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import distributed

from seg_anl.records import UserError

from .configured_trainer import ANNOTATIONS, ConfiguredTrainer, one_line_errors
from .soft_labels import SoftLabels


class LabelsTrainer(ConfiguredTrainer):
    """Leaves out cases that weigh 0, and has the probabilities of a folder go with the images in place of labels."""

    def counted_cases(self, cases: list[str]) -> list[str]:
        """Those of ``cases`` whose weight is not 0."""
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
        training.identifiers = self.counted_cases(training.identifiers)
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
