"""Mended data sets: nnU-Net accepts them, the trainers read them, the source is unchanged, all changes are listed."""

from __future__ import annotations

import csv
import hashlib
import json
import multiprocessing.dummy
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from data_prep.layouts import find_pairs
from seg_anl.audit import apply_command, labels_command
from seg_anl.records import UserError, array_digest
from tests.processes import call


def apply(*arguments: Any) -> dict[str, Any]:
    """Run the command and return its manifest."""
    parser = ArgumentParser()
    apply_command.add_arguments(parser)
    options = parser.parse_args(list(map(str, arguments)))
    assert apply_command.run(options) == 0
    return json.loads((options.target / "manifest.json").read_text())


def file_digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write_audit(folder: Path, items: Sequence[str], suspected: Sequence[str], **paths: Any) -> Path:
    """The part of the output of seg-anl-audit masks that apply reads."""
    folder.mkdir()
    (folder / "audit.json").write_text(json.dumps({"kind": "masks", **{k: v and str(v) for k, v in paths.items()}}))
    with open(folder / "audit.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerows([["item", "score", "suspected"], *([item, 0.5, int(item in suspected)] for item in items)])
    return folder


AFFINE = np.array([[0, -0.7, 0.3, 5], [0.8, 0, 0, -3], [0, 0.2, 2.5, 1], [0, 0, 0, 1]])  # anisotropic and oblique


@pytest.fixture
def nnunet(tmp_path: Path) -> tuple[Path, Path]:
    """A raw data set of four volumes with two labels, and a folder of nnU-Net's probabilities for them."""
    raw, predictions = tmp_path / "Dataset007_Small", tmp_path / "predictions"
    generator = np.random.default_rng(0)
    for folder in (raw / "imagesTr", raw / "labelsTr", raw / "imagesTs", predictions):
        folder.mkdir(parents=True)
    for number in range(4):
        labels = np.zeros((12, 10, 6), np.uint8)
        labels[2:6, 2:8, 1:4] = 1
        labels[7:10, 2:8, 1:4] = 2
        probabilities = np.stack([labels == label for label in range(3)]).astype(np.float16) * 0.9 + 0.1 / 3
        probabilities /= probabilities.sum(axis=0)
        if number == 1:
            labels[3:6] = 0  # most of label 1 is missing from the annotation
        image = generator.normal(0, 1, labels.shape).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(image, AFFINE), raw / f"imagesTr/c{number}_0000.nii.gz")
        nibabel.save(nibabel.Nifti1Image(labels, AFFINE), raw / f"labelsTr/c{number}.nii.gz")
        np.savez(predictions / f"c{number}.npz", probabilities=probabilities.transpose(0, 3, 2, 1))
        (predictions / f"c{number}.pkl").write_bytes(b"")  # nnU-Net writes one; it is never opened
    nibabel.save(nibabel.Nifti1Image(image, AFFINE), raw / "imagesTs/t_0000.nii.gz")
    description = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "one": 1, "two": 2}}
    (raw / "dataset.json").write_text(json.dumps({**description, "numTraining": 4, "file_ending": ".nii.gz"}))
    return raw, predictions


