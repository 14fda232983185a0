"""Probabilities in place of labels: read, preprocessed as nnU-Net does images, and taken through its augmentation.

nnU-Net's loader crops an image and a label map. Here the image's last channels are the probabilities until it has
cropped both; then they are batchgeneratorsv2's ``regression_target``, which its spatial transforms treat as an image;
at the end they take the place of the labels, at every resolution of deep supervision. Only probabilities of the
foreground travel: what they lack of 1 is background, as is what nnU-Net pads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from data_prep.array_files import has_array, read_array
from seg_anl.records import UserError, make_directory, written_aside
from seg_anl.records.foreign_files import check_regular

from .environment_settings import SOFT_VARIABLE

TOLERANCE = 2e-3  # what half precision leaves of 1
ARRAYS = ("probabilities", "softmax")  # the names that nnU-Net gives them


@dataclass(frozen=True)
class SoftLabels:
    """A folder of probabilities and what preprocessing them takes.

    Attributes:
        source: holds ``CASE.npz`` or ``CASE.npy`` of shape ``(C, *spatial)``, the axes as nnU-Net's reader has them and
            as ``nnUNetv2_predict --save_probabilities`` writes them, or reversed, as ``seg-anl-prep raters`` writes
            those of NIfTI files: the shape tells, else the labels. C: all classes, or the regions; unlabeled elements
            hold the ignore label in all channels. Or, for one foreground class, an image file of the data set's own
            kind: values from 0 to 1, of pictures 0 to 255.
        plans_manager, configuration_manager, label_manager: nnU-Net's, of the training.
        file_ending: of the data set.
    """

    source: Path
    plans_manager: Any
    configuration_manager: Any
    label_manager: Any
    file_ending: str

    @property
    def channels(self) -> int:
        """The number of foreground classes, or of regions."""
        return int(self.label_manager.num_segmentation_heads) - (not self.label_manager.has_regions)

    @property
    def _reader(self) -> Any:
        return self.plans_manager.image_reader_writer_class

    def preprocessed(self, dataset: Any, annotations: Path) -> WithProbabilities:
        """A data set of nnU-Net with the probabilities of its cases, which are kept in a folder beside its own.

        Args:
            dataset: nnU-Net's, preprocessed.
            annotations: nnU-Net's folder of label files as they were.

        Raises:
            UserError: naming the first file that is missing, damaged, of another size or no probabilities.
        """
        own = Path(dataset.source_folder)
        mark = hashlib.sha256(str(self.source.resolve()).encode()).hexdigest()[:8]
        kept = make_directory(own.with_name(f"{own.name}_soft_{mark}"))
        for case in dataset.identifiers:
            source, target = self._find(case), kept / f"{case}.b2nd"
            newest = max(path.stat().st_mtime for path in (source, own / f"{case}.pkl"))
            if not target.exists() or target.stat().st_mtime <= newest:
                image, _, _, properties = dataset.load_case(case)
                probabilities = self.read(source, annotations / f"{case}{self.file_ending}")
                self._write(self._resampled(probabilities, properties, image.shape[1:]), target)
        return WithProbabilities(dataset, kept)

    def through(self, transforms: BasicTransform, images: int) -> BasicTransform:
        """nnU-Net's transforms, for images of ``images`` channels and those of the probabilities after them."""
        ignored = self.label_manager.ignore_label
        end = _InPlaceOfLabels(regions=self.label_manager.has_regions, ignored=ignored)
        return ComposeTransforms([_OutOfImage(images), transforms, end])

    def read(self, path: Path, annotation: Path) -> NDArray[np.float32]:
        """The probabilities of the foreground, ``(channels, *spatial)`` with three spatial axes.

        With an ignore label, what is unlabeled comes first, 1 or 0, and the probabilities are 0 there.

        Raises:
            UserError: naming the file.
        """
        if path.suffix in (".npz", ".npy"):
            array = read_array(path, *[name for name in ARRAYS if has_array(path, name)][:1])
            array = array[:, None] if array.ndim == 3 else array
        else:
            array = self._read_image(path)
            array = array / 255 if self._reader is NaturalImage2DIO else array
        ignored, heads = self.label_manager.ignore_label, int(self.label_manager.num_segmentation_heads)
        labels = self._read_image(annotation)[0]
        orders = (array, array.transpose(0, 3, 2, 1)) if array.ndim == 4 else ()
        arranged = [order for order in orders if order.shape[1:] == labels.shape]
        if not arranged or len(array) not in {heads, self.channels}:
            parts = "regions" if self.label_manager.has_regions else "classes"
            raise UserError(f"{path}: shape {array.shape}; expected {heads} {parts} of {labels.shape}")
        best = max(arranged, key=lambda order: np.mean((order[-self.channels :].sum(axis=0) > 0.5) == (labels > 0)))
        array = np.array(best, dtype=np.float32)  # a copy
        unlabeled = np.zeros(labels.shape, bool)
        if ignored is not None:
            unlabeled = (array == ignored).all(axis=0)
            array[:, unlabeled] = 0
        self._check(path, array[:, ~unlabeled])
        array = array[-self.channels :]
        return array if ignored is None else np.concatenate((unlabeled[None], array))

    def _check(self, path: Path, values: NDArray[np.float32]) -> None:
        """Refuse what is no probability, or no distribution over the classes, ``(C, elements)``."""
        if not values.size:
            return
        least, most = values.min(), values.max()
        if not (least >= -TOLERANCE and most <= 1 + TOLERANCE):  # NaN neither
            raise UserError(f"{path}: values from {least:.4g} to {most:.4g}, no probabilities")
        if not self.label_manager.has_regions:
            total = values.sum(axis=0)
            if len(values) == self.channels:
                total = np.maximum(total, 1)  # the background has the rest
            worst = float(total[np.argmax(np.abs(total - 1))])
            if abs(worst - 1) > TOLERANCE * len(values):
                raise UserError(f"{path}: the classes of an element sum to {worst:.3f}, not to 1; no probabilities")

    def _read_image(self, path: Path) -> Any:
        """One file by nnU-Net's reader, ``(C, *spatial)``."""
        check_regular(path)
        try:
            return self._reader().read_images([str(path)])[0]
        except Exception as error:  # readers raise what their libraries raise; all of it is about this file
            raise UserError(f"{path}: cannot be read: {' '.join(str(error).split())[:200]}") from error

    def _find(self, case: str) -> Path:
        endings = (".npz", ".npy", *([self.file_ending] if self.channels == 1 else []))
        found = [path for ending in endings if (path := self.source / f"{case}{ending}").exists()]
        if not found:
            raise UserError(f"{SOFT_VARIABLE}={self.source}: no {case}{' or '.join(endings)} in it")
        return found[0]

    def _resampled(
        self, probabilities: NDArray[np.float32], properties: dict[str, Any], shape: Sequence[int]
    ) -> NDArray[np.float32]:
        """As nnU-Net preprocesses an image, transposed, cropped, resampled; but linearly, as it does probabilities."""
        forward = self.plans_manager.transpose_forward
        inside = (slice(None), *(slice(*bounds) for bounds in properties["bbox_used_for_cropping"]))
        spacing = [properties["spacing"][axis] for axis in forward]
        wanted = list(self.configuration_manager.spacing)
        wanted = [*spacing[: len(spacing) - len(wanted)], *wanted]  # a 2-D configuration keeps that of slices
        resample = self.configuration_manager.resampling_fn_probabilities
        turned = probabilities.transpose([0, *[axis + 1 for axis in forward]])
        return np.asarray(resample(turned[inside], shape, spacing, wanted))

    def _write(self, probabilities: NDArray[np.float32], target: Path) -> None:
        halved = np.ascontiguousarray(probabilities.clip(0, 1), dtype=np.float16)
        patch = tuple(self.configuration_manager.patch_size)
        blocks, chunks = comp_blosc2_params(halved.shape, patch, halved.itemsize)
        with written_aside(target) as aside:
            blosc2.asarray(halved, urlpath=str(aside), mode="w", blocks=blocks, chunks=chunks)


