"""One color for each loss, everywhere: no two alike, legible as text on white paper and, a lighter twin, on black."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .names import color_place, loss_titles

PAPER, NIGHT = "#fcfcfa", "#15171a"  # the page's backgrounds; page.css has the same
CONTRAST = 4.5  # of text against its background (WCAG 2.2, level AA)
SIZE, VIVID = 72, 10  # colors, and how many of the first are neither dark nor grayish
_LIGHTER = 0.27  # by how much a color is lightened for a dark page
# Björn Ottosson's OKLab: to the cone responses' cube roots, and from these to linear sRGB.
_TO_CONES = np.array([[1, 0.39633778, 0.21580376], [1, -0.10556135, -0.06385417], [1, -0.08948418, -1.29148555]])
_TO_RGB = np.array(
    [
        [4.07674166, -3.30771159, 0.23096993],
        [-1.26843800, 2.60975740, -0.34131940],
        [-0.00419609, -0.70341861, 1.70761470],
    ]
)


class Color(NamedTuple):
    """A color as ``#rrggbb``, for light and for dark pages."""

    light: str
    dark: str


def method_color(config: Mapping[str, Any]) -> Color:
    """The color of a run's method by its place in the order of reports, whatever else is in the report.

    The colors least like each other go to both ends of the order, where the losses stand that are most often compared:
    the classic ones first, the active negative ones last.
    """
    place, count = color_place(config), len(loss_titles())
    rank = min(2 * place, 2 * (count - 1 - place) + 1) if place < count else place
    return palette()[rank % SIZE]


@cache
def palette() -> tuple[Color, ...]:
    """Colors of sufficient contrast, each as unlike those before it as can be; the first is blue."""
    lightness, chroma, hue = np.meshgrid((0.36, 0.46, 0.56), (0.03, 0.1, 0.15), np.arange(0, 2 * np.pi, np.pi / 18))
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1).reshape(-1, 3)
    twins = lab * (1, 0.8, 0.8) + (_LIGHTER, 0, 0)
    light, dark = _linear_rgb(lab), _linear_rgb(twins)
    shown = ((light >= 0) & (light <= 1) & (dark >= 0) & (dark <= 1)).all(axis=1)
    shown &= contrast(light, PAPER) >= CONTRAST + 0.05  # colors are rounded to bytes
    shown &= contrast(dark, NIGHT) >= CONTRAST + 0.05
    lab, light, dark = lab[shown], light[shown], dark[shown]
    vivid = (lab[:, 0] > 0.45) & (np.hypot(lab[:, 1], lab[:, 2]) > 0.09)
    chosen = [int(np.argmin(np.where(vivid, lab[:, 2], np.inf)))]
    nearest = np.full(len(lab), np.inf)
    while len(chosen) < SIZE:
        nearest = np.minimum(nearest, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
        chosen.append(int(np.argmax(nearest * vivid if len(chosen) < VIVID else nearest)))
    return tuple(Color(_hex(light[i]), _hex(dark[i])) for i in chosen)


def contrast(linear: NDArray[Any], background: str) -> NDArray[Any]:
    """WCAG's contrast ratio of linear sRGB colors ``(n, 3)`` with a background ``#rrggbb``."""
    coded = np.array([int(background[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    weights = np.array([0.2126, 0.7152, 0.0722])
    other = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4) @ weights
    own = linear @ weights
    return np.asarray((np.maximum(own, other) + 0.05) / (np.minimum(own, other) + 0.05))


def _linear_rgb(lab: NDArray[Any]) -> NDArray[Any]:
    return np.asarray((lab @ _TO_CONES.T) ** 3 @ _TO_RGB.T)


def _hex(linear: NDArray[Any]) -> str:
    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.abs(linear) ** (1 / 2.4) - 0.055)
    return "#" + "".join(f"{round(255 * value):02x}" for value in coded)
