"""The trainers by the names that ``nnUNetv2_train -tr`` takes, made from the losses' registry.

Every loss that trains with its defaults has one, named after it: ``nnUNetTrainerANLCE``. Two losses also have one with
nnU-Net's Dice loss added, and ANL-CE and the baselines of Table VI one in the published setting.
"""

from __future__ import annotations

from typing import Any

from seg_anl.losses import build_loss, list_losses, loss_parameters

from .environment_settings import ANY_LOSS_TRAINER
from .isic2017_protocol import ISIC2017Protocol
from .robust_trainer import RobustLossTrainer

WITH_DICE = ("anl_ce", "gce")
ISIC2017_LOSSES = ("anl_ce", "ce", "gce", "mae", "sce", "nce_rce", "t_loss")  # Table VI
SPELLED = {"t_loss": "TLoss", "nr_dice": "NRDice"}

TRAINERS: dict[str, type[RobustLossTrainer]] = {}


def add_trainer(name: str, base: type[RobustLossTrainer], doc: str, **attributes: Any) -> None:
    """Make a subclass of ``base`` that nnU-Net, pickle and checkpoints find in this module under ``name``."""
    made = type(name, (base,), {"__doc__": doc, "__module__": __name__, **attributes})
    TRAINERS[name] = globals()[name] = made


def parameters_for_nnunet(loss: str) -> dict[str, Any]:
    """Where nnU-Net's own optimizer and length ask for other values than the loss's defaults."""
    known = loss_parameters(loss)
    # nnU-Net's rates of SGD suit losses that do not grow with the image.
    per_pixel = {"per_pixel": True} if "per_pixel" in known else {}
    # The weight of sparse regularization grows over 1000 epochs as much as the published code lets it over 120.
    every = {"every": 8} if "every" in known else {}
    return {**per_pixel, **every}


def trains_with_defaults(loss: str) -> bool:
    """Whether the loss needs no value (a transition matrix) that only its user knows."""
    try:
        build_loss(loss)
    except ValueError:
        return False
    return True


add_trainer(ANY_LOSS_TRAINER, RobustLossTrainer, "Any loss of the library, named by ``SEG_ANL_LOSS``.")
for _loss in filter(trains_with_defaults, list_losses()):
    _own = {"loss_name": _loss, "loss_parameters": parameters_for_nnunet(_loss)}
    _suffix = SPELLED.get(_loss, _loss.replace("_", "").upper())
    add_trainer(f"nnUNetTrainer{_suffix}", RobustLossTrainer, f"The loss {_loss}.", **_own)
    if _loss in WITH_DICE:
        _doc = f"The loss {_loss} plus nnU-Net's Dice loss, both with weight 1."
        add_trainer(f"nnUNetTrainerDice{_suffix}", RobustLossTrainer, _doc, **_own, dice_weight=1.0)
    if _loss in ISIC2017_LOSSES:
        _doc = f"The loss {_loss} with its own defaults in the published ISIC-2017 setting."
        add_trainer(f"nnUNetTrainer{_suffix}_ISIC2017", ISIC2017Protocol, _doc, loss_name=_loss)
