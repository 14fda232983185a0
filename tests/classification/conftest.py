"""Fixtures: small data sets in their real layouts on disk."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100, MNIST, FashionMNIST

from seg_anl.records import config_folder

SYNSETS = ("n01440764", "n01443537", "n01484850", "n01491361")


@pytest.fixture(autouse=True, scope="module")
def _no_pictures_of_confusion() -> Iterator[None]:
    """Skip them: they take half the time of a tiny run, and data_prep tests them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data_prep.label_noise.label_folder.draw_confusion", lambda _, path: path.write_bytes(b""))
        yield


@pytest.fixture
def data_config() -> Callable[..., DictConfig]:
    """A ``data`` group from its YAML file with some settings changed."""

    def config(name: str, **settings: Any) -> DictConfig:
        merged = OmegaConf.merge(OmegaConf.load(config_folder() / "data" / f"{name}.yaml"), settings)
        assert isinstance(merged, DictConfig)
        return merged

    return config


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Build a data set by name; returns the settings of the ``data`` group to read it."""

    def build(name: str) -> dict[str, Any]:
        root = tmp_path / name
        root.mkdir()
        if name in ("cifar10", "cifar100"):
            return build_cifar(root, {"cifar10": CIFAR10, "cifar100": CIFAR100}[name], monkeypatch)
        if name in ("mnist", "fashion_mnist"):
            return build_mnist(root, {"mnist": MNIST, "fashion_mnist": FashionMNIST}[name], monkeypatch)
        builders = {
            "digits": lambda root: {},
            "arrays": build_arrays,
            "webvision": build_webvision,
            "animal10n": build_animal10n,
            "clothing1m": build_clothing1m,
            "imagenet": build_imagenet,
            "imagefolder": build_imagefolder,
        }
        return builders[name](root)

    return build


def jpeg(path: Path, label: int, width: int = 40, height: int = 36) -> None:
    """Write a real JPEG file whose brightness encodes its label."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(int.from_bytes(hashlib.sha256(path.name.encode()).digest()[:4], "little"))
    pixels = generator.integers(0, 60, (height, width, 3)) + 40 * (label % 5)
    Image.fromarray(pixels.astype(np.uint8)).save(path, quality=90)


