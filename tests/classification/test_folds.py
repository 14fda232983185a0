"""Folds of ``seg-anl-classify``: every sample is predicted once, by a network that has not seen it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from classification.experiment import train
from seg_anl.engine.command import compose
from seg_anl.records import UserError
from tests.processes import call, start

QUICK = ["data.limit=90", "data.test_limit=20", "batch_size=30", "epochs=1", "progress=false", "device=cpu"]


def trained(folder: Path, *settings: str) -> list[Path]:
    return [run.path for run in train(compose("classification", [*QUICK, f"run_root={folder}", *settings]))]


def predicted(run: Path) -> dict[str, np.ndarray]:
    with np.load(run / "predictions/predictions.npz") as archive:
        return dict(archive)


def header(run: Path) -> dict:
    return json.loads((run / "predictions/predictions.json").read_text())


def test_every_sample_is_predicted_once_with_the_same_noisy_labels(tmp_path: Path) -> None:
    settings = ["data.limit=100", "folds=3", "noise.rate=0.4", "record=dynamics", "epochs=2"]
    runs = trained(tmp_path, *settings)
    headers = [header(run) for run in runs]
    assert [(each["fold"], each["folds"], each["out_of_sample"]) for each in headers] == [
        (fold, 3, True) for fold in range(3)
    ]
    assert sorted(len(each["items"]) for each in headers) == [33, 33, 34]
    found = [predicted(run) for run in runs]
    index = np.concatenate([each["index"] for each in found])
    labels = np.load(runs[0] / "noise/labels.npy")
    assert len(np.unique(index)) == len(labels) == 100
    for run, each in zip(runs, found, strict=True):
        np.testing.assert_array_equal(np.load(run / "noise/labels.npy"), labels)
        assert header(run)["items"] == [str(i) for i in each["index"]]
        assert each["probabilities"].dtype == np.float16
        np.testing.assert_allclose(each["probabilities"].astype(float).sum(axis=1), 1, atol=5e-3)
        with np.load(run / "predictions/images.npz") as archive:
            assert len(archive["images"]) == len(each["index"])
        # No predicted sample was trained on.
        for epoch in range(2):
            with np.load(run / f"records/dynamics/epoch_{epoch:04d}.npz") as record:
                assert set(record["index"]) == set(index) - set(each["index"])
                assert (record["loss"] > 0).all()
    order = np.argsort(index)
    np.testing.assert_array_equal(np.concatenate([each["labels"] for each in found])[order], labels)
    # A single fold by number is the same run; another seed draws other folds.
    assert trained(tmp_path, *settings, "fold=1") == [runs[1]]
    assert set(predicted(trained(tmp_path, *settings, "fold=1", "seed=2")[0])["index"]) != set(found[1]["index"])


def test_in_sample_predictions_are_marked_and_agree_with_the_dynamics(tmp_path: Path) -> None:
    (run,) = trained(tmp_path, "record=[predictions,dynamics]", "data.tuning=0.1")
    assert (header(run)["out_of_sample"], header(run)["fold"], len(header(run)["items"])) == (False, None, 81)
    found = predicted(run)
    with np.load(run / "records/dynamics/epoch_0000.npz") as record:
        of_label = found["probabilities"][np.arange(81), found["labels"]]
        np.testing.assert_allclose(of_label, np.exp(-record["loss"]), rtol=2e-3, atol=1e-6)
        np.testing.assert_array_equal(record["index"], found["index"])


def test_predictions_name_image_files(tmp_path: Path) -> None:
    for split, count in (("train", 8), ("test", 4)):
        for i in range(count):
            path = tmp_path / f"data/{split}/{'ab'[i % 2]}/{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((12, 12, 3), 20 * i, np.uint8)).save(path)
    data = ["data=imagefolder", f"data.root={tmp_path}/data", "augmentation.resize=12", "augmentation.crop=12"]
    data += ["data.limit=null", "data.test_limit=null", "batch_size=2", "model=cnn4", "noise=none", "workers=0"]
    data += ["data.mean=[0.5,0.5,0.5]", "data.std=[0.2,0.2,0.2]"]
    files = [file for run in trained(tmp_path, *data, "folds=2") for file in header(run)["files"]]
    assert sorted(files) == sorted(map(str, (tmp_path / "data/train").rglob("*.png")))


def test_killed_and_resumed_run_predicts_the_same(tmp_path: Path) -> None:
    settings = [*QUICK, "data.limit=600", "batch_size=5", "epochs=3", "folds=2", "fold=1"]

    start("classify", *settings, "run_dir=cut", cwd=tmp_path).kill_in_the_midst(tmp_path / "cut", 0)
    assert not (tmp_path / "cut/predictions").exists()
    for name in ("whole", "cut"):
        assert call("classify", *settings, f"run_dir={name}", cwd=tmp_path)[0] == 0
    first, second = predicted(tmp_path / "cut"), predicted(tmp_path / "whole")
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])


def test_excluded_samples_and_weights(tmp_path: Path) -> None:
    """Excluding samples does not change the noise; equal weights change nothing, unequal ones do."""
    noise = "noise.counts=iid"
    (plain,) = trained(tmp_path, noise, "record=predictions")
    items = header(plain)["items"]
    (tmp_path / "out.txt").write_text("# wrong\n" + "\n".join(items[:30]) + "\n")
    (run,) = trained(tmp_path, noise, f"data.exclude_file={tmp_path}/out.txt", "record=predictions")
    assert header(run)["items"] == items[30:]
    np.testing.assert_array_equal(np.load(run / "noise/labels.npy"), np.load(plain / "noise/labels.npy"))
    learned = {}
    for name, weight in (("even", [1, 1]), ("odd", [0, 1])):
        table = tmp_path / f"{name}.csv"
        table.write_text("item,weight\n" + "".join(f"{item},{weight[i % 2]}\n" for i, item in enumerate(items)))
        (weighed,) = trained(tmp_path, noise, f"data.weights_file={table}")
        learned[name] = torch.load(weighed / "checkpoints/last.pt", weights_only=True)["model"]
    unweighed = torch.load(plain / "checkpoints/last.pt", weights_only=True)["model"]
    torch.testing.assert_close(learned["even"], unweighed)
    assert any(not torch.allclose(learned["odd"][name].float(), value.float()) for name, value in unweighed.items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["folds=3", "fold=3"], "fold=3 must be from 0 to 2"),
        (["fold=0"], "fold=0 needs folds, the number"),
        (["folds=91", "fold=0"], "folds=91 are more than the 90 training images"),
        (["folds=3", "run_dir=run"], "run_dir is the folder of one run"),
        (["folds=3", "data.tuning=0.1"], "data.tuning and folds do not go together"),
        (["folds=3", "fold=0", "record=predictions"], "record=predictions is for runs without a fold"),
        (["folds=3", "seed=[1,2]", "runs_per_device=2"], "use runs_per_device=1"),
        (["data.exclude_file=nowhere.txt"], "data.exclude_file: nowhere.txt: cannot be read"),
        (["data.exclude_file=LIST"], "no training item '77777'"),
        (["data.weights_file=LIST"], "expected the columns item and weight"),
        (["data.weights_file=NEGATIVE"], "the weight of 3 must be a number >= 0, got -1.0"),
        (["loss=forward", "loss.transition=nowhere.csv"], "loss.transition: nowhere.csv"),
        (["loss=forward", "loss.transition=LIST"], "transition must be a square matrix"),
    ],
)
def test_invalid_settings_are_refused(tmp_path: Path, settings: list[str], message: str) -> None:
    (tmp_path / "LIST").write_text("3\n77777\n")
    (tmp_path / "NEGATIVE").write_text("item,weight\n3,-1\n")
    given = [each.replace("LIST", f"{tmp_path}/LIST").replace("NEGATIVE", f"{tmp_path}/NEGATIVE") for each in settings]
    with pytest.raises(UserError) as error:
        trained(tmp_path / "runs", *given)
    assert message in str(error.value)
    assert not (tmp_path / "runs").exists()
