"""``seg-anl-noise masks`` as a person uses it: real files in, real files out, killed processes, broken input."""

import csv
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import nibabel
import numpy as np
import pytest
from PIL import Image

import data_prep.mask_files
from data_prep.mask_distances import distances
from data_prep.mask_noise import add_mask_noise, label_values, noisy_dataset
from data_prep.noise_command import main
from seg_anl.records import item_id
from tests.data_prep.conftest import ellipse

PROGRAM = [sys.executable, "-c", "from data_prep.noise_command import main; main()", "masks"]
STRENGTH = ["--alpha", "0.7", "--beta", "0.6"]
QUICK = [*STRENGTH, "--no-distances"]


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read(path):
    return np.array(Image.open(path))


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def test_writes_noisy_masks_under_the_same_names_with_a_manifest(mask_folder, tmp_path, command):
    target = tmp_path / "noisy"
    status, said, _ = command(main, "masks", mask_folder, target, *STRENGTH, "--preview")
    assert status == 0
    assert "8 of 12 masks noisy" in said
    sources = sorted(path.relative_to(mask_folder) for path in mask_folder.rglob("*.png"))
    items = {row["item"]: row for row in manifest(target)["items"]}
    assert len(items) == len(sources) == 12
    assert sum(row["kind"] != "none" for row in items.values()) == 8
    for name in sources:
        clean, noisy = read(mask_folder / name), read(target / name)
        row = items[item_id(mask_folder / name, mask_folder)]
        assert noisy.shape == clean.shape
        assert set(np.unique(noisy)) <= {0, 255}
        assert row["realised"] == pytest.approx((clean != noisy).sum() / (clean > 0).sum())
        if row["kind"] != "none":
            expected, _ = add_mask_noise(clean > 0, 0.6, item_id=row["item"])
            np.testing.assert_array_equal(noisy > 0, expected)
            overlap = (clean & noisy).astype(bool).sum()
            assert row["measures"]["dice"] == pytest.approx(2 * overlap / ((clean > 0).sum() + (noisy > 0).sum()))
            assert row["measures"]["hd95"] >= row["measures"]["assd"] > 0
        else:
            assert (mask_folder / name).read_bytes() == (target / name).read_bytes()
    with open(target / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["item"] for row in rows] == sorted(items)
    assert {"kind", "asked", "realised", "dice", "assd", "hd95", "unit", "source_sha256"} <= set(rows[0])
    assert Image.open(target / "preview.png").size[0] > 500


def test_any_number_of_workers_and_a_second_run_give_the_same_bytes(mask_folder, tmp_path, command):
    one, two = tmp_path / "one", tmp_path / "two"
    command(main, "masks", mask_folder, one, *QUICK)
    command(main, "masks", mask_folder, two, *QUICK, "--workers", 2)
    assert tree(one) == tree(two)
    times = {path: path.stat().st_mtime_ns for path in one.rglob("*")}
    status, said, _ = command(main, "masks", mask_folder, one, *QUICK)
    assert status == 0
    assert "8 of 12 masks noisy" in said
    assert times == {path: path.stat().st_mtime_ns for path in one.rglob("*")}
    (one / "nested" / "case_3.png").unlink()
    command(main, "masks", mask_folder, one, *QUICK)
    assert tree(one) == tree(two)
    redone = {path.name for path, before in times.items() if path.is_file() and path.stat().st_mtime_ns != before}
    assert redone == {"case_3.png", "manifest.json", "manifest.csv"}


