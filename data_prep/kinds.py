"""The kinds of mask noise by name. A new kind is one function and one entry of :data:`KINDS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_anl.records import nearest_names

from .affine import displaced
from .components import exchanged, with_holes, with_spurious, without_components
from .contours import polygonal, wavering
from .morphology import dilated, eroded
from .regions import BoolArray

DEFAULT_KINDS = ("erode", "dilate", "affine")
PUBLISHED_ORDER = ("dilate", "erode", "affine")  # in which the published script draws one


class Outcome(NamedTuple):
    """A changed mask, what was drawn and found, and why nothing (or less) was changed where that is so."""

    mask: NDArray[Any]
    parameters: dict[str, Any]
    note: str = ""


@dataclass(frozen=True)
class Structure:
    """One label of a mask, as a kind gets it.

    Attributes:
        inside: the label's elements, (H, W) or (D, H, W), never empty.
        spacing: mm per element along each axis, or None to count in elements.
        free: the elements the label may grow into, or None for all; growth elsewhere is cut off afterwards.
    """

    inside: BoolArray
    spacing: tuple[float, ...] | None = None
    free: BoolArray | None = None

    @property
    def slice_axis(self) -> int:
        """The axis along which an annotator pages through a volume: the coarsest, or else the shortest."""
        if self.spacing is not None and len(set(self.spacing)) > 1:
            return int(np.argmax(self.spacing))
        return int(np.argmin(self.inside.shape))


Generator = np.random.Generator


@dataclass(frozen=True)
class Kind:
    """A kind of noise: what beta means for it, and the function for one label or for all labels of a mask at once.

    Attributes:
        beta: for people, in one line.
        change: for one label.
        change_all: for the whole mask, given the labels that may change. Exactly one of the two functions is set.
    """

    beta: str
    change: Callable[[Structure, float, Generator], Outcome] | None = None
    change_all: Callable[[NDArray[Any], list[int], float, Generator], Outcome] | None = None


def _erode(structure: Structure, ratio: float, generator: Generator) -> Outcome:
    return Outcome(*eroded(structure.inside, ratio, structure.spacing))


def _dilate(structure: Structure, ratio: float, generator: Generator) -> Outcome:
    return Outcome(*dilated(structure.inside, ratio, structure.spacing, structure.free))


def _affine(structure: Structure, ratio: float, generator: Generator) -> Outcome:
    return Outcome(*displaced(structure.inside, ratio, generator, structure.spacing))


def _boundary(structure: Structure, ratio: float, generator: Generator) -> Outcome:
    return Outcome(*wavering(structure.inside, ratio, generator, structure.spacing, structure.free))


def _polygon(structure: Structure, ratio: float, generator: Generator) -> Outcome:
    return Outcome(*polygonal(structure.inside, ratio, generator, structure.slice_axis))


def _holes(structure: Structure, ratio: float, generator: Generator) -> Outcome:
    return Outcome(*with_holes(structure.inside, ratio, generator))


def _miss(structure: Structure, ratio: float, generator: Generator) -> Outcome:
    return Outcome(*without_components(structure.inside, ratio, generator))


def _spurious(structure: Structure, ratio: float, generator: Generator) -> Outcome:
    return Outcome(*with_spurious(structure.inside, ratio, generator, structure.spacing, structure.free))


def _swap(mask: NDArray[Any], values: list[int], ratio: float, generator: Generator) -> Outcome:
    return Outcome(*exchanged(mask, values, ratio, generator))


KINDS: dict[str, Kind] = {
    "erode": Kind("share of the area (volume) taken away all round", _erode),
    "dilate": Kind("share of the area (volume) added all round", _dilate),
    "affine": Kind("exclusive or of the rotated and shifted mask with the clean one, over the clean area", _affine),
    "boundary": Kind("share of the area that changes sides where the contour wavers in and out", _boundary),
    "polygon": Kind("exclusive or of mask and polygon over the area; few points give at most about 0.6", _polygon),
    "holes": Kind("share of the area taken out of the interior as holes", _holes),
    "miss": Kind(
        "share of the area left out, rounded to whole components; at least one goes, at least one stays", _miss
    ),
    "spurious": Kind("area of the component added, over the area of the label", _spurious),
    "swap": Kind("share of the common area of two labels on which they are exchanged", change_all=_swap),
}


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
            known = ", ".join(DEFAULT_KINDS)
            raise ValueError(f"mode 'official' has no kind {kind!r}: the published script knows {known}")
    order = PUBLISHED_ORDER if mode == "official" else tuple(KINDS)
    return tuple(kind for kind in order if kind in kinds)
