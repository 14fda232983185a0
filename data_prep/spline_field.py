"""Smooth random fields: a cubic B-spline through a few random control values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LEAST_CONTROLS = 4  # a cubic spline needs four


def smooth_field(shape: tuple[int, ...], spans: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """A smooth field over a 2-D or 3-D ``shape`` with standard normal control values.

    The spline has ``spans`` pieces along the longest axis, and along the others as many as keep them about cubic.
    """
    longest = max(shape)
    counts = [max(1, round(spans * length / longest)) + _LEAST_CONTROLS - 1 for length in shape]
    field = generator.standard_normal(counts)
    for axis, length in enumerate(shape):
        weights = _cubic_weights(length, counts[axis])
        field = np.moveaxis(field, axis, 0)
        # Summed term by term, in a fixed order: a matrix product may round differently on another machine.
        total = np.zeros((length, *field.shape[1:]))
        for weight, control in zip(weights.T, field, strict=True):
            total += weight.reshape(-1, *(1,) * (field.ndim - 1)) * control
        field = np.moveaxis(total, 0, axis)
    return np.ascontiguousarray(field)


def _cubic_weights(length: int, controls: int) -> NDArray[np.float64]:
    """(length, controls): the weight of each control value at each place; rows sum to one."""
    position = (np.arange(length) + 0.5) / length * (controls - 3)
    first = np.minimum(position.astype(int), controls - 4)
    t = position - first
    pieces = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
    weights = np.zeros((length, controls))
    for offset, piece in enumerate(pieces):
        weights[np.arange(length), first + offset] = piece
    return weights
