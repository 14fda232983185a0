"""MONAI's segmentation networks by name, and its DynUNet as nnU-Net plans it.

Names are those of :data:`NETWORKS` and arguments plain data, so building a configuration from anywhere is safe.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import monai.networks.nets as nets
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from seg_anl.records import UserError, nearest_names
from seg_anl.records.errors import reason_of

from .settings import DynUNetSettings

# Networks built from plain values, with one tensor of logits of the image's size.
NETWORKS: dict[str, type[nn.Module]] = {
    network.__name__: network
    for network in (
        nets.AttentionUnet,
        nets.BasicUNet,
        nets.DynUNet,
        nets.FlexibleUNet,
        nets.HighResNet,
        nets.MedNeXt,
        nets.SegResNet,
        nets.SegResNetDS,
        nets.SwinUNETR,
        nets.UNETR,
        nets.UNet,
    )
}
_FILLED_IN = ("spatial_dims", "in_channels", "out_channels")
_NOT_PLAIN = ("norm_layer", "preprocess", "pretrained")  # a class, a function, a download
MOST_PARAMETERS = 1 << 29  # 2 GiB of weights; Adam and gradients take three times as much
MOST_MODULES = 20_000
LARGEST_NUMBER = 8192  # of an argument: channels, features, pixels


def build_monai_network(
    name: object, arguments: Mapping[str, Any], classes: int, *, dimensions: int = 2, channels: int = 3
) -> nn.Module:
    """MONAI's network ``name``, by default for RGB images."""
    network = NETWORKS.get(str(name))
    if network is None:
        raise UserError(f"model.network={name}: {nearest_names(str(name), NETWORKS)}; model=own for one of your own")
    known = [each for each in inspect.signature(network).parameters if each not in _FILLED_IN + _NOT_PLAIN]
    for argument, value in arguments.items():
        if argument not in known:
            raise UserError(f"model.{argument}: {name} has no such argument; {nearest_names(argument, known)}")
        wrong = _not_plain(value)
        if wrong is not None:
            raise UserError(f"model.{argument}: expected plain numbers (up to {LARGEST_NUMBER}) or words, got {wrong}")

    def build() -> nn.Module:
        return network(spatial_dims=dimensions, in_channels=channels, out_channels=classes, **arguments)

    try:
        return _of_bearable_size(build)
    except UserError:
        raise
    except Exception as error:  # the constructor's complaints about its arguments
        raise UserError(f"model.network={name}: cannot be built: {last_line(error)}") from error


def planned_dynunet(
    settings: DynUNetSettings,
    kernels: Sequence[Sequence[int]],
    strides: Sequence[Sequence[int]],
    *,
    channels: int,
    classes: int,
    supervised: int,
) -> nn.Module:
    """nnU-Net's U-Net, by kernels and strides along each axis for each resolution, with so many ``supervised`` coarser
    outputs in training.
    """
    dimensions = len(strides[0])
    heads = {"deep_supervision": True, "deep_supr_num": supervised} if supervised else {}
    return _of_bearable_size(
        lambda: nets.DynUNet(
            spatial_dims=dimensions,
            in_channels=channels,
            out_channels=classes,
            kernel_size=kernels,
            strides=strides,
            upsample_kernel_size=strides[1:],
            filters=settings.filters(len(strides), dimensions),
            norm_name=("INSTANCE", {"affine": True}),
            act_name=("leakyrelu", {"inplace": True, "negative_slope": 0.01}),
            **heads,
        )
    )


def _of_bearable_size(build: Callable[[], nn.Module]) -> nn.Module:
    """The network of ``build``, which is built without memory first, to refuse one that is too large."""
    made = 0

    def count(module: nn.Module, name: str, child: nn.Module | None) -> None:
        nonlocal made
        made += 1
        if made > MOST_MODULES:
            raise UserError(f"model: a network of more than {MOST_MODULES} layers")

    handle = nn.modules.module.register_module_module_registration_hook(count)
    try:
        with torch.device("meta"), _SpacedOnTheHost():
            parameters = sum(each.numel() for each in build().parameters())
    finally:
        handle.remove()
    if parameters > MOST_PARAMETERS:
        raise UserError(f"model: a network of {parameters:.3g} weights, more than {MOST_PARAMETERS:.3g}")
    return build()


def last_line(error: BaseException) -> str:
    """The last line of the innermost cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return reason_of(error, -1)


def _not_plain(value: Any, depth: int = 0) -> str | None:
    """The first value in ``value`` that is not plain data, in words, or None."""
    if isinstance(value, (list, dict)) and depth < 4:
        inside = value.values() if isinstance(value, dict) else value
        named = "_target_" if isinstance(value, dict) and any(str(key).startswith("_") for key in value) else None
        return named or next(filter(None, (_not_plain(each, depth + 1) for each in inside)), None)
    if value is None or isinstance(value, (bool, str)):
        return None
    if isinstance(value, (int, float)) and math.isfinite(value) and abs(value) <= LARGEST_NUMBER:
        return None
    return repr(value)[:80]


class _SpacedOnTheHost(TorchFunctionMode):
    """SwinUNETR reads numbers from a ``linspace``, which needs memory."""

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        keywords = dict(keywords or {})
        if function is torch.linspace:
            keywords["device"] = "cpu"
        return function(*arguments, **keywords)
