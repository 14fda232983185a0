"""The declaration of a kind of mask noise, and the registry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from seg_anl.records import nearest_names

from ..discovery import import_modules
from ..regions import BoolArray

DEFAULT_KINDS = ("erode", "dilate", "affine")
PUBLISHED_ORDER = ("dilate", "erode", "affine")  # in which the published script draws one
# A draw picks a kind by position, so this order is part of the results; further kinds follow by name.
_ORDER = (*DEFAULT_KINDS, "boundary", "polygon", "holes", "miss", "spurious", "swap")

Function = TypeVar("Function", bound=Callable[..., "Outcome"])


class Outcome(NamedTuple):
    """A changed mask, what was drawn and found, and a note if less was changed than asked."""

    mask: NDArray[Any]
    parameters: dict[str, Any]
    note: str = ""


class Structure(NamedTuple):
    """One label of a mask."""

    inside: BoolArray  # the label's elements, (H, W) or (D, H, W), never empty
    spacing: tuple[float, ...] | None = None  # mm per element along each axis; None: in elements
    free: BoolArray | None = None  # where the label may grow (None: anywhere); other growth is cut off afterwards

    @property
    def slice_axis(self) -> int:
        """The axis along which an annotator pages through a volume: the coarsest or, without spacing, the shortest."""
        if self.spacing is not None and len(set(self.spacing)) > 1:
            return int(np.argmax(self.spacing))
        return int(np.argmin(self.inside.shape))


class MaskKind(NamedTuple):
    """A declared kind of mask noise, see :func:`mask_noise`."""

    name: str
    beta: str
    change: Callable[..., Outcome]
    whole_mask: bool


_DECLARED: dict[str, MaskKind] = {}


def mask_noise(name: str, *, beta: str, whole_mask: bool = False) -> Callable[[Function], Function]:
    """Declare the decorated function as a kind of mask noise.

    The function takes a :class:`Structure`, the strength in [0, 1] and a :class:`numpy.random.Generator`, and returns
    an :class:`Outcome`. All randomness comes from the generator, and draws should not depend on the strength.

    Args:
        name: for ``--kinds`` and ``noise.kinds``.
        beta: what the strength means, in one line.
        whole_mask: the function takes the mask and the list of labels that may change instead of one label.
    """

    def declare(function: Function) -> Function:
        _DECLARED[name] = MaskKind(name, beta, function, whole_mask)
        return function

    return declare


def mask_kinds() -> dict[str, MaskKind]:
    """Every declared kind by name, in the order of draws."""
    import_modules("data_prep.mask_kinds")
    names = [*_ORDER, *sorted(_DECLARED.keys() - set(_ORDER))]
    return {name: _DECLARED[name] for name in names}


def checked_kinds(kinds: Sequence[str], mode: str) -> tuple[str, ...]:
    """The kinds without repeats in the order of draws.

    Raises:
        ValueError: an unknown mode or kind, no kind, or one that the published script does not have.
    """
    known = mask_kinds()
    if mode not in ("corrected", "official"):
        raise ValueError(f"unknown mode {mode!r}: {nearest_names(mode, ('corrected', 'official'))}")
    if isinstance(kinds, str):
        kinds = (kinds,)
    if not kinds:
        raise ValueError(f"no kind of noise given; known: {', '.join(known)}")
    for kind in kinds:
        if kind not in known:
            raise ValueError(f"unknown kind of noise {kind!r}: {nearest_names(kind, known)}")
        if mode == "official" and kind not in PUBLISHED_ORDER:
            raise ValueError(
                f"mode 'official' has no kind {kind!r}: the published script has {', '.join(DEFAULT_KINDS)}"
            )
    return tuple(kind for kind in (PUBLISHED_ORDER if mode == "official" else known) if kind in kinds)
