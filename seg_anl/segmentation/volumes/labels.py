"""The meaning of values in masks: classes, scored structures, unlabeled voxels, overlapping regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_prep.pictures import IGNORED
from seg_anl.losses.inputs import most_probable
from seg_anl.records import UserError

from .settings import MOST_LABEL, Label

MOST_CLASSES = 254


@dataclass(frozen=True)
class Labels:
    """Stored values and their meaning."""

    values: tuple[Label, ...]  # of the classes in the files, ascending from background (0); positions are class indices
    names: tuple[str, ...]  # of the scored structures: foreground classes, or regions
    members: tuple[tuple[Label, ...], ...]  # class indices of each structure
    ignore: Label | None = None  # the value of unlabeled voxels
    # Of regions: the value that each writes into a predicted mask, later over earlier ones. None: exclusive classes.
    order: tuple[Label, ...] | None = None

    @classmethod
    def plain(cls, values: Sequence[int], ignore: int | None = None, names: Sequence[str] = ()) -> Labels:
        """Exclusive classes."""
        classes = range(1, len(values))
        return cls(
            tuple(values), tuple(names) or tuple(str(v) for v in values[1:]), tuple((k,) for k in classes), ignore
        )

    @classmethod
    def of_description(cls, description: Mapping[str, Any], place: object) -> Labels:
        """The labels of an nnU-Net dataset.json."""
        given = dict(description["labels"])
        ignore = given.pop("ignore", None)
        sets = {
            name: sorted({int(v) for v in (value if isinstance(value, list) else [value])})
            for name, value in given.items()
        }
        values = sorted({0}.union(*sets.values()))
        wanted = {name: found for name, found in sets.items() if found != [0]}
        if len(values) < 2 or len(values) > MOST_CLASSES or values[0] < 0:
            raise UserError(f"{place}: labels must be background (0) and 1 to {MOST_CLASSES - 1} others, got {given}")
        ignored = None if ignore is None or isinstance(ignore, list) else int(ignore)
        if isinstance(ignore, list) or ignored in values:
            raise UserError(f"{place}: the ignore label must be one value of its own, got {ignore}")
        if max(values[-1], ignored or 0) > MOST_LABEL:
            raise UserError(f"{place}: labels must be at most {MOST_LABEL}, got {max(values[-1], ignored or 0)}")
        if not any(isinstance(value, list) for value in given.values()):
            if len(wanted) != len(values) - 1:
                raise UserError(f"{place}: labels must have different values, got {given}")
            names = sorted(wanted, key=lambda name: wanted[name])
            return cls.plain(values, ignored, names)
        order = description.get("regions_class_order")
        if not isinstance(order, list) or len(order) != len(wanted) or not all(value in values for value in order):
            raise UserError(f"{place}: regions need regions_class_order, a value for each of {', '.join(wanted)}")
        members = tuple(tuple(values.index(v) for v in found) for found in wanted.values())
        return cls(tuple(values), tuple(wanted), members, ignored, tuple(map(int, order)))

    @property
    def heads(self) -> int:
        """Output channels of the network."""
        return len(self.values) if self.order is None else len(self.order)

    def indices(self, mask: NDArray[Any], name: object) -> NDArray[np.uint8]:
        """A mask's class indices."""
        known = np.array([*self.values, *([] if self.ignore is None else [self.ignore])])
        found = np.unique(mask)
        if not np.isin(found, known).all():
            ignore = "" if self.ignore is None else f" and {self.ignore} (ignore)"
            strangers = ", ".join(f"{value:g}" for value in found[~np.isin(found, known)][:5])
            listed = ", ".join(map(str, self.values))
            raise UserError(f"{name}: holds the values {strangers}, which are no labels; expected {listed}{ignore}")
        indices = np.zeros(mask.shape, np.uint8)
        for index, value in enumerate(self.values):
            indices[mask == value] = index
        if self.ignore is not None:
            indices[mask == self.ignore] = IGNORED
        return indices

    def decided(self, probabilities: Tensor) -> Tensor:
        """Class indices ``(*S)`` uint8 of probabilities ``(heads, *S)``."""
        if self.order is None:
            return most_probable(probabilities, dim=0).to(torch.uint8)
        result = torch.zeros(probabilities.shape[1:], dtype=torch.uint8, device=probabilities.device)
        for channel, value in zip(probabilities, self.order, strict=True):
            result[channel > 0.5] = self.values.index(value)
        return result

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities of logits ``(heads, *S)``."""
        return logits.softmax(dim=0) if self.order is None else logits.sigmoid()

    def structure(self, indices: Tensor, number: int) -> Tensor:
        """Mask of the class ``indices`` that belong to a structure."""
        return torch.isin(indices, torch.tensor(self.members[number], dtype=indices.dtype, device=indices.device))

    def multi_hot(self) -> Tensor:
        """``(256, heads)`` uint8: the regions of each class index; :data:`IGNORED` is 255 in all."""
        table = torch.zeros(256, self.heads, dtype=torch.uint8)
        for head, members in enumerate(self.members):
            table[list(members), head] = 1
        table[IGNORED] = IGNORED
        return table
