"""Networks by configuration: an nnU-Net-like DynUNet planned from the image size, or any network of MONAI."""

from __future__ import annotations

from typing import Any

import hydra
from monai.networks.nets import DynUNet
from omegaconf import DictConfig
from torch import nn

from seg_anl.engine.settings import plain
from seg_anl.records import UserError, nearest_names
from seg_anl.records.ranges import checked

from .settings import DataSettings, DynUNetSettings

SMALLEST_FEATURE_MAP = 4  # pixels; nnU-Net's limit
MOST_STAGES = 7


def build_model(model: DictConfig, data: DataSettings) -> nn.Module:
    """The network of a ``model`` configuration for images of ``data.size`` and ``data.classes`` classes.

    Raises:
        UserError: for a size that the network cannot halve often enough, or a network that cannot be built.
    """
    settings = plain(model)
    if model.name == "dynunet":
        return _dynunet(checked(DynUNetSettings, settings, "model"), data)
    if model.name == "monai":
        del settings["name"]
        try:
            network = hydra.utils.instantiate(settings, spatial_dims=2, in_channels=3, out_channels=data.classes)
        except Exception as error:  # whatever a foreign constructor raises is about the settings given here
            raise UserError(f"model._target_={model._target_}: cannot be built: {_last_line(error)}") from error
        if not isinstance(network, nn.Module):
            raise UserError(f"model._target_={model._target_} is not a network")
        return network
    raise UserError(f"model.name={model.name}: {nearest_names(str(model.name), ('dynunet', 'monai'))}")


def planned_stages(size: tuple[int, int], asked: int | None) -> int:
    """How many resolutions the network has: halve while both sides stay even and 4 pixels or more, at most 7 stages."""
    most, side = 1, size
    while most < MOST_STAGES and all(n % 2 == 0 and n // 2 >= SMALLEST_FEATURE_MAP for n in side):
        side = (side[0] // 2, side[1] // 2)
        most += 1
    if asked is None:
        if most < 3:
            raise UserError(
                f"data.size={list(size)} can be halved {most - 1} times only; take a multiple of 32, or of 8"
            )
        return most
    if not 3 <= asked <= most:
        raise UserError(f"model.stages must be from 3 to {most} for data.size={list(size)}, got {asked!r}")
    return asked


def _dynunet(settings: DynUNetSettings, data: DataSettings) -> DynUNet:
    stages = planned_stages(data.shape, settings.stages)
    strides = [1] + [2] * (stages - 1)
    return DynUNet(
        spatial_dims=2,
        in_channels=3,
        out_channels=data.classes,
        kernel_size=[3] * stages,
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=[min(settings.base_filters * 2**i, settings.max_filters) for i in range(stages)],
        norm_name=("INSTANCE", {"affine": True}),
        act_name=("leakyrelu", {"inplace": True, "negative_slope": 0.01}),
        deep_supervision=settings.deep_supervision,
        deep_supr_num=max(1, stages - 3),
    )


def _last_line(error: BaseException) -> Any:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
