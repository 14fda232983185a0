"""The methods by name."""

from __future__ import annotations

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
    settings = OmegaConf.to_container(config, resolve=True)
    assert isinstance(settings, dict)
    name = str(settings.pop("name"))
    if name not in METHODS:
        raise UserError(f"method.name={name}: {nearest_names(name, METHODS)}")
    try:
        method = METHODS[name](**settings)
    except (TypeError, ValueError) as error:
        raise UserError(f"method={name}: {error}") from error
    if method.loss not in (None, loss):
        raise UserError(f"method={name} is defined for loss={method.loss}, got loss={loss}")
    return method
