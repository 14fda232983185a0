"""Soft labels: probabilities instead of labels, preprocessed and augmented with nnU-Net's own pipeline.

nnU-Net's loader crops an image and a label map. The probabilities are appended to the image's channels for cropping,
then passed as batchgeneratorsv2's ``regression_target``, which spatial transforms treat like an image. Finally they
replace the labels at every resolution of deep supervision. Only foreground probabilities are passed along; the
background, including padding, is one minus their sum.
"""

from __future__ import annotations

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

from seg_anl.records import UserError, make_directory, written_aside
from seg_anl.records.array_files import has_array, read_array
from seg_anl.records.errors import one_line
from seg_anl.records.foreign_files import check_regular

from .environment_settings import SOFT_VARIABLE, path_digest

TOLERANCE = 2e-3  # precision of float16
# Metadata of a preprocessed file: name, size and time of those that it was made from. A new name makes all anew.
STAMP = "made_from_2"
ARRAYS = ("probabilities", "softmax")  # array names that nnU-Net uses


@dataclass(frozen=True)
class SoftLabels:
    """A folder of probabilities, and nnU-Net's managers to preprocess them.

    Attributes:
        source: folder with ``CASE.npz`` or ``CASE.npy`` of shape ``(C, *spatial)``, where C is all classes or the
            regions. Axes are in the order of nnU-Net's reader (as ``nnUNetv2_predict --save_probabilities`` writes
            them) or reversed (as ``seg-anl-prep raters`` writes those of NIfTI files); the order is inferred from the
            shape or, failing that, from the labels. Unlabeled elements hold the ignore label in all channels. With
            one foreground class, image files of the data set's format work too: values from 0 to 1, or 0 to 255 for
            natural images.
        plans_manager, configuration_manager, label_manager: nnU-Net's managers of the training.
        file_ending: file ending of the data set.
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

    def preprocess(self, dataset: Any, annotations: Path) -> WithProbabilities:
        """Preprocess the probabilities into a cache folder next to the data set's, and add them to the data set.

        Args:
            dataset: nnU-Net's preprocessed data set.
            annotations: nnU-Net's folder of original label files.

        Raises:
            UserError: naming the first file that is missing, damaged, of the wrong size or not probabilities.
        """
        folder = Path(dataset.source_folder)
        cache = make_directory(folder.with_name(f"{folder.name}_soft_{path_digest(self.source)}"))
        for case in dataset.identifiers:
            source, target = self._find(case), cache / f"{case}.b2nd"
            stamp = [
                [path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in (source, folder / f"{case}.pkl")
            ]
            if not _has_stamp(target, stamp):
                image, _, _, properties = dataset.load_case(case)
                probabilities = self.read(source, annotations / f"{case}{self.file_ending}")
                self._write(self._resample(probabilities, properties, image.shape[1:]), target, stamp)
        return WithProbabilities(dataset, cache)

    def wrap_transforms(self, transforms: BasicTransform, image_channels: int) -> BasicTransform:
        """Apply nnU-Net's transforms to images whose channels after ``image_channels`` are probabilities."""
        replace_labels = _ReplaceLabels(regions=self.label_manager.has_regions, ignored=self.label_manager.ignore_label)
        return ComposeTransforms([_SplitImage(image_channels), transforms, replace_labels])

    def read(self, path: Path, annotation: Path) -> NDArray[np.float32]:
        """The foreground probabilities, ``(channels, *spatial)`` with three spatial axes.

        With an ignore label, an extra first channel is 1 at unlabeled elements, and the probabilities are 0 there.

        Raises:
            UserError: naming the file.
        """
        if path.suffix in (".npz", ".npy"):
            array = read_array(path, *[name for name in ARRAYS if has_array(path, name)][:1])
            orders = [array]
            if self._reader is not NaturalImage2DIO and array.ndim > 2:  # pictures have one order
                orders.append(array.transpose(0, *range(array.ndim - 1, 0, -1)))
            orders = [order[:, None] if order.ndim == 3 else order for order in orders]
        else:
            array = self._read_image(path)
            orders = [array / 255 if self._reader is NaturalImage2DIO else array]
        ignored, heads = self.label_manager.ignore_label, int(self.label_manager.num_segmentation_heads)
        labels = self._read_image(annotation)[0]
        matching = [order for order in orders if order.shape[1:] == labels.shape]
        if not matching or len(array) not in {heads, self.channels}:
            parts = "regions" if self.label_manager.has_regions else "classes"
            raise UserError(f"{path}: shape {array.shape}; expected {heads} {parts} of shape {labels.shape}")
        best = max(matching, key=lambda order: order[-self.channels :, labels > 0].sum())
        array = np.array(best, dtype=np.float32)  # a copy
        unlabeled = np.zeros(labels.shape, bool)
        if ignored is not None:
            unlabeled = (array == ignored).all(axis=0)
            array[:, unlabeled] = 0
        self._check(path, array[:, ~unlabeled])
        array = array[-self.channels :]
        return array if ignored is None else np.concatenate((unlabeled[None], array))

    def _check(self, path: Path, values: NDArray[np.float32]) -> None:
        """Refuse invalid probabilities ``(C, elements)``: out of range, or classes that do not sum to 1."""
        if not values.size:
            return
        low, high = values.min(), values.max()
        if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):  # also true for NaN
            raise UserError(f"{path}: values from {low:.4g} to {high:.4g} are not probabilities")
        if not self.label_manager.has_regions:
            total = values.sum(axis=0)
            if len(values) == self.channels:
                total = np.maximum(total, 1)  # the background is the rest
            worst = float(total[np.argmax(np.abs(total - 1))])
            if abs(worst - 1) > TOLERANCE * len(values):
                raise UserError(f"{path}: the class probabilities of an element sum to {worst:.3f}, not to 1")

    def _read_image(self, path: Path) -> Any:
        """One file read by nnU-Net's reader, ``(C, *spatial)``."""
        check_regular(path)
        try:
            return self._reader().read_images([str(path)])[0]
        except Exception as error:  # readers raise errors of any type, all about this file
            raise UserError(f"{path}: cannot be read: {one_line(error)}") from error

    def _find(self, case: str) -> Path:
        endings = (".npz", ".npy", *([self.file_ending] if self.channels == 1 else []))
        paths = [path for ending in endings if (path := self.source / f"{case}{ending}").exists()]
        if not paths:
            raise UserError(f"{SOFT_VARIABLE}={self.source}: no {case}{' or '.join(endings)} in it")
        return paths[0]

    def _resample(
        self, probabilities: NDArray[np.float32], properties: dict[str, Any], shape: Sequence[int]
    ) -> NDArray[np.float32]:
        """Transpose, crop and resample as nnU-Net does for images, but with its interpolation for probabilities."""
        axes = self.plans_manager.transpose_forward
        box = (slice(None), *(slice(*bounds) for bounds in properties["bbox_used_for_cropping"]))
        spacing = [properties["spacing"][axis] for axis in axes]
        new_spacing = list(self.configuration_manager.spacing)
        new_spacing = [*spacing[: len(spacing) - len(new_spacing)], *new_spacing]  # 2-D keeps the slice spacing
        resample = self.configuration_manager.resampling_fn_probabilities
        transposed = probabilities.transpose([0, *[axis + 1 for axis in axes]])
        return np.asarray(resample(transposed[box], shape, spacing, new_spacing))

    def _write(self, probabilities: NDArray[np.float32], target: Path, stamp: list[Any]) -> None:
        array = np.ascontiguousarray(probabilities.clip(0, 1), dtype=np.float16)
        patch = tuple(self.configuration_manager.patch_size)
        blocks, chunks = comp_blosc2_params(array.shape, patch, array.itemsize)
        with written_aside(target) as aside:
            stored = blosc2.asarray(array, urlpath=str(aside), mode="w", blocks=blocks, chunks=chunks)
            stored.vlmeta[STAMP] = stamp


