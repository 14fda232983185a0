"""Synthetic annotation noise for masks: which items, which kind, how strong, and a record of what was done.

:func:`plan_noise` plans it from seed and ids, before any mask is read: file order, workers and restarts change nothing.
The kinds are in :mod:`data_prep.mask_kinds`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_anl.records import NoiseRecord, UserError, array_digest, chosen_items, item_generator, item_hash
from seg_anl.records.ranges import Fraction, Interval, complaint

from .mask_kinds import DEFAULT_KINDS, Outcome, Structure, checked_kinds, mask_kinds
from .mask_kinds.affine import PublishedDraw, published_affine
from .regions import without_flat_axes

UNCHANGED = "unchanged: too small, too full or too confined for this strength"
LESS = "less than asked: no room, or too coarse a step"
_NOTABLY_LESS = 0.1
_MAX_BINCOUNT = 1 << 16


@dataclass(frozen=True)
class MaskNoiseSettings:
    """What decides the noise of a data set's masks, as :func:`seg_anl.records.ranges.checked` reads it."""

    alpha: Fraction  # share of noisy items
    beta: Fraction  # strength; its meaning depends on the kind
    kinds: tuple[str, ...] | str  # one is drawn for each item
    mode: Literal["corrected", "official"] = "corrected"
    seed: Annotated[int, Interval(whole=True)] = 0

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "kinds", checked_kinds(self.kinds, self.mode))
        except ValueError as error:
            raise UserError(str(error)) from error


class ItemNoise(NamedTuple):
    """The plan for one item."""

    item: str
    kind: str  # of noise, or "none"
    seed: int  # of its own generators
    published: PublishedDraw | None = None  # of an affine item in mode "official"


def add_mask_noise(
    mask: NDArray[Any],
    ratio: float,
    kinds: Sequence[str] = DEFAULT_KINDS,
    seed: int = 0,
    item_id: str = "",
    mode: str = "corrected",
    *,
    labels: Sequence[int] | None = None,
    spacing: Sequence[float] | None = None,
) -> tuple[NDArray[Any], NoiseRecord]:
    """Put one kind of noise, drawn from ``kinds``, on a mask.

    Several labels are changed in turn, the lowest value first, by the same kind with draws of their own. A label never
    takes an element of another one; where two grow into the same background, the lower value gets it. Lost elements
    become background. (``swap`` exchanges labels instead, see :mod:`data_prep.mask_kinds.components`.)

    Args:
        mask: (H, W) or (D, H, W), perhaps with axes of length one; 0 is background. Integers, booleans or integral
            floats.
        ratio: strength in [0, 1]: the share of the clean area to change; the exact meaning depends on the kind.
        kinds: one is drawn; their order does not matter.
        seed, item_id: decide the kind and, with the mask, everything else.
        mode: ``"corrected"``, or ``"official"`` for the published script's generators with their faults.
        labels: the values to change. None: all.
        spacing: mm per element along each axis, for distances, outlines and rotations in space. None: elements, as
            published.

    Returns:
        The noisy mask, of the same shape and dtype, and its record. An empty mask, or one too small to change, comes
        back equal, with the reason in the record's ``note``. No label disappears, except by ``swap`` if the two labels
        lie apart.

    Raises:
        ValueError: any argument out of the above.

    >>> mask = np.zeros((64, 64), np.uint8)
    >>> mask[16:48, 16:48] = 255
    >>> noisy, record = add_mask_noise(mask, 0.5, kinds=["dilate"], item_id="ISIC_0000000")
    >>> record.kind, round(record.realised, 3), record.parameters
    ('dilate', 0.523, {'steps': 4})
    """
    stream = random.Random(item_hash(seed, item_id)) if mode == "official" else None
    return apply_noise(mask, ratio, _plan(item_id, checked_kinds(kinds, mode), seed, stream), labels, spacing)


