"""The trainer classes for ``nnUNetv2_train -tr``, generated from the losses' declarations.

Each loss that trains with its defaults has a trainer named after its class: ``nnUNetTrainerANLCE`` for ``ANLCELoss``.
Two losses also have a trainer with nnU-Net's Dice loss added. ANL-CE and the baselines of Table VI also have a trainer
with the published protocol.
"""

from __future__ import annotations

import re
from typing import Any

from seg_anl.losses import build_loss
from seg_anl.losses.declarations import Declaration, declarations

from .environment_settings import ANY_LOSS_TRAINER
from .isic2017_protocol import ISIC2017Protocol
from .robust_trainer import RobustLossTrainer

WITH_DICE = ("anl_ce", "gce")
ISIC2017_LOSSES = ("anl_ce", "ce", "gce", "mae", "sce", "nce_rce", "t_loss")  # Table VI

TRAINERS: dict[str, type[RobustLossTrainer]] = {}


def add_trainer(name: str, base: type[RobustLossTrainer], doc: str, **attributes: Any) -> None:
    """Define a subclass of ``base`` that nnU-Net and pickle find in this module under ``name``."""
    trainer = type(name, (base,), {"__doc__": doc, "__module__": __name__, **attributes})
    TRAINERS[name] = globals()[name] = trainer


def loss_in_trainer_name(declared: Declaration) -> str:
    """``NCERCE`` for ``NCEandRCELoss``; ``TLoss`` is unchanged, because only T would be left."""
    joined = re.sub(r"(?<=[A-Z])and(?=[A-Z])", "", declared.class_name)
    short = joined.removesuffix("Loss")
    return short if len(short) > 1 else joined


def parameters_for_nnunet(declared: Declaration) -> dict[str, Any]:
    """Parameters whose defaults do not suit nnU-Net's optimizer and number of epochs."""
    parameters = {
        "per_pixel": True,  # nnU-Net's SGD learning rate suits losses that do not grow with the image
        "every": 8,  # over 1000 epochs the weight of SR grows as much as in 120 epochs of the published code
    }
    return {name: value for name, value in parameters.items() if name in declared.parameters}


def trains_with_defaults(loss: str) -> bool:
    """Whether the loss needs no value (such as a transition matrix) from its user."""
    try:
        build_loss(loss)
    except ValueError:
        return False
    return True


add_trainer(ANY_LOSS_TRAINER, RobustLossTrainer, "Any loss of the library, named by ``SEG_ANL_LOSS``.")
for _loss, _declared in declarations().items():
    if not trains_with_defaults(_loss):
        continue
    _name, _doc = loss_in_trainer_name(_declared), _declared.summary
    _own = {"loss_name": _loss, "loss_parameters": parameters_for_nnunet(_declared)}
    add_trainer(f"nnUNetTrainer{_name}", RobustLossTrainer, _doc, **_own)
    if _loss in WITH_DICE:
        _added = f"{_declared.title} plus nnU-Net's Dice loss, both with weight 1."
        add_trainer(f"nnUNetTrainerDice{_name}", RobustLossTrainer, _added, **_own, dice_weight=1.0)
    if _loss in ISIC2017_LOSSES:
        _published = f"{_declared.title} with the loss's own defaults in the published ISIC-2017 setting."
        add_trainer(f"nnUNetTrainer{_name}_ISIC2017", ISIC2017Protocol, _published, loss_name=_loss)
