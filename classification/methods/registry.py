"""The methods by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from omegaconf import DictConfig, OmegaConf

from seg_anl.records import UserError, nearest_names

from .base import Method
from .co_teaching import CoTeaching
from .d2l import DimensionalityDriven
from .forward import ForwardEstimated

METHODS: dict[str, Callable[..., Method]] = {
    "co_teaching": CoTeaching,
    "d2l": DimensionalityDriven,
    "forward": ForwardEstimated,
    "plain": Method,
}


def build_method(config: DictConfig, loss: str) -> Method:
    """The method of a ``method`` configuration, to be used with the loss of this name.

    Raises:
        UserError: for an unknown name, or a setting that the method does not have or that is out of range.
    """
    given = OmegaConf.to_container(config, resolve=True)
    assert isinstance(given, dict)
    settings = {str(key): value for key, value in given.items() if key != "name"}
    name = str(config.name)
    if name not in METHODS:
        raise UserError(f"method.name={name}: {nearest_names(name, METHODS)}")
    known = inspect.signature(METHODS[name]).parameters
    for setting in settings:
        if setting not in known:
            raise UserError(f"method.{setting}: no such setting of method={name}; it has {', '.join(known) or 'none'}")
    try:
        method = METHODS[name](**settings)
    except (TypeError, ValueError) as error:
        raise UserError(f"method={name}: {error}") from error
    if method.loss not in (None, loss):
        raise UserError(f"method={name} is defined for loss={method.loss}, got loss={loss}")
    return method
