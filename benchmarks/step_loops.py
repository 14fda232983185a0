"""The loops timed by ``trainers.py``: bare steps, our training loop, and the same loop fed by a DataLoader."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
import torchvision.transforms as vision
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, RandAdjustContrastd, RandFlipd, ScaleIntensityRanged
from numpy.typing import NDArray
from omegaconf import DictConfig
from PIL import Image
from timing import now
from torch import Tensor, nn

from classification import datasets as classification_data
from classification.image_batches import training_batches
from classification.networks import build_model as build_classifier
from classification.settings import read_settings as classification_settings
from data_prep.layouts import find_pairs
from seg_anl.engine.batches import Batch, ResidentBatches, moved
from seg_anl.engine.command import compose
from seg_anl.engine.distribution import Process
from seg_anl.engine.loop import PRECISIONS, Task, Training, fit
from seg_anl.engine.run_directory import RunDirectory
from seg_anl.engine.settings import LoopSettings, OptimSettings, plain
from seg_anl.engine.side_by_side import fit_together
from seg_anl.losses import ScheduledLoss, build_loss
from seg_anl.records import UserError
from seg_anl.records.ranges import checked
from seg_anl.segmentation.augmentation import Augmentation
from seg_anl.segmentation.criterion import build_criterion
from seg_anl.segmentation.datasets import load_images
from seg_anl.segmentation.networks import build_model
from seg_anl.segmentation.settings import read_settings

CIFAR10_IMAGES = 50_000

AnyBatch = TypeVar("AnyBatch", bound=Batch)
Batches = Callable[[int], Iterator[Batch]]


@dataclass(frozen=True, eq=False)
class Subject:
    """A network, its training settings and two sources of batches; ``inputs`` and ``target`` are one batch."""

    title: str
    config: DictConfig
    network: Callable[[], nn.Module]
    criterion: Callable[[], ScheduledLoss]
    optim: OptimSettings
    inputs: Tensor
    target: Tensor
    ours: Batches
    usual: Batches


def segmentation(args: argparse.Namespace) -> Subject:
    """DynUNet on the embedded images."""
    device = torch.device(args.device)
    batch = args.batch or 16
    overrides = [
        f"data.size={args.size}",
        f"batch_size={batch}",
        f"model.base_filters={args.base_filters}",
        f"model.max_filters={args.max_filters}",
        f"precision={args.precision}",
        f"channels_last={args.channels_last}",
        f"compile={args.compile}",
    ]
    config = compose("segmentation", overrides)
    settings = read_settings(config)
    pairs = find_pairs(seed=0, **settings.data.pairing).train
    data = load_images(pairs, settings.data, workers=2, progress=False)
    data = data.part(np.arange(min(len(data), args.steps * batch)))
    augmentation = Augmentation(settings.augmentation)
    sizes = [batch] * (len(data) // batch)
    resident = ResidentBatches(data.images, data.masks, augmentation, sizes, 1, Process(device))
    transform = Compose(
        [
            RandFlipd(keys=("image", "mask"), prob=0.5, spatial_axis=0),
            RandFlipd(keys=("image", "mask"), prob=0.5, spatial_axis=1),
            ScaleIntensityRanged(keys="image", a_min=0, a_max=255, b_min=0, b_max=1),
            RandAdjustContrastd(keys="image", prob=0.3, gamma=(0.7, 1.5)),
            ScaleIntensityRanged(keys="image", a_min=0, a_max=1, b_min=-1, b_max=1),
        ]
    )
    samples = [{"image": i.float(), "mask": m[None]} for i, m in zip(data.images, data.masks, strict=True)]
    loader = DataLoader(
        Dataset(samples, transform), batch_size=batch, shuffle=True, drop_last=True, num_workers=args.workers
    )

    def usual(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for sample in loader:
            yield moved(sample["image"].as_tensor(), device), moved(sample["mask"].as_tensor()[:, 0], device)

    return Subject(
        f"segmentation, {batch} x 3 x {args.size} x {args.size}, "
        f"DynUNet with {args.base_filters} to {args.max_filters} filters",
        config,
        lambda: build_model(config.model, settings.data),
        lambda: build_criterion(config.loss, 0.0),
        OptimSettings("adam", 1e-3),
        torch.randn(batch, 3, args.size, args.size),
        torch.randint(0, 2, (batch, args.size, args.size)),
        lambda _: _steps(resident.epoch, args.steps),
        lambda _: _steps(usual, args.steps),
    )


class PerSample(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Images ``(N, H, W, 3)`` with a per-sample transform of Pillow images, as in torchvision's CIFAR10."""

    def __init__(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64], transform: Callable[[Image.Image], Tensor]
    ) -> None:
        self.images, self.labels, self.transform = images, labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def classification(args: argparse.Namespace) -> Subject:
    """A network for CIFAR-10, on the same number of random images."""
    device = torch.device(args.device)
    batch = args.batch or 128
    overrides = [
        "data=cifar10",
        f"model={args.model}",
        f"batch_size={batch}",
        f"precision={args.precision}",
        f"channels_last={args.channels_last}",
        f"compile={args.compile}",
        f"graph={args.graph}",
        "augmentation.crop_padding=4",
        "augmentation.flip=0.5",
        "optim.l1=5.0e-5",
        "optim.clip_norm=5.0",
        "optim.weight_decay=0.0",
    ]
    config = compose("classification", overrides)
    settings = classification_settings(config)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (CIFAR10_IMAGES, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, CIFAR10_IMAGES)
    mean, std = tuple(config.data.mean), tuple(config.data.std)
    channels_first = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    data = classification_data.Dataset(
        classification_data.Split(channels_first, labels),
        tests={},
        classes=tuple("0123456789"),
        labels_are_clean=True,
        remark="random",
        mean=mean,
        std=std,
        found_labels=labels,
        kept=np.arange(CIFAR10_IMAGES),
    )
    resident = training_batches(data, settings, Process(device))
    transform = vision.Compose(
        [vision.RandomCrop(32, 4), vision.RandomHorizontalFlip(), vision.ToTensor(), vision.Normalize(mean, std)]
    )
    loader = torch.utils.data.DataLoader(
        PerSample(images, labels, transform),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=args.workers,
        pin_memory=device.type == "cuda",
    )

    def usual(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, target in loader:
            yield inputs.to(device, non_blocking=True), target.to(device, non_blocking=True)

    return Subject(
        f"classification, {batch} x 3 x 32 x 32, {args.model}",
        config,
        lambda: build_classifier(args.model, 10, 3, (32, 32)),
        lambda: build_loss(**plain(config.loss)),
        settings.optim,
        torch.randn(batch, 3, 32, 32),
        torch.randint(0, 10, (batch,)),
        lambda _: _steps(resident.epoch, args.steps),
        lambda _: _steps(usual, args.steps),
    )


def _steps(epoch: Batches, count: int) -> Iterator[Batch]:
    """The first ``count`` batches of consecutive epochs."""
    return itertools.islice(itertools.chain.from_iterable(map(epoch, itertools.count())), count)


class Bench:
    """The loops over one subject, each with its own networks; every loop returns images per second."""

    def __init__(self, subject: Subject, steps: int, device: str, folder: Path) -> None:
        self.subject, self.steps, self.device, self.folder = subject, steps, device, folder
        config = subject.config
        self.precision, self.channels_last = str(config.precision), bool(config.channels_last)
        self.memory_format = torch.channels_last if self.channels_last else torch.contiguous_format
        self.bare_model = subject.network().to(device).to(memory_format=self.memory_format)
        self.compiled = bool(config.compile)
        self.images = config.batch_size * steps
        self.bare_step = torch.compile(self._bare_step) if self.compiled else self._bare_step
        self.runs = 0

    def bare(self) -> float:
        """Forward and backward only."""
        model = self.bare_model.train()
        inputs = self.subject.inputs.to(self.device).contiguous(memory_format=self.memory_format)
        target = self.subject.target.to(self.device)
        seconds: list[float] = []
        for batch, labels in self._timed(itertools.repeat((inputs, target), self.steps), seconds):
            model.zero_grad(set_to_none=True)
            self.bare_step(batch, labels).backward()
        return self.images / seconds[0]

    def _bare_step(self, inputs: Tensor, target: Tensor) -> Tensor:
        dtype = PRECISIONS[self.precision]
        with torch.autocast(torch.device(self.device).type, dtype=dtype, enabled=dtype is not None):
            output = self.bare_model(inputs)
        return F.cross_entropy(output.float(), target)

    def ours(self, runs: int = 1) -> float:
        """Our training loop, for ``runs`` networks at once."""
        return self._fit(self.subject.ours, runs)

    def usual(self) -> float:
        """The same loop fed by a DataLoader with per-sample transforms."""
        return self._fit(self.subject.usual)

    def _timed(self, batches: Iterator[AnyBatch], seconds: list[float]) -> Iterator[AnyBatch]:
        """Yield the batches; appends the time from the first request to the end of the last step to ``seconds``."""
        started = now(self.device)
        yield from batches
        seconds.append(now(self.device) - started)

    def _fit(self, batches: Batches, runs: int = 1) -> float:
        """Train one epoch, or two if the first one compiles; times only the steps of the last epoch."""
        seconds: list[float] = []
        trainings = [self._training(batches, seconds if first else []) for first in [True] + [False] * (runs - 1)]
        names = ("precision", "channels_last", "compile", "graph")
        shared = {name: self.subject.config[name] for name in names}
        settings = checked(LoopSettings, {"epochs": 1 + self.compiled, "progress": False, "logger": None, **shared})
        process = Process(torch.device(self.device))
        if runs == 1:
            (training,) = trainings
            fit(training, settings, self.subject.optim, process)
        else:
            outcomes = fit_together(trainings, settings, self.subject.optim, process)
            for failure in (outcome for outcome in outcomes if isinstance(outcome, UserError)):
                raise failure
        return runs * self.images / seconds[-1]

    def _training(self, batches: Batches, seconds: list[float]) -> Training:
        self.runs += 1
        run = RunDirectory(self.folder / str(self.runs))
        run.create(self.subject.config)
        task = Task(
            lambda epoch: self._timed(batches(epoch), seconds), self.steps, lambda m, e: {"test": {}}, ("test", "none")
        )
        return Training(self.subject.network(), self.subject.criterion(), task, run)