@pytest.mark.parametrize("action", ["drop", "ignore", "replace"])
def test_mended_raw_dataset_is_valid_for_nnunet(
    nnunet: tuple[Path, Path], tmp_path: Path, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nnunetv2.experiment_planning import verify_dataset_integrity

    # Threads instead of processes, each of which would import torch.
    threads = SimpleNamespace(get_context=lambda _: multiprocessing.dummy)
    monkeypatch.setattr(verify_dataset_integrity, "multiprocessing", threads)
    raw, predictions = nnunet
    before = file_digests(raw)
    items = ["c1", "c0", "c2", "c3"]
    audit = write_audit(tmp_path / "audit", items, ["c1"], source=predictions, masks=raw, images=None)
    new = tmp_path / "Dataset008_Mended"
    manifest = apply(audit, new, f"--{action}")
    verify_dataset_integrity.verify_dataset_integrity(str(new), num_processes=1)
    assert file_digests(raw) == before
    description = json.loads((new / "dataset.json").read_text())
    assert description["numTraining"] == (3 if action == "drop" else 4)
    assert ("ignore" in description["labels"]) == (action == "ignore")
    assert (new / "imagesTs/t_0000.nii.gz").resolve() == (raw / "imagesTs/t_0000.nii.gz").resolve()
    (change,) = manifest["changes"]
    old = np.asarray(nibabel.load(raw / "labelsTr/c1.nii.gz").dataobj)
    assert (change["item"], change["source_sha256"]) == ("c1", array_digest(old))
    if action == "drop":
        assert not list(new.rglob("c1*"))
        return
    mended = nibabel.load(new / "labelsTr/c1.nii.gz")
    np.testing.assert_allclose(mended.affine, AFFINE, atol=1e-6)
    values = np.asarray(mended.dataobj)
    assert (change["elements"], change["result_sha256"]) == (3 * 6 * 3, array_digest(values))
    truth = np.asarray(nibabel.load(raw / "labelsTr/c0.nii.gz").dataobj)  # c0 is annotated correctly
    expected = truth if action == "replace" else np.where(truth == old, old, 3)
    np.testing.assert_array_equal(values, expected)
    assert values.dtype == np.uint8


def test_decisions_override_the_suspects(nnunet: tuple[Path, Path], tmp_path: Path) -> None:
    raw, predictions = nnunet
    items = ["c1", "c0", "c2", "c3"]
    audit = write_audit(tmp_path / "audit", items, ["c1"], source=predictions, masks=raw, images=None)
    decisions = tmp_path / "decisions.json"
    decisions.write_text(json.dumps({"c1": "right", "c3": "wrong", "c0": "unsure"}))
    (tmp_path / ".partial-abcd1234").mkdir()  # left by a killed process
    (tmp_path / ".partial-abcd1234/half").touch()
    manifest = apply(audit, tmp_path / "new", "--drop", "--decisions", decisions, "--copy")
    assert not list(tmp_path.rglob("half"))
    assert [change["item"] for change in manifest["changes"]] == ["c3"]
    assert not (tmp_path / "new/imagesTr/c1_0000.nii.gz").is_symlink()
    for text, message in (
        ('{"c9": "wrong"}', "no training item 'c9'"),
        ('{"c1": "maybe"}', "c1 is 'maybe'; expected wrong, right, unsure"),
        ('["c1"]', "expected"),
        ('{"c1"', "damaged"),
        ('{"c1": "right"}', "no annotation is wrong"),
    ):
        decisions.write_text(text)
        with pytest.raises(UserError, match=message):
            apply(audit, tmp_path / "other", "--drop", "--decisions", decisions)
        assert not (tmp_path / "other").exists()


def test_invalid_folders_are_refused(nnunet: tuple[Path, Path], tmp_path: Path) -> None:
    raw, predictions = nnunet
    items = ["c0", "c1", "c2", "c3"]
    audit = write_audit(tmp_path / "audit", items, items, source=predictions, masks=raw, images=None)
    for target, message in (
        (raw / "new", "overlap"),
        (audit / "new", "overlap"),
        (raw, "already exists"),
        (tmp_path / "new", "no case would be left"),
    ):
        with pytest.raises(UserError, match=message):
            apply(audit, target, "--drop")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".partial")]
    with pytest.raises(UserError, match="not an audit of seg-anl-audit"):
        apply(tmp_path, tmp_path / "new", "--drop")
    (raw / "labelsTr/c2.nii.gz").unlink()
    with pytest.raises(UserError, match="c2 is no longer there"):
        apply(audit, tmp_path / "new", "--drop")


