"""Divide the training set into items to train on, to tune on, and to predict out of sample."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seg_anl.records import UserError, chosen_items, fold_items
from seg_anl.records.item_files import read_groups, read_items, read_weights
from seg_anl.records.paths import read_configured

from .settings import DivisionSettings, RunSettings

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Division:
    """Ascending positions in the training set; items in ``data.exclude_file`` are in no part.

    Attributes:
        trained: items to train on.
        tuning: held out for tuning.
        unseen: held out by the fold, to be predicted after training.
        weights: loss weights of ``trained``, float32; None if they are equal.
    """

    trained: NDArray[np.int64]
    tuning: NDArray[np.int64]
    unseen: NDArray[np.int64]
    weights: Tensor | None


def divided(
    items: Sequence[str],
    run: RunSettings,
    data: DivisionSettings,
    seed: int,
    world_size: int,
    *,
    known: Collection[str] = (),
    drawn_as: Sequence[str] = (),
) -> Division:
    """Divide the training set, after noise has been added to all of it.

    Args:
        items: ids, in the order of the training set.
        run: its ``folds`` and ``fold``.
        data: its shares and files.
        seed: draws the held-out items; the seed of the noise.
        world_size: the number of processes; weights need a single one.
        known: ids that files may name although they are not in use; by default ``items``.
        drawn_as: names by which ``items`` are drawn for tuning; by default their ids.
    """
    if data.tuning and run.folds:
        raise UserError("data.tuning and folds do not go together: items held out for tuning would be in no fold")
    if data.weights_file is not None and world_size > 1:
        raise UserError("data.weights_file works in one process, without torchrun")
    names, known = drawn_as or items, known or items
    group_of = _read(read_groups, data.groups_file, "data.groups_file", items)
    of_name = group_of and dict(zip(names, map(group_of.__getitem__, items), strict=True))
    held_out = chosen_items(names, data.tuning, seed, "tuning", of_name)
    unseen = set() if run.fold is None else fold_items(items, run.fold, run.folds or 0, seed, group_of)
    if run.folds and (count := len({*group_of.values()} if group_of else items)) < run.folds:
        raise UserError(f"folds={run.folds} are more than the {count} {'groups' if group_of else 'training images'}")
    left_out = _read(read_items, data.exclude_file, "data.exclude_file", known) or set()
    weight_of = _read(read_weights, data.weights_file, "data.weights_file", known) or {}
    parts: dict[str, list[int]] = {"trained": [], "tuning": [], "unseen": []}
    for position, (item, name) in enumerate(zip(items, names, strict=True)):
        if item not in left_out:
            parts["unseen" if item in unseen else "tuning" if name in held_out else "trained"].append(position)
    given = {f"data.{name}": getattr(data, name) for name in ("tuning", "groups_file", "exclude_file")}
    settings = ", ".join(f"{name}={value}" for name, value in given.items() if value)
    if not parts["trained"]:
        raise UserError(f"{settings}: no training image is left")
    if data.tuning and not parts["tuning"]:
        raise UserError(f"{settings}: no training image is left to tune on")
    weights = [weight_of.get(items[position], 1.0) for position in parts["trained"]]
    if not any(weights):
        raise UserError(f"data.weights_file={data.weights_file}: the weights of all images to train on are 0")
    return Division(
        **{name: np.array(part, dtype=np.int64) for name, part in parts.items()},
        weights=torch.tensor(weights) if weight_of else None,
    )


def _read(read: Callable[[Path, Collection[str]], T], value: object, setting: str, known: Collection[str]) -> T | None:
    return None if value is None else read_configured(lambda path: read(path, known), value, setting)
