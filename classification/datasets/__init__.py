"""Data sets for classification: ``load_dataset`` reads the one that a configuration names.

A data set is one function, marked :func:`~classification.datasets.dataset.dataset`, in any file of this folder, and one
file of settings, ``configs/data/NAME.yaml``. Importing this package imports neither torch nor torchvision.
"""

from data_prep.discovery import import_modules

from .dataset import DATASETS, Dataset, FileImages, Split, fingerprints
from .loading import load_dataset, reader_settings
from .selection import DataSelection

import_modules(__name__)

__all__ = [
    "DATASETS",
    "DataSelection",
    "Dataset",
    "FileImages",
    "Split",
    "fingerprints",
    "load_dataset",
    "reader_settings",
]
