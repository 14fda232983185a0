"""``seg-anl-noise labels`` as a person uses it: files in, files out, broken input, killed runs."""

import csv
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import data_prep.label_noise.label_folder
from data_prep.label_noise import part_dependent, prediction_error, read_label_noise, symmetric
from data_prep.label_noise.label_folder import OUTPUTS
from data_prep.noise_command import main
from seg_anl.records import UserError, array_digest
from seg_anl.records.lock import locked

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "cifar10_jpeg.npz"
SYMMETRIC = ["--kind", "symmetric", "--rate", "0.4"]


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def test_writes_labels_manifest_and_confusion(source, labels, tmp_path, command):
    target = tmp_path / "new" / "noisy"
    before = source.read_bytes()
    status, said, _ = command(main, "labels", source, target, *SYMMETRIC, "--counts", "class", "--seed", "7")
    assert (status, "rounded down" in said) == (0, False)
    assert "240 of 600 labels changed: 0.4000, asked 0.4" in said
    assert sorted(content(target)) == sorted(OUTPUTS)
    assert source.read_bytes() == before
    noisy = np.load(target / "labels.npy")
    expected, report = symmetric(labels, 10, 0.4, counts="class", seed=7)
    np.testing.assert_array_equal(noisy, expected)
    assert noisy.dtype == labels.dtype
    rows = list(csv.DictReader((target / "manifest.csv").open()))
    assert [int(row["index"]) for row in rows] == list(range(600))
    assert [int(row["clean"]) for row in rows] == labels.tolist()
    assert [int(row["noisy"]) for row in rows] == noisy.tolist()
    told = manifest(target)
    assert told["settings"] == {"kind": "symmetric", "num_classes": 10, "rate": 0.4, "seed": 7, "counts": "class"}
    assert (told["source_sha256"], told["result_sha256"]) == ({"labels": array_digest(labels)}, array_digest(noisy))
    assert (told["samples"], told["changed"], told["realised_rate"]) == (600, 240, 0.4)
    assert told["class_rates"] == [0.4] * 10
    table = list(csv.reader((target / "confusion.csv").open()))
    assert table[0] == ["clean", *map(str, range(10))]
    np.testing.assert_array_equal(np.array(table[1:], int)[:, 1:], report.confusion)
    picture = np.asarray(Image.open(target / "confusion.png").convert("RGB"))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


def test_again_is_the_same_and_other_settings_need_overwrite(source, tmp_path, command):
    target = tmp_path / "noisy"
    assert command(main, "labels", source, target, *SYMMETRIC)[0] == 0
    first = content(target)
    assert command(main, "labels", source, target, *SYMMETRIC, "--counts", "exact")[0] == 0  # the default, named
    said = command(main, "labels", source, tmp_path / "cell", *SYMMETRIC, "--counts", "cell")[1]
    assert "180 of 600 labels changed" in said
    assert "rounded down: --counts exact meets the rate" in said
    assert content(target) == first
    for other in (["--seed", "1"], ["--counts", "iid"]):
        status, _, error = command(main, "labels", source, target, *SYMMETRIC, *other)
        assert (status, error.count("\n")) == (2, 1)
        assert "other settings; --overwrite" in error
    assert content(target) == first
    assert command(main, "labels", source, target, *SYMMETRIC, "--seed", "1", "--overwrite")[0] == 0
    assert content(target)["labels.npy"] != first["labels.npy"]
    clean = tmp_path / "other.npy"
    np.save(clean, np.arange(600) % 10)
    status, _, error = command(main, "labels", clean, target, *SYMMETRIC, "--seed", "1")
    assert status == 2
    assert "other sources" in error


def test_a_killed_run_goes_on_and_foreign_files_stay(source, tmp_path, command):
    target = tmp_path / "noisy"
    command(main, "labels", source, target, *SYMMETRIC)
    whole = content(target)
    for name in ("manifest.json", "confusion.csv"):
        (target / name).unlink()
    (target / ".partial-abcd1234.csv").write_text("half")
    assert command(main, "labels", source, target, *SYMMETRIC)[0] == 0
    assert content(target) == whole
    (target / "manifest.json").unlink()
    (target / "labels.npy").write_bytes(b"somebody's")
    status, _, error = command(main, "labels", source, target, *SYMMETRIC)
    assert status == 2
    assert "without a manifest" in error
    assert (target / "labels.npy").read_bytes() == b"somebody's"
    (target / "manifest.json").write_text("{")
    status, _, error = command(main, "labels", source, target, *SYMMETRIC)
    assert (status, error.count("\n")) == (2, 1)
    assert command(main, "labels", source, target, *SYMMETRIC, "--overwrite")[0] == 0
    assert content(target) == whole


