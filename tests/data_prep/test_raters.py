"""``seg-anl-prep raters``: real lesions seen by raters with habits, fused; and what the numbers say of them."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from PIL import Image
from sklearn.metrics import cohen_kappa_score

from data_prep import raters
from data_prep.layouts import find_pairs
from data_prep.mask_noise import add_mask_noise
from data_prep.pictures import read_mask
from data_prep.prep_command import main

HABITS = {"over": ("dilate", 0.4), "under": ("erode", 0.4), "shifted": ("affine", 0.3)}


def real_masks(count):
    """Embedded ISIC-2017 masks by item."""
    pairs = find_pairs(name="embedded", root=None, images=None, masks=None, test_images=None, test_masks=None,
                       test_share=0.2, limit=count, seed=0, exclude=())  # fmt: skip
    return {pair.item: read_mask(pair.mask.open(), pair.mask.name) for pair in pairs.train}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three folders of eight masks each, by raters with different habits."""
    root = tmp_path_factory.mktemp("raters")
    for name, (kind, beta) in HABITS.items():
        (root / name).mkdir()
        for number, (item, mask) in enumerate(real_masks(8).items()):
            noisy, _ = add_mask_noise(mask, beta, [kind], seed=number)
            Image.fromarray(noisy * 255).save(root / name / f"{item}.png")
    return [root / name for name in HABITS]


def pictures(folder):
    return {path.name: np.array(Image.open(path)) for path in sorted(folder.glob("*.png"))}


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_staple_is_simpleitks_on_real_lesions(folders, tmp_path, command):
    (tmp_path / "careful").mkdir()
    for item, mask in real_masks(8).items():
        Image.fromarray(mask * 255).save(tmp_path / "careful" / f"{item}.png")
    folders = [*folders, tmp_path / "careful"]
    assert command(main, "raters", *folders, tmp_path / "out", "--by", "staple")[0] == 0
    found = pictures(tmp_path / "out" / "masks")
    assert len(found) == 8
    differs = 0
    for name, mask in found.items():
        given = [np.array(Image.open(folder / name)) for folder in folders]
        images = list(map(SimpleITK.GetImageFromArray, given))
        expected = SimpleITK.GetArrayFromImage(SimpleITK.STAPLE(images, 1.0, 255.0))
        np.testing.assert_array_equal(mask, (expected > 0.5) * 255)
        differs += (mask != 255 * (sum(each > 0 for each in given) > 2)).any()
    assert differs > 0  # from the vote, which leaves to the background what two of four call foreground


def test_vote_mean_and_random_of_the_same_raters(folders, tmp_path, command):
    for by in ("vote", "mean", "random"):
        assert command(main, "raters", *folders, tmp_path / by, "--by", by)[0] == 0
    given = [pictures(folder) for folder in folders]
    chosen = set()
    for name in given[0]:
        share = np.mean([each[name] > 0 for each in given], axis=0)
        np.testing.assert_array_equal(pictures(tmp_path / "vote/masks")[name], (share > 0.5) * 255)
        with np.load(tmp_path / "mean/soft" / name.replace("png", "npz"), allow_pickle=False) as soft:
            np.testing.assert_allclose(soft["probabilities"], [1 - share, share], atol=5e-4)
        mask = pictures(tmp_path / "random/masks")[name]
        chosen.add(next(i for i, each in enumerate(given) if np.array_equal(each[name], mask)))
    assert len(chosen) > 1
    rows = {(row["first"], row["second"]): row for row in table(tmp_path / "vote/agreement.csv")}
    assert len(rows) == 6
    over, under = (np.concatenate([given[i][name].ravel() > 0 for name in given[i]]) for i in (0, 1))
    pair = rows["over", "under"]
    assert float(pair["kappa"]) == pytest.approx(cohen_kappa_score(over, under), abs=1e-9)
    assert float(pair["dice_pooled"]) == pytest.approx(2 * (over & under).sum() / (over.sum() + under.sum()))
    assert float(rows["over", "consensus"]["dice"]) > float(pair["dice"])
    assert np.asarray(Image.open(tmp_path / "vote/disagreement.png")).std() > 20


