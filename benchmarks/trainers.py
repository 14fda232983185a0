"""Images per second of the training loops, beside a bare forward and backward pass of the same network.

    python benchmarks/trainers.py --rounds 5
    python benchmarks/trainers.py --size 256 --base-filters 32 --batch 16 --precision bf16 --device cuda

Three loops over the embedded ISIC-2017 images, timed in turn, round after round, so that a drifting machine meets all:

bare    forward, cross entropy and backward on one batch that stays where it is: no optimiser, no data
ours    the loop of seg-anl-train: batches, augmentation, ANL-CE, optimiser
usual   MONAI transforms per sample in a DataLoader, then the same step
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, RandAdjustContrastd, RandFlipd, ScaleIntensityRanged
from omegaconf import DictConfig
from torch import Tensor, nn

from seg_anl.engine import LoopSettings, OptimSettings, Process, ResidentBatches, RunDirectory, Task, compose, fit
from seg_anl.engine.loop import PRECISIONS
from seg_anl.engine.randomness import epoch_generator
from seg_anl.segmentation.augmentation import Augmentation
from seg_anl.segmentation.criterion import build_criterion
from seg_anl.segmentation.datasets import load_images
from seg_anl.segmentation.models import build_model
from seg_anl.segmentation.sources import find_pairs


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
    """The three loops over one data set with one network each."""

    def __init__(self, config: DictConfig, steps: int, device: torch.device, folder: Path) -> None:
        self.config, self.steps, self.device, self.folder = config, steps, device, folder
        pairs = find_pairs(config.data, 0)
        data = load_images(pairs.train, config.data, workers=2, progress=False)
        self.data = data.subset(set(data.items[: steps * config.batch_size]))
        self.memory_format = torch.channels_last if config.channels_last else torch.contiguous_format
        self.bare_model = build_model(config.model, config.data).to(device).to(memory_format=self.memory_format)
        self.images = config.batch_size * steps
        self.runs = 0

    def bare(self) -> float:
        """Images per second of forward and backward alone."""
        model, dtype = self.bare_model.train(), PRECISIONS[self.config.precision]
        size = (self.config.batch_size, 3, self.config.data.size, self.config.data.size)
        inputs = torch.randn(size, device=self.device).contiguous(memory_format=self.memory_format)
        target = torch.randint(0, 2, (size[0], *size[2:]), device=self.device)

        def steps() -> Iterator[tuple[Tensor, Tensor]]:
            for _ in range(self.steps):
                yield inputs, target

        watch = Stopwatch(self.device)
        for batch, labels in watch.around(steps()):
            model.zero_grad(set_to_none=True)
            with torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None):
                output = model(batch)
            F.cross_entropy(output.float(), labels).backward()
        return self.images / watch.seconds[0]

    def ours(self) -> float:
        """Images per second of the project's loop."""
        augmentation = Augmentation()
        batches = ResidentBatches(self.data.images, self.data.masks, self.config.batch_size, 1, self.device)

        def augmented(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
            generator = epoch_generator(1, epoch, "augmentation")
            for images, masks in batches.epoch(epoch):
                yield augmentation(images, masks, generator)

        return self._fit(augmented)

    def usual(self) -> float:
        """Images per second of the same loop fed by MONAI transforms in a DataLoader."""
        transform = Compose(
            [
                RandFlipd(keys=("image", "mask"), prob=0.5, spatial_axis=0),
                RandFlipd(keys=("image", "mask"), prob=0.5, spatial_axis=1),
                ScaleIntensityRanged(keys="image", a_min=0, a_max=255, b_min=0, b_max=1),
                RandAdjustContrastd(keys="image", prob=0.3, gamma=(0.7, 1.5)),
                ScaleIntensityRanged(keys="image", a_min=0, a_max=1, b_min=-1, b_max=1),
            ]
        )
        samples = [
            {"image": i.float(), "mask": m[None]} for i, m in zip(self.data.images, self.data.masks, strict=True)
        ]
        loader = DataLoader(
            Dataset(samples, transform), batch_size=self.config.batch_size, shuffle=True, drop_last=True
        )

        def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
            for batch in loader:
                yield batch["image"].as_tensor().to(self.device), batch["mask"].as_tensor()[:, 0].to(self.device)

        return self._fit(batches)

    def _fit(self, batches: Any) -> float:
        """One epoch of the real loop; the time is of its steps, without evaluation and checkpoint."""
        watch = Stopwatch(self.device)
        self.runs += 1
        run = RunDirectory(self.folder / str(self.runs))
        run.create(self.config)
        model: nn.Module = build_model(self.config.model, self.config.data)
        fit(
            model,
            build_criterion(self.config.loss),
            Task(lambda epoch: watch.around(batches(epoch)), self.steps, lambda m, e: {"test": {}}, ("test", "dice")),
            LoopSettings(1, str(self.config.precision), bool(self.config.channels_last), progress=False),
            OptimSettings("adam", 1e-3),
            run,
            Process(self.device),
        )
        return self.images / watch.seconds[0]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="steps of each loop in a round")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--base-filters", type=int, default=16)
    parser.add_argument("--max-filters", type=int, default=128)
    parser.add_argument("--precision", choices=sorted(PRECISIONS), default="fp32")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    config = compose(
        "segmentation",
        [
            f"data.size={args.size}",
            f"batch_size={args.batch}",
            f"model.base_filters={args.base_filters}",
            f"model.max_filters={args.max_filters}",
            f"precision={args.precision}",
            f"channels_last={args.channels_last}",
        ],
    )
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(config, args.steps, torch.device(args.device), Path(folder))
        loops = {"bare": bench.bare, "ours": bench.ours, "usual": bench.usual}
        for loop in loops.values():
            loop()  # warm up
        rates: dict[str, list[float]] = {name: [] for name in loops}
        for _ in range(args.rounds):
            for name, loop in loops.items():
                rates[name].append(loop())
    network = f"DynUNet with {args.base_filters} to {args.max_filters} filters, {args.precision}"
    machine = f"{args.device}, {torch.get_num_threads()} threads, torch {torch.__version__}, {args.rounds} rounds"
    print(f"\nsegmentation, {args.batch} x 3 x {args.size} x {args.size}, {network}; {machine}\n")
    print("| loop | images per second (median) | ratio to bare (median of rounds) |")
    print("|---|---|---|")
    for name, values in rates.items():
        ratio = statistics.median(value / bare for value, bare in zip(values, rates["bare"], strict=True))
        print(f"| {name} | {statistics.median(values):.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
