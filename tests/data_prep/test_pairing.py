"""Which image belongs to which mask, whatever the files are called, and what is said of those left over."""

import numpy as np
import pytest
from PIL import Image

from data_prep.layouts import find_dataset, find_pairs, usual_folders
from data_prep.pairing import MASK_ENDINGS, image_files, match
from data_prep.prep_command import main
from seg_anl.records import UserError

GRAY = np.full((6, 8), 90, np.uint8)
SQUARE = np.pad(np.full((2, 2), 255, np.uint8), ((2, 2), (3, 3)))


def put(folder, *names, picture=GRAY):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)


def found(root, images="images", masks="masks"):
    matched = match(root / images, root / masks, "train")
    return {pair.item: pair.mask.open().relative_to(root / masks).as_posix() for pair in matched.pairs}, matched


@pytest.mark.parametrize("ending", ["", "_segmentation", "_mask", "_seg", "_label"])
def test_a_mask_is_found_under_any_usual_name(tmp_path, ending):
    names = {
        item: f"{item}{ending}{suffix}" for item, suffix in zip("abcd", (".png", ".PNG", ".bmp", ".tif"), strict=True)
    }
    put(tmp_path / "images", *(f"{item}.jpg" for item in names))
    put(tmp_path / "masks", *names.values())
    pairs, matched = found(tmp_path)
    assert pairs == names
    assert (matched.faults, matched.spare, matched.foreign) == ([], [], [])


@pytest.mark.parametrize("ending", MASK_ENDINGS)
def test_side_by_side_the_ending_tells_a_mask_from_an_image(tmp_path, ending):
    put(tmp_path, "a.png", f"a{ending}.png", "a_superpixels.png", "deeper/a.png", f"deeper/a{ending}.png")
    pairs, matched = found(tmp_path, ".", ".")
    assert pairs == {"a": f"a{ending}.png", "deeper/a": f"deeper/a{ending}.png"}
    assert (matched.images, matched.superpixels) == (2, 1)


def test_an_image_that_is_itself_called_like_a_mask_keeps_its_own(tmp_path):
    put(tmp_path / "images", "scan.png", "scan_label.png", "scan_seg.png")
    put(tmp_path / "masks", "scan_mask.png", "scan_label.png", "scan_seg_mask.png")
    expected = {"scan": "scan_mask.png", "scan_label": "scan_label.png", "scan_seg": "scan_seg_mask.png"}
    assert found(tmp_path)[0] == expected


def test_pairs_are_sorted_by_item_as_a_run_keeps_their_masks(tmp_path):
    for folder in ("images", "masks"):
        put(tmp_path / folder, "p/a.png", "p-2/a.png", "scan.png", "scan (1).png")
    assert [*found(tmp_path)[0]] == ["p-2/a", "p/a", "scan", "scan (1)"]


def test_what_systems_leave_behind_is_passed_over(tmp_path):
    put(tmp_path / "images", "a.png", "._a.png", ".hidden/b.png")
    put(tmp_path / "masks", "a.png", "._a.png")
    for name in ("Thumbs.db", ".DS_Store", "metadata.csv"):
        (tmp_path / "images" / name).write_text("")
    pairs, matched = found(tmp_path)
    assert pairs == {"a": "a.png"}
    assert (matched.faults, matched.spare, matched.foreign) == ([], [], [])
    put(tmp_path / "images", "a_superpixels.png")
    assert image_files(tmp_path / "images") == [tmp_path / "images/a.png"]


def test_everything_that_has_no_partner_is_named(tmp_path):
    put(tmp_path / "images", "a.jpg", "a.k.png", "a.png", "alone.png")
    put(tmp_path / "masks", "a.png", "a_seg.png", "a.k.png", "orphan.png")
    (tmp_path / "masks/notes.txt").write_text("")
    pairs, matched = found(tmp_path)
    assert pairs == {"a": "a.png", "a.k": "a.k.png"}
    alone, same = matched.alone + matched.faults
    assert alone.startswith(f"{tmp_path}/images/alone.png: no mask for it in {tmp_path}/masks; expected alone.png")
    assert same == f"{tmp_path}/images/a.jpg and {tmp_path}/images/a.png have the same id 'a'; rename one"
    assert matched.spare == [
        f"{tmp_path}/masks/a.png and {tmp_path}/masks/a_seg.png have the same id 'a'; rename one",
        f"{tmp_path}/masks/orphan.png: no image for it in {tmp_path}/images",
    ]
    assert [line.split(": ")[0] for line in matched.foreign] == [f"{tmp_path}/masks/notes.txt"]


