"""Plan patch and network from spacing and shapes as nnU-Net does, without its search for the memory's limit.

Reference: Isensee et al., nnU-Net, Nature Methods 2021; ``get_pool_and_conv_props`` of nnU-Net 2.8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import nn

from seg_anl.engine.settings import plain
from seg_anl.records import UserError, write_json
from seg_anl.records.foreign_files import read_json
from seg_anl.records.ranges import Count, Positive, checked

from ..monai_networks import build_monai_network, last_line, planned_dynunet
from .labels import MOST_CLASSES, Labels
from .preparation import Frame
from .settings import PlannedSettings

FEWEST_STAGES = 3  # of MONAI's DynUNet
SHORTEST = 4  # voxels along an axis at the coarsest resolution
PATCH_VOXELS = {2: 512**2, 3: 128**3}  # of a planned patch, by dimensions; fits a GPU of 8 GB with default filters
MOST_VOXELS = 1 << 28  # of a patch

Steps = list[list[int]]
"""A number for each axis, for each resolution."""


def planned_resolutions(spacing: Sequence[float], patch: Sequence[int]) -> tuple[Steps, Steps]:
    """Kernels and strides of each resolution; the first stride is 1.

    An axis is halved while 4 voxels remain and its spacing is less than twice the finest. A kernel is 1 along an axis
    until then, and 3 at the coarsest resolution.
    """
    steps, size = list(spacing), [float(n) for n in patch]
    kernel = [1] * len(steps)
    kernels: Steps = []
    strides: Steps = [[1] * len(steps)]
    while True:
        long = [axis for axis in range(len(steps)) if size[axis] >= 2 * SHORTEST]
        halved = [axis for axis in long if steps[axis] < 2 * min(steps[other] for other in long)]
        if not halved or (len(halved) == 1 and size[halved[0]] < 3 * SHORTEST):
            break
        kernel = [3 if steps[axis] < 2 * min(steps) else kernel[axis] for axis in range(len(steps))]
        kernels.append(kernel)
        strides.append([2 if axis in halved else 1 for axis in range(len(steps))])
        for axis in halved:
            steps[axis] *= 2
            size[axis] = np.ceil(size[axis] / 2)
    return [*kernels, [3] * len(steps)], strides


def planned_patch(
    asked: Sequence[int] | None, spacing: Sequence[float], shapes: Sequence[Sequence[int]], *, divisible: bool
) -> tuple[int, ...]:
    """The checked patch ``asked`` for, or one of up to 128^3 voxels, a cube in mm, within the median of ``shapes``.

    ``divisible``: by the strides of the planned network.
    """
    dimensions, longest = len(spacing), np.max(shapes, axis=0)
    if asked is None:
        sides = (1 / np.array(spacing)) * (PATCH_VOXELS[dimensions] * np.prod(spacing)) ** (1 / dimensions)
        size = np.minimum(sides.round(), np.median(shapes, axis=0)).astype(int).clip(min=1)
    else:
        if len(asked) != dimensions:
            raise UserError(f"data.patch={list(asked)}: the images have {dimensions} axes, give voxels for each")
        if (np.array(asked) >= longest + 2**6).any() or (np.array(asked) > longest).all():
            raise UserError(
                f"data.patch={list(asked)} is larger than all images, which have up to {longest.tolist()} voxels"
            )
        size = np.array(asked)
    factor = np.prod(planned_resolutions(spacing, size)[1], axis=0)
    fitting = np.ceil(size / factor).astype(int) * factor
    if divisible and asked is not None and (fitting != size).any():
        raise UserError(
            f"data.patch={list(asked)} must be divisible by {factor.tolist()}, the strides; take {fitting.tolist()}"
        )
    return tuple(int(n) for n in (fitting if asked is None else size))


def build_volume_model(
    model: DictConfig, *, channels: int, heads: int, spacing: Sequence[float], patch: Sequence[int]
) -> nn.Module:
    """The network of a ``model`` configuration."""
    settings = plain(model)
    name = settings.pop("name", None)
    if name == "nnunet":
        planned = checked(PlannedSettings, {"name": name, **settings}, "model")
        kernels, strides = _asked_resolutions(planned.stages, spacing, patch)
        # nnU-Net gives the coarsest of its outputs no weight.
        supervised = len(strides) - 3 if planned.deep_supervision else 0
        return planned_dynunet(planned, kernels, strides, channels=channels, classes=heads, supervised=supervised)
    network = settings.pop("network", None)
    built = build_monai_network(network, settings, heads, dimensions=len(patch), channels=channels)
    try:
        with torch.inference_mode():
            shape = built.eval()(torch.zeros(1, channels, *patch)).shape
    except Exception as error:  # the network's complaints about its patch
        raise UserError(f"model.network={network} cannot take data.patch={list(patch)}: {last_line(error)}") from error
    if tuple(shape) != (1, heads, *patch):
        raise UserError(f"model.network={network} makes {tuple(shape)} of data.patch={list(patch)}; expected its size")
    return built.train()


def _asked_resolutions(asked: int | None, spacing: Sequence[float], patch: Sequence[int]) -> tuple[Steps, Steps]:
    """:func:`planned_resolutions`, at most ``model.stages`` of them."""
    kernels, strides = planned_resolutions(spacing, patch)
    most = len(strides)
    if most < FEWEST_STAGES:
        raise UserError(
            f"data.patch={list(patch)} is too small to be halved twice; take 16 voxels or more along two axes, with a "
            "finer data.spacing if the images have fewer, or model=monai"
        )
    if asked is not None and not FEWEST_STAGES <= asked <= most:
        raise UserError(f"model.stages={asked} must be from {FEWEST_STAGES} to {most} for data.patch={list(patch)}")
    stages = asked or most
    return [*kernels[: stages - 1], kernels[-1]], strides[:stages]


@dataclass(frozen=True)
class Plan:
    """A run's decisions from its data, kept in RUN/plan.json."""

    frame: Frame
    spacing: tuple[Positive, ...]  # mm along each axis
    patch: tuple[Count, ...]  # voxels along each axis
    labels: Labels
    suffixed: bool  # images are named CASE_0000

    def model(self, config: DictConfig) -> nn.Module:
        """The network of a ``model`` configuration, see :func:`build_volume_model`."""
        channels, heads = self.frame.channels, self.labels.heads
        return build_volume_model(config, channels=channels, heads=heads, spacing=self.spacing, patch=self.patch)

    def write(self, path: Path) -> None:
        """Write the plan as JSON."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read and check the file of :meth:`write`."""
        content = read_json(path)
        if not isinstance(content, dict) or not all(
            isinstance(content.get(part), dict) for part in ("frame", "labels")
        ):
            raise UserError(f"{path}: damaged: expected the groups frame and labels")
        parts = {name: checked(kind, content[name], f"{path}: {name}") for name, kind in _PARTS.items()}
        plan = checked(cls, {**content, **parts}, f"{path}: plan")
        values, dimensions = {*plan.labels.values}, len(plan.frame.axes)
        fits = (
            plan.frame.axes in ((0, 1, 2), (0, 1), (0, 2), (1, 2))
            and {len(plan.spacing), len(plan.patch), len(plan.frame.spacing or plan.spacing)} == {dimensions}
            and math.prod(plan.patch) <= MOST_VOXELS
            and 2 <= len(values) <= MOST_CLASSES
            and {*(plan.labels.order or ())} <= values
        )
        if not fits:
            raise UserError(f"{path}: damaged: its parts do not fit each other")
        return plan


_PARTS: dict[str, Any] = {"frame": Frame, "labels": Labels}
