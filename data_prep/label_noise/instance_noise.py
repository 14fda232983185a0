"""Noise that depends on the sample: part-dependent (from pixels), and by prediction errors, from the softmaxes of a
network that was trained on the clean labels elsewhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy  # loads scipy.special when it is first used
from numpy.typing import NDArray

from seg_anl.records.ranges import Fraction, PositiveFraction, Seed

from .label_kind import Features, Noisy, label_noise
from .label_report import checked_labels, random_stream, with_report

_BLOCK_VALUES = 1 << 22  # 32 MB of float64 at a time, however many images there are
_MAX_CHANNELS = 4
_GREATEST = np.float64(1e100)  # pixel, whose square is still finite in float64
_SOFTMAX_TOLERANCE = 1e-3  # of a row's sum, for half precision
_Scale = tuple[NDArray[np.float64], NDArray[np.float64]]  # mean and deviation


@label_noise("part_dependent", meaning="by random projections of the pixels (PDN)", needs="images")
def part_dependent(
    labels: NDArray[Any],
    images: NDArray[Any],
    num_classes: int,
    rate: Fraction,
    *,
    features: Features = "raw",
    rate_std: PositiveFraction = 0.1,
    seed: Seed = 0,
) -> Noisy:
    """Noise by random projections of the pixels (PDN).

    Each sample has its own flip rate, from a normal distribution truncated to [0, 1]. Its new class is drawn from the
    softmax over the other classes of ``x @ W[y]``, W standard normal.

    The paper does not give the scale of the pixels, which decides the noise: raw ones share a large mean, so most flips
    of a class go to one other class, almost as in pair flip; normalized ones spread.

    Args:
        labels, num_classes, seed: as in all kinds.
        images: (N, ...) numbers; pictures as (N, H, W), (N, H, W, C) or (N, C, H, W), or feature vectors (N, d).
        rate: the center of the flip rates. Truncation shifts their mean: 0.1 gives 0.129, 0.2 0.206. 0 leaves the
            labels unchanged (the published code still flips 8 %).
        features: ``"raw"`` (published), or ``"normalized"`` to mean 0 and deviation 1 per channel.
        rate_std: of the flip rates before truncation, in (0, 1].

    Raises:
        ValueError: images that are not numbers, or beyond 1e100.

    Reference: Xia et al., Part-dependent Label Noise: Towards Instance-dependent Label Noise, NeurIPS 2020,
    Algorithm 2.
    """
    clean = checked_labels(labels, num_classes)
    _check_images(images, len(clean))
    stream = random_stream(seed)
    if rate == 0:
        return with_report(labels, clean, num_classes)
    flip_rates = _cut_normal(stream.random_sample(len(clean)), rate, rate_std)
    scale = _channel_scale(images) if features == "normalized" else None
    where_to = _projected_softmax(clean, images, num_classes, scale, stream)
    where_to *= flip_rates[:, None]
    where_to[np.arange(len(clean)), clean] += 1 - flip_rates
    edges = np.cumsum(where_to, axis=1)
    drawn = stream.random_sample(len(clean)) * edges[:, -1]
    noisy = np.minimum((edges <= drawn[:, None]).sum(axis=1), num_classes - 1)
    return with_report(labels, noisy, num_classes)


@label_noise(
    "prediction_error",
    meaning="the samples a network finds most confusable, into what it confuses them with",
    needs="softmax",
)
def prediction_error(
    labels: NDArray[Any], softmax: NDArray[Any], num_classes: int, rate: Fraction, *, seed: Seed = 0
) -> Noisy:
    """Flip the samples that a network finds most confusable, each to the class it is confused with.

    The softmax is averaged over the epochs of a training on the clean labels. A sample's score is the largest mean
    probability of a wrong class; the ``round(rate * N)`` samples with the highest scores get that class.

    Args:
        labels, num_classes, rate: as in all kinds.
        softmax: (N, K) averages over epochs, or (E, N, K) for E epochs, averaged here.
        seed: decides ties, of which a saturated softmax has many.

    Raises:
        ValueError: rows that are not probabilities.

    Reference: Chen et al., Beyond Class-Conditional Assumption: A Primary Attempt to Combat Instance-Dependent Label
    Noise, AAAI 2021, Algorithm 1.
    """
    clean = checked_labels(labels, num_classes)
    wrong = _mean_softmax(softmax, len(clean), num_classes)
    wrong[np.arange(len(clean)), clean] = -1.0
    stream = random_stream(seed)
    score = wrong.max(axis=1)
    confused_with = np.argmax((wrong == score[:, None]) * (1 - stream.random_sample(wrong.shape)), axis=1)
    order = np.lexsort((stream.random_sample(len(clean)), -score))
    chosen = order[: round(rate * len(clean))]
    noisy = clean.copy()
    noisy[chosen] = confused_with[chosen]
    return with_report(labels, noisy, num_classes)


def _cut_normal(uniform: NDArray[np.float64], center: float, deviation: float) -> NDArray[np.float64]:
    """Draws of a normal distribution truncated to [0, 1], by its inverse distribution function."""
    low, high = scipy.special.ndtr((0 - center) / deviation), scipy.special.ndtr((1 - center) / deviation)
    return np.clip(center + deviation * scipy.special.ndtri(low + uniform * (high - low)), 0.0, 1.0)


def _projected_softmax(
    clean: NDArray[np.int64],
    images: NDArray[Any],
    num_classes: int,
    scale: _Scale | None,
    stream: np.random.RandomState,
) -> NDArray[np.float64]:
    """(N, K): softmax over the other classes of ``x @ W[y]``, in blocks that fit into memory.

    In float64, although published in float32: raw pixels give logits of many thousands, whose rounding would differ
    between machines.
    """
    size = int(np.prod(images.shape[1:]))
    per_block = max(1, _BLOCK_VALUES // size)
    result = np.empty((len(clean), num_classes))
    for label in range(num_classes):
        # Rounded to float32, as in the published code.
        weights = stream.standard_normal((size, num_classes)).astype(np.float32).astype(np.float64)
        members = np.flatnonzero(clean == label)
        for start in range(0, len(members), per_block):
            block = members[start : start + per_block]
            pixels = images[block].astype(np.float64)
            if scale is not None:
                pixels = (pixels - scale[0]) / scale[1]
            logits = pixels.reshape(len(block), -1) @ weights
            logits[:, label] = -np.inf
            logits = np.exp(logits - logits.max(axis=1, keepdims=True))
            result[block] = logits / logits.sum(axis=1, keepdims=True)
    return result


def _channel_scale(images: NDArray[Any]) -> _Scale:
    """Mean and standard deviation of each channel, shaped to broadcast against a block of images."""
    channel = None
    if images.ndim >= 4:
        channel = next((axis for axis in (images.ndim - 1, 1) if images.shape[axis] <= _MAX_CHANNELS), None)
    axes = tuple(axis for axis in range(images.ndim) if axis != channel)
    per_block = max(1, _BLOCK_VALUES // int(np.prod(images.shape[1:])))
    blocks = [slice(start, start + per_block) for start in range(0, len(images), per_block)]
    count = images.size // (1 if channel is None else images.shape[channel])
    # Two passes: a sum of squares would cancel for features with a large mean.
    mean = sum(images[b].sum(axis=axes, keepdims=True, dtype=np.float64) for b in blocks) / count
    square = sum(np.square(images[b] - mean).sum(axis=axes, keepdims=True) for b in blocks) / count
    deviation = np.sqrt(square)
    return np.asarray(mean), np.where(deviation > 0, deviation, 1.0)


def _check_images(images: NDArray[Any], number: int) -> None:
    if images.ndim < 2 or len(images) != number or not images.size:
        raise ValueError(f"images must be one array for each of the {number} labels, got shape {images.shape}")
    if images.dtype.kind not in "fiu":
        raise ValueError(f"images must hold numbers, got {images.dtype}")
    if images.dtype.kind == "f" and not all((np.abs(image) <= _GREATEST).all() for image in images):
        raise ValueError(f"images hold values that are not finite, or beyond {_GREATEST:g}")


def _mean_softmax(softmax: NDArray[Any], number: int, num_classes: int) -> NDArray[np.float64]:
    shape = (number, num_classes)
    if softmax.ndim not in (2, 3) or softmax.shape[-2:] != shape or not softmax.size:
        raise ValueError(f"the softmax must be {shape} or (epochs, {number}, {num_classes}), got {softmax.shape}")
    if softmax.dtype.kind != "f":
        raise ValueError(f"the softmax must be floating point, got {softmax.dtype}")
    total = np.zeros(shape)
    for number_of_epoch, epoch in enumerate(softmax if softmax.ndim == 3 else softmax[None]):
        sums = epoch.sum(axis=1, dtype=np.float64)
        # Written so that a NaN fails it too.
        if not ((epoch >= 0).all() and (np.abs(sums - 1) <= _SOFTMAX_TOLERANCE).all()):
            raise ValueError(f"the softmax of epoch {number_of_epoch} holds rows that are not probabilities")
        total += epoch
    return total / (softmax.shape[0] if softmax.ndim == 3 else 1)
