"""Small standard data sets: scikit-learn's digits, and torchvision's MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100.

Folders of torchvision are read unchanged. With ``data.download``, missing files are downloaded and checked; archives
already in the folder are unpacked instead. CIFAR's files are pickles and are opened only if all checksums match the
published ones. With ``data.file``, the last four are read from one ``.npz`` file instead.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np

from seg_anl.records import UserError

from .arrays import arrays
from .dataset import Dataset, Split, dataset
from .download import Archive, default_root, fetch
from .selection import draw_positions

DIGITS_TEST_IMAGES_OF_A_CLASS = 36
_DIGITS_SPLIT_SEED = 0


@dataset
def digits() -> Dataset:
    """1437 training and 360 test images of 8 x 8 gray pixels in ten classes.

    There is no published split; the test set is a fixed random draw of 36 images per class. The original 17 gray levels
    are scaled to 0 to 255.

    Reference: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998
    (the original's test set).
    """
    from sklearn.datasets import load_digits  # slow to import

    loaded = load_digits()
    whole = Split.in_memory(np.round(loaded.images * (255 / 16)).astype(np.uint8)[:, None], loaded.target)
    test = draw_positions(whole.labels, np.full(10, DIGITS_TEST_IMAGES_OF_A_CLASS), _DIGITS_SPLIT_SEED)
    train = np.setdiff1d(np.arange(len(whole)), test)
    return Dataset(whole.part(train), {"test": whole.part(test)}, tuple("0123456789"), "scikit-learn's digits")


@dataset
def cifar10(*, root: Path | None, download: bool, file: Path | None) -> Dataset:
    """50000 training and 10000 test images of 3 x 32 x 32 in ten classes, in the published order.

    Reference: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """
    return _read_file("cifar10", file, 10) or _cifar("CIFAR10", root or default_root("cifar10"), download)


@dataset
def cifar100(*, root: Path | None, download: bool, file: Path | None) -> Dataset:
    """50000 training and 10000 test images of 3 x 32 x 32 in a hundred classes (the fine ones), in the published order.

    Reference: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """
    return _read_file("cifar100", file, 100) or _cifar("CIFAR100", root or default_root("cifar100"), download)


@dataset
def mnist(*, root: Path | None, download: bool, file: Path | None) -> Dataset:
    """60000 training and 10000 test images of 1 x 28 x 28: handwritten digits.

    Reference: LeCun et al., Gradient-Based Learning Applied to Document Recognition, Proceedings of the IEEE 1998.
    """
    return _read_file("mnist", file, 10) or _mnist("MNIST", root or default_root("mnist"), download)


@dataset
def fashion_mnist(*, root: Path | None, download: bool, file: Path | None) -> Dataset:
    """60000 training and 10000 test images of 1 x 28 x 28: articles of clothing.

    Reference: Xiao et al., Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms, 2017.
    """
    return _read_file("fashion_mnist", file, 10) or _mnist(
        "FashionMNIST", root or default_root("fashion_mnist"), download
    )


def _read_file(name: str, file: Path | None, classes: int) -> Dataset | None:
    if file is None:
        return None
    loaded = arrays(file=file)
    if loaded.num_classes != classes:
        raise UserError(f"{loaded.remark}: labels of {loaded.num_classes} classes, data={name} has {classes}")
    return loaded


def _cifar(name: str, root: Path, download: bool) -> Dataset:
    import torchvision.datasets
    from torchvision.datasets.utils import check_integrity

    kind = getattr(torchvision.datasets, name)
    folder = root / kind.base_folder
    checksums = {**dict([*kind.train_list, *kind.test_list]), kind.meta["filename"]: kind.meta["md5"]}

    def missing() -> list[Path]:
        return [folder / name for name, checksum in checksums.items() if not check_integrity(folder / name, checksum)]

    fetch([Archive((kind.url,), kind.tgz_md5, root, missing)], download)
    parts = [kind(root, train=True), kind(root, train=False)]
    train, test = (Split.in_memory(part.data.transpose(0, 3, 1, 2), part.targets) for part in parts)
    return Dataset(train, {"test": test}, tuple(parts[0].classes), str(folder))


def _mnist(name: str, root: Path, download: bool) -> Dataset:
    import torchvision.datasets
    from torchvision.datasets.mnist import read_image_file, read_label_file

    kind = getattr(torchvision.datasets, name)
    folder = root / name / "raw"

    def archive(compressed: str, checksum: str) -> Archive:
        path = folder / compressed.removesuffix(".gz")
        urls = tuple(mirror + compressed for mirror in kind.mirrors)
        return Archive(urls, checksum, folder, lambda: [] if _is_complete_idx(path) else [path])

    fetch([archive(*resource) for resource in kind.resources], download)
    splits = []
    for part in ("train", "t10k"):
        images = read_image_file(str(folder / f"{part}-images-idx3-ubyte"))
        labels = read_label_file(str(folder / f"{part}-labels-idx1-ubyte"))
        if len(images) != len(labels):
            raise UserError(f"{folder}: {len(images)} images with {len(labels)} labels; download them again")
        splits.append(Split(images[:, None], labels.numpy()))
    return Dataset(splits[0], {"test": splits[1]}, tuple(kind.classes), str(folder))


def _is_complete_idx(path: Path) -> bool:
    """Whether an IDX file has the axes of its name and the length of its header; torchvision does not check this."""
    if not os.path.isfile(path):
        return False
    axes = 3 if "idx3" in path.name else 1
    with path.open("rb") as file:
        if file.read(4) != bytes([0, 0, 8, axes]):  # two zero bytes, the code for uint8, the number of axes
            return False
        sizes = np.frombuffer(file.read(4 * axes), dtype=">u4").tolist()
    return len(sizes) == axes and 0 not in sizes and path.stat().st_size == 4 + 4 * axes + math.prod(sizes)
