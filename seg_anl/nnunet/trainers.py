"""The trainers by the names that ``nnUNetv2_train -tr`` takes, made from the losses' declarations.

Every loss that trains with its defaults has one, named after its class: ``nnUNetTrainerANLCE`` of ``ANLCELoss``. Two
losses also have one with nnU-Net's Dice loss added; ANL-CE and the baselines of Table VI have one in the published
setting.
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
    """Make a subclass of ``base`` that nnU-Net, pickle and checkpoints find in this module under ``name``."""
    made = type(name, (base,), {"__doc__": doc, "__module__": __name__, **attributes})
    TRAINERS[name] = globals()[name] = made


def loss_in_trainer_name(declared: Declaration) -> str:
    """``NCERCE`` of ``NCEandRCELoss``; ``TLoss`` is itself, for nothing but T would be left."""
    joined = re.sub(r"(?<=[A-Z])and(?=[A-Z])", "", declared.class_name)
    short = joined.removesuffix("Loss")
    return short if len(short) > 1 else joined


def parameters_for_nnunet(declared: Declaration) -> dict[str, Any]:
    """Where nnU-Net's own optimizer and length ask for other values than the loss's defaults."""
    wanted = {
        "per_pixel": True,  # nnU-Net's rates of SGD suit losses that do not grow with the image
        "every": 8,  # the weight of SR grows over 1000 epochs as much as the published code lets it over 120
    }
    return {name: value for name, value in wanted.items() if name in declared.parameters}


def trains_with_defaults(loss: str) -> bool:
    """Whether the loss needs no value (a transition matrix) that only its user knows."""
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