def test_missing_and_empty_folders_are_faults(tmp_path):
    assert match(tmp_path / "i", tmp_path / "m", "train").faults == [
        f"{tmp_path}/{folder}: no such folder" for folder in "im"
    ]
    (tmp_path / "i").mkdir()
    (tmp_path / "m").mkdir()
    assert match(tmp_path / "i", tmp_path / "m", "train").faults[0].startswith(f"{tmp_path}/i: no images in it")


@pytest.mark.parametrize("pattern", ["images/{}", "{}/images"])
@pytest.mark.parametrize("splits", [["train", "test"], ["train", "validation"], ["train", "validation", "test"]])
def test_a_divided_folder_is_found_in_both_orders(tmp_path, pattern, splits):
    for split in splits:
        put(tmp_path / pattern.format(split), "a.png")
        put(tmp_path / pattern.replace("images", "masks").format(split), "a.png", picture=SQUARE)
    assert list(usual_folders(tmp_path)) == splits
    assert [(pair.split, pair.item) for pair in find_dataset(tmp_path).pairs] == [(split, "a") for split in splits]


def test_nnunet_takes_a_folder_of_ones_own(tmp_path, command):
    put(tmp_path / "own/images", "a.png", "b.png")
    put(tmp_path / "own/masks", "a_mask.png", "b_mask.png", picture=SQUARE)
    (tmp_path / "own/images/license.txt").write_text("")
    status, said, _ = command(main, "nnunet", tmp_path / "own", tmp_path / "raw", "--id", 9, "--name", "Own")
    assert status == 0
    assert "train: 2 images; 1 other files left out" in said
    label = np.array(Image.open(tmp_path / "raw/Dataset009_Own/labelsTr/b.png"))
    np.testing.assert_array_equal(label, SQUARE // 255)


def test_nnunet_has_no_sub_folders_but_a_clean_folder_may(tmp_path, command):
    root = tmp_path / "isic"
    put(root / "ISIC-2017_Training_Data", "a.jpg", "deeper/b.jpg")
    put(root / "ISIC-2017_Training_Part1_GroundTruth", "a_segmentation.png", "deeper/b_segmentation.png")
    assert command(main, "isic2017", root, tmp_path / "out", "--size", "original")[0] == 0
    assert (tmp_path / "out/masks/train/deeper/b.png").is_file()
    status, _, said = command(main, "nnunet", root, tmp_path / "raw", "--id", 9, "--name", "Own")
    assert status == 2
    assert "deeper/b.jpg lies in a sub-folder" in said


def test_images_of_one_name_in_two_splits_do_not_overwrite_each_other(tmp_path, command):
    for number, split in enumerate(("train", "validation", "test")):
        put(tmp_path / "own", f"{split}/images/a.png", picture=GRAY + np.arange(8, dtype=np.uint8) * number)
        put(tmp_path / "own", f"{split}/masks/a.png", picture=SQUARE)
    status, _, said = command(main, "nnunet", tmp_path / "own", tmp_path / "raw", "--id", 9, "--name", "Own")
    assert status == 2
    assert "validation/images/a.png and " in said
    assert "test/images/a.png would both be the case a; rename one" in said


@pytest.mark.parametrize(("split", "item"), [("train", "../../b"), ("/tmp", "b"), ("..", "b")])
def test_a_table_cannot_name_places_outside(tmp_path, split, item):
    put(tmp_path, "a.png")
    (tmp_path / "split.csv").write_text(f"id,split,image,mask\n{item},{split},a.png,a.png\n")
    with pytest.raises(UserError, match=rf"split.csv: '{split}/{item}' leads out of its folder"):
        find_dataset(tmp_path)


@pytest.mark.parametrize("named", [{"masks": "gt"}, {"images": "images"}, {"test_masks": "gt"}])
def test_a_folder_named_without_its_partner_is_refused(tmp_path, named):
    put(tmp_path, "images/a.png", "images/b.png")
    put(tmp_path, *(f"{folder}/{name}.png" for folder in ("masks", "gt") for name in "ab"), picture=SQUARE)
    with pytest.raises(UserError, match=r"data.images and data.masks go together, and so do"):
        find_pairs("folder", 0, root=tmp_path, **named)
