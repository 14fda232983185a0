"""A trainer configured by environment variables: loss, training length, labels, and the name of the output folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from nnunetv2.paths import nnUNet_preprocessed, nnUNet_results
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from seg_anl.records import UserError, exit_with_error

from . import TRAIN_VARIABLE
from .continuation import refuse_other_variant
from .criterion import check_loss
from .environment_settings import (
    LOSS_VARIABLE,
    TEST_VARIABLE,
    LabelChoice,
    LossChoice,
    TrainChoice,
    chosen_labels,
    chosen_loss,
    chosen_training,
    loss_choice,
    refuse_unknown_variables,
    variant_suffix,
)
from .evaluation_set import EvaluationSet, find_cases
from .training_cases import weights_of_cases

ANNOTATIONS = "gt_segmentations"  # nnU-Net's copy of labelsTr in the preprocessed data
NNUNET_ATTRIBUTES = {
    "epochs": "num_epochs",
    "iterations": "num_iterations_per_epoch",
    "validation_iterations": "num_val_iterations_per_epoch",
    "weight_decay": "weight_decay",
}


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Exit with a one-line message on a :class:`UserError`, where nnU-Net's commands would print a traceback."""
    try:
        yield
    except UserError as error:
        exit_with_error("seg_anl", error)


class ConfiguredTrainer(nnUNetTrainer):
    """nnU-Net's trainer with settings from the environment, which are validated before anything is read or written.

    Attributes:
        loss_choice, train_choice, label_choice: the settings of the class combined with those of the environment.
        variant: trainer part of the model folder's name; pass it as ``-tr`` to predict.
        case_weights: weight of every case of the data set, or None.
        test_folder, test_set: the ``SEG_ANL_TEST`` folder and its cases, or None.
    """

    loss_name: str | None = None
    loss_parameters: Mapping[str, Any] = {}
    dice_weight: float = 0.0
    preset: str = "nnunet"
    folder_with_segs_from_previous_stage: str | None

    # nnU-Net inspects the argument names of the subclass, so they must be exactly these.
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
            choices = (self.loss_choice, self.train_choice, self.label_choice)
            self.variant = type(self).__name__ + variant_suffix(self.own_loss(), *choices)
            check_loss(self.loss_choice, PlansManager(plans).get_label_manager(dataset_json))
            self.case_weights = None
            if self.label_choice.weights is not None:
                annotations = Path(nnUNet_preprocessed) / plans["dataset_name"] / ANNOTATIONS
                self.case_weights = weights_of_cases(
                    self.label_choice.weights, annotations, dataset_json["file_ending"]
                )
            folder = os.environ.get(TEST_VARIABLE)
            self.test_folder = os.path.abspath(folder) if folder else None
            cases = find_cases(Path(self.test_folder), dataset_json["file_ending"]) if self.test_folder else None
            if plans.get("continue_training") and nnUNet_results.is_set():
                results = Path(nnUNet_results) / plans["dataset_name"]
                suffix = f"__{plans['plans_name']}__{configuration}"
                refuse_other_variant(results, type(self).__name__, self.variant, suffix, fold)
        super().__init__(plans, configuration, fold, dataset_json, device)
        if (previous := self.folder_with_segs_from_previous_stage) is not None:
            model = self._of_variant(Path(previous).parents[1])  # of the first stage, trained with the same settings
            self.folder_with_segs_from_previous_stage = str(model.joinpath(*Path(previous).parts[-2:]))
        self.set_defaults()
        for name, value in self.train_choice.given().items():
            if name in NNUNET_ATTRIBUTES:
                setattr(self, NNUNET_ATTRIBUTES[name], value)
        self.test_set = None
        if cases is not None:
            managers = (self.plans_manager, self.configuration_manager)
            self.test_set = EvaluationSet(cases, *managers, dataset_json, type(self).__name__)

    @classmethod
    def own_loss(cls) -> LossChoice | None:
        """The loss of this trainer class; None if it takes any loss."""
        if cls.loss_name is None:
            return None
        return loss_choice(cls.loss_name, dice_weight=cls.dice_weight, **cls.loss_parameters)

    @classmethod
    def choices(cls, environ: Mapping[str, str]) -> tuple[LossChoice, TrainChoice, LabelChoice]:
        """The settings of this class in the given environment.

        Raises:
            UserError: for unknown names or values out of range.
        """
        refuse_unknown_variables(environ)
        loss = chosen_loss(environ.get(LOSS_VARIABLE), cls.__name__, cls.own_loss())
        return loss, chosen_training(environ.get(TRAIN_VARIABLE)), chosen_labels(environ)

    def set_defaults(self) -> None:
        """Hook to set the learning rate, number of epochs, ...; ``SEG_ANL_TRAIN`` overrides it."""

    @property
    def output_folder_base(self) -> str | None:
        """The folder of all folds. A run with nondefault settings has its own."""
        return self._output_folder_base

    @output_folder_base.setter
    def output_folder_base(self, path: str | None) -> None:
        self._output_folder_base = None if path is None else str(self._of_variant(Path(path)))

    def _of_variant(self, model: Path) -> Path:
        """The folder of a model with this trainer's settings in its name."""
        return model.with_name(model.name.replace(type(self).__name__, self.variant, 1))

    def chosen_settings(self) -> dict[str, Any]:
        """The settings by part, as stored in a checkpoint."""
        return {
            "loss": self.loss_choice.settings(),
            "training": self.train_choice.given(),
            "labels": self.label_choice.given(),
        }