def test_mended_masks_keep_foreground_255(tmp_path: Path) -> None:
    """Masks of 0 and 255 with photographs; the prediction is an array of probabilities."""
    data, predictions = tmp_path / "data", tmp_path / "predictions"
    truth = np.zeros((20, 24), bool)
    truth[5:15, 6:18] = True
    for folder in (data / "images", data / "masks", predictions):
        folder.mkdir(parents=True)
    for item, mask in {"a": truth, "b": truth & False, "c": truth}.items():
        Image.fromarray(np.full((20, 24, 3), 99, np.uint8)).save(data / f"images/{item}.jpg")
        Image.fromarray(mask.astype(np.uint8) * 255).save(data / f"masks/{item}.png")
        np.savez(predictions / f"{item}.npz", probabilities=np.stack([1.0 - truth, truth]).astype(np.float16))
    roots = ["--masks", data / "masks", "--images", data / "images"]
    audit, decisions = tmp_path / "audit", tmp_path / "decisions.json"
    assert call("audit", "masks", predictions, audit, *roots, cwd=tmp_path)[0] == 0
    decisions.write_text('{"b": "wrong"}')
    apply(audit, tmp_path / "new", "--replace", "--decisions", decisions)
    for item in "abc":
        mask = np.asarray(Image.open(tmp_path / f"new/masks/{item}.png"))
        np.testing.assert_array_equal(mask, truth * 255)
    assert (tmp_path / "new/images/b.jpg").resolve() == (data / "images/b.jpg").resolve()
    manifest = apply(audit, tmp_path / "ignored", "--ignore", "--decisions", decisions)
    mask = np.asarray(Image.open(tmp_path / "ignored/masks/b.png"))
    np.testing.assert_array_equal(mask, truth * 254)
    assert manifest["remarks"] == ["the ignore label is 254"]
    again = ["apply", audit, tmp_path / "new", "--replace", "--decisions", decisions]
    status, output, _ = call("audit", *again, cwd=tmp_path)  # as after a kill at the very end
    assert (status, "already written by this command" in output) == (0, True)
    decisions.write_text('{"a": "wrong"}')
    assert call("audit", *again, cwd=tmp_path)[0] == 2
    status, _, errors = call("audit", "apply", audit, tmp_path / "new", "--drop", cwd=tmp_path)
    assert (status, errors.count("\n")) == (2, 1)
    assert "already exists" in errors


def test_a_label_predicted_for_an_empty_mask_stays_as_it_is(tmp_path: Path) -> None:
    """Masks of several labels without a dataset.json: the highest label of another mask is no foreground value."""
    labels = np.zeros((16, 16), np.uint8)
    labels[2:6, 2:6], labels[8:12, 8:12] = 1, 3
    missed = np.where(labels == 1, 2, 0).astype(np.uint8)
    for folder, masks in (("masks", (labels, labels * 0)), ("predicted", (labels, missed))):
        (tmp_path / folder).mkdir()
        for item, mask in zip("ab", masks, strict=True):
            Image.fromarray(mask).save(tmp_path / folder / f"{item}.png")
    roots = {"source": tmp_path / "predicted", "masks": tmp_path / "masks", "images": None}
    audit = write_audit(tmp_path / "audit", ["a", "b"], ["b"], **roots)
    apply(audit, tmp_path / "new", "--replace")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "new/masks/b.png")), missed)


def test_files_that_changed_since_the_audit_are_refused(tmp_path: Path) -> None:
    """What a person has corrected by hand must not be replaced by a prediction."""
    mask = np.zeros((16, 16), np.uint8)
    mask[4:12, 4:12] = 1
    for folder in ("masks", "predicted"):
        (tmp_path / folder).mkdir()
        for item in "ab":
            Image.fromarray(mask).save(tmp_path / folder / f"{item}.png")
    assert call("audit", "masks", "predicted", "audit", "--masks", "masks", cwd=tmp_path)[0] == 0
    decisions = tmp_path / "decisions.json"
    decisions.write_text('{"b": "wrong"}')
    arguments = [tmp_path / "audit", tmp_path / "new", "--replace", "--decisions", decisions]
    (tmp_path / "masks/a.png").touch()  # not the one that is mended
    apply(*arguments)
    Image.fromarray(mask[::-1] * 1).save(tmp_path / "masks/b.png")
    arguments[1] = tmp_path / "second"
    with pytest.raises(UserError, match="b: its mask or prediction has changed since the audit; run the audit again"):
        apply(*arguments)
    (tmp_path / "predicted/a.png").write_bytes(b"")
    assert call("audit", "masks", "predicted", "audit", "--masks", "masks", cwd=tmp_path)[0] == 2
    with pytest.raises(UserError, match="not an audit"):  # the journal knows the new mask, but audit.csv the old one
        apply(*arguments)


