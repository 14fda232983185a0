"""Images per second of the training loops, beside a bare forward and backward pass of the same network.

    python benchmarks/trainers.py --rounds 5
    python benchmarks/trainers.py --size 256 --base-filters 32 --batch 16 --precision bf16 --device cuda
    python benchmarks/trainers.py --task classification --rounds 5
    python benchmarks/trainers.py --task classification --model resnet34 --steps 390 --workers 8 --device cuda
    python benchmarks/trainers.py --task classification --model cnn4 --runs-per-device 4 --device cuda

The loops are timed in turn, round after round, so that a drifting machine meets all:

bare    forward, cross entropy and backward on one batch that stays where it is: no optimizer, no data
ours    the loop of seg-anl-train or seg-anl-classify: batches, augmentation, ANL-CE, optimizer
usual   transforms per sample in a DataLoader (of MONAI, of torchvision), then the same step
4 runs  as ours, with so many networks at once (--runs-per-device); the images of all are counted

Segmentation runs over the embedded ISIC-2017 images; classification over random images of CIFAR-10's number and size,
with crop, flip, L1 penalty and clipping as published for ANL-CE.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torchvision.transforms as vision
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, RandAdjustContrastd, RandFlipd, ScaleIntensityRanged
from numpy.typing import NDArray
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor, nn

from classification import datasets as classification_data
from classification.image_batches import training_batches
from classification.networks import MODELS
from classification.networks import build_model as build_classifier
from classification.settings import read_settings as classification_settings
from data_prep.pairing import find_pairs
from seg_anl.engine.batches import ResidentBatches
from seg_anl.engine.command import compose
from seg_anl.engine.distribution import Process
from seg_anl.engine.loop import PRECISIONS, Task, fit
from seg_anl.engine.optimization import loss_from_config
from seg_anl.engine.run_directory import RunDirectory
from seg_anl.engine.settings import LoopSettings, OptimSettings, Precision
from seg_anl.engine.side_by_side import Training, fit_together
from seg_anl.losses import ScheduledLoss
from seg_anl.records import UserError
from seg_anl.segmentation.augmentation import Augmentation
from seg_anl.segmentation.criterion import build_criterion
from seg_anl.segmentation.datasets import load_images
from seg_anl.segmentation.networks import build_model
from seg_anl.segmentation.settings import read_settings

CIFAR10_IMAGES = 50_000

Pairs = Iterator[Any]
Batches = Callable[[int], Pairs]


@dataclass(frozen=True, eq=False)
class Subject:
    """What is timed: a network, its training and two ways of feeding it; ``inputs`` and ``target`` are one batch."""

    title: str
    config: DictConfig
    network: Callable[[], nn.Module]
    criterion: Callable[[], ScheduledLoss]
    optim: OptimSettings
    inputs: Tensor
    target: Tensor
    ours: Batches
    usual: Batches


def segmentation(args: argparse.Namespace, device: torch.device) -> Subject:
    """DynUNet on the embedded images."""
    batch = args.batch or 16
    settings = [
        f"data.size={args.size}",
        f"batch_size={batch}",
        f"model.base_filters={args.base_filters}",
        f"model.max_filters={args.max_filters}",
        f"precision={args.precision}",
        f"channels_last={args.channels_last}",
    ]
    config = compose("segmentation", settings)
    given = read_settings(config)
    data = load_images(find_pairs(seed=0, **given.data.pairing).train, given.data, workers=2, progress=False)
    data = data.subset(set(data.items[: args.steps * batch]))
    augmentation = Augmentation(given.augmentation)
    resident = ResidentBatches(data.images, data.masks, augmentation, batch, 1, Process(device))

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
            yield sample["image"].as_tensor().to(device), sample["mask"].as_tensor()[:, 0].to(device)

    return Subject(
        f"segmentation, {batch} x 3 x {args.size} x {args.size}, "
        f"DynUNet with {args.base_filters} to {args.max_filters} filters",
        config,
        lambda: build_model(config.model, given.data),
        lambda: build_criterion(config.loss, 0.0),
        OptimSettings("adam", 1e-3),
        torch.randn(batch, 3, args.size, args.size),
        torch.randint(0, 2, (batch, args.size, args.size)),
        resident.epoch,
        usual,
    )


class PerSample(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Images ``(N, H, W, 3)`` through a transform of Pillow images, one at a time, as torchvision's CIFAR10 does."""

    def __init__(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64], transform: Callable[[Image.Image], Tensor]
    ) -> None:
        self.images, self.labels, self.transform = images, labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def classification(args: argparse.Namespace, device: torch.device) -> Subject:
    """A network for CIFAR-10 on as many random images."""
    batch = args.batch or 128
    settings = [
        "data=cifar10",
        f"model={args.model}",
        f"batch_size={batch}",
        f"precision={args.precision}",
        f"channels_last={args.channels_last}",
        "augmentation.crop_padding=4",
        "augmentation.flip=0.5",
        "optim.l1=5.0e-5",
        "optim.clip_norm=5.0",
        "optim.weight_decay=0.0",
    ]
    config = compose("classification", settings)
    given = classification_settings(config)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (CIFAR10_IMAGES, 32, 32, 3), dtype=np.uint8)
    labels = random.integers(0, 10, CIFAR10_IMAGES)
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
    resident = training_batches(data, given, Process(device))
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
        for inputs, target in itertools.islice(loader, args.steps):
            yield inputs.to(device, non_blocking=True), target.to(device, non_blocking=True)

    return Subject(
        f"classification, {batch} x 3 x 32 x 32, {args.model}",
        config,
        lambda: build_classifier(args.model, 10, 3, (32, 32)),
        lambda: loss_from_config(config.loss),
        given.optim,
        torch.randn(batch, 3, 32, 32),
        torch.randint(0, 10, (batch,)),
        lambda epoch: itertools.islice(resident.epoch(epoch), args.steps),
        usual,
    )


