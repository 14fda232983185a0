"""Mask files of many kinds: what is kept when their labels change, and what is said of unreadable ones."""

import struct

import nibabel
import numpy as np
import pytest
from PIL import Image

from data_prep.mask_files import load_mask, save_mask
from data_prep.mask_noise import add_mask_noise, label_values
from data_prep.noise_command import main
from seg_anl.records import array_digest
from seg_anl.records.foreign_files import read_json
from tests.data_prep.conftest import ellipse

# Bytes of a NIfTI-1 header.
PIXDIM, SCALING, UNITS, SFORM = slice(80, 92), slice(112, 120), slice(123, 124), slice(280, 328)
LABELS = np.zeros((40, 48), np.uint8)
LABELS[ellipse((40, 48), (12, 9), (20, 14))] = 1
LABELS[ellipse((40, 48), (11, 9), (20, 33))] = 3
PALETTE = [0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255] + [7] * 756


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


@pytest.fixture
def noisy(source, tmp_path, command):
    """Run the command on ``source``: status, the folder it wrote, and what it said of errors."""

    def run(kind="erode", *more):
        arguments = ["--alpha", 1, "--beta", 0.5, "--kinds", kind, *more]
        status, _, said = command(main, "masks", source, tmp_path / "t", *arguments)
        return status, tmp_path / "t", said

    return run


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


def volume():
    labels = np.zeros((24, 26, 10), np.uint8)
    labels[ellipse(labels.shape, (9, 9, 4))] = 100
    labels[ellipse(labels.shape, (4, 4, 2))] = 200
    return labels


@pytest.mark.parametrize(("slope", "inter"), [(0.5, 0.0), (2.0, 0.0), (-1.0, 200.0), (0.25, -10.0)])
def test_labels_beyond_the_stored_type_come_back_through_the_scaling(source, noisy, slope, inter):
    # Stored 200 as uint8 with slope 2 is label 400, which uint8 cannot hold.
    raw = np.full(volume().shape, -inter / slope).astype(np.uint8)  # what stands for label 0
    raw[volume() == 100], raw[volume() == 200] = 60, 140
    path = nifti(source / "case.nii", raw, [(SCALING, struct.pack("<2f", slope, inter))])
    before = nibabel.load(path).get_fdata()
    assert set(np.unique(before)) == {0.0, 60 * slope + inter, 140 * slope + inter}
    status, target, said = noisy("erode", "--no-distances")
    assert (status, said) == (0, "")
    after = nibabel.load(target / "case.nii")
    np.testing.assert_array_equal(after.get_fdata(), add_mask_noise(before, 0.5, ["erode"], item_id="case")[0])
    assert (after.dataobj.slope, after.dataobj.inter, after.get_data_dtype()) == (slope, inter, np.uint8)


def test_scaled_numbers_that_cannot_be_background_are_refused(source, noisy):
    nifti(source / "case.nii", volume(), [(SCALING, struct.pack("<2f", 1.0, 1.0))])  # 0 would be stored as -1
    status, target, said = noisy()
    assert status == 2
    assert "case.nii: its uint8 numbers, scaled by 1 and shifted by 1, cannot be 0" in said
    assert not list(target.glob("*.nii"))


def test_a_damaged_affine_is_carried_over_and_stops_nothing(source, noisy):
    nifti(source / "case.nii", volume(), [(SFORM, struct.pack("<12f", *[float("nan")] * 12))])
    status, target, _ = noisy("dilate", "--no-distances")
    assert status == 0
    assert (target / "case.nii").read_bytes()[:348] == (source / "case.nii").read_bytes()[:348]


@pytest.mark.parametrize(("unit", "in_mm"), [(0, 1.0), (1, 1000.0), (2, 1.0), (3, 0.001)])  # unknown, m, mm, micron
def test_voxel_sizes_are_millimeters_whatever_the_file_counts_in(tmp_path, unit, in_mm):
    path = nifti(tmp_path / "case.nii", volume(), [(UNITS, bytes([unit]))])
    assert load_mask(path).spacing == pytest.approx((0.5 * in_mm, 0.5 * in_mm, 2.0 * in_mm))
    path = nifti(tmp_path / "case.nii", volume(), [(PIXDIM, struct.pack("<3f", float("nan"), 1, 1))])
    assert load_mask(path).spacing is None
    one_time = nibabel.Nifti1Image(volume()[..., None], np.diag([2.0, 2.0, 3.0, 1.0]))
    one_time.header["pixdim"][4] = 0
    one_time.to_filename(path)
    assert load_mask(path).spacing == (2.0, 2.0, 3.0, 1.0)


