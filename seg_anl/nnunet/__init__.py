"""Trainer classes for nnU-Net v2 and the ``seg-anl-nnunet`` command.

Importing this package does not import nnU-Net; importing :mod:`.trainers` does. nnU-Net finds the trainers when the
environment variable ``nnUNet_extTrainer`` is set to :func:`trainer_folder`.
"""

from pathlib import Path

__all__ = ["CHECKPOINT_NAMES", "TEST_VARIABLE", "TRAIN_VARIABLE", "trainer_folder"]

CHECKPOINT_NAMES = ("checkpoint_final.pth", "checkpoint_latest.pth", "checkpoint_best.pth")  # written by nnU-Net
TRAIN_VARIABLE = "SEG_ANL_TRAIN"
TEST_VARIABLE = "SEG_ANL_TEST"


def trainer_folder() -> Path:
    """The folder for nnU-Net to scan: one module that re-exports the trainer classes, and no ``__init__.py``."""
    return Path(__file__).parent / "trainer_folder"