def raw_and_predicted(tmp_path: Path) -> tuple[Path, Path, np.ndarray]:
    """An nnU-Net raw data set of one case, a folder for its prediction, and the case's labels 0, 1 and 2."""
    raw, predicted = tmp_path / "Dataset001_R", tmp_path / "predicted"
    labels = np.zeros((16, 16), np.uint8)
    labels[2:12, 2:12], labels[4:8, 4:8] = 1, 2
    for folder in (raw / "labelsTr", raw / "imagesTr", predicted):
        folder.mkdir(parents=True)
    Image.fromarray(labels).save(raw / "labelsTr/a.png")
    Image.fromarray(labels).save(raw / "imagesTr/a_0000.png")
    return raw, predicted, labels


def test_regions_need_their_order(tmp_path: Path) -> None:
    raw, predicted, labels = raw_and_predicted(tmp_path)
    regions = np.stack([labels[::-1] > 0, labels[::-1] == 2])
    np.savez(predicted / "a.npz", probabilities=regions.astype(np.float16))
    description = {"labels": {"background": 0, "whole": [1, 2], "core": 2}, "file_ending": ".png"}
    audit = write_audit(tmp_path / "audit", ["a"], ["a"], source=predicted, masks=raw, images=None)
    for order in (None, [1]):
        (raw / "dataset.json").write_text(json.dumps({**description, "regions_class_order": order}))
        with pytest.raises(
            UserError, match=r"regions_class_order is (None|\[1\]); expected the label of each of the 2"
        ):
            apply(audit, tmp_path / "new", "--replace")
    (raw / "dataset.json").write_text(json.dumps({**description, "regions_class_order": [1, 2]}))
    apply(audit, tmp_path / "new", "--replace")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "new/labelsTr/a.png")), labels[::-1])


def test_labels_of_one_region_agree_with_its_prediction(tmp_path: Path) -> None:
    raw, predicted, labels = raw_and_predicted(tmp_path)
    region = labels > 0
    region[12:14, 2:12] = True
    np.savez(predicted / "a.npz", probabilities=region[None].astype(np.float16))
    description = {"labels": {"background": 0, "whole": [1, 2]}, "file_ending": ".png", "regions_class_order": [1]}
    (raw / "dataset.json").write_text(json.dumps(description))
    audit = write_audit(tmp_path / "audit", ["a"], ["a"], source=predicted, masks=raw, images=None)
    for action, value in (("--replace", 1), ("--ignore", 3)):
        apply(audit, tmp_path / action[2:], action)
        expected = np.where(region & (labels == 0), value, labels)
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / action[2:] / "labelsTr/a.png")), expected)