def test_a_png_keeps_the_orientation_that_viewers_turn_it_by(tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(LABELS).save(tmp_path / "a.png", exif=tags)
    save_mask(load_mask(tmp_path / "a.png"), LABELS // 2, tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as after:
        assert after.getexif()[0x0112] == 6
        np.testing.assert_array_equal(np.array(after), LABELS // 2)


def picture(path, array, mode=None, **options):
    made = Image.fromarray(array)
    if mode == "P":
        made.putpalette(PALETTE)
    elif mode:
        made = made.convert(mode)
    made.save(path, **options)


@pytest.mark.parametrize(
    ("name", "write", "mode"),
    [
        ("gray.png", lambda p: picture(p, LABELS), "L"),
        ("palette.png", lambda p: picture(p, LABELS, "P"), "P"),
        ("bits.png", lambda p: picture(p, (LABELS == 1).astype(np.uint8) * 255, "1"), "1"),
        ("deep.png", lambda p: picture(p, LABELS.astype(np.uint16) * 300), "I;16"),
        ("gray.tif", lambda p: picture(p, LABELS, compression="tiff_lzw"), "L"),
        ("gray.bmp", lambda p: picture(p, LABELS), "L"),
    ],
)
def test_pictures_keep_their_mode_size_and_values(source, noisy, name, write, mode):
    write(source / name)
    status, target, _ = noisy("erode", "--no-distances")
    assert status == 0
    before, after = Image.open(source / name), Image.open(target / name)
    assert (after.mode, after.size, after.format) == (mode, before.size, before.format)
    assert after.getpalette() == before.getpalette()
    assert after.info.get("compression") == before.info.get("compression")
    assert label_values(np.array(after)) == label_values(np.array(before))
    assert (np.array(after) != np.array(before)).any()
    (record,) = read_json(target / "manifest.json")["items"]
    assert record["result_sha256"] == array_digest(load_mask(target / name).array)


def test_a_lossy_compression_is_not_kept(tmp_path):
    picture(tmp_path / "a.tif", np.zeros_like(LABELS), compression="jpeg")
    save_mask(load_mask(tmp_path / "a.tif"), LABELS, tmp_path / "b.tif")
    np.testing.assert_array_equal(load_mask(tmp_path / "b.tif").array, LABELS)


def test_a_stack_of_pictures_is_a_volume(source, noisy):
    stack = ellipse((9, 40, 40), (4, 14, 12)).astype(np.uint8) * 255
    frames = [Image.fromarray(frame) for frame in stack]
    frames[0].save(source / "stack.tif", save_all=True, append_images=frames[1:])
    status, target, _ = noisy("dilate")
    assert status == 0
    with Image.open(target / "stack.tif") as after:
        assert after.n_frames == 9
        after.seek(4)
        np.testing.assert_array_equal(after, add_mask_noise(stack, 0.5, ["dilate"], item_id="stack")[0][4])


@pytest.mark.parametrize("dtype", ["?", ">i2", "u1", "i8", "u8", "f4"])
def test_arrays_keep_their_dtype(source, noisy, dtype):
    np.save(source / "a.b.npy", (LABELS > 0).astype(np.dtype(dtype)))
    status, target, _ = noisy()
    assert status == 0
    after = np.load(target / "a.b.npy")
    assert after.dtype == dtype
    assert (after != (LABELS > 0)).any()


def oblique():
    turn = np.deg2rad(17)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0.1], [0.05, -0.1, 1]])
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.qr(rotation)[0] @ np.diag([0.8, 0.8, 3.0])
    affine[:3, 3] = [-31.5, 12.25, 7]
    return affine


@pytest.mark.parametrize("name", ["case.nii.gz", "case.1.nii"])
def test_nifti_keeps_affine_header_and_codes(source, noisy, name):
    organs = np.zeros((40, 44, 12), np.int16)
    for value, center in ((1, (12, 12, 6)), (2, (12, 30, 6)), (5, (28, 13, 5)), (9, (28, 31, 6))):
        organs[ellipse(organs.shape, (8, 8, 4), center)] = value
    image = nibabel.Nifti1Image(organs, oblique())
    image.set_qform(oblique(), code=1)
    image.set_sform(oblique(), code=2)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"four organs"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"kept"))
    nibabel.save(image, source / name)
    status, target, _ = noisy("erode", "--mm")
    assert status == 0
    before, after = nibabel.load(source / name), nibabel.load(target / name)
    assert after.header.binaryblock == before.header.binaryblock
    assert [e.get_content() for e in after.header.extensions] == [e.get_content() for e in before.header.extensions]
    np.testing.assert_array_equal(after.affine, before.affine)
    assert np.asarray(after.dataobj).dtype == np.int16
    item = name.removesuffix(".gz").removesuffix(".nii")
    expected, _ = add_mask_noise(organs, 0.5, ["erode"], item_id=item, spacing=(0.8, 0.8, 3.0))
    np.testing.assert_array_equal(np.asarray(after.dataobj), expected)
    assert ",mm\n" in (target / "manifest.csv").read_text()


def test_a_single_slice_of_a_volume_is_a_picture(source, noisy):
    nibabel.save(nibabel.Nifti1Image(LABELS[:, :, None], oblique()), source / "slice.nii.gz")
    _, target, _ = noisy()
    after = np.asarray(nibabel.load(target / "slice.nii.gz").dataobj)
    np.testing.assert_array_equal(after[:, :, 0], add_mask_noise(LABELS, 0.5, ["erode"], item_id="slice")[0])


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_simpleitk_formats_keep_their_geometry(source, noisy, suffix):
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(ellipse((10, 40, 40), (4, 14, 12)).astype(np.uint8))
    image.SetSpacing((0.7, 0.8, 3.5))
    image.SetOrigin((1, 2, 3))
    image.SetDirection((0, 1, 0, 1, 0, 0, 0, 0, -1))
    sitk.WriteImage(image, str(source / f"v{suffix}"))
    status, target, _ = noisy("dilate", "--mm")
    assert status == 0
    after = sitk.ReadImage(str(target / f"v{suffix}"))
    for get in ("GetPixelID", "GetSpacing", "GetOrigin", "GetDirection", "GetSize"):
        assert getattr(after, get)() == getattr(image, get)()
    assert (sitk.GetArrayFromImage(after) != sitk.GetArrayFromImage(image)).any()
