"""A run's network with its normalization built in: from images with values from 0 to 255 to logits."""

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
from seg_anl.segmentation.volumes.settings import is_of_volumes


@dataclass(frozen=True)
class Deployable:
    """A network to export.

    Attributes:
        network: in eval mode, on the CPU.
        shape: ``(C, H, W)`` of an input image.
        classes: class names, in the order of the logits.
        weights: path of the checkpoint.
        config, summary: the run's configuration and summary.json.
    """

    network: nn.Module
    shape: tuple[int, int, int]
    classes: Sequence[str]
    weights: Path
    config: DictConfig
    summary: dict[str, Any]

    def examples(self) -> Tensor:
        """Two random images for tracing and for comparing outputs."""
        return torch.rand(2, *self.shape, generator=torch.Generator().manual_seed(0)) * 255


class NormalizedInput(nn.Module):
    """A network preceded by its normalization. Takes float32 images ``(N, C, H, W)`` with values from 0 to 255."""

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


def load_deployable(run: Path, checkpoint: str) -> Deployable:
    """Load the network of a finished run.

    Raises:
        UserError: if the folder is not a finished run on pictures, or the run has several networks.
    """
    directory = RunDirectory(run)
    config, summary = directory.config(), directory.summary
    if summary is None or not directory.finished:
        raise UserError(f"{run}: not finished; run its training command again to resume it")
    weights = directory.last if checkpoint == "last" else directory.best
    load = {"segmentation": _load_segmentation, "classification": _load_classification}.get(str(config.get("task")))
    if load is None:
        raise UserError(f"{run}: task is {config.get('task')!r}; expected segmentation or classification")
    if is_of_volumes(config):
        raise UserError(f"{run}: a run on volumes; only networks for pictures can be exported")
    return load(directory, weights, config, summary)


def _load_segmentation(run: RunDirectory, weights: Path, config: DictConfig, summary: dict[str, Any]) -> Deployable:
    model, _ = load_run_model(run, weights, torch.device("cpu"))
    data = data_settings(config)
    names = ["background", "foreground"] if data.classes == 2 else [f"class {k}" for k in range(data.classes)]
    half = [0.5] * 3  # scales 0..255 to [-1, 1], as in training
    return Deployable(NormalizedInput(model, half, half).eval(), (3, *data.shape), names, weights, config, summary)


def _load_classification(run: RunDirectory, weights: Path, config: DictConfig, summary: dict[str, Any]) -> Deployable:
    located = config.copy()
    located.run_root, located.run_dir = ".", str(run.path)
    experiment = ClassificationExperiment(located)
    data, _ = experiment.load()  # for the classes, mean and std of the training set
    with started("cpu") as process:
        model = experiment.network(data, process)
        load_model(weights, model, process.device)
    network = NormalizedInput(model, data.mean, data.std).eval()
    model_to_export = Deployable(network, experiment.image_shape(data), data.classes, weights, config, summary)
    with torch.inference_mode():
        if network(model_to_export.examples()).ndim != 2:
            raise UserError(f"{run.path}: method={config.method.name} has two networks; only one can be exported")
    return model_to_export