def _has_stamp(path: Path, stamp: list[Any]) -> bool:
    """Whether the file was made from files with these names, sizes and times."""
    if not path.exists():
        return False
    stored = blosc2.open(urlpath=str(path), mode="r")
    return bool(stored.vlmeta.getall().get(STAMP) == stamp)


class WithProbabilities:
    """nnU-Net's data set with probabilities appended to the image channels.

    Args:
        dataset: nnU-Net's data set.
        folder: folder of the preprocessed probabilities.
    """

    def __init__(self, dataset: Any, folder: Path) -> None:
        self.dataset, self.folder = dataset, folder

    @property
    def identifiers(self) -> list[str]:
        """Case names."""
        return list(self.dataset.identifiers)

    def load_case(self, identifier: str) -> tuple[Any, Any, Any, dict[str, Any]]:
        """Image with probabilities, labels, segmentation of the previous stage or None, and properties."""
        image, labels, previous, properties = self.dataset.load_case(identifier)
        probabilities = blosc2.open(urlpath=str(self.folder / f"{identifier}.b2nd"), mode="r")
        return _LazyConcatenation(image, probabilities), labels, previous, properties


class _LazyConcatenation:
    """Two arrays on disk concatenated along the channels; indexing reads only the requested box."""

    def __init__(self, image: Any, probabilities: Any) -> None:
        self.parts = (image, probabilities)
        self.shape = (image.shape[0] + probabilities.shape[0], *image.shape[1:])

    def __getitem__(self, box: tuple[slice, ...]) -> NDArray[np.float32]:
        """A box of all channels."""
        return np.concatenate([np.asarray(part[box], dtype=np.float32) for part in self.parts])


