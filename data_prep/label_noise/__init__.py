"""Synthetic and human label noise: wrong labels out of right ones, each with a report of what was done.

Every kind is a pure function of the whole label vector, its parameters and a seed. Files and the command line live in
``run``, ``files`` and :mod:`data_prep.noise_labels_command`; nothing here imports torch at import.
"""

from .class_noise import asymmetric, pair_flip, symmetric, transition
from .human_labels import HUMAN_LABELS, human, read_human_labels
from .instance_noise import part_dependent, prediction_error
from .kinds import KINDS, LabelNoiseInputs, LabelNoiseSettings, apply_label_noise
from .report import LabelReport, label_report

__all__ = [
    "HUMAN_LABELS",
    "KINDS",
    "LabelNoiseInputs",
    "LabelNoiseSettings",
    "LabelReport",
    "apply_label_noise",
    "asymmetric",
    "human",
    "label_report",
    "pair_flip",
    "part_dependent",
    "prediction_error",
    "read_human_labels",
    "symmetric",
    "transition",
]
