"""Re-exports the trainers for nnU-Net, which scans this folder if ``nnUNet_extTrainer`` names it.

nnU-Net discards this module after each lookup, so the classes are defined in the package instead.
"""

from seg_anl.nnunet.trainers import TRAINERS

globals().update(TRAINERS)
