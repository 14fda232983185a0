"""A run's network as others use it: from images with values from 0 to 255 to logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from classification.experiment import ClassificationExperiment
from seg_anl.engine.checkpoint import load_model
from seg_anl.engine.distribution import started
from seg_anl.engine.run_directory import RunDirectory
from seg_anl.records import UserError
from seg_anl.segmentation.networks import load_run_model
from seg_anl.segmentation.settings import data_settings


@dataclass(frozen=True)
class Deployable:
    """What is exported.

    Attributes:
        network: in eval mode, on the CPU.
        shape: ``(C, H, W)`` of an image.
        classes: their names, in the order of the logits.
        weights: the checkpoint.
        config, summary: of the run.
    """

    network: nn.Module
    shape: tuple[int, int, int]
    classes: Sequence[str]
    weights: Path
    config: DictConfig
    summary: dict[str, Any]

    def examples(self) -> Tensor:
        """Two images of noise, to trace and to compare with."""
        return torch.rand(2, *self.shape, generator=torch.Generator().manual_seed(0)) * 255


class OnBytes(nn.Module):
    """A network behind its normalization: float32 images ``(N, C, H, W)`` from 0 to 255 to logits."""

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        mean_, std_ = (torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1) for values in (mean, std))
        self.register_buffer("scale", 1 / (255 * std_))
        self.register_buffer("shift", -mean_ / std_)

    def forward(self, image: Tensor) -> Tensor:
        """Logits ``(N, K)``, or ``(N, K, H, W)`` for segmentation."""
        logits: Tensor = self.network(image * self.scale + self.shift)
        return logits


def deployable(run: Path, checkpoint: str) -> Deployable:
    """The network of a finished run.

    Raises:
        UserError: for a folder that is no finished run, and for a run of several networks.
    """
    directory = RunDirectory(run)
    config, summary = directory.config(), directory.summary
    if summary is None:
        raise UserError(f"{run}: not finished; the same command that began it goes on with it")
    weights = directory.last if checkpoint == "last" else directory.best
    read = {"segmentation": _segmentation, "classification": _classification}.get(str(config.get("task")))
    if read is None:
        raise UserError(f"{run}: a run of the task {config.get('task')!r}; expected segmentation or classification")
    return read(directory, weights, config, summary)


def _segmentation(run: RunDirectory, weights: Path, config: DictConfig, summary: dict[str, Any]) -> Deployable:
    model, _ = load_run_model(run, weights, torch.device("cpu"))
    data = data_settings(config)
    names = ["background", "foreground"] if data.classes == 2 else [f"class {k}" for k in range(data.classes)]
    half = [0.5] * 3  # bytes to [-1, 1], as in training
    return Deployable(OnBytes(model, half, half).eval(), (3, *data.shape), names, weights, config, summary)


def _classification(run: RunDirectory, weights: Path, config: DictConfig, summary: dict[str, Any]) -> Deployable:
    placed = config.copy()
    placed.run_root, placed.run_dir = ".", str(run.path)
    experiment = ClassificationExperiment(placed)
    data, _ = experiment.load()  # classes, mean and deviation are the training set's
    with started("cpu") as process:
        model = experiment.network(data, process)
        load_model(weights, model, process.device)
    network = OnBytes(model, data.mean, data.std).eval()
    deployed = Deployable(network, experiment.image_shape(data), data.classes, weights, config, summary)
    with torch.inference_mode():
        if network(deployed.examples()).ndim != 2:
            raise UserError(f"{run.path}: method={config.method.name} has two networks; a run of one can be exported")
    return deployed
