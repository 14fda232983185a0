"""A trainer with case weights and soft labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import distributed

from seg_anl.records import UserError

from .configured_trainer import ANNOTATIONS, ConfiguredTrainer, one_line_errors
from .soft_labels import SoftLabels


class LabelsTrainer(ConfiguredTrainer):
    """Skips cases of weight 0, and replaces the labels with the probabilities in a folder."""

    def training_cases(self) -> list[str]:
        """The training cases of the fold with nonzero weight."""
        return self.counted_cases(self.do_split()[0])

    def counted_cases(self, cases: list[str]) -> list[str]:
        """The cases with nonzero weight."""
        if self.case_weights is None:
            return cases
        counted = [case for case in cases if self.case_weights[case]]
        if not counted:
            with one_line_errors():
                raise UserError(f"{self.label_choice.weights}: all training cases of this fold have weight 0")
        return counted

    def get_tr_and_val_datasets(self) -> tuple[Any, Any]:
        """nnU-Net's data sets; training skips cases of weight 0 and uses soft labels if given."""
        training, validation = super().get_tr_and_val_datasets()
        training.identifiers = self.counted_cases(training.identifiers)
        if self.label_choice.soft is None:
            return training, validation
        annotations = Path(self.preprocessed_dataset_folder_base) / ANNOTATIONS
        if self.local_rank == 0:
            self._soft_labels().preprocess(training, annotations)
        if self.is_ddp:
            distributed.barrier()
        return self._soft_labels().preprocess(training, annotations), validation

    def get_training_transforms(self, *arguments: Any, **keywords: Any) -> Any:
        """nnU-Net's augmentation, applied to soft labels too if given."""
        transforms = super().get_training_transforms(*arguments, **keywords)
        if self.label_choice.soft is None:
            return transforms
        image_channels = len(self.configuration_manager.normalization_schemes)
        return self._soft_labels().wrap_transforms(transforms, image_channels)

    def _soft_labels(self) -> SoftLabels:
        assert self.label_choice.soft is not None
        managers = (self.plans_manager, self.configuration_manager, self.label_manager)
        return SoftLabels(self.label_choice.soft, *managers, self.dataset_json["file_ending"])
