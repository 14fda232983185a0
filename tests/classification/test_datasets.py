"""Data sets in memory: digits, arrays, and torchvision's MNIST and CIFAR."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from sklearn.datasets import load_digits
from torchvision.datasets import CIFAR10, MNIST

from classification.datasets import DATASETS, DataSelection, load_dataset
from data_prep.label_noise import read_human_labels
from seg_anl.records import UserError, config_folder
from seg_anl.records.ranges import keyword_parameters


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without logging."""

    def log_message(self, *_: Any) -> None:
        pass


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def test_every_data_set_has_a_configuration():
    shared = set(OmegaConf.load(config_folder() / "classification.yaml").data)
    common = {field.name for field in fields(DataSelection)} - shared
    for name, reader in DATASETS.items():
        config = OmegaConf.load(config_folder() / "data" / f"{name}.yaml")
        assert config.name == name
        assert set(config) == {"name"} | common | set(keyword_parameters(reader))


def test_digits_are_split_completely(data_config):
    data = load_dataset(data_config("digits"))
    assert (len(data.train), len(data.tests["test"])) == (1437, 360)
    assert np.bincount(data.tests["test"].labels).tolist() == [36] * 10
    original = load_digits()
    ours = torch.cat([data.train.images, data.tests["test"].images]).flatten(1)
    levels = (ours.double() * 16 / 255).round().to(torch.uint8).numpy()
    labels = np.concatenate([data.train.labels, data.tests["test"].labels])
    expected = np.c_[original.data.astype(np.uint8), original.target]
    assert sorted(map(bytes, np.c_[levels, labels].astype(np.uint8))) == sorted(map(bytes, expected.astype(np.uint8)))
    assert data.train.images.min() == 0
    assert data.train.images.max() == 255


def test_statistics_match_the_training_pixels(data_config):
    data = load_dataset(data_config("digits", limit=100))
    pixels = data.train.images.numpy() / 255
    assert data.mean == pytest.approx([pixels.mean()], rel=1e-12)
    assert data.std == pytest.approx([pixels.std()], rel=1e-12)


@pytest.mark.parametrize("form", ["NHW", "NHWC", "NCHW"])
def test_arrays_in_all_axis_orders(tmp_path, data_config, form):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (6, 5, 7) if form == "NHW" else (6, 5, 7, 3), dtype=np.uint8)
    stored = images.transpose(0, 3, 1, 2) if form == "NCHW" else images
    labels = np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x_train=stored, y_train=labels, x_test=stored[:2], y_test=labels[:2])
    data = load_dataset(data_config("arrays", file=str(tmp_path / "a.npz")))
    expected = images[:, None] if form == "NHW" else images.transpose(0, 3, 1, 2)
    assert np.array_equal(data.train.images.numpy(), expected)
    assert data.train.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert data.train.labels.dtype == np.int64
    assert data.classes == ("0", "1", "2")
    assert np.array_equal(data.tests["test"].images.numpy(), expected[:2])


BAD_ARRAYS = {
    "flat images": ({"x_train": np.zeros((4, 9), np.uint8)}, "x_train: images of shape (4, 9)"),
    "four channels": ({"x_train": np.zeros((4, 3, 5, 4), np.uint8)[:, :2]}, "with C 1 or 3"),
    "no images": (
        {"x_train": np.zeros((0, 3, 3), np.uint8), "y_train": np.zeros(0, int)},
        "x_train: no images, its shape",
    ),
    "float images": ({"x_train": np.zeros((4, 3, 3))}, "images of type float64; expected uint8"),
    "float labels": ({"y_train": np.zeros(4)}, "y_train: labels of type float64; expected integers"),
    "one-hot labels": ({"y_train": np.eye(4, dtype=int)}, "labels of shape (4, 4); expected (4,)"),
    "too few labels": ({"y_train": np.array([0, 1, 0])}, "labels of shape (3,); expected (4,)"),
    "labels from 1": ({"y_train": np.array([1, 2, 1, 2]), "y_test": np.array([1, 2])}, "no training image of class 0"),
    "negative label": ({"y_train": np.array([0, 1, -1, 1])}, "y_train: label -1"),
    "an id for a label": ({"y_train": np.array([0, 1, 10**15, 1])}, "y_train: label 1000000000000000"),
    "a gap": ({"y_train": np.array([0, 3, 0, 3])}, "no training image of class 1 (1) (and 1 more)"),
    "test label beyond": ({"y_test": np.array([0, 2])}, "label 2 in the split 'test'; the 2 classes"),
    "one class": ({"y_train": np.zeros(4, int), "y_test": np.zeros(2, int)}, "only one class"),
    "other test size": ({"x_test": np.zeros((2, 4, 3), np.uint8)}, "training images of 1 x 3 x 3"),
    "missing key": ({"y_test": None}, "no array y_test; it holds x_train, y_train, x_test"),
    "words": ({"y_train": np.array(["a", "b", "a", "b"])}, "expected numbers, found <U1"),
}


