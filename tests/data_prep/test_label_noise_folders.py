"""``seg-anl-noise labels``: the folder it writes into, what lies there already, and names that are no good."""

import json
import os
import sys

import numpy as np
import pytest

import data_prep.label_noise.label_folder
from data_prep.label_noise.label_folder import OUTPUTS
from data_prep.noise_command import main

SYMMETRIC = ["--kind", "symmetric", "--rate", "0.4"]


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def test_a_run_that_ended_here_in_the_meantime_is_not_written_over(source, tmp_path, command, monkeypatch):
    target = tmp_path / "noisy"
    make = data_prep.label_noise.label_folder.apply_label_noise

    def slow(*arguments):
        with monkeypatch.context() as patch:  # what takes long is the making: another run is faster
            patch.setattr(data_prep.label_noise.label_folder, "apply_label_noise", make)
            assert command(main, "labels", source, target, *SYMMETRIC, "--seed", "1")[0] == 0
        return make(*arguments)

    monkeypatch.setattr(data_prep.label_noise.label_folder, "apply_label_noise", slow)
    status, _, said = command(main, "labels", source, target, *SYMMETRIC, "--seed", "2")
    assert (status, said.count("\n")) == (2, 1)
    assert "other settings; --overwrite" in said
    assert manifest(target)["settings"]["seed"] == 1


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_folder_in_an_output_s_place_is_told_before_anything_is_written(name, source, tmp_path, command):
    (tmp_path / "noisy" / name).mkdir(parents=True)
    status, _, said = command(main, "labels", source, tmp_path / "noisy", *SYMMETRIC, "--overwrite")
    assert (status, said.count("\n")) == (2, 1)
    assert f"noisy/{name} is a folder" in said
    assert [path.name for path in (tmp_path / "noisy").iterdir()] == [name]


def test_a_folder_named_like_a_half_written_file_is_left_alone(source, tmp_path, command):
    (tmp_path / "noisy" / ".partial-mine").mkdir(parents=True)
    assert command(main, "labels", source, tmp_path / "noisy", *SYMMETRIC)[0] == 0
    assert (tmp_path / "noisy" / ".partial-mine").is_dir()


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_a_source_whose_name_is_no_text(source, tmp_path, command):
    source = source.rename(tmp_path / os.fsdecode(b"caf\xe9.npz"))
    assert command(main, "labels", source, tmp_path / "noisy", *SYMMETRIC)[0] == 0
    assert manifest(tmp_path / "noisy")["source"] == "caf\ufffd.npz"


def test_places_where_nothing_can_be_are_one_line(source, tmp_path, command):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("absent")
    for place in ("x" * 300, "loop", "loop/noisy", "nowhere"):
        status, _, said = command(main, "labels", source, tmp_path / place, *SYMMETRIC)
        assert (status, said.count("\n")) == (2, 1), place
        assert "cannot create the folder" in said


def test_the_file_at_fault_is_named(source, tmp_path, command):
    np.save(tmp_path / "three.npy", np.eye(3))
    np.save(tmp_path / "few.npy", np.full((5, 10), 0.1))
    for options, name in (
        (["--kind", "matrix", "--matrix"], "three.npy"),
        (["--kind", "prediction_error", "--rate", "0.1", "--softmax"], "few.npy"),
    ):
        status, _, said = command(main, "labels", source, tmp_path / "noisy", *options, tmp_path / name)
        assert status == 2
        assert f"{name}: the " in said
