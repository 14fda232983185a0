"""Networks by configuration (a DynUNet planned from the image size, a network of MONAI, your own) or from a trained
run, and their predictions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hydra
import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from torch import Tensor, nn

from data_prep.pictures import IGNORED
from seg_anl.engine.batches import evaluated_at_once, moved
from seg_anl.engine.checkpoint import load_model
from seg_anl.engine.run_directory import RunDirectory
from seg_anl.engine.settings import plain
from seg_anl.losses.inputs import most_probable
from seg_anl.records import UserError, nearest_names
from seg_anl.records.ranges import checked

from .augmentation import normalized
from .methods import build_method
from .monai_networks import build_monai_network, last_line, planned_dynunet
from .settings import DataSettings, DynUNetSettings, data_settings, saved_method

SMALLEST_FEATURE_MAP = 4  # pixels; nnU-Net's limit
MOST_STAGES = 7
PREDICTION_BATCH = 32


def build_model(model: DictConfig, data: DataSettings, *, trusted: bool = True) -> nn.Module:
    """The network of a ``model`` configuration for images of ``data.size`` and ``data.classes`` classes.

    Args:
        model: the ``model`` group.
        data: the ``data`` group.
        trusted: whether code that the configuration names may run: from a command line, but not from a file.

    Raises:
        UserError: a size that cannot be halved often enough, or a network that cannot be built.
    """
    settings = plain(model)
    name = settings.pop("name", None)
    if name == "dynunet":
        planned = checked(DynUNetSettings, {"name": name, **settings}, "model")
        stages = planned_stages(data.shape, planned.stages)
        supervised = max(1, stages - 3) if planned.deep_supervision else 0
        kernels, strides = [[3, 3]] * stages, [[1, 1], *[[2, 2]] * (stages - 1)]
        return planned_dynunet(planned, kernels, strides, channels=3, classes=data.classes, supervised=supervised)
    if name == "monai":
        return build_monai_network(_network_name(settings), settings, data.classes)
    if name == "own":
        return _own(settings, data, trusted)
    raise UserError(f"model.name={name}: {nearest_names(str(name), ('dynunet', 'monai', 'own'))}")


def load_run_model(
    run: RunDirectory, checkpoint: Path, device: torch.device, *, trusted: bool = False
) -> tuple[nn.Module, DictConfig]:
    """The network of a run with the weights of ``checkpoint``, in eval mode, and the run's configuration.

    ``trusted``: whether the code that the configuration names may run.
    """
    config = run.config()
    method = build_method(saved_method(config))
    model = method.network(lambda: build_model(config.model, data_settings(config), trusted=trusted))
    load_model(checkpoint, model, device)
    return model.to(device).eval(), config


def predict_labels(model: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    """Class indices ``(N, H, W)`` uint8, on ``device``, of uint8 images ``(N, 3, H, W)``."""
    batches = evaluated_at_once(images, PREDICTION_BATCH, device)
    return torch.cat([most_probable(model(normalized(batch))).to(torch.uint8) for batch in batches])


def predict_probabilities(model: nn.Module, images: Tensor, device: torch.device) -> Iterator[Tensor]:
    """Class probabilities ``(C, H, W)`` float16 of each of the uint8 images ``(N, 3, H, W)``."""
    # Networks take no empty batch: a fold may hold only images that are left out.
    for batch in evaluated_at_once(images, PREDICTION_BATCH, device) if len(images) else ():
        yield from model(normalized(batch)).float().softmax(dim=1).half()


def predict_losses(model: nn.Module, images: Tensor, masks: Tensor, device: torch.device) -> Tensor:
    """The cross entropy ``(N,)`` of each image, the mean over labeled pixels; masks are uint8 ``(N, H, W)``."""
    losses = []
    for batch, labels in zip(images.split(PREDICTION_BATCH), masks.split(PREDICTION_BATCH), strict=True):
        logits = model(normalized(moved(batch, device))).float()
        target = moved(labels, device).long()
        pixels = F.cross_entropy(logits, target, reduction="none", ignore_index=IGNORED)
        share = (target != IGNORED).float().mean(dim=(1, 2)).clamp(min=1e-6)
        losses.append(pixels.mean(dim=(1, 2)) / share)
    return torch.cat(losses)


def planned_stages(size: tuple[int, int], asked: int | None) -> int:
    """The number of resolutions: both sides are halved while they are even and stay at 4 pixels or more, up to 7."""
    most, side = 1, size
    while most < MOST_STAGES and all(n % 2 == 0 and n // 2 >= SMALLEST_FEATURE_MAP for n in side):
        side = (side[0] // 2, side[1] // 2)
        most += 1
    if asked is None and most < 3:
        raise UserError(f"data.size={list(size)} can be halved {most - 1} times only; take a multiple of 32, or of 8")
    if asked is not None and not 3 <= asked <= most:
        raise UserError(f"model.stages must be from 3 to {most} for data.size={list(size)}, got {asked!r}")
    return asked or most


def _network_name(settings: dict[str, Any]) -> Any:
    """Pop the name of MONAI's network, a path in runs before version 0.2."""
    if "network" in settings:
        return settings.pop("network")
    return str(settings.pop("_target_", None)).removeprefix("monai.networks.nets.")


def _own(settings: dict[str, Any], data: DataSettings, trusted: bool) -> nn.Module:
    """The network that the user's own class or function ``model._target_`` builds from the other settings."""
    target = settings.get("_target_")
    if not trusted:
        raise UserError(f"this run's network is code of somebody's own, model._target_={target}; --trust runs it")
    try:
        network = hydra.utils.instantiate(settings, spatial_dims=2, in_channels=3, out_channels=data.classes)
    except Exception as error:  # the constructor's complaints about its settings
        raise UserError(f"model._target_={target}: cannot be built: {last_line(error)}") from error
    if not isinstance(network, nn.Module):
        raise UserError(f"model._target_={target} is not a network")
    return network