def noisy_dataset(
    masks: Sequence[NDArray[Any]],
    ids: Sequence[str],
    *,
    alpha: float,
    beta: float,
    kinds: Sequence[str] = DEFAULT_KINDS,
    seed: int = 0,
    mode: str = "corrected",
) -> tuple[list[NDArray[Any]], list[NoiseRecord]]:
    """Put noise of strength ``beta`` on a share ``alpha`` of a dataset's masks.

    Args:
        masks: as :func:`add_mask_noise` takes them; not changed.
        ids: one unique id per mask.
        alpha: in [0, 1]; ``corrected`` changes exactly ``round(alpha * N)`` items, ``official`` ``int(alpha * N)``.
        beta: strength, in [0, 1].
        kinds, seed, mode: as in :func:`add_mask_noise`; ``official`` repeats the published script's sequential draws.

    Returns:
        Masks and records in the order of ``ids``; clean items are copied, and their record's kind is ``"none"``.

    Raises:
        ValueError: a setting out of range, repeated ids, or not one id per mask.
    """
    if len(masks) != len(ids):
        raise ValueError(f"{len(masks)} masks but {len(ids)} ids")
    plan = plan_noise(ids, alpha=alpha, kinds=kinds, seed=seed, mode=mode)
    done = [apply_noise(mask, beta, item) for mask, item in zip(masks, plan, strict=True)]
    return [mask for mask, _ in done], [record for _, record in done]


def plan_noise(
    ids: Sequence[str], *, alpha: float, kinds: Sequence[str] = DEFAULT_KINDS, seed: int = 0, mode: str = "corrected"
) -> list[ItemNoise]:
    """The plan for each item, in the order of ``ids``.

    ``corrected``: the items with the smallest hash of (seed, id) are noisy, so the sets are nested over ``alpha``,
    and an item's kind depends only on (seed, id). ``official``: one ``random.Random(seed)`` shuffles the sorted ids,
    the first ``int(alpha * N)`` are noisy, and the same stream draws kind, angle and direction in sorted order.

    Raises:
        ValueError: ``alpha`` out of [0, 1], unknown kinds or mode, repeated ids.
    """
    check_fraction("alpha", alpha)
    kinds = checked_kinds(kinds, mode)
    if len(set(ids)) != len(ids):
        repeated = next(item for position, item in enumerate(ids) if item in ids[:position])
        raise ValueError(f"the id {repeated!r} stands for more than one item")
    if mode == "official":
        stream, shuffled = random.Random(seed), sorted(ids)
        stream.shuffle(shuffled)
        chosen = sorted(shuffled[: int(len(shuffled) * alpha)])
        plans = {item: _plan(item, kinds, seed, stream) for item in chosen}
    else:
        plans = {item: _plan(item, kinds, seed) for item in chosen_items(ids, alpha, seed)}
    return [plans.get(item, ItemNoise(item, "none", seed)) for item in ids]


def _plan(item: str, kinds: tuple[str, ...], seed: int, published: random.Random | None = None) -> ItemNoise:
    """The plan for a noisy item; ``published`` is the stream of mode ``official``."""
    if published is None:
        return ItemNoise(item, kinds[int(item_generator(seed, item, "kind").integers(len(kinds)))], seed)
    kind = published.choice(kinds)
    return ItemNoise(item, kind, seed, PublishedDraw.from_stream(published) if kind == "affine" else None)


def apply_noise(
    mask: NDArray[Any],
    ratio: float,
    plan: ItemNoise,
    labels: Sequence[int] | None = None,
    spacing: Sequence[float] | None = None,
) -> tuple[NDArray[Any], NoiseRecord]:
    """Carry out the plan for a mask; arguments, result and errors as in :func:`add_mask_noise`."""
    check_fraction("beta", ratio)
    if spacing is not None and (len(spacing) != mask.ndim or not all(0 < step < np.inf for step in spacing)):
        raise ValueError(f"spacing takes one positive number per axis of the mask ({mask.ndim}), not {tuple(spacing)}")
    # A single slice is a picture: as a volume it would erode to nothing.
    flat, axes = without_flat_axes(mask)
    if flat.ndim not in (2, 3):
        raise ValueError(f"a mask has two or three dimensions, not the shape {mask.shape}")
    values = label_values(flat)
    digest = array_digest(mask)
    if plan.kind == "none":
        return mask.copy(), NoiseRecord(plan.item, "none", 0.0, 0.0, source_sha256=digest, result_sha256=digest)
    wanted = values if labels is None else [value for value in values if value in labels]
    steps = None if spacing is None else tuple(float(spacing[axis]) for axis in axes)
    kind = mask_kinds()[plan.kind]
    parameters: dict[str, Any] = {}
    if not wanted:
        missing = f"none of the labels {', '.join(map(str, labels or ()))} in this mask"
        noisy, notes = flat.copy(), [missing if values else "empty mask"]
    elif kind.whole_mask:
        noisy, parameters, note = kind.change(flat, wanted, ratio, item_generator(plan.seed, plan.item, "labels"))
        notes = [note] if note else []
    else:
        noisy, parameters, notes = _each_label(flat, ratio, plan, values, wanted, steps)
    area = int(np.count_nonzero(flat if labels is None else np.isin(flat, wanted)))
    changed = int(np.count_nonzero(noisy != flat))
    if not notes and changed == 0:  # a kind for the whole mask
        notes = [UNCHANGED]
    elif not notes and not kind.whole_mask and changed < (ratio - _NOTABLY_LESS) * area:
        notes = [LESS]
    noisy = noisy.reshape(mask.shape)
    record = NoiseRecord(
        item=plan.item,
        kind=plan.kind,
        asked=float(ratio),
        realised=changed / area if area else 0.0,
        note="; ".join(dict.fromkeys(notes)),
        parameters=parameters,
        source_sha256=digest,
        result_sha256=array_digest(noisy),
    )
    return noisy, record