TASKS = {"segmentation": segmentation, "classification": classification}


class Stopwatch:
    """Seconds between the first batch being asked for and the step after the last one being done."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: list[float] = []

    def around(self, batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches, timed as a whole."""
        started = self._now()
        yield from batches
        self.seconds.append(self._now() - started)

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


class Bench:
    """The three loops over one subject with one network each; every loop returns images per second."""

    def __init__(self, subject: Subject, steps: int, device: torch.device, folder: Path) -> None:
        self.subject, self.steps, self.device, self.folder = subject, steps, device, folder
        config = subject.config
        self.precision: Precision = config.precision
        self.channels_last = bool(config.channels_last)
        self.memory_format = torch.channels_last if self.channels_last else torch.contiguous_format
        self.bare_model = subject.network().to(device).to(memory_format=self.memory_format)
        self.images = config.batch_size * steps
        self.runs = 0

    def bare(self) -> float:
        """Forward and backward alone."""
        model, dtype = self.bare_model.train(), PRECISIONS[self.precision]
        inputs = self.subject.inputs.to(self.device).contiguous(memory_format=self.memory_format)
        target = self.subject.target.to(self.device)
        watch = Stopwatch(self.device)
        for batch, labels in watch.around(itertools.repeat((inputs, target), self.steps)):
            model.zero_grad(set_to_none=True)
            with torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None):
                output = model(batch)
            F.cross_entropy(output.float(), labels).backward()
        return self.images / watch.seconds[0]

    def ours(self) -> float:
        """The project's loop."""
        return self._fit(self.subject.ours)

    def at_once(self, runs: int) -> float:
        """The project's loop over several networks."""
        return self._fit(self.subject.ours, runs)

    def usual(self) -> float:
        """The same loop fed by a DataLoader that transforms sample by sample."""
        return self._fit(self.subject.usual)

    def _fit(self, batches: Batches, runs: int = 1) -> float:
        """One epoch of the real loop; the time is of its steps, without evaluation and checkpoint."""
        watch = Stopwatch(self.device)
        trainings = [
            self._training(watch.around if first else iter, batches) for first in [True] + [False] * (runs - 1)
        ]
        settings = LoopSettings(epochs=1, precision=self.precision, channels_last=self.channels_last, progress=False)
        process = Process(self.device)
        if runs == 1:
            (one,) = trainings
            fit(one.model, one.loss, one.task, settings, self.subject.optim, one.run, process)
        else:
            for outcome in fit_together(trainings, settings, self.subject.optim, process):
                if isinstance(outcome, UserError):
                    raise outcome
        return runs * self.images / watch.seconds[0]

    def _training(self, timed: Callable[[Pairs], Pairs], batches: Batches) -> Training:
        self.runs += 1
        run = RunDirectory(self.folder / str(self.runs))
        run.create(self.subject.config)
        task = Task(lambda epoch: timed(batches(epoch)), self.steps, lambda m, e: {"test": {}}, ("test", "none"))
        return Training(self.subject.network(), self.subject.criterion(), task, run)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=sorted(TASKS), default="segmentation")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="steps of each loop in a round")
    parser.add_argument("--batch", type=int, help="images of a step; default 16, for classification 128")
    parser.add_argument("--workers", type=int, default=0, help="processes of the usual loop's DataLoader")
    parser.add_argument("--precision", choices=sorted(PRECISIONS), default="fp32")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    only = parser.add_argument_group("segmentation")
    only.add_argument("--size", type=int, default=64)
    only.add_argument("--base-filters", type=int, default=16)
    only.add_argument("--max-filters", type=int, default=128)
    only = parser.add_argument_group("classification")
    only.add_argument("--model", choices=sorted(MODELS), default="cnn8")
    only.add_argument("--runs-per-device", type=int, default=1, help="networks trained at once in a fourth loop")
    args = parser.parse_args()
    device = torch.device(args.device)
    subject = TASKS[args.task](args, device)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(subject, args.steps, device, Path(folder))
        loops = {"bare": bench.bare, "ours": bench.ours, "usual": bench.usual}
        if args.runs_per_device > 1:
            loops[f"{args.runs_per_device} runs"] = lambda: bench.at_once(args.runs_per_device)
        for loop in loops.values():
            loop()  # warm up
        rates: dict[str, list[float]] = {name: [] for name in loops}
        for _ in range(args.rounds):
            for name, loop in loops.items():
                rates[name].append(loop())
    machine = f"{args.device}, {torch.get_num_threads()} threads, torch {torch.__version__}, {args.rounds} rounds"
    print(f"\n{subject.title}, {args.precision}; {args.workers} workers in the usual loop; {machine}\n")
    print("| loop | images per second (median) | ratio to bare (median of rounds) |")
    print("|---|---|---|")
    for name, values in rates.items():
        ratio = statistics.median(value / bare for value, bare in zip(values, rates["bare"], strict=True))
        print(f"| {name} | {statistics.median(values):.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
