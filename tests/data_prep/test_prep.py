"""``seg-anl-prep`` on folders laid out as the datasets are downloaded."""

import csv
import json
import random
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data_prep.conversion import write_clean_folder
from data_prep.duplicates import find_duplicates, fingerprint
from data_prep.layouts import find_dataset
from data_prep.prep_command import main
from data_prep.shenzhen import find_shenzhen
from tests.data_prep.conftest import ellipse

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "isic2017_256"


def photograph(seed, size=(60, 80)):
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 255, (6, 8, 3)).astype(np.uint8)
    return np.array(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))


def lesion(seed, size=(60, 80)):
    return ellipse(size, (8 + seed % 9, 20), (30, 40)).astype(np.uint8) * 255


@pytest.fixture
def isic(tmp_path):
    root = tmp_path / "isic"
    for split, first, count in (("Training", 0, 6), ("Validation", 6, 3)):
        images, masks = root / f"ISIC-2017_{split}_Data", root / f"ISIC-2017_{split}_Part1_GroundTruth"
        images.mkdir(parents=True)
        masks.mkdir()
        for number in range(first, first + count):
            Image.fromarray(photograph(number)).save(images / f"ISIC_{number:07d}.jpg", quality=92)
            Image.fromarray(photograph(99)).save(images / f"ISIC_{number:07d}_superpixels.png")
            Image.fromarray(lesion(number)).save(masks / f"ISIC_{number:07d}_segmentation.png")
    (root / "ISIC-2017_Training_Data" / "ISIC-2017_Training_Data_metadata.csv").write_text("image_id\n")
    return root


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_official_folders_become_a_clean_one(isic, tmp_path, command):
    status, said, _ = command(main, "isic2017", isic, tmp_path / "out", "--size", 32)
    assert status == 0
    assert "train: 6 images (2000 were published); 6 superpixel files left out" in said
    assert "test: not there" in said
    assert "no duplicates" in said
    rows = table(tmp_path / "out" / "split.csv")
    assert [row["split"] for row in rows] == ["train"] * 6 + ["validation"] * 3
    for row in rows:
        number = int(row["id"][5:])
        image, mask = (np.array(Image.open(tmp_path / "out" / row[key])) for key in ("image", "mask"))
        published = cv2.resize(np.minimum(lesion(number), 1), (32, 32), interpolation=cv2.INTER_NEAREST)
        np.testing.assert_array_equal(mask, published * 255)
        assert image.shape == (32, 32, 3)
        assert float(row["foreground"]) == pytest.approx(published.mean(), abs=1e-6)
        assert (row["source_width"], row["source_height"]) == ("80", "60")


def test_the_original_size_keeps_every_pixel(isic, tmp_path, command):
    command(main, "isic2017", isic, tmp_path / "out", "--size", "original")
    source = np.array(Image.open(isic / "ISIC-2017_Training_Data" / "ISIC_0000002.jpg"))
    np.testing.assert_array_equal(
        np.array(Image.open(tmp_path / "out" / "images" / "train" / "ISIC_0000002.png")), source
    )


def test_exact_and_near_duplicates_are_named_across_splits(isic, tmp_path, command):
    train, validation = (isic / f"ISIC-2017_{split}_Data" for split in ("Training", "Validation"))
    (validation / "ISIC_0000006.jpg").write_bytes((train / "ISIC_0000001.jpg").read_bytes())
    brighter = np.clip(photograph(2).astype(int) * 0.9 + 12, 0, 255).astype(np.uint8)
    Image.fromarray(brighter).save(validation / "ISIC_0000007.jpg", quality=60)
    status, said, _ = command(main, "isic2017", isic, tmp_path / "out", "--size", 32)
    assert status == 0
    assert "2 duplicates, 2 of them across splits" in said
    rows = table(tmp_path / "out" / "duplicates.csv")
    assert {(row["first"], row["item"], row["kind"]) for row in rows} == {
        ("ISIC_0000001", "ISIC_0000006", "exact"),
        ("ISIC_0000002", "ISIC_0000007", "near"),
    }
    same = {row["id"]: row["duplicate_of"] for row in table(tmp_path / "out" / "split.csv")}
    assert same["ISIC_0000006"] == "ISIC_0000001"
    assert sum(value != "" for value in same.values()) == 2


@pytest.mark.skipif(not REAL.is_dir(), reason="the real images are not here")
def test_the_known_duplicates_of_the_real_images_are_found():
    names = [
        "0012970",
        "0012127",
        "0012290",
        "0013594",
        "0012672",
        "0012673",
        "0000000",
        "0000001",
        "0000316",
        "0000374",
    ]
    prints = []
    for name in names:
        path = next(REAL.glob(f"ISIC-2017_*_Data/ISIC_{name}.jpg"))
        prints.append(fingerprint(name, "x", path, np.array(Image.open(path))))
    found = {(one.first, one.item, one.kind) for one in find_duplicates(prints)}
    assert found == {
        ("0012970", "0012127", "exact"),
        ("0012290", "0013594", "near"),
        ("0012672", "0012673", "near"),
    }


def spoil_everything(root):
    images, masks = root / "ISIC-2017_Training_Data", root / "ISIC-2017_Training_Part1_GroundTruth"
    (masks / "ISIC_0000000_segmentation.png").unlink()
    (images / "ISIC_0000001.jpg").unlink()
    path = images / "ISIC_0000002.jpg"
    path.write_bytes(path.read_bytes()[:400])
    Image.fromarray(lesion(3)[:50]).save(masks / "ISIC_0000003_segmentation.png")
    Image.fromarray(photograph(4)[..., 0]).save(masks / "ISIC_0000004_segmentation.png")
    (masks / "notes.txt").write_text("")