def test_bad_arrays_are_one_line(tmp_path, data_config):
    good: dict[str, Any] = {"x_train": np.zeros((4, 3, 3), np.uint8), "y_train": np.array([0, 1, 0, 1])}
    good |= {"x_test": np.zeros((2, 3, 3), np.uint8), "y_test": np.array([0, 1])}
    for case, (changes, message) in BAD_ARRAYS.items():
        path = tmp_path / f"{case}.npz"
        np.savez(path, **{name: array for name, array in (good | changes).items() if array is not None})
        with pytest.raises(UserError, match=re.escape(message)) as caught:
            load_dataset(data_config("arrays", file=str(path)))
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)


def test_object_arrays_are_not_unpickled(tmp_path, data_config):
    trap = np.array([Trap(tmp_path / "sprung")] * 4, dtype=object)
    np.savez(tmp_path / "a.npz", x_train=trap, y_train=np.arange(4))
    with pytest.raises(UserError, match="not unpickled"):
        load_dataset(data_config("arrays", file=str(tmp_path / "a.npz")))
    assert not (tmp_path / "sprung").exists()


def test_truncated_file_of_arrays(layout, data_config):
    settings = layout("arrays")
    path = Path(settings["file"])
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match="not a"):
        load_dataset(data_config("arrays", **settings))


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_unpacked_from_the_published_archive(layout, data_config, name):
    settings = layout(name)
    data = load_dataset(data_config(name, **settings))
    number = 10 if name == "cifar10" else 100
    source = Path(settings["root"]) / "source" / "unpacked"
    batches = ["train"] if name == "cifar100" else [f"data_batch_{i}" for i in range(1, 6)]
    stored = [pickle.loads((source / batch).read_bytes()) for batch in batches]
    # A row is the red, green and blue plane, each row by row.
    planes = np.concatenate([batch["data"] for batch in stored]).reshape(-1, 3, 32, 32)
    assert np.array_equal(data.train.images.numpy(), planes)
    assert data.train.labels.tolist() == [i % number for i in range(len(planes))]
    assert data.classes == tuple(f"class {k}" for k in range(number))
    assert len(data.tests["test"]) == (8 if name == "cifar10" else 100)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_mnist_is_unpacked_from_the_published_files(layout, data_config, name):
    settings = layout(name)
    data = load_dataset(data_config(name, **settings))
    kind = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[name]
    raw = (Path(settings["root"]) / kind / "raw" / "train-images-idx3-ubyte").read_bytes()[16:]
    assert data.train.images.numpy().tobytes() == raw
    assert data.train.images.shape == (30, 1, 28, 28)
    assert data.train.labels.tolist() == [3 * i % 10 for i in range(30)]
    assert len(data.tests["test"]) == 10


