"""Memory of loading a segmentation data set: the highest resident memory of one process, beside the size of the data.

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

PHOTO = (768, 576)  # width and height of what is decoded
DIFFERENT = 20  # files; the others are links to them


def make_folder(root: Path, count: int) -> None:
    """Photos of smoothed noise with a disc, and its mask."""
    generator = np.random.default_rng(0)
    for number in range(count):
        for kind, suffix in (("images", "jpg"), ("masks", "png")):
            path, original = (make_directory(root / kind) / f"{n:05}.{suffix}" for n in (number, number % DIFFERENT))
            if path.exists():
                continue
            if number >= DIFFERENT:
                os.link(original, path)
                continue
            disc = np.hypot(*(np.mgrid[: PHOTO[1], : PHOTO[0]] - [[[280]], [[300 + 8 * number]]])) < 90 + 4 * number
            coarse = Image.fromarray(generator.integers(60, 200, (18, 24, 3), dtype=np.uint8)).resize(PHOTO)
            values = np.asarray(coarse) // (1 + disc[..., None]) if kind == "images" else disc * np.uint8(255)
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
    before, begun = peak(), time.perf_counter()
    experiment = SegmentationExperiment(config)
    data, _ = experiment.load()
    size = sum(part.nbytes for images in data for part in (images.images, images.masks)) / 2**30
    print(f"{options.images} images at {options.size}: {size:.2f} GiB of images and masks")
    print(f"loaded: {peak() - before:.2f} GiB beyond the imports' {before:.2f}, {time.perf_counter() - begun:.0f} s")
    experiment.fingerprints(data)
    with started("cpu") as process:
        experiment.prepare(data, experiment.noisy(data), process)
    print(f"digests, noise and batches: {peak() - before:.2f} GiB")


def peak() -> float:
    """The highest resident memory so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