class WithProbabilities:
    """A data set of nnU-Net whose images have the probabilities for their last channels.

    Args:
        dataset: nnU-Net's.
        folder: of the preprocessed probabilities.
    """

    def __init__(self, dataset: Any, folder: Path) -> None:
        self.dataset, self.folder = dataset, folder

    @property
    def identifiers(self) -> list[str]:
        """The names of the cases."""
        return list(self.dataset.identifiers)

    def load_case(self, identifier: str) -> tuple[Any, Any, Any, dict[str, Any]]:
        """nnU-Net's: image, labels, those of a stage before or None, properties."""
        image, labels, previous, properties = self.dataset.load_case(identifier)
        probabilities = blosc2.open(urlpath=str(self.folder / f"{identifier}.b2nd"), mode="r")
        return _Channels(image, probabilities), labels, previous, properties


class _Channels:
    """The channels of two arrays on disk as those of one; what is cut out is read, the rest is not."""

    def __init__(self, image: Any, probabilities: Any) -> None:
        self.parts = (image, probabilities)
        self.shape = (image.shape[0] + probabilities.shape[0], *image.shape[1:])

    def __getitem__(self, place: tuple[slice, ...]) -> NDArray[np.float32]:
        """A box of all channels."""
        return np.concatenate([np.asarray(part[place], dtype=np.float32) for part in self.parts])


