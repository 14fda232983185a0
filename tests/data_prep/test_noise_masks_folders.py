"""``seg-anl-noise masks``: folders that others work in, change behind its back, or describe wrongly."""

import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from data_prep.noise_command import main
from tests.data_prep.conftest import ellipse

PROGRAM = [sys.executable, "-c", "from data_prep.noise_command import main; main()", "masks"]
SETTINGS = ["--alpha", "1", "--beta", "0.6", "--no-distances"]


def read(path):
    return np.array(Image.open(path))


def write(path, *radii, value=255):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ellipse((64, 64), radii).astype(np.uint8) * value).save(path)


def test_two_at_once_in_one_folder_one_is_told_and_the_other_is_right(tmp_path, command):
    source, target = tmp_path / "many", tmp_path / "t"
    for number in range(300):
        write(source / f"m{number}.png", 9 + number % 10, 20)
    first = subprocess.Popen([*PROGRAM, source, target, *SETTINGS], stderr=subprocess.PIPE, text=True)
    while not list(target.glob("m*.png")):
        time.sleep(0.005)
    second = subprocess.run([*PROGRAM, source, target, *SETTINGS], stderr=subprocess.PIPE, text=True, check=False)
    _, said = first.communicate()
    assert (first.returncode, "error" in said) == (0, False)
    if second.returncode:  # it came while the first was at work
        assert second.stderr.count("\n") == 1
        assert "another process is writing there" in second.stderr
    assert command(main, "masks", source, tmp_path / "alone", *SETTINGS)[0] == 0
    assert {path.name for path in target.iterdir()} == {path.name for path in (tmp_path / "alone").iterdir()}
    for path in (tmp_path / "alone").iterdir():
        assert (target / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("how", ["moved", "link turned"])
def test_a_mask_replaced_by_an_older_file_is_done_again(mask_folder, tmp_path, command, how):
    path = mask_folder / "case_1_segmentation.png"
    for place, radii in ((tmp_path / "old" / "one.png", (12, 22)), (tmp_path / "old" / "two.png", (26, 9))):
        write(place, *radii)
        os.utime(place, (1e9, 1e9))  # written long ago
    path.unlink()
    if how == "moved":
        shutil.copy2(tmp_path / "old" / "one.png", path)
    else:
        path.symlink_to(tmp_path / "old" / "one.png")
    assert command(main, "masks", mask_folder, tmp_path / "t", *SETTINGS)[0] == 0
    time.sleep(0.02)
    if how == "moved":
        os.replace(tmp_path / "old" / "two.png", path)
    else:
        path.unlink()
        path.symlink_to(tmp_path / "old" / "two.png")
    assert command(main, "masks", mask_folder, tmp_path / "t", *SETTINGS)[0] == 0
    assert command(main, "masks", mask_folder, tmp_path / "fresh", *SETTINGS)[0] == 0
    name = path.name
    assert (tmp_path / "t" / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()
    assert (tmp_path / "t" / "manifest.json").read_bytes() == (tmp_path / "fresh" / "manifest.json").read_bytes()


def test_a_mask_that_is_called_preview_is_not_painted_over(tmp_path, command):
    write(tmp_path / "s" / "preview.png", 12, 20)
    status, _, said = command(main, "masks", tmp_path / "s", tmp_path / "t", *SETTINGS, "--preview")
    assert (status, said.count("\n")) == (2, 1)
    assert "rename it" in said


def test_a_preview_of_nothing_is_no_error(mask_folder, tmp_path, command):
    arguments = ["--alpha", 0, "--beta", 0.5, "--no-distances", "--preview"]
    status, said, error = command(main, "masks", mask_folder, tmp_path / "t", *arguments)
    assert (status, error) == (0, "")
    assert "0 of 12 masks noisy" in said
    assert "no preview" in said


def test_a_preview_of_a_single_row(tmp_path, command):
    row = np.zeros((1, 30), np.uint8)
    row[:, 10:20] = 255
    (tmp_path / "s").mkdir()
    Image.fromarray(row).save(tmp_path / "s" / "row.png")
    arguments = ["--alpha", 1, "--beta", 0.5, "--kinds", "dilate", "--preview"]
    assert command(main, "masks", tmp_path / "s", tmp_path / "t", *arguments)[0] == 0
    assert (tmp_path / "t" / "preview.png").is_file()


def dataset(folder, **changes):
    write(folder / "labelsTr" / "c0.png", 12, 20, value=1)
    write(folder / "imagesTr" / "c0_0000.png", 12, 20)
    description = {"labels": {"background": 0, "lesion": 1}, "file_ending": ".png", **changes}
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": ["background", "lesion"]}, "no 'labels'"),
        ({"labels": {"0": "background", "1": "lesion"}}, "label '0' is 'background', not a whole number"),
        ({"labels": {"background": 0, "lesion": None}}, "label 'lesion' is None"),
        ({"file_ending": 5}, "no 'file_ending'"),
        ({"dataset": [1]}, "'dataset' is no group of cases"),
        ({"dataset": {"c0": {"images": []}}}, "the label of 'c0' lies outside labelsTr"),
    ],
)
def test_a_wrong_dataset_json_is_one_line(tmp_path, command, changes, words):
    status, _, said = command(main, "masks", dataset(tmp_path / "s", **changes), tmp_path / "t", *SETTINGS)
    assert (status, said.count("\n")) == (2, 1)
    assert words in said


def test_nnunets_ignore_label_cannot_be_asked_for(tmp_path, command):
    source = dataset(tmp_path / "s", labels={"background": 0, "lesion": 1, "ignore": 2})
    status, _, said = command(main, "masks", source, tmp_path / "t", *SETTINGS, "--labels", 1, 2)
    assert status == 2
    assert "--labels: 2 is the ignore label" in said


def test_what_a_noisy_dataset_keeps_for_itself_is_not_passed_on(tmp_path, command):
    source = dataset(tmp_path / "s")
    (source / ".seg-anl-noise.jsonl").write_text('{"alpha": 0.1}\n')  # of a run that was cut short
    for _ in range(2):
        assert command(main, "masks", source, tmp_path / "t", *SETTINGS)[0] == 0
