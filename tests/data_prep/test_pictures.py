"""Pictures and masks as they come: orientation, pages, odd numbers, and what is no file at all."""

import contextlib
import io
import os
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_prep.label_noise import read_human_labels
from data_prep.mask_files import load_mask
from data_prep.noise_command import main as noise
from data_prep.pictures import read_image, read_labels, read_mask, two_valued
from data_prep.prep_command import main as prep
from seg_anl.records import UserError
from seg_anl.records.array_files import read_array, read_matrix

SQUARE = np.pad(np.full((2, 2), 255, np.uint8), ((2, 2), (3, 3)))
# How viewers turn what is stored, by the tag's number (EXIF 2.3, section 4.6.4 A).
TURNS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
    8: np.rot90,
}


def save(path, array, orientation=1):
    tags = Image.Exif()
    tags[0x0112] = orientation
    Image.fromarray(array).save(path, exif=tags)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_images_and_masks_come_upright(tmp_path, suffix):
    photo = np.random.default_rng(0).integers(0, 255, (6, 9, 3)).astype(np.uint8)
    for orientation, turned in TURNS.items():
        image, _ = read_image(save(tmp_path / f"a{suffix}", photo, orientation), "a")
        np.testing.assert_array_equal(image, turned(photo))
        mask = read_mask(save(tmp_path / f"m{suffix}", photo[..., 0] // 100, orientation), "m", classes=3)
        np.testing.assert_array_equal(mask, turned(photo[..., 0]) // 100)


def test_a_jpeg_comes_as_opencv_reads_it(tmp_path):
    photo = np.random.default_rng(0).integers(0, 255, (16, 24)).astype(np.uint8)
    for orientation in TURNS:
        path = save(tmp_path / "a.jpg", photo, orientation)
        np.testing.assert_allclose(read_image(path, "a", "L")[0].astype(int), cv2.imread(str(path), 0), atol=2)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_damaged_tags_and_headers_are_one_line_or_do_no_harm(form):
    tags, stored, random = Image.Exif(), io.BytesIO(), np.random.RandomState(0)
    tags[0x0112], tags[0x010F] = 6, "maker"
    Image.new("RGB", (8, 6)).save(stored, form, exif=tags)
    for _ in range(100):
        damaged = bytearray(stored.getvalue())
        for place in random.randint(min(len(damaged), 260), size=3):
            damaged[place] = random.randint(256)
        with contextlib.suppress(UserError):
            assert read_image(io.BytesIO(bytes(damaged)), "x")[0].ndim == 3


@pytest.mark.parametrize(
    ("name", "form", "words"),
    [
        ("a.tif", "TIFF", "2 pages or frames in one file"),
        ("a.png", "PNG", "2 pages or frames in one file"),
        ("a.webp", "WEBP", "2 pages or frames in one file"),
        ("a.png", "GIF", "not an image (PNG"),
    ],
)
def test_several_pages_and_other_kinds_under_a_known_name_are_refused(tmp_path, command, name, form, words):
    frames = [Image.fromarray(SQUARE), Image.fromarray(SQUARE // 2)]
    frames[0].save(tmp_path / name, format=form, save_all=True, append_images=frames[1:])
    for read in (read_image, read_labels):
        with pytest.raises(UserError) as caught:
            read(tmp_path / name, "it")
        assert words in str(caught.value)
    if name == "a.png":
        status, _, said = command(noise, "masks", tmp_path, tmp_path.parent / "t", "--alpha", 1, "--beta", 0.5)
        assert status == 2
        assert words in said


def test_a_photo_with_its_preview_is_a_photo(tmp_path):
    photo = Image.fromarray(np.full((8, 8, 3), 90, np.uint8))
    photo.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[photo])
    assert read_image(tmp_path / "a.jpg", "a")[0].shape == (8, 8, 3)


@pytest.mark.parametrize("value", [1.7, np.nan, np.inf])
def test_a_mask_of_numbers_that_are_no_labels_is_refused(tmp_path, value):
    array = SQUARE.astype(np.float32) / 255
    Image.fromarray(array).save(tmp_path / "good.tif")
    assert read_mask(tmp_path / "good.tif", "m", classes=3).sum() == 4
    array[0, 0] = value
    path = tmp_path / "m.tif"
    Image.fromarray(array).save(path)
    for options in ({"classes": 3}, {"classes": 2}, *([] if value == 1.7 else [{"threshold": 0.5}])):
        with pytest.raises(UserError, match=r"^m: the mask holds fractions or values that are not finite"):
            read_mask(path, "m", **options)
    assert value != 1.7 or read_mask(path, "m", threshold=0.5).sum() == 5


@pytest.mark.parametrize("what", ["fifo", "socket", "device", "folder", "missing", "a NUL", "a long name"])
def test_only_regular_files_are_opened(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    readers = {
        "x.png": [lambda path: read_image(path, "x"), lambda path: read_labels(path, "x"), load_mask],
        "x.nii": [load_mask],
        "x.npy": [read_array, load_mask],
        "x.csv": [read_matrix],
        "x.pt": [lambda path: read_human_labels(path, "worst", np.zeros(3, int), 10)],
    }
    for name, each in readers.items():
        if what == "fifo":
            os.mkfifo(name)
        elif what == "socket":
            socket.socket(socket.AF_UNIX).bind(name)
        elif what == "device":
            os.symlink("/dev/zero", name)
        elif what == "folder":
            os.mkdir(name)
        for read in each:
            with pytest.raises(UserError, match="cannot be read"):
                read(Path({"a NUL": "\0", "a long name": "x" * 300}.get(what, "") + name))


def test_names_that_no_file_can_have_are_one_line(tmp_path, command, mask_folder):
    long = tmp_path / ("x" * 300)
    settings = ["--alpha", 1, "--beta", 0.5]
    for main, arguments in (
        (noise, ["masks", long, tmp_path / "t", *settings]),
        (noise, ["masks", mask_folder, long, *settings]),
        (noise, ["labels", f"{long}.npy", tmp_path / "t", "--kind", "symmetric", "--rate", 0.1]),
        (prep, ["isic2017", long, tmp_path / "t"]),
        (prep, ["nnunet", mask_folder, long, "--id", 1, "--name", "a"]),
        (prep, ["nnunet", mask_folder, tmp_path / "t", "--id", 1, "--name", "x/../../../OUTSIDE"]),
    ):
        status, _, said = command(main, *arguments)
        assert (status, said.count("\n")) == (2, 1), arguments


def test_names_that_are_not_utf8_are_named(tmp_path, command):
    try:
        with open(os.fsencode(tmp_path) + b"/L\xe4sion.png", "wb"):
            pass
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    for main, arguments in (
        (noise, ["masks", tmp_path, tmp_path.parent / "t", "--alpha", 1, "--beta", 0.5]),
        (prep, ["nnunet", tmp_path, tmp_path.parent / "t", "--id", 1, "--name", "a"]),
    ):
        status, _, said = command(main, *arguments)
        assert status == 2
        assert "the name is not UTF-8" in said


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I", "I;16"])
def test_a_mask_means_the_same_in_every_mode(tmp_path, mode):
    black_and_white = Image.fromarray(SQUARE)
    if mode == "I;16":
        picture = Image.fromarray(SQUARE.astype(np.uint16))
    elif mode == "P":
        picture = Image.fromarray(np.minimum(SQUARE, 1))
        picture.putpalette([0, 0, 0, 0, 0, 1])  # as gray this color is black
    else:
        picture = black_and_white.convert(mode)
    path = tmp_path / ("m.tif" if mode == "I" else "m.png")
    picture.save(path)
    assert Image.open(path).mode == mode
    np.testing.assert_array_equal(two_valued(read_labels(path, "m"), "m"), SQUARE > 0)


@given(st.lists(st.integers(0, 255), min_size=1, max_size=30))
def test_a_mask_has_at_most_one_value_beside_zero(values):
    labels = np.array([values], np.uint8)
    if len(set(values) - {0}) > 1:
        with pytest.raises(UserError, match=f"^m: a mask with {len(set(values))} values"):
            two_valued(labels, "m")
    else:
        assert two_valued(labels, "m").tolist() == [[int(value > 0) for value in values]]


def test_what_pillow_cannot_convert_is_one_line(tmp_path):
    Image.new("LAB", (4, 4)).save(tmp_path / "lab.tif")
    for read in (
        lambda: read_image(tmp_path / "lab.tif", "lab", "L"),
        lambda: read_labels(tmp_path / "lab.tif", "lab"),
    ):
        with pytest.raises(UserError, match=r"^lab: cannot be read: .*LAB"):
            read()
