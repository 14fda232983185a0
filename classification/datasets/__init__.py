"""Data sets for classification; ``load_dataset`` reads the one named by a configuration.

To add a data set, write a function decorated with :func:`~classification.datasets.dataset.dataset` in any file of this
folder, and its settings in ``configs/data/NAME.yaml``. Importing this package imports neither torch nor torchvision.
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
