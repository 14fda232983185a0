"""Networks by configuration: an nnU-Net-like DynUNet planned from the image size, or any network of MONAI."""

from __future__ import annotations

from typing import Any

import hydra
from monai.networks.nets import DynUNet
from omegaconf import DictConfig, OmegaConf
from torch import nn

from seg_anl.engine import check_switches
from seg_anl.records import UserError, is_whole_number, nearest_names

from .datasets import class_count, image_size

SMALLEST_FEATURE_MAP = 4  # pixels; nnU-Net's limit
MOST_STAGES = 7


def build_model(config: DictConfig, data: DictConfig) -> nn.Module:
    """The network of a ``model`` configuration for images of ``data.size`` and ``data.classes`` classes.

    Raises:
        UserError: for a size that the network cannot halve often enough, or a network that cannot be built.
    """
    if config.name == "dynunet":
        return _dynunet(config, image_size(data.size), class_count(data.classes))
    if config.name == "monai":
        arguments = {"spatial_dims": 2, "in_channels": 3, "out_channels": class_count(data.classes)}
        settings = {k: v for k, v in OmegaConf.to_container(config, resolve=True).items() if k != "name"}  # type: ignore[union-attr]
        try:
            model = hydra.utils.instantiate(settings, **arguments)
        except Exception as error:  # whatever a foreign constructor raises is about the settings given here
            raise UserError(f"model._target_={config._target_}: cannot be built: {_last_line(error)}") from error
        if not isinstance(model, nn.Module):
            raise UserError(f"model._target_={config._target_} is not a network")
        return model
    raise UserError(f"model.name={config.name}: {nearest_names(str(config.name), ('dynunet', 'monai'))}")


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
    if not is_whole_number(asked) or not 3 <= asked <= most:
        raise UserError(f"model.stages must be from 3 to {most} for data.size={list(size)}, got {asked!r}")
    return asked


def _dynunet(config: DictConfig, size: tuple[int, int], classes: int) -> DynUNet:
    stages = planned_stages(size, config.stages)
    for name in ("base_filters", "max_filters"):
        if not is_whole_number(config[name]) or config[name] < 1:
            raise UserError(f"model.{name} must be a whole number >= 1, got {config[name]!r}")
    check_switches(config, "deep_supervision")
    strides = [1] + [2] * (stages - 1)
    return DynUNet(
        spatial_dims=2,
        in_channels=3,
        out_channels=classes,
        kernel_size=[3] * stages,
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=[min(config.base_filters * 2**i, config.max_filters) for i in range(stages)],
        norm_name=("INSTANCE", {"affine": True}),
        act_name=("leakyrelu", {"inplace": True, "negative_slope": 0.01}),
        deep_supervision=bool(config.deep_supervision),
        deep_supr_num=max(1, stages - 3),
    )


def _last_line(error: BaseException) -> Any:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
