"""Volumes: predictions on reoriented and resampled copies, and the cost of a memory budget.

python benchmarks/volumes.py copies RUN ROOT OUT    Dice on RUN's test cases (nnU-Net raw dataset ROOT) and on copies
python benchmarks/volumes.py memory OUT             synthetic volumes: CPU time of a batch and a step, memory use
"""

from __future__ import annotations

import argparse
import csv
import itertools
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import scipy.ndimage
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf
from timing import in_turns, median_ratio

from seg_anl.engine.distribution import Process
from seg_anl.losses import build_loss
from seg_anl.records import make_directory
from seg_anl.records.ranges import checked
from seg_anl.segmentation.mask_prediction import predict_masks
from seg_anl.segmentation.volumes.augmentation import VolumeAugmentation
from seg_anl.segmentation.volumes.cases import Case
from seg_anl.segmentation.volumes.labels import Labels
from seg_anl.segmentation.volumes.patches import PatchBatches
from seg_anl.segmentation.volumes.planning import build_volume_model
from seg_anl.segmentation.volumes.preparation import Preparation, find_frame
from seg_anl.segmentation.volumes.settings import VolumeAugmentationSettings
from seg_anl.segmentation.volumes.shelf import Shelf, load_volumes

ANGLE = 25.0  # rotation of the oblique headers, degrees
COARSE = 2.0  # factor on the voxel size along the second axis of the anisotropic copies


def copies(run: Path, root: Path, out: Path, count: int) -> None:
    """Print the mean Dice over cases and classes for each kind of copy; masks are copied the same way."""
    with open(run / "cases.csv", newline="", encoding="utf-8") as file:
        items = list(dict.fromkeys(row["item"] for row in csv.DictReader(file)))[:count]
    print(f"{len(items)} test cases")
    for kind in ("originals", "turned", "turned and resampled"):
        folder, dice = out / kind.replace(" ", "_"), []
        for item in items:
            for part, name, order in (("images", f"{item}_0000", 1), ("labels", item, 0)):
                source: Any = nibabel.load(root / f"{part}Tr" / f"{name}.nii.gz")
                values, affine = transform(np.asarray(source.dataobj), source.affine, kind, order)
                nibabel.save(nibabel.Nifti1Image(values, affine), make_directory(folder / part) / f"{name}.nii.gz")
        predict_masks(
            run, folder / "images", folder / "predicted", overlay=False, checkpoint="last", device="auto",
            overwrite=True, trust=False,
        )  # fmt: skip
        for item in items:
            truth, prediction = (read_nifti(folder / part / f"{item}.nii.gz") for part in ("labels", "predicted"))
            for label in np.unique(truth)[1:]:
                p, t = prediction == label, truth == label
                dice.append(2 * np.count_nonzero(p & t) / (np.count_nonzero(p) + np.count_nonzero(t)))
        print(f"{kind:24}{np.mean(dice):.4f}")