def test_a_source_that_was_edited_is_done_again(mask_folder, tmp_path, command):
    target, fresh = tmp_path / "target", tmp_path / "fresh"
    command(main, "masks", mask_folder, target, *QUICK)
    picture(mask_folder / "case_2_segmentation.png", ellipse((72, 80), (20, 30)).astype(np.uint8) * 255)
    command(main, "masks", mask_folder, target, *QUICK)
    command(main, "masks", mask_folder, fresh, *QUICK)
    assert tree(target) == tree(fresh)
    command(main, "masks", mask_folder, target, *QUICK, "--overwrite")
    assert tree(target) == tree(fresh)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_carries_on_and_ends_with_the_same_bytes(tmp_path, workers):
    source, whole, broken = tmp_path / "source", tmp_path / "whole", tmp_path / "broken"
    source.mkdir()
    for number in range(240):
        mask = ellipse((256, 256), (20 + number % 60, 80 - number % 50))
        Image.fromarray(mask.astype(np.uint8) * 255).save(source / f"m{number:03d}.png")
    subprocess.run([*PROGRAM, source, whole, *QUICK], check=True, capture_output=True)
    started = subprocess.Popen(
        [*PROGRAM, source, broken, *QUICK, "--workers", str(workers)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while len(list(broken.glob("m*.png"))) < 30 and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    time.sleep(0.5)  # workers notice that their parent is gone
    left = sorted(broken.glob("m*.png"))
    assert 0 < len(left) < 240
    assert not (broken / "manifest.json").exists()
    for path in left:
        assert path.read_bytes() == (whole / path.name).read_bytes()
    subprocess.run([*PROGRAM, source, broken, *QUICK], check=True, capture_output=True)
    assert tree(broken) == tree(whole)


def test_ctrl_c_is_one_line_and_the_same_command_carries_on(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    for number in range(200):
        mask = ellipse((256, 256), (20 + number % 60, 80 - number % 50))
        Image.fromarray(mask.astype(np.uint8) * 255).save(source / f"m{number:03d}.png")
    arguments = [*PROGRAM, source, target, *QUICK, "--workers", "2"]
    # Started from a background job, Ctrl-C would be ignored, and so by every child.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        started = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, start_new_session=True)
    finally:
        signal.signal(signal.SIGINT, previous)
    while len(list(target.glob("m*.png"))) < 20 and started.poll() is None:
        time.sleep(0.002)
    os.killpg(started.pid, signal.SIGINT)
    said = started.communicate()[1]
    assert started.returncode == 130
    assert len(said.splitlines()) == 1
    assert "carries on" in said
    assert not list(target.glob(".partial-*"))
    subprocess.run([*PROGRAM, source, target, *QUICK], check=True, capture_output=True)
    assert len(list(target.glob("m*.png"))) == 200


def test_official_repeats_the_published_stream(mask_folder, tmp_path, command):
    target = tmp_path / "noisy"
    assert command(main, "masks", mask_folder, target, *QUICK, "--mode", "official", "--seed", 3)[0] == 0
    paths = sorted(mask_folder.rglob("*.png"))
    ids = [item_id(path, mask_folder) for path in paths]
    expected, _ = noisy_dataset([read(p) for p in paths], ids, alpha=0.7, beta=0.6, seed=3, mode="official")
    for path, mask in zip(paths, expected, strict=True):
        np.testing.assert_array_equal(read(target / path.relative_to(mask_folder)), mask)


def test_other_settings_need_a_word(mask_folder, tmp_path, command):
    target = tmp_path / "noisy"
    command(main, "masks", mask_folder, target, *QUICK)
    status, _, said = command(main, "masks", mask_folder, target, *QUICK, "--seed", 1)
    assert status == 2
    assert "seed 0 (now 1)" in said
    assert command(main, "masks", mask_folder, target, *QUICK, "--seed", 1, "--overwrite")[0] == 0
    fresh = tmp_path / "fresh"
    command(main, "masks", mask_folder, fresh, *QUICK, "--seed", 1)
    assert tree(target) == tree(fresh)
    (target / "manifest.json").unlink()
    assert command(main, "masks", mask_folder, target, *QUICK)[0] == 2
    shutil.copy(mask_folder / "case_1_segmentation.png", target / "stray.png")
    status, _, said = command(main, "masks", mask_folder, target, *QUICK, "--overwrite")
    assert status == 2
    assert "stray.png" in said


LABELS = np.zeros((40, 48), np.uint8)
LABELS[ellipse((40, 48), (12, 9), (20, 14))] = 1
LABELS[ellipse((40, 48), (11, 9), (20, 33))] = 3
PALETTE = [0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255] + [7] * 756


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
def test_pictures_keep_their_mode_size_and_values(tmp_path, command, name, write, mode):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    write(source / name)
    assert command(main, "masks", source, target, "--alpha", 1, "--beta", 0.5, "--no-distances")[0] == 0
    before, after = Image.open(source / name), Image.open(target / name)
    assert (after.mode, after.size, after.format) == (mode, before.size, before.format)
    assert after.getpalette() == before.getpalette()
    assert after.info.get("compression") == before.info.get("compression")
    assert label_values(np.array(after)) == label_values(np.array(before))
    assert (np.array(after) != np.array(before)).any()


def test_a_stack_of_pictures_is_a_volume(tmp_path, command):
    volume = ellipse((9, 40, 40), (4, 14, 12)).astype(np.uint8) * 255
    source = tmp_path / "source"
    source.mkdir()
    frames = [Image.fromarray(frame) for frame in volume]
    frames[0].save(source / "stack.tif", save_all=True, append_images=frames[1:])
    assert command(main, "masks", source, tmp_path / "t", "--alpha", 1, "--beta", 0.5, "--kinds", "dilate")[0] == 0
    with Image.open(tmp_path / "t" / "stack.tif") as after:
        assert after.n_frames == 9
        after.seek(4)
        noisy = np.array(after)
    np.testing.assert_array_equal(noisy, add_mask_noise(volume, 0.5, ["dilate"], item_id="stack")[0][4])


@pytest.mark.parametrize("dtype", ["?", ">i2", "u1", "i8", "u8", "f4"])
def test_arrays_keep_their_dtype(tmp_path, command, dtype):
    source = tmp_path / "source"
    source.mkdir()
    np.save(source / "a.b.npy", (LABELS > 0).astype(np.dtype(dtype)))
    assert command(main, "masks", source, tmp_path / "t", "--alpha", 1, "--beta", 0.5)[0] == 0
    after = np.load(tmp_path / "t" / "a.b.npy")
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
def test_nifti_keeps_affine_header_and_codes(tmp_path, command, name):
    volume = np.zeros((40, 44, 12), np.int16)
    for value, center in ((1, (12, 12, 6)), (2, (12, 30, 6)), (5, (28, 13, 5)), (9, (28, 31, 6))):
        volume[ellipse(volume.shape, (8, 8, 4), center)] = value
    image = nibabel.Nifti1Image(volume, oblique())
    image.set_qform(oblique(), code=1)
    image.set_sform(oblique(), code=2)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"four organs"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"kept"))
    source = tmp_path / "source"
    source.mkdir()
    nibabel.save(image, source / name)
    arguments = ["--alpha", 1, "--beta", 0.4, "--kinds", "erode", "--mm"]
    assert command(main, "masks", source, tmp_path / "t", *arguments)[0] == 0
    before, after = nibabel.load(source / name), nibabel.load(tmp_path / "t" / name)
    assert after.header.binaryblock == before.header.binaryblock
    assert [e.get_content() for e in after.header.extensions] == [e.get_content() for e in before.header.extensions]
    np.testing.assert_array_equal(after.affine, before.affine)
    noisy = np.asarray(after.dataobj)
    assert noisy.dtype == np.int16
    assert label_values(noisy) == [1, 2, 5, 9]
    expected, record = add_mask_noise(
        volume, 0.4, ["erode"], item_id=manifest(tmp_path / "t")["items"][0]["item"], spacing=(0.8, 0.8, 3.0)
    )
    np.testing.assert_array_equal(noisy, expected)
    row = manifest(tmp_path / "t")["items"][0]
    assert row["realised"] == record.realised > 0.2
    assert row["measures"]["unit"] == "mm"


def test_a_scaled_nifti_and_a_single_slice_keep_what_they_hold(tmp_path, command):
    source = tmp_path / "source"
    source.mkdir()
    flat = LABELS[:, :, None].astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(flat, oblique()), source / "slice.nii.gz")
    scaled = nibabel.Nifti1Image(LABELS.astype(np.int16) * 2, np.eye(4))
    scaled.header.set_data_dtype(np.int16)
    scaled.header.set_slope_inter(0.5, 0)
    nibabel.save(scaled, source / "scaled.nii")
    assert nibabel.load(source / "scaled.nii").dataobj.slope != 1
    arguments = ["--alpha", 1, "--beta", 0.4, "--kinds", "erode"]
    assert command(main, "masks", source, tmp_path / "t", *arguments)[0] == 0
    after = np.asarray(nibabel.load(tmp_path / "t" / "slice.nii.gz").dataobj)
    expected = add_mask_noise(LABELS, 0.4, ["erode"], item_id="slice")[0]
    np.testing.assert_array_equal(after[:, :, 0], expected)
    after = nibabel.load(tmp_path / "t" / "scaled.nii")
    assert after.get_data_dtype() == np.int16
    np.testing.assert_array_equal(after.get_fdata(), add_mask_noise(LABELS, 0.4, ["erode"], item_id="scaled")[0])


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_simpleitk_formats_keep_their_geometry(tmp_path, command, suffix):
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(ellipse((10, 40, 40), (4, 14, 12)).astype(np.uint8))
    image.SetSpacing((0.7, 0.8, 3.5))
    image.SetOrigin((1, 2, 3))
    image.SetDirection((0, 1, 0, 1, 0, 0, 0, 0, -1))
    source = tmp_path / "source"
    source.mkdir()
    sitk.WriteImage(image, str(source / f"v{suffix}"))
    assert command(main, "masks", source, tmp_path / "t", "--alpha", 1, "--beta", 0.5, "--mm")[0] == 0
    after = sitk.ReadImage(str(tmp_path / "t" / f"v{suffix}"))
    assert after.GetPixelID() == image.GetPixelID()
    for get in ("GetSpacing", "GetOrigin", "GetDirection", "GetSize"):
        assert getattr(after, get)() == getattr(image, get)()
    assert (sitk.GetArrayFromImage(after) != sitk.GetArrayFromImage(image)).any()


