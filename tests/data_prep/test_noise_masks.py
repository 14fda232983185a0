"""``seg-anl-noise masks`` as a person uses it: folders in and out, killed processes, folders that others change."""

import csv
import errno
import json
import os
import shutil
import signal
import time

import numpy as np
import pytest
from PIL import Image

import data_prep.mask_files
from data_prep.mask_distances import distances
from data_prep.mask_files import mask_paths
from data_prep.mask_noise import add_mask_noise, noisy_dataset
from data_prep.noise_command import main
from seg_anl.records import item_id
from tests import processes
from tests.data_prep.conftest import ellipse

STRENGTH = ["--alpha", "0.7", "--beta", "0.6"]
QUICK = [*STRENGTH, "--no-distances"]
ONE = "case_1_segmentation.png"


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read(path):
    return np.array(Image.open(path))


def write(path, *radii, value=255):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ellipse((72, 80), radii).astype(np.uint8) * np.uint8(value)).save(path)


@pytest.fixture
def noise(command, mask_folder, tmp_path):
    """Run the sub-command, by default on the twelve masks: status, output, and the lines of the error output."""

    def run(target, *options, source=mask_folder, settings=QUICK):
        status, said, error = command(main, "masks", source, tmp_path / target, *settings, *options)
        lines = [line for line in error.splitlines() if line and "mask/s" not in line and "it/s" not in line]
        assert len(lines) == (status != 0), error
        return status, said, "".join(lines)

    return run


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def test_writes_noisy_masks_under_the_same_names_with_a_manifest(mask_folder, tmp_path, noise):
    target = tmp_path / "noisy"
    status, said, _ = noise("noisy", "--preview", settings=STRENGTH)
    assert status == 0
    assert "8 of 12 masks noisy" in said
    sources = sorted(path.relative_to(mask_folder) for path in mask_folder.rglob("*.png"))
    items = {row["item"]: row for row in manifest(target)["items"]}
    assert len(items) == len(sources) == 12
    assert sum(row["kind"] != "none" for row in items.values()) == 8
    for name in sources:
        clean, noisy = read(mask_folder / name), read(target / name)
        row = items[item_id(mask_folder / name, mask_folder)]
        assert row["realised"] == pytest.approx((clean != noisy).sum() / (clean > 0).sum())
        if row["kind"] != "none":
            expected, _ = add_mask_noise(clean, 0.6, item_id=row["item"])
            np.testing.assert_array_equal(noisy, expected)
            overlap = (clean & noisy).astype(bool).sum()
            assert row["measures"]["dice"] == pytest.approx(2 * overlap / ((clean > 0).sum() + (noisy > 0).sum()))
            assert row["measures"]["hd95"] >= row["measures"]["assd"] > 0
        else:
            assert (mask_folder / name).read_bytes() == (target / name).read_bytes()
    assert [path.relative_to(target) for path in mask_paths(target)] == sources  # neither preview nor manifest
    with open(target / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["item"] for row in rows] == sorted(items)
    assert {"kind", "asked", "realised", "dice", "assd", "hd95", "unit", "source_sha256"} <= set(rows[0])
    assert Image.open(target / "preview.png").size[0] > 500


def test_any_number_of_workers_and_a_second_run_give_the_same_bytes(tmp_path, noise):
    one, two = tmp_path / "one", tmp_path / "two"
    noise("one")
    noise("two", "--workers", 2)
    assert tree(one) == tree(two)
    times = {path: path.stat().st_mtime_ns for path in one.rglob("*")}
    status, said, _ = noise("one")
    assert status == 0
    assert "8 of 12 masks noisy" in said
    assert times == {path: path.stat().st_mtime_ns for path in one.rglob("*")}
    (one / "nested" / "case_3.png").unlink()
    noise("one")
    assert tree(one) == tree(two)
    redone = {path.name for path, before in times.items() if path.is_file() and path.stat().st_mtime_ns != before}
    assert redone == {"case_3.png", "manifest.json", "manifest.csv"}