def transform(
    values: NDArray[Any], affine: NDArray[np.float64], kind: str, order: int
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Permute and flip axes under an oblique header; for resampled copies also coarsen one axis."""
    if kind == "originals":
        return values, affine
    if kind == "turned and resampled":
        values = scipy.ndimage.zoom(values, (1, 1 / COARSE, 1), order=order, mode="nearest", grid_mode=True)
        affine = affine @ np.diag((1, COARSE, 1, 1))
    stored = np.eye(4)[:, [2, 0, 1, 3]]
    stored[:3, 1] *= -1
    c, s = np.cos(np.radians(ANGLE)), np.sin(np.radians(ANGLE))
    oblique = np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    return np.ascontiguousarray(values.transpose(2, 0, 1)[:, ::-1]), oblique @ affine @ stored


def read_nifti(path: Path) -> NDArray[Any]:
    image: Any = nibabel.load(path)
    return np.asarray(image.dataobj)


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of the process: independent of machine load, without waiting for the disk."""
    start = time.process_time()
    work()
    return time.process_time() - start


def memory(out: Path, cases: int, size: int, patch: int, budget: int, kind: str, rounds: int) -> None:
    """Print the CPU time of a batch and a step, and the memory use of the process."""
    volume_cases, labels = list(make_cases(out / "made", cases, size)), Labels.plain((0, 1))
    preparation = Preparation(find_frame(volume_cases, None), labels, "zscore", None)
    loaded = load_volumes(volume_cases, preparation, Shelf(budget, out / "cache"), workers=1, progress=True)
    settings = {"mirror": 0.5} if kind == "light" else {}
    augmentation = VolumeAugmentation(checked(VolumeAugmentationSettings, settings), (1, 1, 1))
    batches = PatchBatches(
        loaded, (patch,) * 3, patches=4, foreground=0.33, augmentation=augmentation, sizes=[2] * (2 * cases), seed=0,
        process=Process(torch.device("cpu")),
    )  # fmt: skip
    network = OmegaConf.create({"name": "nnunet", "base_filters": 8, "deep_supervision": False})
    model = build_volume_model(network, channels=2, heads=2, spacing=(1, 1, 1), patch=batches.patch)
    optimizer, loss = torch.optim.Adam(model.parameters()), build_loss("anl_ce")

    def step(images: torch.Tensor, masks: torch.Tensor) -> None:
        optimizer.zero_grad()
        loss(model(images), masks).backward()
        optimizer.step()

    stream = itertools.chain.from_iterable(map(batches.epoch, itertools.count()))
    resident = next(stream)
    seconds = in_turns(
        {"batch": lambda: cpu_seconds(lambda: next(stream)), "loop": lambda: cpu_seconds(lambda: step(*next(stream))),
         "bare": lambda: cpu_seconds(lambda: step(*resident))}, rounds,
    )  # fmt: skip
    for name, values in seconds.items():
        milliseconds = statistics.median(values) * 1000
        print(f"{name:6}{milliseconds:8.0f} ms of CPU time for 2 patches of {patch}^3 (median of {rounds})")
    print(f"steps per second, loop / bare: {median_ratio(seconds['bare'], seconds['loop']):.3f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    anonymous = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    data = sum(volume.image.nbytes + volume.mask.nbytes for volume in loaded) / 2**20
    print(f"data {data:.0f} MiB, budget {budget / 2**20:.0f} MiB, peak RSS {peak:.0f} MiB (mapped pages included)")
    print(f"anonymous memory at the end: {int(anonymous.split()[1]) / 1024:.0f} MiB")


def make_cases(folder: Path, cases: int, size: int) -> Iterator[Case]:
    """Cases of two channels of noise with a box; writes missing files."""
    generator = np.random.default_rng(0)
    for number in range(cases):
        paths = [make_directory(folder) / f"{number:04}_{part}.nii" for part in ("0000", "0001", "mask")]
        if not paths[-1].exists():
            mask = np.zeros((size,) * 3, np.uint8)
            mask[tuple(slice(n, n + size // 4) for n in generator.integers(0, size // 2, 3))] = 1
            for path, scale in zip(paths, (30, 60, 0), strict=True):
                noise = generator.integers(1, 200, mask.shape, dtype=np.int16)
                values = (noise + scale * mask).astype(np.int16) if scale else mask
                nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
        yield Case(f"{number:04}", (paths[0], paths[1]), paths[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(required=True)
    command = tasks.add_parser("copies")
    command.add_argument("run", type=Path)
    command.add_argument("root", type=Path)
    command.add_argument("out", type=Path)
    command.add_argument("--count", type=int, default=40)
    command.set_defaults(task=copies)
    command = tasks.add_parser("memory")
    command.add_argument("out", type=Path)
    command.add_argument("--cases", type=int, default=24)
    command.add_argument("--size", type=int, default=128)
    command.add_argument("--patch", type=int, default=96)
    command.add_argument("--budget", type=int, default=0, help="bytes")
    command.add_argument("--kind", default="light", choices=("light", "none"))
    command.add_argument("--rounds", type=int, default=20)
    command.set_defaults(task=memory)
    options = vars(parser.parse_args())
    options.pop("task")(**options)


if __name__ == "__main__":
    main()