def nnunet_dataset(folder, ending=".png", labels=None):
    for part in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / part).mkdir(parents=True)
    labels = labels or {"background": 0, "lesion": 1}
    for number in range(5):
        mask = ellipse((48, 48), (8 + number, 13)).astype(np.uint8)
        if "ignore" in labels:
            mask[:, :6] = labels["ignore"]
        Image.fromarray(mask).save(folder / "labelsTr" / f"c{number}{ending}")
        Image.fromarray(np.full((48, 48, 3), 9 * number, np.uint8)).save(folder / "imagesTr" / f"c{number}_0000.png")
    shutil.copy(folder / "imagesTr" / "c0_0000.png", folder / "imagesTs" / "t0_0000.png")
    description = {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": labels,
        "numTraining": 5,
        "file_ending": ending,
        "overwrite_image_reader_writer": "NaturalImage2DIO",
    }
    (folder / "dataset.json").write_text(json.dumps(description))


@pytest.mark.parametrize("images", ["link", "copy"])
def test_an_nnunet_dataset_becomes_a_complete_one_that_nnunet_accepts(tmp_path, command, images):
    source, target = tmp_path / "Dataset501_A", tmp_path / "Dataset502_B"
    nnunet_dataset(source)
    for _ in range(2):
        assert command(main, "masks", source, target, *QUICK, "--images", images)[0] == 0
    assert (target / "imagesTr" / "c1_0000.png").is_symlink() == (images == "link")
    description = json.loads((target / "dataset.json").read_text())
    assert description["annotation_noise"]["beta"] == 0.6
    assert len(list((target / "labelsTr").iterdir())) == 5
    assert (target / "imagesTs" / "t0_0000.png").read_bytes() == (source / "imagesTs" / "t0_0000.png").read_bytes()
    if images == "copy":
        verify = pytest.importorskip("nnunetv2.experiment_planning.verify_dataset_integrity")
        verify.verify_dataset_integrity(str(target), num_processes=1)


