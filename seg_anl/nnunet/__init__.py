"""Trainer classes for nnU-Net v2 and the ``seg-anl-nnunet`` command.

Importing this package imports nothing of nnU-Net; :mod:`.trainers` does. nnU-Net finds the trainers through the folder
that :func:`trainer_folder` names, when the environment variable ``nnUNet_extTrainer`` holds it.
"""

from pathlib import Path

__all__ = ["CHECKPOINT_NAMES", "TRAIN_VARIABLE", "trainer_folder"]

CHECKPOINT_NAMES = ("checkpoint_final.pth", "checkpoint_latest.pth", "checkpoint_best.pth")  # nnU-Net's
TRAIN_VARIABLE = "SEG_ANL_TRAIN"


def trainer_folder() -> Path:
    """The folder that nnU-Net scans: one module, without an ``__init__.py``, that hands on the trainer classes."""
    return Path(__file__).parent / "trainer_folder"
