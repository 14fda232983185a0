"""Mask files of many kinds: what is kept, and what is said of unreadable ones."""

import os
import struct

import nibabel
import numpy as np
import pytest
from PIL import Image

from data_prep.mask_files import load_mask, mask_paths, save_mask
from data_prep.noise_command import main
from seg_anl.records import UserError
from tests.data_prep.conftest import ellipse

# Bytes of a NIfTI-1 header.
PIXDIM, SCALING, UNITS, SFORM = slice(80, 92), slice(112, 120), slice(123, 124), slice(280, 328)


def volume():
    labels = np.zeros((24, 26, 10), np.uint8)
    labels[ellipse(labels.shape, (9, 9, 4))] = 100
    labels[ellipse(labels.shape, (4, 4, 2))] = 200
    return labels


def nifti(path, array, header=()):
    """A NIfTI file with bytes of its header replaced."""
    image = nibabel.Nifti1Image(array, np.diag([0.5, 0.5, 2.0, 1.0]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    raw = bytearray(path.read_bytes())
    for place, content in header:
        raw[place] = content
    path.write_bytes(raw)
    return path


def noisy(command, source, target, kind="erode", *more):
    return command(main, "masks", source, target, "--alpha", 1, "--beta", 0.5, "--kinds", kind, *more)


@pytest.mark.parametrize(("slope", "inter"), [(2.0, 0.0), (-1.0, 200.0), (0.25, -10.0)])
def test_labels_beyond_the_stored_type_come_back_through_the_scaling(tmp_path, command, slope, inter):
    # Stored 200 as uint8 with slope 2 is label 400, which uint8 cannot hold.
    source = tmp_path / "source"
    source.mkdir()
    raw = np.full(volume().shape, -inter / slope).astype(np.uint8)  # what stands for label 0
    raw[volume() == 100], raw[volume() == 200] = 60, 140
    path = nifti(source / "case.nii", raw, [(SCALING, struct.pack("<2f", slope, inter))])
    values = {0.0, 60 * slope + inter, 140 * slope + inter}
    assert set(np.unique(nibabel.load(path).get_fdata())) == values
    status, _, said = noisy(command, source, tmp_path / "t", "erode", "--no-distances")
    assert (status, said) == (0, "")
    after = nibabel.load(tmp_path / "t" / "case.nii")
    assert set(np.unique(after.get_fdata())) == values
    assert (after.get_fdata() != nibabel.load(path).get_fdata()).any()
    assert (after.dataobj.slope, after.dataobj.inter, after.get_data_dtype()) == (slope, inter, np.uint8)


def test_scaled_numbers_that_cannot_be_background_are_refused(tmp_path, command):
    source = tmp_path / "source"
    source.mkdir()
    nifti(source / "case.nii", volume(), [(SCALING, struct.pack("<2f", 1.0, 1.0))])  # 0 would be stored as -1
    status, _, said = noisy(command, source, tmp_path / "t")
    assert status == 2
    assert "case.nii: its uint8 numbers, scaled by 1 and shifted by 1, cannot be 0" in said
    assert not list((tmp_path / "t").glob("*.nii"))


def test_a_damaged_affine_is_carried_over_and_stops_nothing(tmp_path, command):
    source = tmp_path / "source"
    source.mkdir()
    nifti(source / "case.nii", volume(), [(SFORM, struct.pack("<12f", *[float("nan")] * 12))])
    nifti(source / "other.nii", volume())
    assert noisy(command, source, tmp_path / "t", "dilate", "--no-distances")[0] == 0
    assert (tmp_path / "t" / "case.nii").read_bytes()[:348] == (source / "case.nii").read_bytes()[:348]


@pytest.mark.parametrize(("unit", "in_mm"), [(0, 1.0), (1, 1000.0), (2, 1.0), (3, 0.001)])  # unknown, m, mm, micron
def test_voxel_sizes_are_millimeters_whatever_the_file_counts_in(tmp_path, unit, in_mm):
    path = nifti(tmp_path / "case.nii", volume(), [(UNITS, bytes([unit]))])
    assert load_mask(path).spacing == pytest.approx((0.5 * in_mm, 0.5 * in_mm, 2.0 * in_mm))


def test_a_voxel_size_that_is_no_number_is_none(tmp_path):
    path = nifti(tmp_path / "case.nii", volume(), [(PIXDIM, struct.pack("<3f", float("nan"), 1, 1))])
    assert load_mask(path).spacing is None


def test_a_png_keeps_the_orientation_that_viewers_turn_it_by(tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(volume()[:, :, 5]).save(tmp_path / "a.png", exif=tags)
    mask = load_mask(tmp_path / "a.png")
    save_mask(mask, mask.array // 2, tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as after:
        assert after.getexif()[0x0112] == 6
        np.testing.assert_array_equal(np.array(after), volume()[:, :, 5] // 2)


def test_names_that_are_not_utf8_are_named(tmp_path):
    try:
        with open(os.fsencode(tmp_path) + b"/L\xe4sion.png", "wb"):
            pass
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    with pytest.raises(UserError, match="the name is not UTF-8"):
        mask_paths(tmp_path)


def test_an_empty_pattern_is_one_line(mask_folder, tmp_path, command):
    status, _, said = noisy(command, mask_folder, tmp_path / "t", "erode", "--only", "")
    assert (status, said.count("\n")) == (2, 1)
    assert "empty" in said