def test_nnunets_ignore_label_is_left_alone(tmp_path, command):
    source, target = tmp_path / "Dataset501_A", tmp_path / "Dataset502_B"
    nnunet_dataset(source, labels={"background": 0, "lesion": 1, "ignore": 2})
    command(main, "masks", source, target, "--alpha", 1, "--beta", 0.7, "--no-distances")
    for path in (source / "labelsTr").iterdir():
        before, after = read(path), read(target / "labelsTr" / path.name)
        np.testing.assert_array_equal(after == 2, before == 2)
        assert (after != before).any()


def with_text(folder):
    (folder / "notes.txt").write_text("x")


def truncated(folder):
    path = folder / "case_1_segmentation.png"
    path.write_bytes(path.read_bytes()[:60])


def fractions(folder):
    np.save(folder / "f.npy", np.full((9, 9), 0.5))


def color(folder):
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(folder / "rgb.png")


def loop(folder):
    (folder / "nested" / "loop").symlink_to(folder)


def collision(folder):
    np.save(folder / "case_1.npy", LABELS)


def pickled(folder):
    np.save(folder / "p.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


def gone(folder):
    (folder / "dead.png").symlink_to(folder / "nowhere.png")


def emptied(folder):
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (emptied, "no mask in"),
        (with_text, "notes.txt is not a mask"),
        (truncated, "case_1_segmentation.png"),
        (fractions, "f.npy: the mask holds fractions"),
        (color, "rgb.png has 3 channels"),
        (loop, "loop is a link to a folder above it"),
        (collision, "the same id 'case_1'"),
        (pickled, "p.npy: holds Python objects"),
        (gone, "dead.png"),
        (shutil.rmtree, "is not a folder"),
    ],
)
def test_bad_folders_get_one_line_and_status_2(mask_folder, tmp_path, command, spoil, words):
    spoil(mask_folder)
    status, _, said = command(main, "masks", mask_folder, tmp_path / "t", *QUICK)
    assert status == 2
    lines = [line for line in said.splitlines() if "error:" in line]
    assert len(lines) == 1
    assert words in lines[0]
    assert "Traceback" not in said
    assert not list(tmp_path.rglob(".partial-*"))
    assert not (tmp_path / "t" / "manifest.json").exists()


