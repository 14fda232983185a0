"""The trainers by the names that ``nnUNetv2_train -tr`` takes: one per loss, named after what it changes.

``nnUNetTrainerX_ISIC2017`` are ANL-CE and the baselines of Table VI in the published setting.
"""

# ruff: noqa: N801  (nnU-Net's naming)

from __future__ import annotations

from .isic2017 import ISIC2017Protocol
from .robust_trainer import RobustLossTrainer


class nnUNetTrainerRobust(RobustLossTrainer):
    """Any loss of the library, named by ``SEG_ANL_LOSS``."""


class nnUNetTrainerANLCE(RobustLossTrainer):
    """Active negative loss: NCE + NNCE."""

    loss_name = "anl_ce"


class nnUNetTrainerANLFL(RobustLossTrainer):
    """Active negative loss: NFL + NNFL."""

    loss_name = "anl_fl"


class nnUNetTrainerANLCEER(RobustLossTrainer):
    """ANL-CE with entropy regularization (ANL-CE*)."""

    loss_name = "anl_ce_er"


class nnUNetTrainerNCERCE(RobustLossTrainer):
    """Active passive loss: NCE + RCE."""

    loss_name = "nce_rce"


class nnUNetTrainerNCEAGCE(RobustLossTrainer):
    """NCE with the asymmetric AGCE."""

    loss_name = "nce_agce"


class nnUNetTrainerGCE(RobustLossTrainer):
    """Generalized cross entropy."""

    loss_name = "gce"


class nnUNetTrainerSCE(RobustLossTrainer):
    """Symmetric cross entropy."""

    loss_name = "sce"


class nnUNetTrainerMAE(RobustLossTrainer):
    """Mean absolute error."""

    loss_name = "mae"


class nnUNetTrainerTLoss(RobustLossTrainer):
    """T-Loss, per pixel: nnU-Net's SGD rates are made for losses that do not grow with the image."""

    loss_name = "t_loss"
    loss_parameters = {"per_pixel": True}  # noqa: RUF012


class nnUNetTrainerNRDice(RobustLossTrainer):
    """Noise-robust Dice, over each process's batch."""

    loss_name = "nr_dice"


class nnUNetTrainerCESR(RobustLossTrainer):
    """Sparse regularization; over 1000 epochs its weight grows as the published code lets it over 120."""

    loss_name = "ce_sr"
    loss_parameters = {"every": 8}  # noqa: RUF012


class nnUNetTrainerEL(RobustLossTrainer):
    """Equal loss."""

    loss_name = "el"


class nnUNetTrainerDiceANLCE(nnUNetTrainerANLCE):
    """ANL-CE beside nnU-Net's Dice loss, both with weight 1."""

    dice_weight = 1.0


class nnUNetTrainerDiceGCE(nnUNetTrainerGCE):
    """GCE beside nnU-Net's Dice loss, both with weight 1."""

    dice_weight = 1.0


class nnUNetTrainerANLCE_ISIC2017(ISIC2017Protocol):
    """ANL-CE in the published setting; alpha = beta = 5 is assumed, the paper does not say."""

    loss_name = "anl_ce"


class nnUNetTrainerCE_ISIC2017(ISIC2017Protocol):
    """Cross entropy in the published setting."""

    loss_name = "ce"


class nnUNetTrainerGCE_ISIC2017(ISIC2017Protocol):
    """GCE in the published setting."""

    loss_name = "gce"


class nnUNetTrainerMAE_ISIC2017(ISIC2017Protocol):
    """MAE in the published setting."""

    loss_name = "mae"


class nnUNetTrainerSCE_ISIC2017(ISIC2017Protocol):
    """SCE in the published setting."""

    loss_name = "sce"


class nnUNetTrainerNCERCE_ISIC2017(ISIC2017Protocol):
    """APL (NCE + RCE) in the published setting."""

    loss_name = "nce_rce"


class nnUNetTrainerTLoss_ISIC2017(ISIC2017Protocol):
    """T-Loss in the published setting, summed over pixels as published."""

    loss_name = "t_loss"


TRAINERS: dict[str, type[RobustLossTrainer]] = {
    name: value for name, value in list(globals().items()) if name.startswith("nnUNetTrainer")
}
