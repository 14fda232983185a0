"""Synthetic and human label noise, each with a report of what was done. Free of torch at import.

A kind is a pure function, declared with :func:`label_noise` in any file of this folder. All of them

- take (N,) integer ``labels`` in ``[0, num_classes)`` and most also a ``rate`` in [0, 1] and a ``seed`` in [0, 2**32),
- return (N,) noisy labels of the same dtype and a :class:`LabelReport`,
- raise a ValueError of one line for anything out of range.
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