def test_the_good_masks_are_done_and_a_second_run_does_the_mended_one(mask_folder, tmp_path, command):
    whole, target = tmp_path / "whole", tmp_path / "t"
    command(main, "masks", mask_folder, whole, *QUICK)
    kept = (mask_folder / "case_1_segmentation.png").read_bytes()
    truncated(mask_folder)
    status, _, said = command(main, "masks", mask_folder, target, *QUICK)
    assert status == 2
    assert "1 of 12 masks failed" in said
    (mask_folder / "case_1_segmentation.png").write_bytes(kept)
    assert command(main, "masks", mask_folder, target, *QUICK)[0] == 0
    assert tree(target) == tree(whole)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--alpha", "1.5"], "alpha"),
        (["--alpha", "nan"], "alpha"),
        (["--beta", "-0.1"], "beta"),
        (["--beta", "much"], "beta"),
        (["--kinds", "erode", "dilat"], "did you mean 'dilate'"),
        (["--mode", "oficial"], "did you mean 'official'"),
        (["--mode", "official", "--kinds", "holes"], "holes"),
        (["--labels", "0"], "background"),
        (["--workers", "0"], "workers"),
        (["--mm"], "voxel size"),
        (["--only", "*.nii"], "*.nii"),
        (["--frobnicate"], "frobnicate"),
    ],
)
def test_bad_settings_get_one_line_and_status_2(mask_folder, tmp_path, command, arguments, words):
    status, _, said = command(main, "masks", mask_folder, tmp_path / "t", *QUICK, *arguments)
    assert status == 2
    assert len([line for line in said.splitlines() if line and "it/s" not in line and "mask/s" not in line]) == 1
    assert words in said


