"""Synthetic and human label noise: wrong labels out of right ones, each with a report of what was done.

Every kind is a pure function, declared with :func:`label_noise` in any file of this folder. Common to all of them:

- ``labels`` are (N,) integers in ``[0, num_classes)``; they are not changed.
- ``rate`` lies in [0, 1], ``seed`` in [0, 2**32).
- They return (N,) noisy labels of the same dtype, and a :class:`LabelReport`.
- They raise a ValueError of one line for anything out of range.

Nothing here imports torch at import.
"""

from .class_noise import asymmetric, pair_flip, symmetric, transition
from .human_labels import HUMAN_LABELS, human, read_human_labels
from .instance_noise import part_dependent, prediction_error
from .label_folder import NoisyLabels, has_label_noise, make_label_noise, read_label_noise
from .label_kind import LabelNoiseInputs, LabelNoiseSettings, apply_label_noise, label_kinds, label_noise
from .label_report import LabelReport, label_report

__all__ = [
    "HUMAN_LABELS",
    "LabelNoiseInputs",
    "LabelNoiseSettings",
    "LabelReport",
    "NoisyLabels",
    "apply_label_noise",
    "asymmetric",
    "has_label_noise",
    "human",
    "label_kinds",
    "label_noise",
    "label_report",
    "make_label_noise",
    "pair_flip",
    "part_dependent",
    "prediction_error",
    "read_human_labels",
    "read_label_noise",
    "symmetric",
    "transition",
]
