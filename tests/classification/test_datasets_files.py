"""Data sets in image files: real layouts, and errors for damaged ones."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import ImageFolder

from classification.datasets import Dataset, FileImages, fingerprints, load_dataset
from data_prep.pairing import IMAGE_SUFFIXES
from seg_anl.records import UserError


def names(data: Dataset, split: str = "train") -> list[str]:
    images = data.train.images if split == "train" else data.tests[split].images
    assert isinstance(images, FileImages)
    return [path.name for path in images.paths]


def test_webvision_follows_its_lists(layout, data_config):
    data = load_dataset(data_config("webvision", **layout("webvision")))
    assert names(data) == [f"image_{i}.jpg" for i in range(12) if i % 3 < 2]
    assert data.train.labels.tolist() == [0, 1] * 4
    assert list(data.tests) == ["test", "ilsvrc12"]
    assert names(data, "test") == [f"val{i + 1:06d}.jpg" for i in (0, 1, 3, 4)]
    assert data.tests["test"].labels.tolist() == [0, 1, 0, 1]
    # Label 0 is the first synset in alphabetical order, in ImageNet and WebVision.
    assert names(data, "ilsvrc12") == [f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(4)]
    assert data.tests["ilsvrc12"].labels.tolist() == [0, 0, 1, 1]
    assert data.classes == ("n01440764", "n01443537")
    assert not data.labels_are_clean


def test_webvision_in_other_folders(layout, data_config):
    settings = layout("webvision")
    root = Path(settings["root"])
    file_list = root / "info/train_filelist_google.txt"
    file_list.write_text(file_list.read_text().replace("google/", ""))  # relative to the folder of the Google images
    (root / "val_images_256").rename(root / "val_images")
    data = load_dataset(data_config("webvision", **settings | {"imagenet_root": None}))
    assert list(data.tests) == ["test"]
    assert (len(data.train), len(data.tests["test"])) == (8, 4)


def test_webvision_count_is_checked(layout, data_config):
    settings = layout("webvision")
    with pytest.raises(UserError, match=r"8 images of the first 2 classes, but data.expected_count=65944"):
        load_dataset(data_config("webvision", **{**settings, "expected_count": 65944}))
    assert data_config("webvision").expected_count == 65944
    load_dataset(data_config("webvision", **{**settings, "expected_count": None}))


def test_animal10n_reads_labels_from_names(layout, data_config):
    data = load_dataset(data_config("animal10n", **layout("animal10n")))
    assert [int(name[0]) for name in names(data)] == data.train.labels.tolist()
    assert np.bincount(data.train.labels).tolist() == [2] * 10
    assert data.tests["test"].labels.tolist() == list(range(10))
    assert data.classes[5] == "jaguar"
    assert not data.labels_are_clean


def test_animal10n_in_raw_image(layout, data_config, tmp_path):
    settings = layout("animal10n")
    Path(settings["root"]).rename(tmp_path / "raw_image")
    assert len(load_dataset(data_config("animal10n", root=str(tmp_path))).train) == 20


def test_clothing1m_follows_its_lists(layout, data_config):
    settings = layout("clothing1m")
    data = load_dataset(data_config("clothing1m", **settings))
    assert names(data) == [f"noisy_train,{i}.jpg" for i in reversed(range(12))]
    assert data.train.labels.tolist() == [i % 3 for i in reversed(range(12))]
    # The validation split comes first and determines the best epoch.
    assert {name: len(split) for name, split in data.tests.items()} == {"validation": 6, "test": 3}
    assert data.tests["test"].labels.tolist() == [2, 1, 0]
    assert data.classes == ("T-Shirt", "Shirt", "Down Coat")
    assert not data.labels_are_clean
    annotations = Path(settings["root"]) / "annotations"
    annotations.mkdir()
    for path in Path(settings["root"]).glob("*.txt"):
        path.rename(annotations / path.name)
    assert names(load_dataset(data_config("clothing1m", **settings))) == names(data)


def test_imagenet_with_class_folders(layout, data_config):
    settings = layout("imagenet")
    data = load_dataset(data_config("imagenet", **settings))
    reference = ImageFolder(Path(settings["root"]) / "train")
    assert [(str(path), label) for path, label in zip(data.train.images.paths, data.train.labels, strict=True)] == (
        reference.samples
    )
    assert data.tests["test"].labels.tolist() == [0, 1, 2]
    assert len(load_dataset(data_config("imagenet", **settings, classes=2)).train) == 4
    with pytest.raises(UserError, match="from 2 to 3"):
        load_dataset(data_config("imagenet", **settings, classes=1000))


@pytest.mark.parametrize("mapping", ["LOC_val_solution.csv", "val.txt"])
def test_imagenet_with_flat_validation_images(layout, data_config, mapping):
    settings = layout("imagenet")
    root = Path(settings["root"])
    flat = sorted((root / "val").glob("*/*"))
    rows = []
    for label, path in enumerate(flat):
        synset = path.parent.name
        # Kaggle's lines are unsorted, and boxes follow the synset.
        csv = f"{path.stem},{synset} 12 34 56 78 {synset} 1 2 3 4 "
        rows.insert(0, csv if mapping.endswith("csv") else f"{path.name} {label}")
        shutil.move(path, root / "val" / path.name)
        path.parent.rmdir()
    if mapping.endswith("csv"):
        rows.insert(0, "ImageId,PredictionString")
        (root / "ILSVRC/Data/CLS-LOC").mkdir(parents=True)
        for folder in ("train", "val"):
            (root / folder).rename(root / "ILSVRC/Data/CLS-LOC" / folder)
    else:
        with pytest.raises(UserError, match=r"no class folders, and no LOC_val_solution\.csv or val\.txt"):
            load_dataset(data_config("imagenet", **settings))
    (root / mapping).write_text("\n".join(rows) + "\n")
    data = load_dataset(data_config("imagenet", **settings))
    assert names(data, "test") == [path.name for path in flat]
    assert data.tests["test"].labels.tolist() == [0, 1, 2]


def test_imagefolder(layout, data_config):
    settings = layout("imagefolder")
    root = Path(settings["root"])
    data = load_dataset(data_config("imagefolder", **settings))
    reference = ImageFolder(root / "train")
    assert [str(path) for path in data.train.images.paths] == [path for path, _ in reference.samples]
    assert data.train.labels.tolist() == reference.targets
    assert data.classes == ("benign", "malignant")
    assert list(data.tests) == ["test"]
    assert data.remark.endswith("tested on test")
    for name in ("train/benign/phone.heic", "train/unsorted.png", "train/.hidden", "test/malignant/list.csv"):
        (root / name).touch()
    data = load_dataset(data_config("imagefolder", **settings))
    assert [str(path) for path in data.train.images.paths] == [path for path, _ in reference.samples]
    assert data.remark.endswith("tested on test; 3 other files left out")
    shutil.copytree(root / "test", root / "val")
    shutil.rmtree(root / "test" / "benign")
    both = load_dataset(data_config("imagefolder", **settings))
    assert {name: split.labels.tolist() for name, split in both.tests.items()} == {"validation": [0, 1], "test": [1]}
    shutil.rmtree(root / "test")
    alone = load_dataset(data_config("imagefolder", **settings))
    assert {name: split.labels.tolist() for name, split in alone.tests.items()} == {"test": [0, 1]}


def test_hidden_folders_are_skipped(layout, data_config):
    settings = layout("imagefolder")
    before = names(load_dataset(data_config("imagefolder", **settings)))
    for path in sorted(Path(settings["root"], "train").rglob("*.*")):
        (path.parent / ".ipynb_checkpoints").mkdir(exist_ok=True)
        shutil.copy(path, path.parent / ".ipynb_checkpoints" / f"{path.stem}-checkpoint{path.suffix}")
    assert names(load_dataset(data_config("imagefolder", **settings))) == before


def test_link_cycle_is_refused(layout, data_config):
    settings = layout("imagefolder")
    before = names(load_dataset(data_config("imagefolder", **settings)))
    loop = Path(settings["root"], "train", "benign", "again")
    loop.symlink_to(loop.parent)
    with pytest.raises(UserError, match="again is a link to a folder above it"):
        load_dataset(data_config("imagefolder", **settings))
    loop.unlink()
    # Other links are followed.
    elsewhere = Path(settings["root"]).parent / "elsewhere"
    loop.parent.rename(elsewhere)
    loop.parent.symlink_to(elsewhere)
    assert names(load_dataset(data_config("imagefolder", **settings))) == before


@pytest.mark.parametrize("content", [b"ImageId,PredictionString\n\xff\xfe,n01\n", b"ImageId\n" + b"x" * 200_000])
def test_error_names_a_damaged_kaggle_list(layout, data_config, content):
    settings = layout("imagenet")
    root = Path(settings["root"])
    for path in sorted((root / "val").glob("*/*")):
        shutil.move(path, root / "val" / path.name)
        path.parent.rmdir()
    (root / "LOC_val_solution.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"LOC_val_solution\.csv: (cannot be read: not UTF-8|damaged)") as caught:
        load_dataset(data_config("imagenet", **settings))
    assert "\n" not in str(caught.value)


def test_lists_saved_by_windows(layout, data_config):
    settings = layout("webvision")
    expected = names(load_dataset(data_config("webvision", **settings)))
    path = Path(settings["root"], "info/train_filelist_google.txt")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert names(load_dataset(data_config("webvision", **settings))) == expected


def test_limits_on_images_in_files(layout, data_config):
    data = load_dataset(data_config("animal10n", **layout("animal10n"), limit=10, test_limit=3))
    assert data.train.labels.tolist() == sorted(data.train.labels.tolist())
    assert np.bincount(data.train.labels).tolist() == [1] * 10
    assert len(data.tests["test"]) == 3


DAMAGE = {
    "webvision": [
        ("info/train_filelist_google.txt", "no such file; incomplete download"),
        ("info/val_filelist.txt", "no such file; incomplete download"),
        ("google/q0001/image_0.jpg", r"image_0.jpg: missing, with 1 of the 8 images"),
        ("val_images_256/val000002.jpg", r"val000002.jpg: missing, with 1 of the 4 images"),
        ("google", "8 of the 8 images"),
        ("ilsvrc12/val/n01443537", "n01443537: no such folder"),
    ],
    "animal10n": [("training", "no folder training;"), ("testing", "no folder testing;")],
    "clothing1m": [
        ("noisy_train_key_list.txt", "noisy_label_kv.txt: no such file"),
        ("clean_label_kv.txt", "clean_label_kv.txt: no such file"),
        ("category_names_eng.txt", "category_names_eng.txt: no such file"),
        ("images", "12 of the 12 images"),
        ("images/3/03/noisy_train,3.jpg", "noisy_train,3.jpg: missing, with 1 of the 12"),
    ],
    "imagenet": [
        ("train", "no folder train;"),
        ("val", "no folder val;"),
        ("val/n01443537", "n01443537: no such folder"),
    ],
    "imagefolder": [
        ("train", "no folder train;"),
        ("test", "no folder test or val;"),
        ("train/malignant", "test/malignant: no such class in the training set"),
    ],
}


@pytest.mark.parametrize(("name", "path", "message"), [(n, *case) for n, cases in DAMAGE.items() for case in cases])
def test_error_names_missing_files(layout, data_config, name, path, message):
    settings = layout(name)
    target = Path(settings["root"]) / path
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink()
    with pytest.raises(UserError, match=message) as caught:
        load_dataset(data_config(name, **settings))
    assert "\n" not in str(caught.value)
    assert settings["root"] in str(caught.value)


def test_empty_class_folders(layout, data_config):
    settings = layout("imagenet")
    for path in Path(settings["root"], "train/n01443537").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"train/n01443537: no images \(\.png .*; incomplete download"):
        load_dataset(data_config("imagenet", **settings))


@pytest.mark.parametrize(
    ("name", "path", "line", "message"),
    [
        ("webvision", "info/train_filelist_google.txt", "google/q0001/image_0.jpg zero", "line 1 is"),
        ("webvision", "info/train_filelist_google.txt", "google/q0001/image_0.jpg", "line 1 is"),
        ("webvision", "info/train_filelist_google.txt", "google/q0001/image_0.jpg -1", "line 1 is"),
        ("webvision", "info/train_filelist_google.txt", "google/q0001/image_0.jpg 77", "no images of the first 2"),
        ("webvision", "info/train_filelist_google.txt", f"google/q0001/image_0.jpg {'9' * 5000}", "line 1 is"),
        ("webvision", "info/train_filelist_google.txt", f"{'x' * 300} 0", "x: missing, with 1 of the 1 images"),
        ("clothing1m", "category_names_eng.txt", "", "no classes; expected two or more"),
        ("clothing1m", "noisy_train_key_list.txt", "images/0/00/other.jpg", "no label for images/0/00/other.jpg"),
        ("clothing1m", "category_names_eng.txt", "T-Shirt\nShirt", "label 2 in the split 'train'"),
    ],
)
def test_lists_with_bad_lines(layout, data_config, name, path, line, message):
    settings = layout(name)
    Path(settings["root"], path).write_text(line + "\n")
    with pytest.raises(UserError, match=message):
        load_dataset(data_config(name, **settings))


def test_unexpected_file_in_animal10n(layout, data_config):
    settings = layout("animal10n")
    training = Path(settings["root"], "training")
    shutil.copy(training / "3_103.jpg", training / "cat.jpg")
    with pytest.raises(UserError, match=r"cat.jpg: expected a name LABEL_NUMBER.jpg"):
        load_dataset(data_config("animal10n", **settings))
    (training / "cat.jpg").rename(training / "11_1.jpg")
    with pytest.raises(UserError, match="label 11 in the split 'train'"):
        load_dataset(data_config("animal10n", **settings))


def test_mean_and_std_are_required_for_files(layout, data_config):
    with pytest.raises(UserError, match="must be given for images in files"):
        load_dataset(data_config("animal10n", **layout("animal10n"), mean=None, std=None))


def test_invalid_root(data_config, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for name in sorted(DAMAGE):
        for root, message in (
            ("", "data.root must be a path, got ''"),
            ("x" * 300, "is not a folder"),
            (str(tmp_path / "none"), "is not a folder"),
            (str(empty), f"{empty} is empty"),
        ):
            with pytest.raises(UserError, match=re.escape(message)):
                load_dataset(data_config(name, root=root))


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_file_names_that_are_not_valid_text(layout, data_config):
    settings = layout("imagefolder")
    folder = Path(settings["root"], "train", "benign")
    before = fingerprints(load_dataset(data_config("imagefolder", **settings)))
    shutil.copy(folder / "0.jpg", os.path.join(os.fsencode(folder), b"caf\xe9.jpg"))
    data = load_dataset(data_config("imagefolder", **settings))
    assert len(data.train) == 9
    assert fingerprints(data)["training images"] != before["training images"]


def test_image_suffixes_match_the_other_commands(layout, data_config):
    settings = layout("imagefolder")
    folder = Path(settings["root"], "train", "benign")
    for suffix in IMAGE_SUFFIXES:
        shutil.copy(folder / "0.jpg", folder / f"other{suffix.upper()}")
    shutil.copy(folder / "0.jpg", folder / "other.txt")
    assert len(load_dataset(data_config("imagefolder", **settings)).train) == 8 + len(IMAGE_SUFFIXES)
    assert ".ppm" in IMAGE_SUFFIXES  # used by traffic-sign and other old data sets