class _SplitImage(BasicTransform):
    """Move the channels after the image's own to ``regression_target``."""

    def __init__(self, image_channels: int) -> None:
        super().__init__()
        self.image_channels = image_channels

    def apply(self, data_dict: dict[str, Any], **params: Any) -> dict[str, Any]:
        """batchgeneratorsv2's hook."""
        image = data_dict["image"]
        channels = self.image_channels
        return {**data_dict, "image": image[:channels], "regression_target": image[channels:]}


class _ReplaceLabels(BasicTransform):
    """Replace the labels with probabilities, at every resolution of the labels.

    Lower resolutions are means over the labeled pixels. A pixel is unlabeled if nnU-Net's labels or the probabilities
    say so.
    """

    def __init__(self, *, regions: bool, ignored: int | None) -> None:
        super().__init__()
        self.regions, self.ignored = regions, ignored

    def apply(self, data_dict: dict[str, Any], **params: Any) -> dict[str, Any]:
        """batchgeneratorsv2's hook."""
        probabilities, labels = data_dict.pop("regression_target"), data_dict["segmentation"]
        if probabilities is None:
            raise UserError(f"{SOFT_VARIABLE}: a transform of this trainer does not support soft labels")
        levels = labels if isinstance(labels, list) else [labels]
        labeled = torch.ones_like(probabilities[:1])
        if self.ignored is not None:
            # Both were interpolated together, so dividing by the labeled share restores the probabilities at borders.
            share, probabilities = 1 - probabilities[:1], probabilities[1:]
            probabilities = probabilities / share.clamp(min=0.5)
            labeled = ((share >= 0.5) & ~self._unlabeled(levels[0])).float()
        targets = [self._target(probabilities * labeled, labeled, level) for level in levels]
        return {**data_dict, "segmentation": targets if isinstance(labels, list) else targets[0]}

    def _unlabeled(self, labels: Tensor) -> Tensor:
        return labels[-1:] != 0 if self.regions else torch.eq(labels[:1], self.ignored or 0)

    def _target(self, masked_probabilities: Tensor, labeled: Tensor, labels: Tensor) -> Tensor:
        size = labels.shape[1:]
        share = _downsample(labeled, size)
        foreground = (_downsample(masked_probabilities, size) / share.clamp(min=1e-6)).clamp(0, 1)
        target = foreground
        if not self.regions:
            target = torch.cat(((1 - foreground.sum(0, keepdim=True)).clamp(min=0), foreground))
        if self.ignored is None:
            return target
        unlabeled = self._unlabeled(labels) | (share == 0)
        return torch.cat((target, unlabeled.float())) if self.regions else target.where(~unlabeled, float(self.ignored))


def _downsample(volume: Tensor, size: Sequence[int]) -> Tensor:
    return volume if volume.shape[1:] == tuple(size) else interpolate(volume[None], size=list(size), mode="area")[0]