def test_a_killed_command_and_any_number_of_workers_end_with_the_same_bytes(folders, tmp_path, command):
    assert command(main, "raters", *folders, tmp_path / "whole", "--by", "mean")[0] == 0
    words = ["raters", *map(str, folders), str(tmp_path / "cut"), "--by", "mean", "--workers", "2"]
    program = f"import sys; from data_prep.prep_command import main; sys.argv = ['x', *{words!r}]"
    if_main = f"{program}\nif __name__ == '__main__': main()"
    process = subprocess.Popen([sys.executable, "-c", if_main], cwd=Path(__file__).parents[2],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    deadline = time.monotonic() + 60
    while not list((tmp_path / "cut").glob("soft/*.npz")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert command(main, *words)[0] == 0

    def content(name):
        return {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")
                if path.is_file() and not path.name.startswith(".")}  # fmt: skip

    assert content("cut") == content("whole")
    manifest = json.loads((tmp_path / "cut/manifest.json").read_text())
    assert len(manifest["items"]) == 8
    # A source that has changed is fused again, and nothing else.
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cut/soft").iterdir()}
    changed = tmp_path / "changed"
    shutil.copytree(folders[0].parent, changed)
    sources = [changed / folder.name for folder in folders]
    first = sorted(sources[0].iterdir())[0]
    Image.fromarray(np.zeros_like(np.array(Image.open(first)))).save(first)
    assert command(main, "raters", *sources, tmp_path / "cut", "--by", "mean")[0] == 0
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "cut/soft").iterdir()}
    assert [path.stem for path in after if after[path] != before[path]] == [first.stem]
    status, _, said = command(main, "raters", *folders, tmp_path / "cut", "--by", "vote")
    assert status == 2
    assert "holds masks of other raters, settings or items" in said


def test_volumes_of_several_classes_and_what_a_rater_leaves_out(tmp_path, command):
    """Three raters of a volume with labels 0 to 2; one leaves a plane out, all leave a corner out."""
    generator = np.random.default_rng(0)
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    truth = np.zeros((9, 10, 11), np.uint8)
    truth[2:6, 2:7, 2:8], truth[6:8, 3:8, 4:9] = 1, 2
    given = []
    for number in range(3):
        mask = np.where(generator.random(truth.shape) < 0.1, generator.integers(0, 3, truth.shape), truth)
        mask[0, 0, 0] = 255
        mask[:, :, 5] = 255 if number == 0 else mask[:, :, 5]
        given.append(mask.astype(np.uint8))
        (tmp_path / f"r{number}").mkdir()
        nibabel.save(nibabel.Nifti1Image(given[-1], affine), tmp_path / f"r{number}/case.nii.gz")
    sources = [tmp_path / f"r{number}" for number in range(3)]
    options = ("--classes", 3, "--ignore", 255)
    assert command(main, "raters", *sources, tmp_path / "vote", "--by", "vote", *options)[0] == 0
    image = nibabel.load(tmp_path / "vote/masks/case.nii.gz")
    np.testing.assert_array_equal(image.affine, affine)
    fused = np.asarray(image.dataobj)
    for place in np.ndindex(truth.shape):
        said = [int(mask[place]) for mask in given if mask[place] != 255]
        assert fused[place] == (max(range(3), key=lambda k: (said.count(k), -k)) if said else 255)
    assert command(main, "raters", *sources, tmp_path / "mean", "--by", "mean", *options)[0] == 0
    soft = np.load(tmp_path / "mean/soft/case.npz")["probabilities"]
    assert (soft[:, 0, 0, 0] == 255).all()
    inside = np.ones(truth.shape, bool)
    inside[0, 0, 0] = False
    np.testing.assert_allclose(soft.sum(axis=0, dtype=float)[inside], 1, atol=1e-3)
    assert set(np.unique(soft[:, :, :, 5].astype(float))) <= {0, 0.5, 1, 255}
    # MultiLabelSTAPLE where nothing is left out
    whole = [np.where(mask == 255, 0, mask) for mask in given]
    images = [SimpleITK.GetImageFromArray(each.astype(np.uint8)) for each in whole]
    expected = SimpleITK.GetArrayFromImage(SimpleITK.MultiLabelSTAPLE(images, 3))
    found = raters.staple(np.stack(whole).astype(np.int16), 3)
    assert (expected < 3).mean() > 0.9
    np.testing.assert_array_equal(found[expected < 3], expected[expected < 3])
    for classes in (2, 3):  # NIfTI files may have an axis of length one for time
        labels = np.minimum(whole, classes - 1).astype(np.int16)
        np.testing.assert_array_equal(raters.staple(labels[..., None], classes)[..., 0], raters.staple(labels, classes))
    for folder, kept in zip(sources, whole, strict=True):
        nibabel.save(nibabel.Nifti1Image(kept.astype(np.uint8), np.eye(4)), folder / "case.nii.gz")
    nibabel.save(nibabel.Nifti1Image(whole[2].astype(np.uint8), affine), sources[2] / "case.nii.gz")
    status, _, said = command(main, "raters", *sources, tmp_path / "other", "--by", "vote", "--classes", 3)
    assert status == 2
    assert "r2/case.nii.gz: lies elsewhere in space" in said