def test_masks_of_a_run_are_mended_at_full_size(tmp_path: Path) -> None:
    """Predictions have the training size; the new masks have the size of the files."""
    from seg_anl.engine.command import compose
    from seg_anl.segmentation.experiment import train

    data = tmp_path / "data"
    for split, count in (("train", 6), ("test", 2)):
        for kind in ("images", "masks"):
            (data / kind / split).mkdir(parents=True)
        for i in range(count):
            mask = np.zeros((64, 80), np.uint8)
            mask[16:48, 20:60] = 255
            Image.fromarray(np.stack([mask] * 3, axis=-1)).save(data / f"images/{split}/{i}.png")
            mask[:] *= i != 3  # the annotator missed the fourth
            Image.fromarray(mask).save(data / f"masks/{split}/{i}.png")
    (data / "masks/train/4.png").rename(data / "masks/train/4.webp")  # a format that is read, never written
    settings = ["data=folder", f"data.root={data}", "data.size=32", "batch_size=3", "model.base_filters=4", "epochs=1"]
    settings += ["progress=false", "device=cpu", "noise.alpha=0", "record=predictions", f"run_root={tmp_path}/runs"]
    (run,) = train(compose("segmentation", settings))
    audit = write_audit(tmp_path / "audit", list("012345"), ["3"], source=run.path, masks=None, images=None)
    foreground = np.zeros((32, 32), np.float16)  # the prediction of a well-trained network
    foreground[8:24, 8:24] = 1
    np.savez(run.path / "predictions/3.npz", probabilities=np.stack([1 - foreground, foreground]))
    apply(audit, tmp_path / "new", "--replace")
    mended = np.asarray(Image.open(tmp_path / "new/masks/train/3.png"))
    np.testing.assert_array_equal(mended, np.asarray(Image.open(data / "masks/train/2.png")))
    # The trainer can read the new folder.
    pairs = find_pairs(name="folder", root=tmp_path / "new", test_share=0.2, seed=0)
    assert [pair.item for pair in pairs.train] == list("012345")
    assert [pair.item for pair in pairs.test] == ["0", "1"]
    for pair in pairs.test:
        assert Path(pair.mask.name).read_bytes() == (data / f"masks/test/{pair.item}.png").read_bytes()
    # Unlabeled pixels stay so: 255 in the run's archive, 77 in the files.
    told = apply(audit, tmp_path / "ignored", "--ignore")
    assert told["remarks"] == ["the ignore label is 254"]
    again = [f"data.root={tmp_path / 'ignored'}", "data.ignore=254", f"run_dir={tmp_path / 'again'}"]
    train(compose("segmentation", [*settings, *again]))
    np.savez(tmp_path / "again/predictions/3.npz", probabilities=np.stack([foreground, 1 - foreground]))
    second = tmp_path / "second"
    assert call("audit", "masks", tmp_path / "again", second, cwd=tmp_path)[0] == 0
    decisions = tmp_path / "decisions.json"
    decisions.write_text('{"3": "wrong", "2": "wrong"}')
    apply(second, tmp_path / "twice", "--ignore", "--decisions", decisions)
    once, twice = (np.asarray(Image.open(tmp_path / f"{name}/masks/train/3.png")) for name in ("ignored", "twice"))
    assert (twice[once == 254] == 254).all()
    settings_file = run.path / "config.yaml"
    settings_file.write_text(settings_file.read_text().replace("alpha: 0", "alpha: 0.5"))
    with pytest.raises(UserError, match="made noisy in memory: use data"):
        apply(audit, tmp_path / "other", "--drop")


def audit_labels(source: Path, out: Path) -> list[str]:
    """Audit labels and return the excluded items."""
    parser = ArgumentParser()
    labels_command.add_arguments(parser)
    labels_command.run(parser.parse_args([str(source), str(out)]))
    return (out / "exclude.txt").read_text().split()


def write_predictions(run: Path, probabilities: np.ndarray, labels: np.ndarray, **header: Any) -> None:
    """The predictions of a fold run."""
    (run / "predictions").mkdir(parents=True)
    index = np.arange(len(labels))
    np.savez(run / "predictions/predictions.npz", probabilities=probabilities, index=index, labels=labels)
    items = {"out_of_sample": True, "fold": 0, "folds": 2, "items": list(map(str, index)), **header}
    (run / "predictions/predictions.json").write_text(json.dumps(items))


def confident(labels: Sequence[int], classes: int) -> np.ndarray:
    return (np.eye(classes)[list(labels)] * 0.9 + 0.1 / classes).astype(np.float16)


