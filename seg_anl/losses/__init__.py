"""Noise-robust losses: ``build_loss(name, **params)`` returns a module, ``list_losses()`` the names.

Each loss is also a class (``from seg_anl.losses import ANLCELoss, GCELoss``). torch is imported lazily: names and
parameters (``seg_anl.losses.declarations``) do not need it.
"""

from importlib import import_module
from typing import Any

from seg_anl.records.errors import nearest_names

from .declarations import Declaration, list_losses, loss
from .declarations import declarations as _declarations

_HOMES = {
    "ADSLoss": "abstention",
    "AbstentionLoss": "abstention",
    "FunctionLoss": "base",
    "GJSLoss": "jensen_shannon",
    "PointwiseLoss": "base",
    "RobustLoss": "base",
    "ScheduledLoss": "base",
    "LabeledLogProbs": "inputs",
    "LabeledLogits": "inputs",
    "labeled_log_probs": "inputs",
    "build_loss": "registry",
    "loss_class": "registry",
    "loss_parameters": "registry",
    "t_loss": "student_t",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    classes = {declaration.class_name: declaration.name for declaration in _declarations().values()}
    if name in classes:
        return import_module(f"{__name__}.registry").loss_class(classes[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; {nearest_names(name, __dir__())}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *(declaration.class_name for declaration in _declarations().values())})


__all__ = ["Declaration", "list_losses", "loss", *_HOMES]
