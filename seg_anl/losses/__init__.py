"""Noise-robust losses: ``build_loss(name, **params)`` gives a module, ``list_losses()`` the names."""

from .base import PointwiseLoss, RobustLoss, ScheduledLoss
from .inputs import LabeledLogProbs, labeled_log_probs
from .registry import build_loss, list_losses, loss_parameters
from .t_loss import TLoss, t_loss

__all__ = [
    "LabeledLogProbs",
    "PointwiseLoss",
    "RobustLoss",
    "ScheduledLoss",
    "TLoss",
    "build_loss",
    "labeled_log_probs",
    "list_losses",
    "loss_parameters",
    "t_loss",
]
