"""The masks of several raters made one: by vote, STAPLE, mean or chance; and how far the raters agree.

Class indices are as the trainers read them: of two classes, background is 0 and foreground any one other value; of
more, the stored values. An element that a rater marks as ignored is one that this rater says nothing of.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_anl.records import UserError, item_generator

from .mask_files import LoadedMask, load_mask

METHODS = ("vote", "staple", "mean", "random")
NOTHING = -1  # in place of a class where a rater says nothing
Labels = NDArray[np.int16]


def load_raters(paths: Sequence[Path], classes: int, ignore: int | None) -> tuple[list[LoadedMask], Labels]:
    """The masks of one item and their class indices ``(R, *spatial)``."""
    masks = [load_mask(path) for path in paths]
    first = masks[0]
    for path, mask in zip(paths, masks, strict=True):
        if mask.array.shape != first.array.shape:
            raise UserError(f"{path}: a mask of {_size(mask)} elements, but {paths[0]} has {_size(first)}")
        if len(mask.geometry) != len(first.geometry):
            raise UserError(f"{path}: another kind of file than {paths[0]}, which may turn axes; convert one")
        if not np.allclose(mask.geometry, first.geometry, rtol=1e-4, atol=1e-3):
            raise UserError(f"{path}: lies elsewhere in space than {paths[0]} (another affine matrix); resample one")
    return masks, np.stack([_indices(m.array, p, classes, ignore) for m, p in zip(masks, paths, strict=True)])


def votes_of(labels: Labels, classes: int) -> NDArray[np.uint16]:
    """How many raters have each class, ``(C, *spatial)``."""
    return np.stack([(labels == label).sum(axis=0, dtype=np.uint16) for label in range(classes)])


def vote(labels: Labels, classes: int) -> Labels:
    """The class that most raters have; of equally many the lowest, so background where two raters disagree."""
    votes = votes_of(labels, classes)
    return np.where(votes.any(axis=0), votes.argmax(axis=0), NOTHING).astype(np.int16)


def mean(labels: Labels, classes: int) -> NDArray[np.float16]:
    """The share of the raters that have each class, ``(C, *spatial)``; NaN where no rater says anything."""
    votes = votes_of(labels, classes)
    with np.errstate(invalid="ignore"):
        return (votes / votes.sum(axis=0)).astype(np.float16)


def staple(labels: Labels, classes: int) -> Labels:
    """SimpleITK's STAPLE: of two classes the binary filter, foreground where its probability is above 0.5; of more, its
    MultiLabelSTAPLE, with the vote where that is undecided.

    Reference: Warfield et al., 2004; Rohlfing et al., Performance-Based Classifier Combination, 2004.
    """
    try:
        import SimpleITK
    except ImportError as error:
        raise UserError("--by staple needs SimpleITK: pip install 'seg-anl[formats]'") from error
    if (labels == labels[0]).all():
        return labels[0]  # of a mask without foreground, or background, the filter makes NaN
    shape = labels.shape[1:]
    # Both filters take each element by itself, and pictures of two or three axes.
    images = [SimpleITK.GetImageFromArray(each.reshape(len(each), -1).astype(np.uint8)) for each in labels]
    if classes == 2:
        binary = SimpleITK.STAPLEImageFilter()
        binary.SetForegroundValue(1)
        return (SimpleITK.GetArrayFromImage(binary.Execute(images)).reshape(shape) > 0.5).astype(np.int16)
    several = SimpleITK.MultiLabelSTAPLEImageFilter()
    several.SetLabelForUndecidedPixels(classes)
    found = SimpleITK.GetArrayFromImage(several.Execute(images)).reshape(shape).astype(np.int16)
    return np.where(found == classes, vote(labels, classes), found)


def drawn(seed: int, item: str, count: int) -> int:
    """The rater whose mask stands for the item, a function of the arguments alone."""
    return int(item_generator(seed, item, "rater").integers(count))


def disagreement(labels: Labels, classes: int) -> NDArray[np.float32]:
    """The share of the raters with another class than most of them have, ``(*spatial)``; 0 where at most one speaks."""
    votes = votes_of(labels, classes).astype(np.float32)
    total = votes.sum(axis=0)
    return np.where(total > 1, 1 - votes.max(axis=0) / np.maximum(total, 1), 0).astype(np.float32)


def overlaps(first: Labels, second: Labels, classes: int) -> list[list[int]]:
    """Elements of each class in both, in the first, in the second, where both say something."""
    spoken = (first != NOTHING) & (second != NOTHING)
    first, second = first[spoken], second[spoken]
    parts = (first[first == second], first, second)
    return [np.bincount(part, minlength=classes).tolist() for part in parts]


def agreement(counts: Sequence[Sequence[Sequence[int]]]) -> dict[str, float]:
    """Dice and Cohen's kappa of two raters from the :func:`overlaps` of their items.

    ``dice`` is the mean over foreground classes and items (1 for a class that neither has), ``dice_pooled`` one ratio
    over all elements, ``kappa`` over all elements and classes, the background among them.
    """
    each = np.asarray(counts, dtype=np.float64)  # (items, 3, C)
    pooled = each.sum(axis=0)
    total, chance = pooled[1].sum(), (pooled[1] * pooled[2]).sum()
    observed = pooled[0].sum()
    beyond = total**2 - chance  # 0 where both have one class only, and the same
    return {
        "dice": float(_dice(each).mean()),
        "dice_pooled": float(_dice(pooled[None]).mean()),
        "kappa": float((total * observed - chance) / beyond) if beyond else 1.0,
    }


def stored(
    fused: Labels, masks: Sequence[LoadedMask], paths: Sequence[Path], classes: int, ignore: int | None
) -> NDArray[Any]:
    """The values of class indices in the first rater's file; the foreground of two classes has the raters' value."""
    values = np.arange(classes)
    if classes == 2:
        of_foreground = (mask.array[(mask.array != 0) & (mask.array != ignore)] for mask in masks)
        values[1] = next((int(found.flat[0]) for found in of_foreground if found.size), 1)
    named = values[fused.clip(min=0)]
    named = named if ignore is None else np.where(fused == NOTHING, ignore, named)
    dtype = masks[0].array.dtype
    if dtype.kind in "iu" and named.max() > np.iinfo(dtype).max:
        raise UserError(f"{paths[0]}: its {dtype} cannot hold {named.max()}, the value of another rater; convert it")
    return named.astype(dtype)


def rater_names(sources: Sequence[Path]) -> list[str]:
    """What tables call the raters: the folders' names, or whole paths where two are the same."""
    names = [source.name for source in sources]
    return names if len(set(names)) == len(names) and all(names) else [str(source) for source in sources]