def test_labels_in_an_archive_and_in_folders_are_mended(tmp_path: Path) -> None:
    true = np.arange(60) % 3
    given = true.copy()
    given[[0, 7]] = [2, 0]  # true labels: 0 and 1
    images = np.arange(60, dtype=np.uint8)[:, None, None] + np.zeros((60, 6, 6), np.uint8)
    archive = tmp_path / "all.npz"
    np.savez(archive, x_train=images, y_train=true, x_test=images[:9], y_test=true[:9])
    run = tmp_path / "run"
    write_predictions(run, confident(true, 3), given)
    (run / "config.yaml").write_text(f"data: {{name: arrays, file: {archive}}}\n")
    assert sorted(audit_labels(run, tmp_path / "audit")) == ["0", "7"]
    manifest = apply(tmp_path / "audit", tmp_path / "dropped", "--drop")
    with np.load(tmp_path / "dropped/dataset.npz") as arrays:
        np.testing.assert_array_equal(arrays["x_train"], np.delete(images, [0, 7], axis=0))
        np.testing.assert_array_equal(arrays["y_train"], np.delete(true, [0, 7]))
        np.testing.assert_array_equal(arrays["x_test"], images[:9])
    assert [change["result_sha256"] for change in manifest["changes"]] == [None, None]
    apply(tmp_path / "audit", tmp_path / "replaced", "--replace")
    with np.load(tmp_path / "replaced/dataset.npz") as arrays:
        np.testing.assert_array_equal(arrays["y_train"], true)
    decisions = tmp_path / "decisions.json"
    audited = json.loads((tmp_path / "audit" / "audit.json").read_text())["data"]
    by_position = {"0": "wrong", "1": "wrong"}
    decisions.write_text(json.dumps({"data": "0123456789abcdef", "decisions": by_position}))  # of another data set
    with pytest.raises(UserError, match=r"decisions\.json: decisions about other data"):
        apply(tmp_path / "audit", tmp_path / "decided", "--replace", "--decisions", decisions)
    decisions.write_text(json.dumps({"data": audited, "decisions": by_position}))
    manifest = apply(tmp_path / "audit", tmp_path / "decided", "--replace", "--decisions", decisions)
    assert manifest["remarks"] == ["the prediction agrees with 1 wrong annotations, such as 1: they stay"]
    assert [(change["item"], change["elements"]) for change in manifest["changes"]] == [("0", 1), ("1", 0)]
    with pytest.raises(UserError, match="--ignore is for masks"):
        apply(tmp_path / "audit", tmp_path / "ignored", "--ignore")
    np.savez(archive, x_train=images[:50], y_train=true[:50], x_test=images[:9], y_test=true[:9])
    with pytest.raises(UserError, match=r"all\.npz: holds fewer samples than the audited run"):
        apply(tmp_path / "audit", tmp_path / "shrunk", "--drop")
    # Class folders: an image moves to a class that already has an image of that name.
    root = tmp_path / "pictures"
    files = []
    for i in range(12):
        path = root / "train" / "ab"[int(i == 3) if i < 6 else 1] / f"{i % 6}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 6, 3), i, np.uint8)).save(path if i != 3 else root / "train/b/other.png")
        files.append(str(path if i != 3 else root / "train/b/other.png"))
    (root / "test/a").mkdir(parents=True)
    Image.fromarray(np.zeros((6, 6, 3), np.uint8)).save(root / "test/a/0.png")
    run = tmp_path / "second"
    labels = np.array([0, 0, 0, 1, 0, 0, 1, 1, 1, 1, 1, 1])
    write_predictions(run, confident([0] * 5 + [1] * 7, 2), labels, classes=["a", "b"], files=files)
    (run / "config.yaml").write_text(f"data: {{name: imagefolder, root: {root}}}\n")
    assert sorted(audit_labels(run, tmp_path / "second_audit")) == ["3", "5"]
    before = file_digests(root)
    apply(tmp_path / "second_audit", tmp_path / "folders", "--replace")
    placed = sorted(path.relative_to(tmp_path / "folders").as_posix() for path in (tmp_path / "folders").rglob("*.png"))
    in_a, in_b = ["0", "1", "2", "4", "other"], ["0", "1", "2", "3", "4", "5", "a-5"]
    expected = ["test/a/0.png", *(f"train/a/{n}.png" for n in in_a), *(f"train/b/{n}.png" for n in in_b)]
    assert placed == sorted(expected)
    assert file_digests(root) == before
    for path in (tmp_path / "folders").rglob("*.png"):
        assert path.is_symlink()