def test_every_missing_or_broken_file_is_named_and_can_be_skipped(isic, tmp_path, command):
    spoil_everything(isic)
    status, _, said = command(main, "isic2017", isic, tmp_path / "out")
    assert status == 2
    assert len([line for line in said.splitlines() if "error:" in line]) == 1
    assert "6 problems" in said
    problems = (tmp_path / "out" / "problems.txt").read_text()
    for name in ("ISIC_0000000", "ISIC_0000001", "ISIC_0000002", "ISIC_0000003", "ISIC_0000004", "notes.txt"):
        assert name in problems
    assert not (tmp_path / "out" / "split.csv").exists()
    assert command(main, "isic2017", isic, tmp_path / "out")[0] == 2  # not empty
    status, said, _ = command(main, "isic2017", isic, tmp_path / "out", "--skip-broken", "--overwrite")
    assert status == 0
    assert "1 train, 3 validation" in said
    (isic / "ISIC-2017_Validation_Data" / "ISIC_0000007.jpg").unlink()
    status, _, said = command(main, "isic2017", isic, tmp_path / "out", "--skip-broken", "--overwrite")
    assert (status, said.count("\n")) == (2, 1)
    assert "holds images/validation/ISIC_0000007.png, which this run would not replace" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["isic2017", "{tmp}/nowhere", "{tmp}/out"], "is not a folder"),
        (["isic2017", "{tmp}", "{tmp}/out"], "holds no folder ISIC-2017_Training_Data"),
        (["isic2017", "{isic}", "{isic}/out"], "overlap"),
        (["isic2017", "{isic}", "{tmp}/out", "--size", "0"], "--size"),
        (["shenzhen", "{isic}", "{tmp}/out"], "no images"),
        (["nnunet", "{isic}", "{tmp}/out", "--name", "X"], "--id"),
        (["nnunet", "{isic}", "{tmp}/out", "--id", "1", "--name", "x/../../../OUT"], "letters, digits"),
        (
            ["nnunet", "{isic}", "{tmp}/out", "--id", "1", "--name", "X", "--label", "background"],
            "means something else",
        ),
        (["mnist", "{isic}", "{tmp}/out"], "mnist"),
    ],
)
def test_wrong_calls_get_one_line_and_status_2(isic, tmp_path, command, arguments, words):
    status, _, said = command(main, *[text.format(tmp=tmp_path, isic=isic) for text in arguments])
    assert status == 2
    assert len(said.splitlines()) == 1
    assert words in said


@pytest.mark.parametrize("through_clean_folder", [False, True])
def test_an_nnunet_raw_dataset_that_nnunet_accepts(isic, tmp_path, command, through_clean_folder):
    source = isic
    if through_clean_folder:
        source = tmp_path / "clean"
        command(main, "isic2017", isic, source, "--size", "original")
    status, said, _ = command(main, "nnunet", source, tmp_path / "raw", "--id", 7, "--name", "Skin")
    assert status == 0
    folder = tmp_path / "raw" / "Dataset007_Skin"
    assert "6 cases in imagesTr, 3 in imagesTs" in said
    description = json.loads((folder / "dataset.json").read_text())
    assert description["numTraining"] == 6
    mask = np.array(Image.open(folder / "labelsTr" / "ISIC_0000004.png"))
    np.testing.assert_array_equal(mask, lesion(4) // 255)
    image = np.array(Image.open(folder / "imagesTr" / "ISIC_0000004_0000.png"))
    np.testing.assert_array_equal(image, np.array(Image.open(isic / "ISIC-2017_Training_Data" / "ISIC_0000004.jpg")))
    verify = pytest.importorskip("nnunetv2.experiment_planning.verify_dataset_integrity")
    verify.verify_dataset_integrity(str(folder), num_processes=1)


def test_shenzhen_is_split_as_published(tmp_path, command):
    root = tmp_path / "shenzhen"
    for folder in ("img", "mask"):
        (root / folder).mkdir(parents=True)
    names = [f"CHNCXR_{number:04d}_{number % 2}" for number in range(1, 21)]
    for number, name in enumerate(names):
        Image.fromarray(photograph(number)[..., 0]).save(root / "img" / f"{name}.png")
        if number < 17:
            Image.fromarray(lesion(number)).save(root / "mask" / f"{name}_mask.png")
    status, said, _ = command(main, "shenzhen", root, tmp_path / "out", "--size", 32)
    assert status == 0
    assert "3 images have no mask" in said
    rows = table(tmp_path / "out" / "split.csv")
    stream = random.Random(0)
    assert {row["id"] for row in rows if row["split"] == "test"} == set(stream.sample(names[:17], round(17 * 0.3)))
    assert np.array(Image.open(tmp_path / "out" / rows[0]["image"])).shape == (32, 32)
    (root / "img" / f"{names[0]}.png").unlink()
    assert any(names[0] in problem for problem in find_shenzhen(root).problems)


def test_a_duplicate_is_one_in_its_own_split_alone(tmp_path):
    for split, item, seed in (("train", "a", 1), ("train", "b", 1), ("test", "b", 2)):
        for folder, picture in (("images", photograph(seed)), ("masks", lesion(seed))):
            (tmp_path / folder / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(tmp_path / folder / split / f"{item}.png")
    rows, _ = write_clean_folder(find_dataset(tmp_path), tmp_path / "out", None)
    assert {(row["split"], row["id"]): row["duplicate_of"] for row in rows} == {
        ("train", "a"): "",
        ("train", "b"): "a",
        ("test", "b"): "",
    }