def _dice(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    both, sizes = counts[:, 0, 1:], counts[:, 1, 1:] + counts[:, 2, 1:]
    return np.where(sizes > 0, 2 * both / np.maximum(sizes, 1), 1.0)


def _indices(array: NDArray[Any], path: Path, classes: int, ignore: int | None) -> Labels:
    spoken = np.ones(array.shape, dtype=bool) if ignore is None else array != ignore
    values = np.unique(array[spoken])
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.rint(values)).all()):
        raise UserError(f"{path}: holds fractions or values that are not finite; labels are whole numbers")
    if classes == 2 and np.count_nonzero(values) > 1:
        shown = ", ".join(f"{value:g}" for value in values[:5])
        raise UserError(
            f"{path}: values {shown}, expected 0 and one other; --classes for more, --ignore for one to skip"
        )
    if classes > 2 and len(values) and not 0 <= values[0] <= values[-1] < classes:
        raise UserError(f"{path}: values from {values[0]:g} to {values[-1]:g}, expected 0 to {classes - 1} (--classes)")
    indices = array != 0 if classes == 2 else np.where(spoken, array, 0)
    return np.where(spoken, indices.astype(np.int16), np.int16(NOTHING))


def _size(mask: LoadedMask) -> str:
    return " x ".join(map(str, mask.array.shape))