def test_a_run_killed_while_it_replaces_another_leaves_no_manifest(source, tmp_path, command, monkeypatch):
    target = tmp_path / "noisy"
    command(main, "labels", source, target, *SYMMETRIC)
    other = [*SYMMETRIC, "--seed", "1"]

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(data_prep.label_noise.label_folder, "draw_confusion", killed)
        assert command(main, "labels", source, target, *other, "--overwrite")[0] == 130
    assert not (target / "manifest.json").exists()
    assert command(main, "labels", source, target, *other)[0] == 0  # the labels are its own: it carries on
    assert command(main, "labels", source, tmp_path / "fresh", *other)[0] == 0
    assert content(target) == content(tmp_path / "fresh")


def test_labels_are_read_back_only_if_they_are_those_of_the_manifest(source, labels, tmp_path, command):
    target = tmp_path / "noisy"
    command(main, "labels", source, target, *SYMMETRIC)
    read = read_label_noise(target)
    assert read.dtype == np.int64
    np.testing.assert_array_equal(read, np.load(target / "labels.npy"))
    np.save(target / "labels.npy", labels)
    with pytest.raises(UserError, match=r"not the labels of manifest\.json"):
        read_label_noise(target)
    (target / "manifest.json").unlink()
    with pytest.raises(UserError, match="not the manifest of noisy labels"):
        read_label_noise(target)


def test_the_source_is_never_written_over(source, labels, tmp_path, command):
    clean = tmp_path / "labels.npy"
    np.save(clean, labels)
    status, _, error = command(main, "labels", clean, tmp_path, *SYMMETRIC, "--overwrite")
    assert status == 2
    assert "name another folder" in error
    np.testing.assert_array_equal(np.load(clean), labels)


def test_pixels_softmaxes_and_matrices_come_from_files(source, labels, tmp_path, command):
    with np.load(source) as data:
        pictures = data["x_train"]
    options = ["--kind", "part_dependent", "--rate", "0.3", "--features", "normalized"]
    assert command(main, "labels", source, tmp_path / "pdn", *options)[0] == 0
    expected, _ = part_dependent(labels, pictures, 10, 0.3, features="normalized")
    np.testing.assert_array_equal(np.load(tmp_path / "pdn" / "labels.npy"), expected)
    assert manifest(tmp_path / "pdn")["source_sha256"]["images"] == array_digest(pictures)

    softmax = np.random.RandomState(2).dirichlet(np.ones(10), (3, 600)).astype(np.float32)
    for path in (tmp_path / "s.npy", tmp_path / "s.npz"):
        np.save(path, softmax) if path.suffix == ".npy" else np.savez(path, softmax=softmax, other=labels)
        target = tmp_path / f"errors{path.suffix}"
        options = ["--kind", "prediction_error", "--rate", "0.3", "--softmax", path]
        assert command(main, "labels", source, target, *options)[0] == 0
        np.testing.assert_array_equal(np.load(target / "labels.npy"), prediction_error(labels, softmax, 10, 0.3)[0])

    table = tmp_path / "matrix.csv"
    table.write_text(  # with the mark that Excel puts first
        "\ufeff"
        + "\n".join(",".join(str(0.5 * (i == j) + 0.5 * ((i + 2) % 10 == j)) for j in range(10)) for i in range(10))
    )
    assert command(main, "labels", source, tmp_path / "matrix", "--kind", "matrix", "--matrix", table)[0] == 0
    noisy = np.load(tmp_path / "matrix" / "labels.npy")
    assert (noisy != labels).sum() == 300
    assert set((noisy.astype(int) - labels)[noisy != labels] % 10) == {2}


