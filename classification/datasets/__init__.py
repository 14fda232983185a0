"""Data sets for classification: ``load_dataset`` reads the one that a configuration names."""

from .registry import DATASETS, load_dataset
from .split import Dataset, FileImages, Split, fingerprints

__all__ = ["DATASETS", "Dataset", "FileImages", "Split", "fingerprints", "load_dataset"]
