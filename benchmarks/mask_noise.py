"""Masks per second of the noise kinds compared with straightforward implementations, on one core.

    python benchmarks/mask_noise.py                      synthetic lesions of 256 x 256 and a 128^3 volume
    python benchmarks/mask_noise.py --masks FOLDER       the PNG masks of a folder instead of the lesions

The baseline of erosion and dilation is the published rule, iterated with scipy.ndimage (its output must be the same);
that of affine is the published search (rotate, then pad, shift, crop and compare the whole image at every step).
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import scipy.ndimage
import skimage.io
import skimage.transform
from numpy.typing import NDArray

from data_prep.mask_kinds.affine import PublishedDraw, displaced, published_affine
from data_prep.mask_kinds.morphology import dilated, eroded

BoolArray = NDArray[np.bool_]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masks", type=Path, help="folder of PNG masks to use instead of synthetic lesions")
    parser.add_argument("--count", type=int, default=120, help="number of 2-D masks (default 120)")
    parser.add_argument("--beta", type=float, default=0.7, help="strength (default 0.7)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds; the fastest counts (default 3)")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    flat = read_masks(arguments.masks, arguments.count) if arguments.masks else lesions(arguments.count)
    volume = [ellipsoid(128)]
    beta = arguments.beta
    print(
        f"{len(flat)} masks of {flat[0].shape}, one volume of {volume[0].shape}, beta {beta}, one core, "
        f"scipy {scipy.__version__}, opencv {cv2.__version__}\n"
    )
    print(f"{'kind':8} {'masks':>12} {'ours /s':>10} {'baseline /s':>12} {'ratio':>7} {'wanted':>7}  same output")
    rows: list[tuple[str, list[BoolArray], Callable[..., Any], Callable[..., Any], str]] = [
        ("erode", flat, lambda m: eroded(m, beta)[0], lambda m: iterated(m, beta, -1), "20x"),
        ("dilate", flat, lambda m: dilated(m, beta)[0], lambda m: iterated(m, beta, 1), "20x"),
        ("erode", volume, lambda m: eroded(m, beta)[0], lambda m: iterated(m, beta, -1), "4x"),
        ("dilate", volume, lambda m: dilated(m, beta)[0], lambda m: iterated(m, beta, 1), "4x"),
    ]
    for kind, masks, ours, baseline, wanted in rows:
        same = all(np.array_equal(ours(mask), baseline(mask)) for mask in masks)
        report(kind, masks, ours, baseline, wanted, arguments.repeats, "yes" if same else "NO")
    generator, stream = np.random.default_rng(0), random.Random(0)
    report(
        "affine", flat, lambda m: displaced(m, beta, generator)[0],
        lambda m: published_search(m, beta, stream), "2x", arguments.repeats, "another draw",
    )  # fmt: skip
    report(
        "affine*", flat, lambda m: published_affine(m, beta, PublishedDraw.from_stream(stream))[0],
        lambda m: published_search(m, beta, stream), "-", arguments.repeats, "tested",
    )  # fmt: skip
    print("\naffine* is mode 'official': the published search with its errors, but without its copies.")


def report(
    kind: str,
    masks: list[BoolArray],
    ours: Callable[[BoolArray], Any],
    baseline: Callable[[BoolArray], Any],
    wanted: str,
    repeats: int,
    same: str,
) -> None:
    """Time both implementations in alternation and print one row."""
    best = {"ours": np.inf, "baseline": np.inf}
    for _ in range(repeats):
        for name, function in (("ours", ours), ("baseline", baseline)):
            start = time.perf_counter()
            for mask in masks:
                function(mask)
            best[name] = min(best[name], time.perf_counter() - start)
    shape = "x".join(map(str, masks[0].shape))
    rate, base = (len(masks) / best[name] for name in ("ours", "baseline"))
    print(f"{kind:8} {shape:>12} {rate:10.1f} {base:12.1f} {rate / base:6.1f}x {wanted:>7}  {same}")


def iterated(mask: BoolArray, ratio: float, sign: int) -> BoolArray:
    """The published rule, one scipy.ndimage step at a time."""
    area = int(mask.sum())
    target = area + sign * int(area * ratio)
    step = scipy.ndimage.binary_dilation if sign > 0 else scipy.ndimage.binary_erosion
    useless = mask.size if sign > 0 else 0
    state = last = mask
    count = last_count = area
    while sign * (target - count) > 0 and count != useless:
        last, last_count = state, count
        state = step(state)
        count = int(state.sum())
    return last if count == useless or abs(last_count - target) < abs(count - target) else state


def published_search(mask: BoolArray, ratio: float, stream: random.Random) -> BoolArray:
    """The published displacement: pads, shifts, crops and compares whole images at every step."""
    draw = PublishedDraw.from_stream(stream)
    label = mask.astype(np.uint8)
    rotated = skimage.transform.rotate(label.astype(float), draw.angle).astype(np.uint8)
    height, width = label.shape
    low, high = 0, 100
    while low < high:
        middle = (low + high) // 2
        down, right = abs(middle * draw.direction[0]), abs(middle * draw.direction[1])
        sheet = np.zeros((height + down, width + right), np.uint8)
        sheet[down : down + height, right : right + width] = rotated
        probe = sheet[:height, :width]
        missing = np.logical_and(probe == 0, label == 1).sum()
        share = (np.logical_and(probe == 1, label == 0).sum() + missing) / label.sum()
        if share == ratio:
            break
        low, high = (low, middle - 1) if share > ratio else (middle + 1, high)
    return probe.astype(bool)


def lesions(count: int) -> list[BoolArray]:
    """Ellipses of 500 to 20,000 pixels, the range of most ISIC-2017 lesions at 256 x 256 pixels."""
    generator = np.random.default_rng(0)
    rows, columns = np.ogrid[:256, :256]
    masks = []
    for _ in range(count):
        area = np.exp(generator.uniform(np.log(500), np.log(20000)))
        stretch = generator.uniform(0.7, 1.4)
        radius = np.sqrt(area / np.pi)
        center = generator.uniform(100, 156, 2)
        squares = ((rows - center[0]) / (radius * stretch)) ** 2 + ((columns - center[1]) / (radius / stretch)) ** 2
        masks.append(squares <= 1)
    return masks


def ellipsoid(size: int) -> BoolArray:
    """A volume of ``size``^3 voxels with one organ-sized ellipsoid."""
    axes = np.ogrid[:size, :size, :size]
    radii = (0.35 * size, 0.25 * size, 0.3 * size)
    total = sum(((axis - (size - 1) / 2) / radius) ** 2 for axis, radius in zip(axes, radii, strict=True))
    return np.asarray(total <= 1)


def read_masks(folder: Path, count: int) -> list[BoolArray]:
    """The first PNG masks of a folder, sorted by name."""
    paths = sorted(folder.glob("*.png"))[:count]
    if not paths:
        raise SystemExit(f"no PNG files in {folder}")
    return [np.ascontiguousarray(skimage.io.imread(path) > 0) for path in paths]


if __name__ == "__main__":
    main()