def damaged(tmp_path, labels):
    np.save(tmp_path / "good.npy", labels)
    np.save(tmp_path / "float.npy", labels / 1.0)
    np.save(tmp_path / "objects.npy", np.array([1, None, 2], object))
    np.save(tmp_path / "huge.npy", np.array([0, 1, 2_000_000_000]))
    np.save(tmp_path / "square.npy", labels.reshape(20, 30))
    np.save(tmp_path / "empty.npy", labels[:0])
    np.save(tmp_path / "words.npy", np.array(["cat", "dog"]))
    (tmp_path / "text.npy").write_text("hello")
    np.savez(tmp_path / "names.npz", labels=labels, images=labels)
    (tmp_path / "half.npz").write_bytes((tmp_path / "names.npz").read_bytes()[:400])
    (tmp_path / "rows.csv").write_text("0.5 0.4\n0 1\n")
    (tmp_path / "ragged.csv").write_text("0.5,0.5\n1\n")
    np.save(tmp_path / "two.npy", labels % 2)
    np.save(tmp_path / "column.npy", labels[:, None])
    np.save(tmp_path / "one_hot.npy", np.eye(10)[labels])
    np.save(tmp_path / "from_one.npy", labels + 1)
    np.save(tmp_path / "ignored.npy", np.where(labels == 3, 255, labels))
    np.save(tmp_path / "least.npy", np.array([0, -(2**63)]))
    with zipfile.ZipFile(tmp_path / "members.npz", "w") as archive:
        archive.writestr("y_train.npy", "no array")
    (tmp_path / "excel.txt").write_text("0.5\t0.5\n0\t1\n", encoding="utf-16")
    (tmp_path / "header.csv").write_text("cat,dog\n0.5,0.5\n0,1\n")


def test_bad_input_is_one_line_and_leaves_nothing(labels, tmp_path, command, monkeypatch):
    damaged(tmp_path, labels)
    monkeypatch.chdir(tmp_path)
    for line, message in (
        ("good.npy OUT --kind symmetric --rate 1.2", "rate must be a number >= 0 and <= 1"),
        ("good.npy OUT --kind symmetric --rate much", "invalid float"),
        ("good.npy OUT --kind symmetric", "--kind symmetric needs --rate"),
        ("good.npy OUT --kind symmetric --rate 0.2 --classes 5", "0..4 for 5 classes, found 0..9"),
        ("good.npy OUT --kind symmetric --rate 0.2 --seed -1", "seed"),
        ("good.npy OUT --kind symetric --rate 0.2", "did you mean 'symmetric'"),
        ("good.npy OUT --kind symmetric --rate 0.2 --reflip", "--reflip is not for --kind symmetric"),
        ("good.npy OUT --kind asymmetric --rate 0.2", "needs --dataset, one of mnist, cifar10"),
        ("good.npy OUT --kind asymmetric --rate 0.2 --dataset cifar100", "for 100 classes, these labels have 10"),
        ("good.npy OUT --kind part_dependent --rate 0.2", "needs an .npz with x_train"),
        ("good.npy OUT --kind prediction_error --rate 0.2", "needs --softmax FILE"),
        ("good.npy OUT --kind prediction_error --rate 0.2 --softmax good.npy", "softmax must be (600, 10)"),
        ("good.npy OUT --kind human --human names.npz", "needs --human-labels, one of aggregate"),
        ("good.npy OUT --kind human --human names.npz --human-labels worse", "did you mean 'worst'"),
        ("good.npy OUT --kind human --human names.npz --human-labels worst", "it holds labels, images"),
        ("two.npy OUT --kind matrix --matrix rows.csv", "row 0 of the matrix sums to 0.9"),
        ("good.npy OUT --kind matrix --matrix rows.csv", "10 x 10"),
        ("two.npy OUT --kind matrix --matrix ragged.csv", "rows of one length"),
        ("two.npy OUT --kind matrix --matrix absent.csv", "No such file"),
        ("float.npy OUT --kind symmetric --rate 0.2", "must be integers, got float64: save them with .astype"),
        ("huge.npy OUT --kind symmetric --rate 0.2", "2000000001 classes are more than the 5000"),
        ("objects.npy OUT --kind symmetric --rate 0.2", "Python objects, which are not unpickled"),
        ("square.npy OUT --kind symmetric --rate 0.2", "got shape (20, 30)"),
        ("empty.npy OUT --kind symmetric --rate 0.2", "got shape (0,)"),
        ("words.npy OUT --kind symmetric --rate 0.2", "expected numbers"),
        ("text.npy OUT --kind symmetric --rate 0.2", "not a NumPy file"),
        ("half.npz OUT --kind symmetric --rate 0.2", "not a whole .npz file"),
        ("names.npz OUT --kind symmetric --rate 0.2", "no array y_train; it holds labels, images"),
        ("absent.npy OUT --kind symmetric --rate 0.2", "No such file"),
        ("rows.csv OUT --kind symmetric --rate 0.2", "expected an .npy or .npz file"),
        ("good.npy rows.csv --kind symmetric --rate 0.2", "rows.csv is a file"),
        ("good.npy OUT --kind symmetric --rate 0.2 --classes 10.5", "'10.5' is not a whole number of at least 1"),
        ("good.npy OUT --kind symmetric --rate 0.2 --human-labels worst", "--human-labels is not for --kind symmetric"),
        ("two.npy OUT --kind matrix --matrix rows.csv --rate 0.2", "--rate is not for --kind matrix"),
        ("column.npy OUT --kind symmetric --rate 0.2", "got shape (600, 1): save labels[:, 0]"),
        ("one_hot.npy OUT --kind symmetric --rate 0.2", "got shape (600, 10): save labels.argmax(axis=1)"),
        ("from_one.npy OUT --kind symmetric --rate 0.2", "no label 0 in 0..10; number the classes from 0"),
        ("ignored.npy OUT --kind symmetric --rate 0.2", "no label 3 (and 245 more) in 0..255"),
        ("least.npy OUT --kind symmetric --rate 0.2", "must count classes from 0, found -9223372036854775808..0"),
        ("members.npz OUT --kind symmetric --rate 0.2", "members.npz: not an archive of NumPy arrays"),
        ("two.npy OUT --kind matrix --matrix excel.txt", "excel.txt: cannot be read: not UTF-8 text"),
        ("two.npy OUT --kind matrix --matrix header.csv", "rows of one length and no header"),
    ):
        status, _, error = command(main, "labels", *line.split())
        assert (status, error.count("\n")) == (2, 1), error
        assert message in error
        assert not (tmp_path / "OUT").exists()