def test_no_picture_is_lost_when_names_clash_or_folders_are_links(tmp_path: Path) -> None:
    root, files = tmp_path / "pictures", []
    names = ["a/5.png", "a/1.png", "a/2.png", "a/3.png", "b/5.png", "b/a-5.png", "b/7.png", "b/8.png"]
    for number, name in enumerate([*names, "a/unaudited.png"]):
        path = root / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 6, 3), number, np.uint8)).save(path)
        files.append(str(path))
    (tmp_path / "disk/a").mkdir(parents=True)
    Image.fromarray(np.zeros((6, 6, 3), np.uint8)).save(tmp_path / "disk/a/0.png")
    (root / "test").symlink_to(tmp_path / "disk")
    (root / "train/b").rename(tmp_path / "b")
    (root / "train/b").symlink_to(tmp_path / "b")
    labels, true = np.array([0] * 4 + [1] * 4), [1] + [0] * 3 + [1] * 4
    write_predictions(tmp_path / "run", confident(true, 2), labels, classes=["a", "b"], files=files[:-1])
    assert audit_labels(tmp_path / "run", tmp_path / "audit") == ["0"]
    manifest = apply(tmp_path / "audit", tmp_path / "new", "--replace")
    placed = {int(np.asarray(Image.open(path))[0, 0, 0]): path for path in (tmp_path / "new/train").rglob("*.png")}
    assert sorted(placed) == list(range(8))
    assert [placed[number].parent.name for number in range(8)] == ["b", *"aaa", *"bbbb"]
    assert (tmp_path / "new/test/a/0.png").is_file()
    assert manifest["remarks"] == ["1 samples that were not audited are left out too"]
    Path(files[3]).unlink()
    with pytest.raises(UserError, match=r"a/3\.png is no longer there; run the audit again"):
        apply(tmp_path / "audit", tmp_path / "other", "--replace")
    assert not (tmp_path / "other").exists()


def test_images_come_from_the_file_that_the_audited_runs_were_trained_on(tmp_path: Path) -> None:
    """Another run in the same folder, first by name, was trained on another file."""
    true = np.arange(60) % 3
    given = true.copy()
    given[0] = 2
    for value, name in enumerate(("old", "new")):
        images = np.full((60, 6, 6), value, np.uint8)
        np.savez(tmp_path / f"{name}.npz", x_train=images, y_train=true, x_test=images[:9], y_test=true[:9])
    write_predictions(tmp_path / "runs/b", confident(true, 3), given)
    (tmp_path / "runs/a").mkdir()
    for run, name in (("a", "old"), ("b", "new")):
        (tmp_path / f"runs/{run}/config.yaml").write_text(f"data: {{name: arrays, file: {tmp_path}/{name}.npz}}\n")
    audit_labels(tmp_path / "runs", tmp_path / "audit")
    apply(tmp_path / "audit", tmp_path / "new", "--drop")
    with np.load(tmp_path / "new/dataset.npz") as arrays:
        assert (len(arrays["x_train"]), set(arrays["x_train"].flat)) == (59, {1})
    given[5] = (true[5] + 1) % 3
    np.savez(
        tmp_path / "runs/b/predictions/predictions.npz",
        probabilities=confident(true, 3),
        index=np.arange(60),
        labels=given,
    )
    with pytest.raises(UserError, match=r"its labels differ from those in .*audit; run the audit again"):
        apply(tmp_path / "audit", tmp_path / "other", "--drop")
