"""Prepare volumes for the network, and bring predictions back, by MONAI's invertible transforms: RAS orientation, crop
to non-zero voxels, intensity scaling, resampling.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, Orientation, Spacing, SpatialCrop
from nibabel.orientations import aff2axcodes, io_orientation
from numpy.typing import NDArray
from torch import Tensor

from seg_anl.records import UserError
from seg_anl.records.ranges import Interval, Positive

from .cases import Case
from .files import Affine, read_geometry, read_volume
from .labels import Labels

SAME = 1e-3  # of spacings and affines: relative, and mm
FINEST = 0.02  # mm; MONAI leaves images alone whose spacing differs by up to 0.001 mm from the target
PERCENTILES = (0.5, 99.5)

Channels = Annotated[int, Interval(least=1, most=1024, whole=True)]


@dataclass(frozen=True)
class Frame:
    """The geometry of the network's arrays."""

    axes: tuple[int, ...]  # of right, anterior, superior (0, 1, 2): two for pictures and single slices
    spacing: tuple[Positive, ...] | None  # mm along these axes to resample to; None: as stored
    channels: Channels


@dataclass(frozen=True)
class Volume:
    """A prepared case."""

    item: str
    image: NDArray[np.float32]  # (C, *S)
    mask: NDArray[np.uint8]  # class indices (*S)
    spacing: tuple[float, ...]  # mm along each axis of S


@dataclass(frozen=True)
class Prepared:
    """A prepared image ``(C, *S)``, and the inverse of its spatial steps."""

    image: Tensor
    restored: Callable[[Tensor], Tensor]


def scaled(image: Tensor, intensity: str, window: tuple[float, float] | None) -> Tensor:
    """Scale the intensities ``(C, ...)`` of each channel.

    ``zscore``: to mean 0 and standard deviation 1. ``percentile``: the 0.5th to 99.5th percentile to [0, 1];
    ``window``: the window to [0, 1]; values outside are clipped.
    """
    flat = image.flatten(1)
    if intensity == "zscore":
        std, mean = torch.std_mean(flat, dim=1, correction=0)
        return ((flat - mean[:, None]) / std.clamp(min=1e-8)[:, None]).view(image.shape)
    if intensity == "window":
        assert window is not None
        bounds = torch.tensor(window, dtype=flat.dtype).expand(len(flat), 2)
    else:
        bounds = torch.from_numpy(np.percentile(flat.numpy(), PERCENTILES, axis=1).T.astype(np.float32))
    low, high = bounds[:, :1], bounds[:, 1:]
    return ((flat.clamp(low, high) - low) / (high - low).clamp(min=1e-8)).view(image.shape)


def find_frame(cases: Sequence[Case], spacing: Sequence[float] | str | None) -> Frame:
    """The frame of a training set, from its headers."""
    shapes, steps = zip(*map(_ras_geometry, cases), strict=True)
    extended = [tuple(axis for axis in range(3) if shape[axis] > 1) for shape in shapes]
    axes = extended[0] if len(extended[0]) >= 2 else (0, 1, 2)
    for case, own, shape in zip(cases, extended, shapes, strict=True):
        if own != axes:
            raise UserError(
                f"{case.images[0]}: {by_axes(shape)} voxels (right x anterior x superior), but {cases[0].images[0]} "
                f"has {by_axes(shapes[0])}: volumes and single slices do not go together"
            )
    found = np.array(steps)[:, axes]
    return Frame(axes, _target_spacing(cases, found, spacing), len(read_image(cases[0])[0]))


def _target_spacing(
    cases: Sequence[Case], found: NDArray[np.float64], asked: Sequence[float] | str | None
) -> tuple[float, ...] | None:
    if asked is None:
        for case, own in zip(cases, found, strict=True):
            if not np.allclose(own, found[0], rtol=SAME):
                raise UserError(
                    f"{case.images[0]}: voxels of {by_axes(own)} mm, but {cases[0].images[0]} has "
                    f"{by_axes(found[0])} mm; set data.spacing (median, or mm along each axis)"
                )
        return None
    if asked == "median":
        return tuple(float(f"{step:.4g}") if step < 1 else round(float(step), 4) for step in np.median(found, axis=0))
    if len(asked) != found.shape[1]:
        raise UserError(f"data.spacing={list(asked)}: the images have {found.shape[1]} axes, give mm for each")
    return tuple(map(float, asked))


def _ras_geometry(case: Case) -> tuple[list[int], list[float]]:
    """Voxels, and mm per voxel, along right, anterior, superior."""
    shape, affine = read_geometry(case.images[0])
    order = [int(axis) for axis in np.argsort(io_orientation(affine)[:, 0])]
    return [shape[axis] for axis in order], [float(np.linalg.norm(affine[:3, axis])) for axis in order]


def read_image(case: Case) -> tuple[NDArray[Any], Affine]:
    """All channels of a case, ``(C, X, Y, Z)``, which must share shape and affine."""
    parts = [read_volume(path) for path in case.images]
    for path, (values, affine) in zip(case.images[1:], parts[1:], strict=True):
        _check_fit(path, values, affine, case.images[0], *parts[0])
    return np.concatenate([values for values, _ in parts]), parts[0][1]