@pytest.fixture
def served(tmp_path, monkeypatch) -> Iterator[str]:
    """The HTTP address of a server of ``tmp_path/served``."""
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "served").mkdir()
    handler = partial(QuietHandler, directory=str(tmp_path / "served"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_files_are_downloaded(layout, data_config, monkeypatch, tmp_path, served):
    settings = layout("cifar10")
    Path(settings["root"], "cifar-10-python.tar.gz").rename(tmp_path / "served/cifar-10-python.tar.gz")
    monkeypatch.setattr(CIFAR10, "url", f"{served}/cifar-10-python.tar.gz")
    assert len(load_dataset(data_config("cifar10", **settings)).train) == 40


def test_the_second_mirror_is_tried(layout, data_config, monkeypatch, tmp_path, served):
    settings = layout("mnist")
    for path in Path(settings["root"], "MNIST/raw").iterdir():
        path.rename(tmp_path / "served" / path.name)
    monkeypatch.setattr(MNIST, "mirrors", [f"{served}/moved/", f"{served}/"])
    assert len(load_dataset(data_config("mnist", **settings)).train) == 30


def test_failed_download_explains_what_to_do(data_config, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    closed = "http://127.0.0.1:9/"
    monkeypatch.setattr(CIFAR10, "url", f"{closed}cifar-10-python.tar.gz")
    monkeypatch.setattr(MNIST, "mirrors", [closed])
    for name, archive in (("cifar10", "cifar-10-python.tar.gz"), ("mnist", "train-images-idx3-ubyte.gz")):
        for download, words in ((True, "download failed"), (False, "data.download=true")):
            with pytest.raises(UserError, match=words) as caught:
                load_dataset(data_config(name, root=str(tmp_path / name), download=download))
            message = str(caught.value)
            assert "\n" not in message
            assert f"put {archive}" in message
            assert closed in message
            assert str(tmp_path / name) in message


def test_read_only_folder_is_one_line(data_config, tmp_path):
    (tmp_path / ".download.lock").mkdir()  # fails like a read-only folder, even for root
    with pytest.raises(UserError, match=r"\.download\.lock: cannot be used: "):
        load_dataset(data_config("cifar10", root=str(tmp_path), download=True))


def test_incomplete_cifar_is_reported_and_repaired(layout, data_config):
    settings = layout("cifar10")
    load_dataset(data_config("cifar10", **settings))
    batch = Path(settings["root"], CIFAR10.base_folder, "data_batch_3")
    whole = batch.read_bytes()
    batch.write_bytes(whole[:1000])
    with pytest.raises(UserError, match="data_batch_3: incomplete"):
        load_dataset(data_config("cifar10", **settings, download=False))
    load_dataset(data_config("cifar10", **settings))
    assert batch.read_bytes() == whole


def test_incomplete_mnist_is_reported_and_repaired(layout, data_config):
    settings = layout("mnist")
    load_dataset(data_config("mnist", **settings))
    labels = Path(settings["root"], "MNIST/raw/t10k-labels-idx1-ubyte")
    whole = labels.read_bytes()
    labels.write_bytes(whole[:-3])
    with pytest.raises(UserError, match="t10k-labels-idx1-ubyte: incomplete"):
        load_dataset(data_config("mnist", **settings, download=False))
    load_dataset(data_config("mnist", **settings))
    assert labels.read_bytes() == whole


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("train-images-idx3-ubyte", (30,), "incomplete"),
        ("train-labels-idx1-ubyte", (30, 28, 28), "incomplete"),
        ("train-labels-idx1-ubyte", (0,), "incomplete"),
        ("t10k-images-idx3-ubyte", (10, 20, 28), "training images of 1 x 28 x 28 .*, test images of 1 x 20 x 28"),
    ],
)
def test_swapped_files_are_reported(layout, data_config, name, shape, message):
    settings = layout("mnist")
    load_dataset(data_config("mnist", **settings))
    header = bytes([0, 0, 8, len(shape)]) + np.array(shape, dtype=">u4").tobytes()
    Path(settings["root"], "MNIST/raw", name).write_bytes(header + bytes(int(np.prod(shape))))
    with pytest.raises(UserError, match=message):
        load_dataset(data_config("mnist", **settings, download=False))


@pytest.mark.parametrize("name", ["data_batch_2", "batches.meta"])
def test_batch_with_a_wrong_checksum_is_not_unpickled(layout, data_config, tmp_path, name):
    settings = layout("cifar10")
    load_dataset(data_config("cifar10", **settings))
    Path(settings["root"], "cifar-10-python.tar.gz").unlink()
    Path(settings["root"], CIFAR10.base_folder, name).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(UserError, match=f"{name}: incomplete"):
        load_dataset(data_config("cifar10", **settings, download=False))
    assert not (tmp_path / "sprung").exists()


def test_archive_with_a_wrong_checksum_is_not_unpacked(layout, data_config, monkeypatch, tmp_path, served):
    settings = layout("cifar10")
    monkeypatch.setattr(CIFAR10, "tgz_md5", "0" * 32)
    shutil.copy(Path(settings["root"], "cifar-10-python.tar.gz"), tmp_path / "served")
    monkeypatch.setattr(CIFAR10, "url", f"{served}/cifar-10-python.tar.gz")
    with pytest.raises(UserError, match="download failed"):
        load_dataset(data_config("cifar10", **settings))
    assert not Path(settings["root"], CIFAR10.base_folder).exists()


def test_human_labels_follow_the_selection(layout, data_config, tmp_path):
    settings = layout("cifar10")
    data = load_dataset(data_config("cifar10", **settings, limit=20))
    human = (data.found_labels + 1) % 10
    np.savez(tmp_path / "human.npz", clean_label=data.found_labels, worse_label=human)
    labels = read_human_labels(tmp_path / "human.npz", "worst", data.found_labels, data.num_classes)
    assert np.array_equal(labels[data.kept], (data.train.labels + 1) % 10)


def test_unknown_name_suggests_the_nearest(data_config):
    with pytest.raises(UserError, match="did you mean 'cifar10'"):
        load_dataset(OmegaConf.merge(data_config("cifar10"), {"name": "cifar1O"}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mean": [0.5]}, "both be given, or both be null"),
        ({"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}, "must be 1 number"),
        ({"mean": [128], "std": [50]}, "data.mean must be a list in which each is a number >= 0 and <= 1"),
        ({"mean": [0.5], "std": [0.0]}, "data.std"),
    ],
)
def test_bad_mean_and_std_are_refused(data_config, settings, message):
    with pytest.raises(UserError, match=message):
        load_dataset(data_config("digits", **settings))


def test_cifar10_as_one_file(data_config: Callable[..., DictConfig], tmp_path: Path) -> None:
    """Presets and flips apply to data from one file too; another number of classes is refused."""
    labels = np.arange(40) % 10
    pictures = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    content = {"x_train": pictures, "y_train": labels, "x_test": pictures[:20], "y_test": labels[:20]}
    np.savez(tmp_path / "c.npz", **content)
    found = load_dataset(data_config("cifar10", file=str(tmp_path / "c.npz")))
    np.testing.assert_array_equal(found.train.labels, labels)
    assert found.mean[0] == pytest.approx(0.4914, abs=1e-4)
    np.savez(tmp_path / "d.npz", **{**content, "y_train": labels % 5, "y_test": labels[:20] % 5})
    with pytest.raises(UserError, match=r"d\.npz: labels of 5 classes, data=cifar10 has 10"):
        load_dataset(data_config("cifar10", file=str(tmp_path / "d.npz")))
