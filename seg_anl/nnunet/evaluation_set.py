"""Clean images and labels to test a network on during training, read and predicted the way nnU-Net does."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from numpy.typing import NDArray
from torch import nn

from seg_anl.records import UserError
from seg_anl.records.errors import one_line

from . import TEST_VARIABLE
from .overlap import overlap

LAYOUTS = (("imagesTs", "labelsTs"), ("images", "labels"))


@dataclass(frozen=True)
class EvaluationCase:
    """One case: its image files in channel order (a file may hold several channels) and its label file."""

    images: list[str]
    label: str


def find_cases(folder: Path, file_ending: str) -> list[EvaluationCase]:
    """Find ``labelsTs/NAME.png`` with ``imagesTs/NAME_0000.png``, ... (or labels and images) below ``folder``.

    Raises:
        UserError: if there are no cases, or an image is missing.
    """
    source = f"{TEST_VARIABLE}={folder}"
    layouts = [pair for pair in LAYOUTS if all((folder / name).is_dir() for name in pair)]
    if not layouts:
        expected = " or ".join(f"{images}/ and {labels}/" for images, labels in LAYOUTS)
        raise UserError(f"{source}: expected a folder with {expected} in it")
    images, labels = (folder / name for name in layouts[0])
    cases = []
    for label in sorted(labels.glob(f"*{file_ending}")):
        name = label.name.removesuffix(file_ending)
        files = sorted(images.glob(f"{glob.escape(name)}_[0-9][0-9][0-9][0-9]{file_ending}"))
        if not files:
            raise UserError(f"{source}: {label} has no image {images / name}_0000{file_ending}")
        cases.append(EvaluationCase([str(file) for file in files], str(label)))
    if not cases:
        raise UserError(f"{source}: no *{file_ending} file in {labels}")
    return cases


@dataclass(frozen=True)
class EvaluationSet:
    """Test cases, with nnU-Net's managers and data set description of the training to read and predict them."""

    cases: Sequence[EvaluationCase]
    plans_manager: Any
    configuration_manager: Any
    dataset_json: dict[str, Any]
    trainer_name: str

    @property
    def label_manager(self) -> Any:
        """nnU-Net's label manager of the training."""
        return self.plans_manager.get_label_manager(self.dataset_json)

    def check(self, part: tuple[int, int] = (0, 1)) -> None:
        """Read all images and labels of ``part``, so that none of them ends the training in its last epochs.

        Raises:
            UserError: naming the first file that is unreadable, has another number of channels than the data set,
                another shape than its image or unknown labels; for the second stage of a cascade.
        """
        if self.configuration_manager.previous_stage_name is not None:
            raise UserError(f"{TEST_VARIABLE}: the second stage of a cascade cannot be tested during training")
        channels = len(self.dataset_json.get("channel_names", self.dataset_json.get("modality", {})))
        known = {0, *self.label_manager.all_labels}
        if self.label_manager.has_ignore_label:
            known.add(self.label_manager.ignore_label)
        for case in self.cases[part[0] :: part[1]]:
            image, label = self._read_image(case), self._read_label(case)
            if len(image) != channels:
                raise UserError(
                    f"{TEST_VARIABLE}: {', '.join(case.images)}: {len(image)} channels, but the dataset has {channels}"
                )
            if label.shape != image.shape[1:]:
                raise UserError(f"{case.label}: shape {label.shape}, but its image has shape {image.shape[1:]}")
            unknown = sorted(set(np.unique(label).tolist()) - known)
            if unknown:
                raise UserError(
                    f"{TEST_VARIABLE}: {case.label} holds the value {unknown[0]}, but the labels of the dataset are "
                    f"{', '.join(map(str, sorted(known)))}"
                )

    def overlaps(
        self, network: nn.Module, device: torch.device, progress: Callable[[str], None], part: tuple[int, int] = (0, 1)
    ) -> list[NDArray[np.int64]]:
        """Predict the cases of ``part`` (index, number of parts) at their original size and count the overlaps.

        Mirroring is off. ``network`` must be in eval mode with deep supervision off.
        """
        training = (self.plans_manager, self.configuration_manager)
        predictor = nnUNetPredictor(
            use_mirroring=False, perform_everything_on_device=device.type == "cuda", device=device, allow_tqdm=False
        )
        predictor.manual_initialization(network, *training, None, self.dataset_json, self.trainer_name, None)
        preprocessor = self.configuration_manager.preprocessor_class(verbose=False)
        labels = self.label_manager
        foreground = labels.foreground_regions if labels.has_regions else labels.foreground_labels
        regions = [np.atleast_1d(region).tolist() for region in foreground]
        overlaps = []
        for case in self.cases[part[0] :: part[1]]:
            data, _, properties = preprocessor.run_case(case.images, None, *training, self.dataset_json)
            predicted = convert_predicted_logits_to_segmentation_with_correct_shape(
                predictor.predict_sliding_window_return_logits(torch.from_numpy(data)).cpu(),
                *training,
                labels,
                properties,
                num_threads_torch=torch.get_num_threads(),
            )
            overlaps.append(overlap(predicted, self._read_label(case), regions, labels.ignore_label))
        progress(f"seg_anl: tested on {len(overlaps)} cases")
        return overlaps

    def _read_image(self, case: EvaluationCase) -> Any:
        return self._read(", ".join(case.images), lambda reader: reader.read_images(case.images))

    def _read_label(self, case: EvaluationCase) -> Any:
        return self._read(case.label, lambda reader: reader.read_seg(case.label))[0]

    def _read(self, name: str, read: Callable[[Any], tuple[Any, Any]]) -> Any:
        try:
            return read(self.plans_manager.image_reader_writer_class())[0]
        except Exception as error:  # readers raise errors of any type, all about this file
            raise UserError(f"{TEST_VARIABLE}: {name} cannot be read: {one_line(error)}") from error
