"""Networks by configuration (an nnU-Net-like DynUNet planned from the image size, or any network of MONAI), the
network of a trained run, and what a network predicts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hydra
import torch
import torch.nn.functional as F
from monai.networks.nets import DynUNet
from omegaconf import DictConfig
from torch import Tensor, nn

from seg_anl.engine.checkpoint import load_model
from seg_anl.engine.run_directory import RunDirectory
from seg_anl.engine.settings import plain
from seg_anl.records import UserError, nearest_names
from seg_anl.records.ranges import checked

from .augmentation import normalized
from .settings import DataSettings, DynUNetSettings, data_settings

SMALLEST_FEATURE_MAP = 4  # pixels; nnU-Net's limit
MOST_STAGES = 7
PREDICTION_BATCH = 32


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


def load_run_model(run: RunDirectory, checkpoint: Path, device: torch.device) -> tuple[nn.Module, DictConfig]:
    """The network of a run with the weights of ``checkpoint``, in eval mode, and the run's configuration."""
    config = run.config()
    model = build_model(config.model, data_settings(config))
    load_model(checkpoint, model, device)
    return model.to(device).eval(), config


def predict_labels(model: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    """Class indices ``(N, H, W)`` uint8, on ``device``, of uint8 images ``(N, 3, H, W)``."""
    batches = (batch.to(device, non_blocking=True) for batch in images.split(PREDICTION_BATCH))
    return torch.cat([model(normalized(batch)).argmax(dim=1).to(torch.uint8) for batch in batches])


def predict_probabilities(model: nn.Module, images: Tensor, device: torch.device) -> Iterator[Tensor]:
    """Class probabilities ``(C, H, W)`` float16 of each of the uint8 images ``(N, 3, H, W)``."""
    for batch in images.split(PREDICTION_BATCH):
        yield from model(normalized(batch.to(device, non_blocking=True))).float().softmax(dim=1).half()


def predict_losses(model: nn.Module, images: Tensor, masks: Tensor, device: torch.device) -> Tensor:
    """The cross entropy ``(N,)`` of each image, its mean over the pixels; masks are uint8 ``(N, H, W)``."""
    losses = []
    for batch, labels in zip(images.split(PREDICTION_BATCH), masks.split(PREDICTION_BATCH), strict=True):
        logits = model(normalized(batch.to(device, non_blocking=True))).float()
        pixels = F.cross_entropy(logits, labels.to(device).long(), reduction="none")
        losses.append(pixels.mean(dim=(1, 2)))
    return torch.cat(losses)


def planned_stages(size: tuple[int, int], asked: int | None) -> int:
    """How many resolutions the network has: halve while both sides stay even and 4 pixels or more, at most 7 stages."""
    most, side = 1, size
    while most < MOST_STAGES and all(n % 2 == 0 and n // 2 >= SMALLEST_FEATURE_MAP for n in side):
        side = (side[0] // 2, side[1] // 2)
        most += 1
    if asked is None and most < 3:
        raise UserError(f"data.size={list(size)} can be halved {most - 1} times only; take a multiple of 32, or of 8")
    if asked is not None and not 3 <= asked <= most:
        raise UserError(f"model.stages must be from 3 to {most} for data.size={list(size)}, got {asked!r}")
    return asked or most


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


def _last_line(error: BaseException) -> str:
    """The last line of the innermost cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
