"""Settings of training methods that both trainers have, and how to read the ``method`` group; without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

from seg_anl.records import UserError, nearest_names
from seg_anl.records.ranges import Count, FractionBelowOne, checked


@dataclass(frozen=True)
class MethodSettings:
    """Settings of any method; ``only_loss`` is the only loss that it is defined for, or None."""

    only_loss: ClassVar[str | None] = None


@dataclass(frozen=True)
class Plain(MethodSettings):
    """Plain training on the given loss."""


@dataclass(frozen=True)
class CoTeaching(MethodSettings):
    """Co-teaching: the (estimated) noise rate, T_k of the paper, and whether to select samples or pixels of masks."""

    forget_rate: FractionBelowOne
    gradual_epochs: Count
    unit: Literal["sample", "pixel"] = "sample"


Known = TypeVar("Known", bound=MethodSettings)


def method_settings(given: Mapping[str, Any], loss: str, known: Mapping[str, type[Known]]) -> Known:
    """The checked ``method`` group ``given``, for training on ``loss``."""
    name = str(given.get("name"))
    if name not in known:
        raise UserError(f"method.name={name}: {nearest_names(name, known)}")
    settings = checked(known[name], {key: value for key, value in given.items() if key != "name"}, "method")
    if settings.only_loss not in (None, loss):
        raise UserError(f"method={name} is defined for loss={settings.only_loss}, got loss={loss}")
    return settings
