"""The kinds of mask noise by name. A new kind is one function and one line in :data:`KINDS`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from seg_anl.records import nearest_names

from .affine import displaced
from .morphology import dilated, eroded
from .regions import BoolArray

DEFAULT_KINDS = ("erode", "dilate", "affine")
PUBLISHED_ORDER = ("dilate", "erode", "affine")  # in which the published script draws one


class Outcome(NamedTuple):
    """A changed mask, what was drawn and found, and why nothing (or less) was changed where that is so."""

    mask: BoolArray
    parameters: dict[str, Any]
    note: str = ""


class Kind(Protocol):
    """One kind of noise for one label of a mask.

    It gets the label's elements (never empty), the strength, a generator of its own, the element's size in mm (or None)
    and the elements the label may grow into (None: all). What it returns outside those is cut off afterwards.
    """

    def __call__(
        self,
        inside: BoolArray,
        ratio: float,
        generator: np.random.Generator,
        spacing: tuple[float, ...] | None,
        free: BoolArray | None,
    ) -> Outcome:
        """Change ``inside``."""


def _erode(
    inside: BoolArray,
    ratio: float,
    generator: np.random.Generator,
    spacing: tuple[float, ...] | None,
    free: BoolArray | None,
) -> Outcome:
    return Outcome(*eroded(inside, ratio, spacing))


def _dilate(
    inside: BoolArray,
    ratio: float,
    generator: np.random.Generator,
    spacing: tuple[float, ...] | None,
    free: BoolArray | None,
) -> Outcome:
    return Outcome(*dilated(inside, ratio, spacing, free))


def _affine(
    inside: BoolArray,
    ratio: float,
    generator: np.random.Generator,
    spacing: tuple[float, ...] | None,
    free: BoolArray | None,
) -> Outcome:
    return Outcome(*displaced(inside, ratio, generator, spacing))


KINDS: dict[str, Kind] = {"erode": _erode, "dilate": _dilate, "affine": _affine}


def checked_kinds(kinds: Sequence[str], mode: str) -> tuple[str, ...]:
    """The kinds without repeats in an order that does not depend on how they were written.

    Raises:
        ValueError: for an unknown mode, no kind, an unknown kind, or one that the published script does not have.
    """
    if mode not in ("corrected", "official"):
        raise ValueError(f"unknown mode {mode!r}: {nearest_names(mode, ('corrected', 'official'))}")
    if isinstance(kinds, str):
        kinds = (kinds,)
    if not kinds:
        raise ValueError(f"no kind of noise given; known: {', '.join(KINDS)}")
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"unknown kind of noise {kind!r}: {nearest_names(kind, KINDS)}")
        if mode == "official" and kind not in PUBLISHED_ORDER:
            raise ValueError(
                f"mode 'official' has no kind {kind!r}: the published script knows {', '.join(DEFAULT_KINDS)}"
            )
    order = PUBLISHED_ORDER if mode == "official" else tuple(KINDS)
    return tuple(kind for kind in order if kind in kinds)
