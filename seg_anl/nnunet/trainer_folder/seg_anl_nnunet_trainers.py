"""What nnU-Net finds when ``nnUNet_extTrainer`` names this folder: the trainers, under their importable home.

nnU-Net imports this module and drops it again after each look-up, so the classes live in the package, not here.
"""

from seg_anl.nnunet.trainers import TRAINERS

globals().update(TRAINERS)