def _each_label(
    mask: NDArray[Any],
    ratio: float,
    plan: ItemNoise,
    values: list[int],
    wanted: list[int],
    spacing: tuple[float, ...] | None,
) -> tuple[NDArray[Any], dict[str, Any], list[str]]:
    """The noisy mask, the parameters (by label if there are several) and the notes."""
    background = mask == 0
    noisy = mask.copy()
    noisy[np.isin(mask, wanted)] = 0
    outcomes: dict[int, Outcome] = {}
    for rank, value in enumerate(values):
        if value in wanted:
            free = None if len(values) == 1 else background & (noisy == 0)
            outcomes[value] = _change_label(Structure(mask == value, spacing, free), ratio, plan, rank)
            noisy[outcomes[value].mask] = value
    if len(wanted) == 1:
        (outcome,) = outcomes.values()
        return noisy, outcome.parameters, [outcome.note] if outcome.note else []
    notes = [f"label {value}: {outcome.note}" for value, outcome in outcomes.items() if outcome.note]
    return noisy, {str(value): outcome.parameters for value, outcome in outcomes.items()}, notes


def _change_label(structure: Structure, ratio: float, plan: ItemNoise, rank: int) -> Outcome:
    """The plan for one label, clipped to where it may grow, and never empty."""
    inside = structure.inside
    if plan.published is not None:
        outcome = Outcome(*published_affine(inside, ratio, plan.published))
    else:
        # Drawn by rank, so that a mask of 0/1 and one of 0/255 get the same noise.
        generator = item_generator(plan.seed, plan.item, f"label {rank}")
        outcome = mask_kinds()[plan.kind].change(structure, ratio, generator)
    if structure.free is not None:
        outcome = outcome._replace(mask=outcome.mask & (structure.free | inside))
    if not outcome.mask.any():
        return Outcome(inside, outcome.parameters, "unchanged: nothing would be left")
    if not outcome.note and np.array_equal(outcome.mask, inside):
        return outcome._replace(note=UNCHANGED)
    return outcome


def label_values(mask: NDArray[Any]) -> list[int]:
    """The labels of a mask, ascending, without the background 0.

    Raises:
        ValueError: fractions, negative or infinite values.
    """
    if mask.dtype.kind not in "buif":
        raise ValueError(f"a mask holds numbers, not {mask.dtype}")
    if mask.dtype.kind == "f":
        if not np.array_equal(mask, np.floor(mask)) or not np.isfinite(mask).all():
            raise ValueError("the mask holds fractions: labels are whole numbers; threshold it first")
        mask = mask.astype(np.int64)
    if mask.size and mask.dtype.kind == "i" and int(mask.min()) < 0:
        raise ValueError(f"the mask holds the negative value {int(mask.min())}; labels are 0 and above")
    # Small values are counted, which is faster than sorting; bincount refuses uint64.
    counted = mask.size and mask.dtype != np.uint64 and int(mask.max()) < _MAX_BINCOUNT
    found = np.flatnonzero(np.bincount(mask.ravel())) if counted else np.unique(mask)
    return [int(value) for value in found if value]


def check_fraction(name: str, value: object) -> None:
    """Raise a ValueError unless ``value`` is a number in [0, 1]."""
    wrong = complaint(name, Fraction, value)
    if wrong:
        raise ValueError(wrong)
