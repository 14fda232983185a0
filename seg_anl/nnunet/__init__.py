"""Trainer classes for nnU-Net v2 and the ``seg-anl-nnunet`` command.

Importing this package imports nothing of nnU-Net; :mod:`.trainers` does. nnU-Net finds the trainers through the folder
that :func:`trainer_folder` names, when the environment variable ``nnUNet_extTrainer`` holds it.
"""

from pathlib import Path

__all__ = ["trainer_folder"]


def trainer_folder() -> Path:
    """The folder that nnU-Net scans: one module, without an ``__init__.py``, that hands on the trainer classes."""
    return Path(__file__).parent / "trainer_folder"
