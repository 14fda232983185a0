"""What a run is made of before it trains: its data under their noisy labels, and its network."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from torch import nn

from seg_anl.records import UserError, chosen_items

from .datasets import Dataset, FileImages, Split
from .models import build_model


@dataclass(frozen=True, eq=False)
class Prepared:
    """The data of a run as the trainer sees them: ``data.train`` has the given labels, ``clean`` the true ones."""

    data: Dataset
    clean: NDArray[np.int64] | None
    tuning: Split | None

    @property
    def mislabeled(self) -> int | None:
        """How many training labels are wrong, where that is known."""
        return None if self.clean is None else int((self.clean != self.data.train.labels).sum())

    def told(self, noise: DictConfig) -> str:
        """How wrong the labels are, for the person."""
        wrong, total = self.mislabeled, len(self.data.train)
        if wrong is None:
            return "the labels are noisy as they come; nobody knows which are wrong"
        told = f"{wrong} of {total} training labels are wrong ({wrong / total:.2%})"
        if wrong == 0 and noise.get("rate", 0) > 0 and noise.get("counts") == "cell":
            told += "; counts of so few samples are rounded down to none: noise.counts=iid draws for each sample"
        return told


def tuning_items(count: int, config: DictConfig) -> set[int]:
    """Positions of the training samples held out for tuning, with their noisy labels.

    Raises:
        UserError: for a share that is less than one sample.
    """
    seed = config.noise.get("seed", config.seed)
    held_out = {int(item) for item in chosen_items(map(str, range(count)), config.data.tuning, seed, "tuning")}
    if config.data.tuning and not held_out:
        raise UserError(f"data.tuning={config.data.tuning} of {count} images is none")
    return held_out


def prepare(data: Dataset, labels: NDArray[np.int64], held_out: set[int]) -> Prepared:
    """``data`` under the given ``labels`` ``(N,)`` of its training samples, less those ``held_out``."""
    clean = data.train.labels if data.labels_are_clean else None
    train = data.train.with_labels(labels)
    if not held_out:
        return Prepared(replace(data, train=train), clean, None)
    aside = np.array(sorted(held_out))
    kept = np.setdiff1d(np.arange(len(train)), aside)
    return Prepared(
        replace(data, train=train.subset(kept)), None if clean is None else clean[kept], train.subset(aside)
    )


def build_network(config: DictConfig, data: Dataset) -> nn.Module:
    """The network of a configuration for the images of ``data``."""
    images = data.train.images
    if isinstance(images, FileImages):
        channels, size = 3, _file_image_size(config)
    else:
        channels, size = images.shape[1], (images.shape[2], images.shape[3])
    weights = config.model.get("weights")
    return build_model(
        str(config.model.name), data.num_classes, channels, size, None if weights is None else str(weights)
    )


def check_batch_norm(model: nn.Module, share: int) -> None:
    """Refuse a process's ``share`` of a batch of one sample, where batch norm has no deviation of it.

    Raises:
        UserError: batch norm over feature vectors, and one sample.
    """
    if share == 1 and any(isinstance(module, nn.BatchNorm1d) for module in model.modules()):
        raise UserError("this network has batch norm: batch_size must be 2 or more for every process")


def _file_image_size(config: DictConfig) -> tuple[int, int]:
    """Rows and columns of images in files, as the network gets them."""
    crop, resize = config.augmentation.crop, config.augmentation.resize
    if crop is not None:
        return int(crop), int(crop)
    if OmegaConf.is_list(resize) and len(resize) == 2:
        return int(resize[0]), int(resize[1])
    raise UserError("images of one size are needed: set augmentation.crop, or augmentation.resize=[ROWS,COLUMNS]")