def test_the_clean_masks_cannot_be_written_over(mask_folder, tmp_path, command):
    before = tree(mask_folder)
    for target in (mask_folder, mask_folder / "noisy", tmp_path):
        status, _, said = command(main, "masks", mask_folder, target, *QUICK, "--overwrite")
        assert status == 2
        assert "lie in each other" in said
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file", tmp_path / "file" / "t"):
        status, _, said = command(main, "masks", mask_folder, target, *QUICK)
        assert status == 2
        assert "is a file" in said
    assert tree(mask_folder) == before


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(mask_folder, tmp_path, command, monkeypatch):
    target, whole = tmp_path / "t", tmp_path / "whole"
    written = []
    picture_of = data_prep.mask_files._picture

    def full(*arguments):
        written.append(1)
        if len(written) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return picture_of(*arguments)

    monkeypatch.setattr(data_prep.mask_files, "_picture", full)
    status, _, said = command(main, "masks", mask_folder, target, *QUICK)
    assert status == 2
    assert "No space left on device" in said
    assert "Traceback" not in said
    assert not list(target.rglob(".partial-*"))
    monkeypatch.undo()
    subprocess.run([*PROGRAM, mask_folder, target, *QUICK], check=True, capture_output=True)
    subprocess.run([*PROGRAM, mask_folder, whole, *QUICK], check=True, capture_output=True)
    assert tree(target) == tree(whole)


def test_a_dataset_of_one_says_what_alpha_means_for_it(tmp_path, command):
    source = tmp_path / "source"
    source.mkdir()
    Image.fromarray(LABELS).save(source / "one.png")
    status, said, _ = command(main, "masks", source, tmp_path / "a", "--alpha", 0.3, "--beta", 0.5)
    assert status == 0
    assert "all stay clean" in said
    assert "1 of 1 masks noisy" in command(main, "masks", source, tmp_path / "b", "--alpha", 0.7, "--beta", 0.5)[1]


def test_distances_are_monais():
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    generator = np.random.default_rng(0)
    for spacing in (None, (2.0, 0.7)):
        clean = ellipse((60, 70), (20, 14))
        noisy = np.roll(clean, generator.integers(-6, 6, 2), (0, 1)) & (generator.random((60, 70)) > 0.05)
        measured = distances(clean.astype(np.uint8), noisy.astype(np.uint8), spacing)
        pair = [torch.from_numpy(mask[None, None]) for mask in (noisy, clean)]
        options = {"include_background": True, "spacing": spacing}
        assd = float(compute_average_surface_distance(*pair, symmetric=True, **options))
        assert measured["assd"] == pytest.approx(assd, rel=1e-5)
        assert measured["hd95"] == pytest.approx(float(compute_hausdorff_distance(*pair, percentile=95, **options)))
    two = np.zeros((20, 20), np.uint8)
    two[3:7, 3:7], two[12:16, 12:16] = 1, 2
    without = np.where(two == 2, 0, two)
    assert distances(two, without)["dice"] == 0.5
    assert distances(two, without, labels=[1])["dice"] == 1.0
    assert distances(two, without, labels=[2])["assd"] is None
    assert distances(two, without, labels=[9])["dice"] is None


def test_the_commands_start_without_torch():
    code = (
        "import sys, data_prep.noise_command, data_prep.prep_command; assert not {'torch', 'monai'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("arguments", [["--help"], ["masks", "--help"]])
def test_help_shows_an_example(command, arguments):
    status, said, _ = command(main, *arguments)
    assert status == 0
    assert "seg-anl-noise masks" in said.split("example:")[1]
