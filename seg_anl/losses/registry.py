"""Looks up losses by name and makes their classes."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cache
from typing import Any

from torch import Tensor

from seg_anl.records.errors import nearest_names
from seg_anl.records.ranges import expected, keyword_parameters

from .base import PointwiseFunction, PointwiseLoss, RobustLoss
from .declarations import COMMON, Declaration, declarations, declared


def build_loss(
    name: str,
    *,
    class_weights: Sequence[float] | Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    activation: str = "softmax",
    **params: Any,
) -> RobustLoss:
    """Build a loss by name.

    >>> import torch
    >>> loss = build_loss("anl_ce", alpha=5.0, beta=5.0)
    >>> loss
    ANLCELoss(alpha=5.0, beta=5.0, p_min=1e-07, exact_official=True, reduction=mean)
    >>> value = loss(torch.zeros(4, 2, 8, 8), torch.zeros(4, 8, 8, dtype=torch.long))
    >>> round(value.item(), 4)
    5.0

    Args:
        name: one of :func:`list_losses`.
        class_weights: C weights, for the elements of each class.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        ignore_index: label value of ignored elements.
        activation: ``"softmax"`` or ``"sigmoid"``.
        params: the loss's own parameters, see :func:`loss_parameters`.

    Raises:
        ValueError: for an unknown name or parameter (with the nearest valid ones) or a value out of range.
    """
    return loss_class(name)(
        class_weights=class_weights, reduction=reduction, ignore_index=ignore_index, activation=activation, **params
    )


def loss_parameters(name: str) -> dict[str, Any]:
    """A loss's own parameters with their defaults, in the order of its signature.

    >>> loss_parameters("gce")
    {'q': 0.7, 'exact_official': True}
    """
    return dict(known_declaration(name).parameters)


def loss_class(name: str) -> type[RobustLoss]:
    """The class of a loss.

    >>> loss_class("gce")
    <class 'seg_anl.losses.GCELoss'>
    """
    target, base, _ = declared(known_declaration(name))
    return _class(name, target, base or PointwiseLoss)


def known_declaration(name: str) -> Declaration:
    """The declaration of a loss.

    Raises:
        ValueError: for an unknown name, with the nearest valid ones.
    """
    known = declarations()
    if name not in known:
        raise ValueError(f"unknown loss {name!r}; {nearest_names(name, known)}")
    return known[name]


def pointwise_function(name: str) -> PointwiseFunction | None:
    """The function of a loss that is one pure function of each element, else None."""
    made = loss_class(name) if name in declarations() else RobustLoss
    return made.function if issubclass(made, PointwiseLoss) and "function" in vars(made) else None


@cache
def _class(name: str, target: Any, base: type[RobustLoss]) -> type[RobustLoss]:
    """``target`` itself, or a subclass of ``base`` around a function, with complete documentation."""
    declaration = declarations()[name]
    made: type[RobustLoss] = target if isinstance(target, type) else _class_around(declaration, target, base)
    made.loss_name = name
    made.__doc__ = _documentation(declaration)
    return made


def _class_around(declaration: Declaration, function: PointwiseFunction, base: type[RobustLoss]) -> type[RobustLoss]:
    def __init__(self: RobustLoss, **keywords: Any) -> None:  # noqa: N807
        base.__init__(self, **keywords)

    common = keyword_parameters(RobustLoss.__init__)
    parameters = {**keyword_parameters(function), **keyword_parameters(base.__init__), **common}
    self = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    own_first = sorted(parameters.values(), key=lambda parameter: parameter.name in COMMON)
    __init__.__signature__ = inspect.Signature([self, *own_first])  # type: ignore[attr-defined]
    # Pickle and tracebacks find the class by its module.
    members = {"function": staticmethod(function), "__init__": __init__, "__module__": __package__}
    return type(declaration.class_name, (base,), members)


def _documentation(declaration: Declaration) -> str:
    """The docstring, completed with formula, keywords and their ranges, shapes and source."""
    text, _, _ = declaration.docstring.partition("\nReference: ")
    shared = inspect.getdoc(RobustLoss) or ""
    common, shape = shared.partition("\nArgs:\n")[2].split("\nShape:\n")
    own = "".join(
        f"    {name}: {expected(annotation) or 'see above'}; {declaration.parameters[name]!r} by default.\n"
        for name, annotation in declaration.annotations.items()
    )
    parts = [
        text.rstrip(),
        f"Value, in LaTeX: {declaration.formula}" if declaration.formula else "",
        f"Keywords:\n{own}{common.rstrip()}",
        f"Shape:\n{shape.rstrip()}",
        f"Reference: {declaration.source}" if declaration.source else "",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"
