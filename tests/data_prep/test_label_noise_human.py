"""``seg-anl-noise labels --kind human``: labels by people, from files as they are published; and damaged files."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from data_prep.noise_command import main

SYMMETRIC = ["--kind", "symmetric", "--rate", "0.4"]


def human_arrays(labels):
    random = np.random.RandomState(3)
    worse = np.where(random.random_sample(len(labels)) < 0.4, random.randint(0, 10, len(labels)), labels)
    return {"clean_label": labels.astype(np.int64), "worse_label": worse.astype(np.int64)}


def saved_by_numpy_1(path):
    """The same .pt file as NumPy 1, with which the published ones were made, would have written it."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts = {name: part.replace(b"numpy._core.multiarray", b"numpy.core.multiarray") for name, part in parts.items()}
    assert any(b"numpy.core.multiarray" in part for part in parts.values())
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)


@pytest.mark.parametrize("form", ["pt", "old pt", "npz"])
def test_human_labels_are_checked_against_the_clean_ones(form, source, labels, tmp_path, command):
    arrays = human_arrays(labels)
    path = tmp_path / ("human.npz" if form == "npz" else "human.pt")
    if form == "npz":
        np.savez(path, **arrays)
    else:
        torch = pytest.importorskip("torch")
        torch.save(arrays, path)
        if form == "old pt":
            saved_by_numpy_1(path)
    options = ["--kind", "human", "--human", path, "--human-labels"]
    status, said, error = command(main, "labels", source, tmp_path / "noisy", *options, "worst")
    assert (status, error) == (0, "")
    np.testing.assert_array_equal(np.load(tmp_path / "noisy" / "labels.npy"), arrays["worse_label"])
    assert f"{(arrays['worse_label'] != labels).mean():.4f}" in said
    status, _, error = command(main, "labels", source, tmp_path / "other", *options, "noisy")
    assert (status, error.count("\n")) == (2, 1)
    assert "no array noisy_label" in error or "no labels noisy_label" in error
    shuffled = tmp_path / "shuffled.npy"
    np.save(shuffled, labels[::-1])
    status, _, error = command(main, "labels", shuffled, tmp_path / "other", *options, "worst")
    assert status == 2
    assert "another order of the samples" in error
    assert not (tmp_path / "other").exists()


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_pt_file_that_is_damaged_or_holds_code_is_refused(source, tmp_path, command):
    torch = pytest.importorskip("torch")
    torch.save({"clean_label": Harmful(tmp_path / "touched")}, tmp_path / "code.pt")
    (tmp_path / "text.pt").write_bytes(b"hello")
    (tmp_path / "half.pt").write_bytes((tmp_path / "code.pt").read_bytes()[:200])
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"clean_label": [1, [2]]}, tmp_path / "ragged.pt")
    torch.save({"clean_label": np.zeros(600), "worse_label": np.zeros(600)}, tmp_path / "floats.pt")
    for path in (*sorted(tmp_path.glob("*.pt")), tmp_path / "absent.pt"):
        options = ["--kind", "human", "--human", path, "--human-labels", "worst"]
        status, _, error = command(main, "labels", source, tmp_path / "noisy", *options)
        assert (status, error.count("\n")) == (2, 1), path
        assert path.name in error
        assert "PyTorch" not in error  # advice for programmers
        assert "Float64" in error or path.name != "floats.pt"
    assert not (tmp_path / "touched").exists()


def test_bytes_that_changed_on_the_way_are_one_line(source, labels, tmp_path, command):
    """Of an .npy file's header, which NumPy reads as Python, and of an .npz file's table of contents."""
    np.save(tmp_path / "labels.npy", labels)
    np.savez(tmp_path / "human.npz", **human_arrays(labels))
    whole = {path: path.read_bytes() for path in (tmp_path / "labels.npy", tmp_path / "human.npz")}
    random = np.random.RandomState(0)
    for turn in range(150):
        path = [*whole][turn % 2]
        data = bytearray(whole[path])
        places = range(120) if path.suffix == ".npy" else range(len(data) - 260, len(data))
        for place in random.choice(places, 3):
            data[place] = random.randint(256)
        path.write_bytes(data)
        human = ["--kind", "human", "--human-labels", "worst", "--human", path]
        arguments = [path, *SYMMETRIC] if path.suffix == ".npy" else [source, *human]
        status, _, error = command(main, "labels", arguments[0], tmp_path / f"noisy{turn}", *arguments[1:])
        assert status == 0 or (status, error.count("\n")) == (2, 1), error