def build_cifar(root: Path, kind: type[CIFAR10], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """CIFAR's archive as downloaded, with its checksums replacing the published ones."""
    generator = np.random.default_rng(0)
    fine = kind is CIFAR100
    count = 100 if fine else 8
    checksums = {}
    folder = root / "source" / kind.base_folder
    folder.mkdir(parents=True)
    for number, (name, _) in enumerate([*kind.train_list, *kind.test_list]):
        labels = [(number * count + i) % (100 if fine else 10) for i in range(count)]
        batch: dict[str, Any] = {"data": generator.integers(0, 256, (count, 3072), dtype=np.uint8)}
        batch |= {"fine_labels": labels, "coarse_labels": [0] * count} if fine else {"labels": labels}
        checksums[name] = _pickled(folder / name, batch)
    names = [f"class {k}" for k in range(100 if fine else 10)]
    meta = {**kind.meta, "md5": _pickled(folder / kind.meta["filename"], {kind.meta["key"]: names})}
    with tarfile.open(root / kind.filename, "w:gz") as archive:
        archive.add(folder, kind.base_folder)
    folder.rename(root / "source" / "unpacked")
    monkeypatch.setattr(kind, "train_list", [[name, checksums[name]] for name, _ in kind.train_list])
    monkeypatch.setattr(kind, "test_list", [[name, checksums[name]] for name, _ in kind.test_list])
    monkeypatch.setattr(kind, "meta", meta)
    monkeypatch.setattr(kind, "tgz_md5", _md5(root / kind.filename))
    return {"root": str(root)}


def build_mnist(root: Path, kind: type[MNIST], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The four compressed IDX files in torchvision's download folder."""
    generator = np.random.default_rng(1)
    raw = root / kind.__name__ / "raw"
    raw.mkdir(parents=True)
    resources = []
    for name, _ in kind.resources:
        count = 30 if name.startswith("train") else 10
        if "images" in name:
            header, content = [2051, count, 28, 28], generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        else:
            header, content = [2049, count], (np.arange(count) * 3 % 10).astype(np.uint8)
        with gzip.GzipFile(raw / name, "wb", mtime=0) as file:
            file.write(np.array(header, dtype=">u4").tobytes() + content.tobytes())
        resources.append((name, _md5(raw / name)))
    monkeypatch.setattr(kind, "resources", resources)
    return {"root": str(root)}


def build_arrays(root: Path) -> dict[str, Any]:
    """Forty training and eight test images of 3 x 12 x 12 in four classes."""
    generator = np.random.default_rng(2)
    arrays: dict[str, Any] = {}
    for split, count in (("train", 40), ("test", 8)):
        arrays[f"x_{split}"] = generator.integers(0, 256, (count, 12, 12, 3), dtype=np.uint8)
        arrays[f"y_{split}"] = np.arange(count) % 4
    np.savez(root / "all.npz", **arrays)
    return {"file": str(root / "all.npz")}


def build_webvision(root: Path) -> dict[str, Any]:
    """Lists of three classes, two of them used, and ImageNet's validation images."""
    train, test = [], []
    for i in range(12):
        name, label = f"google/q{i % 4 + 1:04d}/image_{i}.jpg", i % 3
        jpeg(root / name, label)
        train.append(f"{name} {label}")
    for i in range(6):
        jpeg(root / "val_images_256" / f"val{i + 1:06d}.jpg", i % 3)
        test.append(f"val{i + 1:06d}.jpg {i % 3}")
    (root / "info").mkdir()
    (root / "info/train_filelist_google.txt").write_text("\n".join(train) + "\n")
    (root / "info/val_filelist.txt").write_text("\n".join(test) + "\n")
    (root / "info/synsets.txt").write_text("\n".join(f"{synset} name of it, other name" for synset in SYNSETS))
    imagenet = root / "ilsvrc12"
    for label, synset in enumerate(SYNSETS):
        for i in range(2):
            jpeg(imagenet / "val" / synset / f"ILSVRC2012_val_{2 * label + i:08d}.JPEG", label)
    return {"root": str(root), "imagenet_root": str(imagenet), "classes": 2, "expected_count": 8}


def build_animal10n(root: Path) -> dict[str, Any]:
    """Two training images and a test image of each animal."""
    for i in range(20):
        jpeg(root / "training" / f"{i % 10}_{i + 100}.jpg", i % 10, 64, 64)
    for i in range(10):
        jpeg(root / "testing" / f"{i}_{i + 500}.jpg", i, 64, 64)
    return {"root": str(root)}


def build_clothing1m(root: Path) -> dict[str, Any]:
    """The published lists with three classes and unsorted keys; the clean training images are not unpacked."""
    noisy, clean = {}, {}
    lists: dict[str, list[str]] = {}
    counts = {"noisy_train": 12, "clean_train": 3, "clean_val": 6, "clean_test": 3}
    for kind, count in counts.items():
        keys = [f"images/{i % 10}/{i % 100:02d}/{kind},{i}.jpg" for i in reversed(range(count))]
        for key in keys:
            label = int(key.rpartition(",")[2].removesuffix(".jpg")) % 3
            (noisy if kind == "noisy_train" else clean)[key] = label
            if kind != "clean_train":
                jpeg(root / key, label)
        lists[kind] = keys
    for kind, keys in lists.items():
        (root / f"{kind}_key_list.txt").write_text("\n".join(keys) + "\n")
    for kind, labels in (("noisy", noisy), ("clean", clean)):
        lines = [f"{key} {label}" for key, label in sorted(labels.items())]
        (root / f"{kind}_label_kv.txt").write_text("\n".join(lines) + "\n")
    (root / "category_names_eng.txt").write_text("T-Shirt\nShirt\nDown Coat\n")
    return {"root": str(root)}


def build_imagenet(root: Path) -> dict[str, Any]:
    """Three synsets, two training images and one validation image each."""
    for label, synset in enumerate(SYNSETS[:3]):
        for i in range(2):
            jpeg(root / "train" / synset / f"{synset}_{i}.JPEG", label)
        jpeg(root / "val" / synset / f"ILSVRC2012_val_{label:08d}.JPEG", label)
    return {"root": str(root)}


def build_imagefolder(root: Path) -> dict[str, Any]:
    """Two classes of JPEG and PNG files, some in nested folders."""
    for label, name in enumerate(("benign", "malignant")):
        for i in range(4):
            jpeg(root / "train" / name / ("deeper/" if i == 3 else "") / f"{i}.{'png' if i % 2 else 'jpg'}", label)
        jpeg(root / "test" / name / "0.jpeg", label)
    return {"root": str(root)}


def _pickled(path: Path, content: dict[str, Any]) -> str:
    path.write_bytes(pickle.dumps(content, protocol=2))
    return _md5(path)


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
