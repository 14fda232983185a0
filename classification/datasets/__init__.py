"""Data sets for classification: ``load_dataset`` reads the one that a configuration names.

A data set is one function, marked :func:`~classification.datasets.dataset.dataset`, in any file of this folder, and one
file of settings, ``configs/data/NAME.yaml``. Importing this package imports neither torch nor torchvision.
"""

import importlib
import pkgutil

from .dataset import DATASETS, Dataset, FileImages, Split, fingerprints
from .loading import load_dataset, reader_settings
from .selection import DataSelection

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

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
