"""Peak resident memory of loading a segmentation data set, compared with the size of the data.

python benchmarks/loading.py OUT --images 3000 --size 512
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import time
from pathlib import Path

import numpy as np
from PIL import Image

from seg_anl.engine.command import compose
from seg_anl.engine.distribution import started
from seg_anl.records import make_directory
from seg_anl.segmentation.experiment import SegmentationExperiment

PHOTO_SIZE = (768, 576)  # width and height of the image files
UNIQUE_FILES = 20  # the others are hard links to them


def make_folder(root: Path, count: int) -> None:
    """Write photos of smoothed noise with a disc, and the masks of the disc."""
    generator = np.random.default_rng(0)
    for number in range(count):
        for kind, suffix in (("images", "jpg"), ("masks", "png")):
            path, original = (make_directory(root / kind) / f"{n:05}.{suffix}" for n in (number, number % UNIQUE_FILES))
            if path.exists():
                continue
            if number >= UNIQUE_FILES:
                os.link(original, path)
                continue
            grid = np.mgrid[: PHOTO_SIZE[1], : PHOTO_SIZE[0]]
            disc = np.hypot(*(grid - [[[280]], [[300 + 8 * number]]])) < 90 + 4 * number
            noise = Image.fromarray(generator.integers(60, 200, (18, 24, 3), dtype=np.uint8)).resize(PHOTO_SIZE)
            values = np.asarray(noise) // (1 + disc[..., None]) if kind == "images" else disc * np.uint8(255)
            Image.fromarray(values.astype(np.uint8)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    make_folder(options.out, options.images)
    settings = [f"data.root={options.out}", f"data.size={options.size}", f"workers={options.workers}"]
    config = compose("segmentation", ["data=folder", *settings, f"run_dir={options.out / 'run'}", "device=cpu"])
    shutil.rmtree(options.out / "run", ignore_errors=True)
    before, start = peak_memory(), time.perf_counter()
    experiment = SegmentationExperiment(config)
    data, _ = experiment.load()
    size = sum(part.nbytes for images in data for part in (images.images, images.masks)) / 2**30
    print(f"{options.images} images at {options.size}: {size:.2f} GiB of images and masks")
    seconds = time.perf_counter() - start
    print(f"loading: {peak_memory() - before:.2f} GiB on top of {before:.2f} GiB for imports, {seconds:.0f} s")
    experiment.fingerprints(data)
    with started("cpu") as process:
        experiment.prepare(data, experiment.noisy(data), process)
    print(f"digests, noise and batches: {peak_memory() - before:.2f} GiB")


def peak_memory() -> float:
    """Peak resident memory so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