class _OutOfImage(BasicTransform):
    """What comes after the image's own channels becomes the ``regression_target``."""

    def __init__(self, images: int) -> None:
        super().__init__()
        self.images = images

    def apply(self, data_dict: dict[str, Any], **params: Any) -> dict[str, Any]:
        """batchgeneratorsv2's hook."""
        image = data_dict["image"]
        return {**data_dict, "image": image[: self.images], "regression_target": image[self.images :]}


class _InPlaceOfLabels(BasicTransform):
    """The probabilities in the form that the criterion takes, at each resolution that the labels have.

    A lower resolution has the mean over the pixels that it stands for, of those with a label. Unlabeled is what
    nnU-Net's labels or the probabilities leave so.
    """

    def __init__(self, *, regions: bool, ignored: int | None) -> None:
        super().__init__()
        self.regions, self.ignored = regions, ignored

    def apply(self, data_dict: dict[str, Any], **params: Any) -> dict[str, Any]:
        """batchgeneratorsv2's hook."""
        probabilities, labels = data_dict.pop("regression_target"), data_dict["segmentation"]
        if probabilities is None:
            raise UserError(f"{SOFT_VARIABLE}: a transform of this trainer takes labels alone, no probabilities")
        each = labels if isinstance(labels, list) else [labels]
        known = torch.ones_like(probabilities[:1])
        if self.ignored is not None:
            share, probabilities = 1 - probabilities[:1], probabilities[1:]  # interpolated at borders, as both are
            probabilities = probabilities / share.clamp(min=0.5)
            known = ((share >= 0.5) & ~self._unlabeled(each[0])).float()
        targets = [self._target(probabilities * known, known, level) for level in each]
        return {**data_dict, "segmentation": targets if isinstance(labels, list) else targets[0]}

    def _unlabeled(self, labels: Tensor) -> Tensor:
        return labels[-1:] != 0 if self.regions else torch.eq(labels[:1], self.ignored or 0)

    def _target(self, known_probabilities: Tensor, known: Tensor, labels: Tensor) -> Tensor:
        size = labels.shape[1:]
        share = _averaged(known, size)
        present = (_averaged(known_probabilities, size) / share.clamp(min=1e-6)).clamp(0, 1)
        target = present if self.regions else torch.cat(((1 - present.sum(0, keepdim=True)).clamp(min=0), present))
        if self.ignored is None:
            return target
        unlabeled = self._unlabeled(labels) | (share == 0)
        return torch.cat((target, unlabeled.float())) if self.regions else target.where(~unlabeled, float(self.ignored))


def _averaged(volume: Tensor, size: Sequence[int]) -> Tensor:
    return volume if volume.shape[1:] == tuple(size) else interpolate(volume[None], size=list(size), mode="area")[0]