def test_staple_of_raters_who_agree_is_what_they_agree_on():
    """SimpleITK makes NaN of masks that are all empty or all full."""
    for value in (0, 1):
        labels = np.full((3, 6, 6), value, np.int16)
        np.testing.assert_array_equal(raters.staple(labels, 2), labels[0])


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda one: next(one.iterdir()).unlink(), [], "no mask of ISIC_"),
        (lambda one: Image.new("L", (5, 4)).save(sorted(one.iterdir())[0]), [], "a mask of 4 x 5 elements, but "),
        (lambda one: Image.fromarray(np.tri(96, k=9, dtype=np.uint8) + np.tri(96, dtype=np.uint8)).save(
            sorted(one.iterdir())[0]), [], "values 0, 1, 2, expected 0 and one other"),
        (lambda one: sorted(one.iterdir())[0].write_bytes(b"x"), [], "cannot be read"),
        (lambda one: None, ["--by", "staple", "--ignore", "255"], "--ignore does not go with --by staple"),
        (lambda one: None, ["--ignore", "1"], "mark what is to be ignored by another value"),
        (lambda one: None, ["--classes", "4", "--ignore", "2"], "--ignore 2 is one of the classes 0 to 3"),
        (lambda one: None, ["--classes", "1"], "expected at least 2, background among them"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(folders, tmp_path, command, change, options, message):
    shutil.copytree(folders[0].parent, tmp_path / "in")
    sources = [tmp_path / "in" / folder.name for folder in folders]
    change(sources[1])
    status, _, said = command(main, "raters", *sources, tmp_path / "out", "--by", "vote", *options)
    assert status == 2
    assert message in said
    assert said.strip().count("\n") == 0 or "item/s" in said
    assert not (tmp_path / "out/manifest.json").exists()


def test_a_value_beyond_the_first_raters_type_is_refused(tmp_path, command):
    for name, value, dtype in (("a", 0, np.uint8), ("b", 512, np.uint16), ("c", 512, np.uint16)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "m.npy", np.full((4, 4), value, dtype))
    status, _, said = command(main, "raters", *(tmp_path / name for name in "abc"), tmp_path / "out", "--by", "vote")
    assert status == 2
    assert "a/m.npy: its uint8 cannot hold 512, the value of another rater; convert it" in said