@pytest.mark.parametrize("how", ["edited", "moved", "link turned"])
def test_a_source_that_has_changed_is_done_again(mask_folder, tmp_path, noise, how):
    path, old = mask_folder / ONE, tmp_path / "old.png"
    if how == "link turned":
        path.rename(tmp_path / "first.png")
        path.symlink_to(tmp_path / "first.png")
    noise("target")
    time.sleep(0.02)
    write(old, 26, 9)
    os.utime(old, (1e9, 1e9))  # written long ago
    if how == "edited":
        write(path, 26, 9)
    elif how == "moved":
        os.replace(old, path)
    else:
        path.unlink()
        path.symlink_to(old)
    noise("target")
    noise("fresh")
    assert tree(tmp_path / "target") == tree(tmp_path / "fresh")
    noise("target", "--overwrite")
    assert tree(tmp_path / "target") == tree(tmp_path / "fresh")


def test_a_noisy_mask_that_was_exchanged_is_noticed(tmp_path, noise):
    target = tmp_path / "target"
    noise("target")
    whole = tree(target)
    shutil.copytree(target, tmp_path / "copy")  # new files with the same masks are no exchange
    assert noise("copy")[0] == 0
    time.sleep(0.02)
    for content in (whole["case_2_segmentation.png"], b"no picture"):
        (target / ONE).write_bytes(content)
        status, _, said = noise("target")
        assert status == 2
        assert f"{ONE} is not the mask that this command wrote" in said
    (target / ONE).unlink()
    assert noise("target")[0] == 0
    assert tree(target) == whole


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """240 masks of 256 x 256, enough to catch a process at work."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(240):
        mask = ellipse((256, 256), (20 + number % 60, 80 - number % 50))
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"m{number:03d}.png")
    return folder


def start(source, target, *options):
    return processes.start("noise", "masks", source, target, *QUICK, *options, cwd=source)


@pytest.fixture(scope="module")
def whole(many, tmp_path_factory):
    """The noisy masks of a run that nothing disturbed."""
    target = tmp_path_factory.mktemp("whole") / "target"
    assert start(many, target).wait() == 0
    return tree(target)


def wait_for(number, folder, process):
    process.until(lambda: len(list(folder.glob("m*.png"))) >= number)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_carries_on_and_ends_with_the_same_bytes(tmp_path, many, whole, workers):
    broken = tmp_path / "broken"
    started = start(many, broken, "--workers", workers)
    wait_for(30, broken, started)
    started.send_signal(signal.SIGKILL)  # its workers notice that their parent is gone
    started.wait()
    time.sleep(0.5)
    left = tree(broken)
    masks = {name: content for name, content in left.items() if name.startswith("m") and name.endswith(".png")}
    assert 0 < len(masks) < 240
    assert "manifest.json" not in left
    assert masks.items() <= whole.items()
    assert start(many, broken).wait() == 0
    assert tree(broken) == whole


def test_ctrl_c_is_one_line_and_the_same_command_carries_on(tmp_path, many, whole):
    target = tmp_path / "target"
    started = start(many, target, "--workers", "2")
    wait_for(20, target, started)
    os.killpg(started.pid, signal.SIGINT)
    status, _, error = started.ended()
    assert status == 130
    assert len(error.splitlines()) == 1
    assert "the same command continues" in error
    assert not list(target.glob(".partial-*"))
    assert start(many, target).wait() == 0
    assert tree(target) == whole


def test_of_two_at_once_in_one_folder_one_is_refused_and_the_other_is_right(tmp_path, many, whole):
    target = tmp_path / "t"
    first = start(many, target)
    wait_for(1, target, first)
    refused, _, error = start(many, target).ended()
    status, _, of_first = first.ended()
    assert (status, "error" in of_first) == (0, False)
    if refused:  # it came while the first was at work
        assert error.count("\n") == 1
        assert "another process is writing there" in error
    assert tree(target) == whole


def test_official_repeats_the_published_stream(mask_folder, tmp_path, noise):
    assert noise("noisy", "--mode", "official", "--seed", 3)[0] == 0
    paths = sorted(mask_folder.rglob("*.png"))
    ids = [item_id(path, mask_folder) for path in paths]
    expected, _ = noisy_dataset([read(p) for p in paths], ids, alpha=0.7, beta=0.6, seed=3, mode="official")
    for path, mask in zip(paths, expected, strict=True):
        np.testing.assert_array_equal(read(tmp_path / "noisy" / path.relative_to(mask_folder)), mask)


def test_other_settings_need_a_word(mask_folder, tmp_path, noise):
    target = tmp_path / "noisy"
    noise("noisy")
    status, _, said = noise("noisy", "--seed", 1)
    assert status == 2
    assert "seed 0 (now 1)" in said
    assert noise("noisy", "--seed", 1, "--overwrite")[0] == 0
    noise("fresh", "--seed", 1)
    assert tree(target) == tree(tmp_path / "fresh")
    (target / "manifest.json").unlink()
    assert noise("noisy")[0] == 2
    shutil.copy(mask_folder / ONE, target / "stray.png")
    status, _, said = noise("noisy", "--overwrite")
    assert status == 2
    assert "stray.png" in said


def test_a_preview_shows_the_noise_and_nothing_else(tmp_path, noise):
    write(tmp_path / "s" / "preview.png", 12, 20)
    assert "rename it" in noise("t", "--preview", source=tmp_path / "s")[2]
    status, said, _ = noise("clean", "--preview", settings=["--alpha", 0, "--beta", 0.5])
    assert status == 0
    assert "0 of 12 masks noisy" in said
    assert "no preview" in said
    (tmp_path / "row").mkdir()
    Image.fromarray(np.repeat(np.uint8([[0, 255, 0]]), 10, axis=1)).save(tmp_path / "row" / "row.png")
    arguments = ["--alpha", 1, "--beta", 0.5, "--kinds", "dilate"]
    assert noise("t", "--preview", source=tmp_path / "row", settings=arguments)[0] == 0
    assert (tmp_path / "t" / "preview.png").is_file()


def nnunet_dataset(folder, **changes):
    labels = changes.get("labels", {"background": 0, "lesion": 1})
    for number in range(5):
        write(folder / "labelsTr" / f"c{number}.png", 8 + number, 13, value=1)
        write(folder / "imagesTr" / f"c{number}_0000.png", 8 + number, 13)
        if "ignore" in labels:
            mask = read(folder / "labelsTr" / f"c{number}.png")
            mask[:, :6] = labels["ignore"]
            Image.fromarray(mask).save(folder / "labelsTr" / f"c{number}.png")
    write(folder / "imagesTs" / "t0_0000.png", 20, 20)
    form = {"channel_names": {"0": "gray"}, "numTraining": 5, "overwrite_image_reader_writer": "NaturalImage2DIO"}
    description = {"labels": labels, "file_ending": ".png", **form, **changes}
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


@pytest.mark.parametrize("images", ["link", "copy"])
def test_an_nnunet_dataset_becomes_a_complete_one_that_nnunet_accepts(tmp_path, noise, images):
    source, target = nnunet_dataset(tmp_path / "Dataset501_A"), tmp_path / "Dataset502_B"
    (source / ".seg-anl-noise.jsonl").write_text('{"alpha": 0.1}\n')  # of a run that was cut short: not passed on
    for _ in range(2):
        assert noise("Dataset502_B", "--images", images, source=source)[0] == 0
    assert (target / "imagesTr" / "c1_0000.png").is_symlink() == (images == "link")
    description = json.loads((target / "dataset.json").read_text())
    assert description["annotation_noise"]["beta"] == 0.6
    assert len(list((target / "labelsTr").iterdir())) == 5
    assert (target / "imagesTs" / "t0_0000.png").read_bytes() == (source / "imagesTs" / "t0_0000.png").read_bytes()
    if images == "copy":
        verify = pytest.importorskip("nnunetv2.experiment_planning.verify_dataset_integrity")
        verify.verify_dataset_integrity(str(target), num_processes=1)


def test_nnunets_ignore_label_is_left_alone(tmp_path, noise):
    source = nnunet_dataset(tmp_path / "s", labels={"background": 0, "lesion": 1, "ignore": 2})
    assert "--labels: 2 is the ignore label" in noise("t", "--labels", 1, 2, source=source)[2]
    assert "--only: " in noise("t", "--only", "*1*", source=source)[2]
    noise("t", source=source, settings=["--alpha", 1, "--beta", 0.7, "--no-distances"])
    for path in (source / "labelsTr").iterdir():
        before, after = read(path), read(tmp_path / "t" / "labelsTr" / path.name)
        np.testing.assert_array_equal(after == 2, before == 2)
        assert (after != before).any()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": ["background", "lesion"]}, "no 'labels'"),
        ({"labels": {"0": "background", "1": "lesion"}}, "label '0' is 'background', not a whole number"),
        ({"labels": {"background": 0, "lesion": None}}, "label 'lesion' is None"),
        ({"file_ending": 5}, "no 'file_ending'"),
        ({"dataset": [1]}, "'dataset' is no group of cases"),
        ({"dataset": {"../x": {"label": "labelsTr/x.png"}}}, "'../x' leads out of its folder"),
        ({"dataset": {"c0": {"images": []}}}, "the label of 'c0' lies outside labelsTr"),
    ],
)
def test_a_wrong_dataset_json_is_one_line(tmp_path, noise, changes, words):
    status, _, said = noise("t", source=nnunet_dataset(tmp_path / "s", **changes))
    assert status == 2
    assert words in said


def truncated(folder):
    (folder / ONE).write_bytes((folder / ONE).read_bytes()[:60])


def emptied(folder):
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (emptied, "no mask in"),
        (lambda folder: (folder / "notes.txt").write_text("x"), "notes.txt is not a mask"),
        (truncated, ONE),
        (lambda folder: np.save(folder / "f.npy", np.full((9, 9), 0.5)), "f.npy: the mask holds fractions"),
        (lambda folder: Image.new("RGB", (9, 9)).save(folder / "rgb.png"), "rgb.png has 3 channels"),
        (lambda folder: (folder / "nested" / "loop").symlink_to(folder), "loop is a link to a folder above it"),
        (lambda folder: np.save(folder / "case_1.npy", np.eye(3)), "the same id 'case_1'"),
        (lambda folder: np.save(folder / "p.npy", np.array([{}], object)), "p.npy: holds Python objects"),
        (lambda folder: (folder / "dead.png").symlink_to(folder / "nowhere.png"), "dead.png"),
        (shutil.rmtree, "is not a folder"),
    ],
)
def test_bad_folders_get_one_line_and_status_2(mask_folder, tmp_path, noise, spoil, words):
    spoil(mask_folder)
    status, _, said = noise("t")
    assert status == 2
    assert words in said
    assert not list(tmp_path.rglob(".partial-*"))
    assert not (tmp_path / "t" / "manifest.json").exists()


def test_the_good_masks_are_done_and_a_second_run_does_the_mended_one(mask_folder, tmp_path, noise):
    noise("whole")
    kept = (mask_folder / ONE).read_bytes()
    truncated(mask_folder)
    assert "1 of 12 masks failed" in noise("t")[2]
    (mask_folder / ONE).write_bytes(kept)
    assert noise("t")[0] == 0
    assert tree(tmp_path / "t") == tree(tmp_path / "whole")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--alpha", "1.5"], "alpha"),
        (["--beta", "-0.1"], "beta"),
        (["--kinds", "erode", "dilat"], "did you mean 'dilate'"),
        (["--mode", "oficial"], "did you mean 'official'"),
        (["--mode", "official", "--kinds", "holes"], "holes"),
        (["--labels", "0"], "background"),
        (["--workers", "100000"], "'100000' is not a whole number from 1 to"),
        (["--mm"], "voxel size"),
        (["--only", "*.nii"], "*.nii"),
        (["--only", ""], "empty"),
    ],
)
def test_bad_settings_get_one_line_and_status_2(noise, arguments, words):
    status, _, said = noise("t", *arguments)
    assert status == 2
    assert words in said


def test_the_clean_masks_cannot_be_written_over(mask_folder, tmp_path, noise):
    before = tree(mask_folder)
    for target in (mask_folder, mask_folder / "noisy", tmp_path):
        assert "overlap" in noise(target, "--overwrite")[2]
    (tmp_path / "file").write_text("")
    for target in ("file", "file/t"):
        assert "is a file" in noise(target)[2]
    assert tree(mask_folder) == before


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tmp_path, noise, monkeypatch):
    written = []
    picture_of = data_prep.mask_files._picture

    def full(*arguments):
        written.append(1)
        if len(written) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return picture_of(*arguments)

    monkeypatch.setattr(data_prep.mask_files, "_picture", full)
    assert "No space left on device" in noise("t")[2]
    assert not list((tmp_path / "t").rglob(".partial-*"))
    monkeypatch.undo()
    noise("t")
    noise("whole")
    assert tree(tmp_path / "t") == tree(tmp_path / "whole")


def test_a_dataset_of_one_says_what_alpha_means_for_it(tmp_path, noise):
    write(tmp_path / "source" / "one.png", 12, 20)
    settings = ["--beta", 0.5, "--alpha"]
    assert "all stay clean" in noise("a", source=tmp_path / "source", settings=[*settings, 0.3])[1]
    assert "1 of 1 masks noisy" in noise("b", source=tmp_path / "source", settings=[*settings, 0.7])[1]


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