def test_classes_without_samples_are_for_the_person_to_name(labels, tmp_path, command):
    np.save(tmp_path / "gap.npy", labels[labels != 4])
    arguments = ["labels", tmp_path / "gap.npy", tmp_path / "noisy", "--kind", "symmetric", "--rate", "0.9"]
    assert command(main, *arguments)[0] == 2
    status, said, _ = command(main, *arguments, "--classes", "10")
    assert status == 0
    assert "no samples in 1 of the classes" in said
    assert (np.load(tmp_path / "noisy" / "labels.npy") == 4).sum() == 9 * 6  # 60 of each class, a tenth to each other


@pytest.mark.skipif(not REAL.exists(), reason="the real labels are not at hand")
def test_real_cifar10_and_its_human_labels(tmp_path, command):
    with np.load(REAL) as pack:
        np.savez(
            tmp_path / "cifar10.npz",
            y_train=pack["train_labels"].astype(np.int64),
            y_test=pack["test_labels"],
            worse_label=pack["human_worse_label"],
            random_label1=pack["human_random_label1"],
        )
    source = tmp_path / "cifar10.npz"
    runs = {
        "19980 of 50000 labels changed: 0.3996": [*SYMMETRIC, "--counts", "cell"],
        "20000 of 50000 labels changed: 0.4000": SYMMETRIC,
        "10000 of 50000 labels changed: 0.2000": ["--kind", "asymmetric", "--dataset", "cifar10", "--rate", "0.4"],
        # The rates of the paper: 40.21 % and 17.23 %.
        "0.4021": ["--kind", "human", "--human", source, "--human-labels", "worst"],
        "0.1723": ["--kind", "human", "--human", source, "--human-labels", "random1"],
    }
    for number, (expected, options) in enumerate(runs.items()):
        status, said, _ = command(main, "labels", source, tmp_path / str(number), *options)
        assert status == 0
        assert expected in said


def test_two_at_once_in_one_folder_one_is_told(source, tmp_path, command):
    target = tmp_path / "noisy"
    target.mkdir()
    with locked(target):
        status, _, said = command(main, "labels", source, target, *SYMMETRIC)
    assert (status, said.count("\n")) == (2, 1)
    assert "another process is writing there" in said
    assert command(main, "labels", source, target, *SYMMETRIC)[0] == 0


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