@dataclass(frozen=True)
class Preparation:
    """The preparation of cases in training and prediction."""

    frame: Frame
    labels: Labels
    intensity: str
    window: tuple[float, float] | None

    def volume(self, case: Case) -> Volume:
        """A case with its mask, prepared."""
        assert case.mask is not None
        values, affine = read_image(case)
        mask, mask_affine = read_volume(case.mask, mask=True)
        _check_fit(case.mask, mask[:1], mask_affine, case.images[0], values, affine)
        if len(mask) > 1:
            raise UserError(f"{case.mask}: {len(mask)} channels, a mask has one")
        indices = self.labels.indices(mask, case.mask)
        image, steps = self._image(case, values, affine)
        moved = MetaTensor(torch.from_numpy(indices), affine=torch.from_numpy(affine))
        for step in steps:
            moved = step(moved, mode="nearest") if isinstance(step, Spacing) else step(moved)
        prepared = self._flattened(moved.as_tensor()).round().to(torch.uint8)[0].contiguous().numpy()
        return Volume(case.item, self._flattened(image.as_tensor()).contiguous().numpy(), prepared, self.spacing(case))

    def spacing(self, case: Case) -> tuple[float, ...]:
        """mm along each axis of the prepared case."""
        if self.frame.spacing is not None:
            return self.frame.spacing
        own = _ras_geometry(case)[1]
        return tuple(own[axis] for axis in self.frame.axes)

    def image(self, case: Case) -> Prepared:
        """A prepared case without its mask."""
        image, steps = self._image(case, *read_image(case))

        def restored(channels: Tensor) -> Tensor:
            """``(R, *S)`` in the prepared geometry to ``(R, X, Y, Z)`` in that of the files, 0 outside of the crop."""
            for axis in sorted({0, 1, 2} - {*self.frame.axes}):
                channels = channels.unsqueeze(axis + 1)
            back = MetaTensor(channels, affine=image.affine, applied_operations=list(image.applied_operations))
            for step in reversed(steps):
                back = step.inverse(back)
            return back.as_tensor()

        return Prepared(self._flattened(image.as_tensor()), restored)

    def _image(self, case: Case, values: NDArray[Any], affine: Affine) -> tuple[MetaTensor, list[InvertibleTransform]]:
        """The prepared image ``(C, X, Y, Z)`` and its spatial steps."""
        if len(values) != self.frame.channels:
            raise UserError(f"{case.images[0]}: {len(values)} channel(s), expected {self.frame.channels}")
        image = MetaTensor(torch.from_numpy(values.astype(np.float32)), affine=torch.from_numpy(affine))
        steps: list[InvertibleTransform] = [Orientation(axcodes="RAS", labels=None)]
        image = steps[0](image)
        if any(image.shape[axis + 1] != 1 for axis in range(3) if axis not in self.frame.axes):
            raise UserError(
                f"{case.images[0]}: {by_axes(image.shape[1:])} voxels, but the training images are single slices"
            )
        inside = (image.as_tensor() != 0).any(dim=0)
        if inside.any() and not inside.all():
            corners = inside.nonzero()
            steps.append(SpatialCrop(roi_start=corners.amin(dim=0), roi_end=corners.amax(dim=0) + 1))
            image = steps[-1](image)
        meta = {"affine": image.affine, "applied_operations": list(image.applied_operations)}
        image = MetaTensor(scaled(image.as_tensor(), self.intensity, self.window), **meta)
        own = [float(step) for step in image.pixdim]
        target = own.copy()
        for axis, step in zip(self.frame.axes, self.frame.spacing or (), strict=False):
            target[axis] = step
        if not np.allclose(own, target, rtol=SAME):
            if min(*own, *target) < FINEST:
                raise UserError(
                    f"{case.images[0]}: voxels of {by_axes(own)} mm cannot be resampled to {by_axes(target)} mm, only "
                    f"those of {FINEST} mm or more; resample the images, or write micrometers as mm into their headers"
                )
            steps.append(Spacing(pixdim=target, mode="bilinear", padding_mode="border", dtype=torch.float32))
            image = steps[-1](image)
        return image, steps

    def _flattened(self, tensor: Tensor) -> Tensor:
        return tensor.squeeze(tuple(axis + 1 for axis in range(3) if axis not in self.frame.axes))


def _check_fit(
    path: object, values: NDArray[Any], affine: Affine, other: object, image: NDArray[Any], image_affine: Affine
) -> None:
    """Refuse files of different shape or place."""
    if values.shape[1:] != image.shape[1:]:
        raise UserError(f"{path}: {by_axes(values.shape[1:])} voxels, but {other} has {by_axes(image.shape[1:])}")
    if not np.allclose(affine, image_affine, rtol=SAME, atol=SAME):
        here, there = (f"{''.join(aff2axcodes(a))} {np.round(a[:3], 3).tolist()}" for a in (affine, image_affine))
        raise UserError(f"{path}: lies elsewhere than {other}: its affine is {here}, the other's {there}")


def by_axes(numbers: Iterable[float]) -> str:
    """Numbers along axes, for messages."""
    return " x ".join(f"{number:.4g}" for number in numbers)
