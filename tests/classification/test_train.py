"""seg-anl-classify from configuration to run directory, on digits and small arrays, with real processes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from classification.experiment import train
from seg_anl.engine.command import compose
from seg_anl.engine.run_directory import RunDirectory
from seg_anl.records import UserError, read_metrics
from tests.processes import call, start

QUICK = ["data.limit=300", "data.test_limit=100", "batch_size=50", "epochs=2", "progress=false", "device=cpu"]


def trained(folder: Path, *settings: str) -> RunDirectory:
    (run,) = train(compose("classification", [*QUICK, f"run_root={folder}", *settings]))
    return run


def arrays(path: Path, **changed: Any) -> Path:
    """120 training and 40 test images of three classes that differ in brightness."""
    generator = np.random.default_rng(0)
    labels = np.arange(160) % 3
    pictures = generator.integers(0, 60, (160, 12, 12, 3), dtype=np.uint8) + (labels * 80)[:, None, None, None].astype(
        np.uint8
    )
    content = {"x_train": pictures[:120], "y_train": labels[:120], "x_test": pictures[120:], "y_test": labels[120:]}
    np.savez(path, **{**content, **changed})
    return path


def test_complete_run(tmp_path: Path) -> None:
    run = trained(tmp_path, "noise.rate=0.5", "data.tuning=0.1", "loss=anl_ce_er", "epochs=6", "optim.lr=0.05")
    summary = run.summary
    assert summary is not None
    assert summary["status"] == "finished"
    assert summary["headline"] == "test/accuracy"
    assert summary["metrics"]["test/accuracy"]["last"] > 0.3
    assert summary["noise"]["kind"] == "symmetric"
    assert summary["counts"]["train"] == 270
    rows = read_metrics(run.path / "metrics.csv")
    assert {row.split for row in rows} == {"train", "test", "tuning"}
    for row in rows:
        assert sum(row.values[f"marginal_{k}"] for k in range(10)) == pytest.approx(1, abs=1e-5)
    last = next(row.values for row in reversed(rows) if row.split == "train")
    # Accuracy against given labels is the average over clean and mislabeled samples.
    wrong = summary["counts"]["wrong_labels"] / 270
    mixed = (1 - wrong) * last["accuracy_clean"] + wrong * last["accuracy_mislabelled"]
    assert last["accuracy"] == pytest.approx(mixed, abs=1e-9)
    labels = np.load(run.path / "noise/labels.npy")
    manifest = json.loads((run.path / "noise/manifest.json").read_text())
    assert manifest["changed"] == manifest["realised_rate"] * len(labels)
    assert {"last.pt", "best.pt"} == {path.name for path in (run.path / "checkpoints").iterdir()}
    assert list((run.path / "tb").iterdir())


def test_finished_run_is_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    assert trained(tmp_path).path == run.path
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before
    assert "finished already, left alone" in capsys.readouterr().out
    assert trained(tmp_path, "seed=2").path.parent == run.path.parent


def test_lost_metrics_are_restored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(tmp_path)
    metrics = run.path / "metrics.csv"
    before, summary = metrics.read_bytes(), (run.path / "summary.json").read_bytes()
    for damage in (metrics.unlink, lambda: metrics.write_bytes(before[: len(before) // 2])):
        damage()
        trained(tmp_path)
        assert (metrics.read_bytes(), (run.path / "summary.json").read_bytes()) == (before, summary)
    metrics.unlink()
    run.last.unlink()
    with pytest.raises(UserError, match=r"metrics\.csv.*delete summary\.json"):
        trained(tmp_path)


def test_noise_follows_the_seed_unless_noise_seed_is_set(tmp_path: Path) -> None:
    def labels(*settings: str) -> np.ndarray:
        return np.load(trained(tmp_path, "epochs=1", *settings).path / "noise/labels.npy")

    assert not np.array_equal(labels("seed=1"), labels("seed=2"))
    np.testing.assert_array_equal(labels("seed=1", "noise.seed=7"), labels("seed=2", "noise.seed=7"))


def test_noise_of_a_run_that_was_killed_before_its_settings_were_written_is_made_anew(tmp_path: Path) -> None:
    run = trained(tmp_path, "noise.rate=0.2", f"run_dir={tmp_path / 'run'}").path
    for path in [path for path in run.rglob("*") if path.is_file() and path.parent.name != "noise"]:
        path.unlink()
    again = trained(tmp_path, "noise.rate=0.6", f"run_dir={run}").path
    whole = trained(tmp_path, "noise.rate=0.6").path
    assert (again / "noise/labels.npy").read_bytes() == (whole / "noise/labels.npy").read_bytes()
    assert (again / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()


def test_testing_less_often_changes_no_number(tmp_path: Path) -> None:
    settings = ["loss=ce", "epochs=5", "evaluation.last_k=2", "data.tuning=0.2"]
    often = read_metrics(trained(tmp_path, *settings).path / "metrics.csv")
    rare = [*settings, "evaluation.test_every=2", "evaluation.train_every=0"]
    seldom = read_metrics(trained(tmp_path / "rare", *rare).path / "metrics.csv")
    tested = [(row.epoch, row.split) for row in seldom if row.split != "train"]
    assert tested == [(epoch, split) for epoch in (1, 3, 4) for split in ("test", "tuning")]
    before = {(row.epoch, row.split): row.values for row in often}
    for row in seldom:
        values = before[row.epoch, row.split]
        assert row.values == (values if row.split != "train" else {name: values[name] for name in ("loss", "lr")})


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    first, second = (trained(tmp_path / name, "augmentation.crop_padding=1").path for name in ("a", "b"))
    for name in ("metrics.csv", "summary.json", "config.yaml", "noise/manifest.json", "noise/labels.npy"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


@pytest.mark.parametrize("method", ["forward", "co_teaching", "d2l"])
def test_methods_run_and_are_recorded(tmp_path: Path, method: str) -> None:
    long_enough = ["epochs=4", "method.init_epochs=0", "method.window=2"] if method == "d2l" else []
    run = trained(tmp_path, f"method={method}", "noise.rate=0.3", *long_enough)
    assert run.summary is not None
    assert run.summary["method"]["name"] == method
    assert run.summary["loss"]["name"] == "ce"
    rows = read_metrics(run.path / "metrics.csv")
    train_rows = [row.values for row in rows if row.split == "train"]
    assert all(("lid" in values) == (method == "d2l") for values in train_rows)
    runs = {json.loads(path.read_text())["method"]["name"] for path in tmp_path.rglob("summary.json")}
    assert runs == ({"forward", "plain"} if method == "forward" else {method})


def test_forward_uses_the_plain_run_of_the_same_settings(tmp_path: Path) -> None:
    plain = trained(tmp_path, "loss=ce", "noise.rate=0.3")
    before = (plain.path / "environment.json").read_bytes()
    trained(tmp_path, "method=forward", "noise.rate=0.3")
    assert (plain.path / "environment.json").read_bytes() == before
    assert len(list(tmp_path.rglob("summary.json"))) == 2


def test_records_make_prediction_error_noise(tmp_path: Path) -> None:
    """Noise and figures read the records of a run."""
    settings = ["noise=none", "loss=ce", "record=[probabilities,gradients,features]", "record_every=1"]
    run = trained(tmp_path, *settings)
    softmax = np.load(run.path / "records/softmax.npy")
    assert softmax.shape == (300, 10)
    np.testing.assert_allclose(softmax.sum(axis=1), 1, atol=1e-3)
    with np.load(run.path / "records/features/epoch_0001.npz") as archive:
        assert archive["features"].shape == (100, 128)
    noise = ["noise=prediction_error", f"noise.softmax={run.path}/records/softmax.npy", "noise.rate=0.2"]
    noisy = trained(tmp_path, *noise)
    assert noisy.summary is not None
    assert noisy.summary["counts"]["wrong_labels"] == 60
    # The same number of images, but different ones.
    with pytest.raises(UserError, match=r"softmax\.npy: recorded on different training images"):
        trained(tmp_path / "others", *noise, "data.subset_seed=1")


def test_human_labels_for_a_selection(tmp_path: Path) -> None:
    """The file covers the full training set; a run on a part of it uses the matching labels."""
    source = arrays(tmp_path / "a.npz")
    clean = np.load(source)["y_train"]
    human = np.where(np.arange(120) % 4 == 0, (clean + 1) % 3, clean)
    np.savez(tmp_path / "human.npz", y_train=clean, worse_label=human)
    settings = ["data=arrays", f"data.file={source}", "data.limit=60", "data.test_limit=null", "batch_size=20"]
    noise = ["noise=human", "noise.labels=worst", f"noise.file={tmp_path}/human.npz"]
    run = trained(tmp_path, *settings, *noise, "model=cnn4")
    changed = json.loads((run.path / "noise/manifest.json").read_text())["changed"]
    assert 5 <= changed <= 25
    assert run.summary is not None
    assert run.summary["counts"]["wrong_labels"] == changed
    assert run.summary["metrics"]["train/accuracy_true"]["last"] >= 0


def test_killed_and_resumed_run_matches_an_uninterrupted_one(tmp_path: Path) -> None:
    """kill -9 in the middle of an epoch, with a method that stores weights and measurements."""
    settings = [*QUICK, "data.limit=700", "batch_size=8", "epochs=4", "method=d2l", "method.init_epochs=0"]
    settings += ["method.window=2", "augmentation.crop_padding=1", "record=[probabilities]", "record_every=1"]
    settings += ["optim.jacobian=0.001"]
    assert call("classify", *settings, "run_dir=whole", cwd=tmp_path)[0] == 0
    process = start("classify", *settings, "run_dir=cut", cwd=tmp_path)
    process.kill_in_the_midst(tmp_path / "cut", 0.1)
    code, out, err = call("classify", *settings, "run_dir=cut", cwd=tmp_path)
    assert code == 0, err
    assert "cut resumes" in out
    for name in ("metrics.csv", "summary.json", "records/softmax.npy"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["noise.rate=1.2"], "noise.rate must be a number >= 0 and <= 1 or null, got 1.2"),
        (["noise=asymmetric"], "set data.flips to mnist, cifar10 or cifar100"),
        (["noise.kind=symetric"], "did you mean 'symmetric'"),
        (["preset=isic2017"], "preset=isic2017 is not a preset of seg-anl-classify"),
        (["preset=anl2024"], "preset=anl2024 has no settings for data=digits; it has them for"),
        (["model=dynunet"], "dynunet"),
        (["loss=anl_c"], "did you mean 'anl_ce'"),
        (["method=coteaching"], "did you mean 'co_teaching'"),
        (["method=d2l", "epochs=11"], "method=d2l is plain cross entropy before epoch 12 with"),
        (["record=[gradient]"], "record=gradient"),
        (["batch_size=301"], "batch_size must be from 1 to 300"),
        (["optim.jacobian=1", "compile=true"], "optim.jacobian works in one process without compilation"),
        (["optim.schedule=milestones", "optim.milestones=[3,2]"], "optim.milestones must be a list of rising epochs"),
        (["noise=human", "noise.file=nowhere.pt"], "nowhere.pt"),
        (["noise=mask"], "noise: not a label noise"),
        (["noise.kind=human"], "noise=human needs noise.file"),
        (["noise=prediction_error", "noise.softmax=null"], "noise=prediction_error needs noise.softmax"),
        (["optim=null"], "optim=null: unknown optim 'null'"),
        (["~optim.name"], "the setting optim.name is needed"),
        (["seed=1,2"], "seed=1,2: several values need -m"),
        (["augmentation=null"], "augmentation is a group of settings, such as augmentation.crop_padding"),
        (["batch_size=1"], "set a larger batch_size"),
        (["model=resnet18", "batch_size=299", "drop_last=false"], "needs 2 samples per batch"),
        (["run_dir="], "run_dir is empty"),
        (["run_dir=[a]"], "run_dir must name a folder, got ['a']"),
        (["augmentation.crop_padding=8"], "augmentation.crop_padding=8 must be smaller than the 8 pixels"),
        (["augmentation.jitter=[0.4,0.4,0.4,0.2]"], "augmentation.jitter is for images in files"),
        (["noise=matrix", "noise.matrix=nowhere.csv"], "nowhere.csv: cannot be read"),
    ],
)
def test_invalid_settings_are_refused(tmp_path: Path, settings: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        trained(tmp_path / "runs", *settings)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.rglob("checkpoints/*"))


@pytest.mark.parametrize("setting", ["augmentation.crop_padding=-1", "batch_size=1", "augmentation.rotation=far"])
def test_invalid_settings_leave_no_folder(tmp_path: Path, setting: str) -> None:
    with pytest.raises(UserError):
        trained(tmp_path / "runs", setting)
    assert not (tmp_path / "runs").exists()


def test_invalid_crop_of_files(tmp_path: Path) -> None:
    for part in ("training", "testing"):
        (tmp_path / "data" / part).mkdir(parents=True)
        for label in range(10):
            Image.new("RGB", (16, 16), (label, 0, 0)).save(tmp_path / "data" / part / f"{label}_{label}.jpg")
    folder = ["data=animal10n", f"data.root={tmp_path}/data", "data.limit=null", "data.test_limit=null", "noise=none"]
    with pytest.raises(UserError, match=r"augmentation\.crop"):
        trained(tmp_path / "runs", *folder, "augmentation.crop=abc", "batch_size=5")
    assert not (tmp_path / "runs").exists()


def test_held_out_samples_follow_the_noise_seed_even_if_zero(tmp_path: Path) -> None:
    settings = ["data.tuning=0.2", "epochs=1", "record=probabilities", "noise.seed=0"]
    labels = []
    for seed in (1, 2):
        run = trained(tmp_path, *settings, f"seed={seed}")
        with np.load(run.path / "records/probabilities/epoch_0000.npz") as archive:
            labels.append(archive["labels"])
    np.testing.assert_array_equal(*labels)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"y_train": np.full(120, 7) - np.arange(120) % 9}, "label"),
        ({"x_test": np.zeros((40, 9, 9, 3), np.uint8)}, "test images of 3 x 9 x 9"),
        ({"x_train": np.zeros((120, 12), np.uint8)}, "x_train"),
        ({"x_train": np.zeros((119, 12, 12, 3), np.uint8)}, "119"),
        ({"y_train": (np.arange(120) % 3) + 0.5}, "y_train"),
    ],
)
def test_invalid_arrays_are_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    path = arrays(tmp_path / "bad.npz", **changed)
    with pytest.raises(UserError) as error:
        trained(tmp_path / "runs", "data=arrays", f"data.file={path}", "data.limit=null", "data.test_limit=null")
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "runs").exists()


def test_cifar100_labels_for_another_data_set_are_refused(tmp_path: Path) -> None:
    path = arrays(tmp_path / "a.npz")
    torch.save({"clean_label": np.arange(50000) % 100, "noisy_label": np.arange(50000) % 100}, tmp_path / "c100.pt")
    noise = ["noise=human", "noise.labels=noisy", f"noise.file={tmp_path}/c100.pt"]
    with pytest.raises(UserError) as error:
        trained(
            tmp_path / "runs", "data=arrays", f"data.file={path}", "data.limit=null", "data.test_limit=null", *noise
        )
    assert "c100.pt" in str(error.value)


def test_errors_of_the_command_are_one_line(tmp_path: Path) -> None:
    code, _, err = call("classify", "noise.rate=1.2", cwd=tmp_path)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("seg-anl-classify: error: ")
    assert not list(tmp_path.iterdir())
    code, out, _ = call("classify", "--help", cwd=tmp_path)
    assert code == 0
    assert "seg-anl-classify data=cifar10" in out


def test_noise_rounded_to_zero_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(tmp_path, "data.limit=100", "batch_size=20", "noise.rate=0.4", "epochs=1")
    assert "0 of 100 training labels are wrong (0.00%); with so few samples all counts" in capsys.readouterr().out


def test_leaving_out_every_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "all.txt").write_text("\n".join(map(str, range(1437))))
    with pytest.raises(UserError, match=r"data\.exclude_file=.*all\.txt: no training image is left"):
        trained(tmp_path / "runs", f"data.exclude_file={tmp_path}/all.txt")
    assert not (tmp_path / "runs").exists()


def test_labels_without_added_noise_are_not_called_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The data may be the user's own, and wrong."""
    trained(tmp_path, "noise=none", "epochs=1")
    output = capsys.readouterr().out
    assert "no noise is added to the training labels" in output
    assert "labels are wrong" not in output
    trained(tmp_path, "data.limit=100", "batch_size=20", "noise.rate=0.4", "noise.counts=iid", "epochs=1")
    assert "round down" not in capsys.readouterr().out


def test_methods_train_several_seeds_at_once(tmp_path: Path) -> None:
    """Each seed matches a single run: the first networks of forward, co-teaching's pairs, D2L's state."""
    for method in ("forward", "co_teaching", "d2l"):
        settings = [*QUICK, f"method={method}", "loss=ce", "noise.rate=0.4"]
        if method == "d2l":
            settings += ["method.init_epochs=0", "method.window=2", "epochs=4"]
        together = train(
            compose("classification", [*settings, f"run_root={tmp_path}", "seed=[1,2]", "runs_per_device=2"])
        )
        alone = trained(tmp_path / "alone", *settings, "seed=2")
        assert [run.summary["seed"] for run in together] == [1, 2]
        losses = [
            [row.values["loss"] for row in read_metrics(run.path / "metrics.csv") if row.split == "train"]
            for run in (together[1], alone)
        ]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_sequential_seeds_match_single_runs(tmp_path: Path) -> None:
    runs = train(compose("classification", [*QUICK, f"run_root={tmp_path / 'list'}", "seed=[3,1]"]))
    for run, seed in zip(runs, (3, 1), strict=True):
        alone = trained(tmp_path / "alone", f"seed={seed}")
        assert run.path.name == alone.path.name
        for name in ("metrics.csv", "config.yaml", "summary.json"):
            assert (run.path / name).read_bytes() == (alone.path / name).read_bytes()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["seed=[1,1]"], "different ones"),
        (["seed=[]"], "different ones"),
        (["seed=[1,x]"], "seed must be a whole number >= 0"),
        (["seed=[1,2]", "run_dir=RUN"], "run_root for several seeds"),
        (["runs_per_device=0"], "runs_per_device must be a whole number >= 1"),
        (["runs_per_device=2", "seed=[1,2]", "loss=nlnl"], "runs_per_device=1"),
    ],
)
def test_invalid_seeds_are_refused(tmp_path: Path, settings: list[str], message: str) -> None:
    settings = [setting.replace("RUN", str(tmp_path / "run")) for setting in settings]
    with pytest.raises(UserError, match=re.escape(message)):
        trained(tmp_path, *settings)


def test_changed_inputs_are_noticed_on_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changed images or a changed softmax are refused, and the run is left unchanged."""
    file, softmax = arrays(tmp_path / "set.npz"), tmp_path / "softmax.npy"
    np.save(softmax, np.full((120, 3), 1 / 3, dtype=np.float32))
    settings = ["data=arrays", f"data.file={file}", "data.limit=null", "data.test_limit=null", "batch_size=20"]
    settings += ["noise=prediction_error", f"noise.softmax={softmax}", "noise.rate=0.2", "loss=ce"]

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("seg_anl.engine.experiment.fit", stop)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path, *settings)
    (run,) = {path.parent for path in tmp_path.rglob("config.yaml")}
    before = {path: path.read_bytes() for path in run.rglob("*.*") if path.is_file()}
    original = {path: path.read_bytes() for path in (file, softmax)}
    with np.load(file) as content:
        arrays(file, x_test=content["x_test"][::-1])
    with pytest.raises(UserError, match="changed since this run began: test images"):
        trained(tmp_path, *settings)
    file.write_bytes(original[file])
    np.save(softmax, np.eye(3, dtype=np.float32)[np.arange(120) % 3])
    with pytest.raises(UserError, match=r"changed since this run began: noise\.softmax"):
        trained(tmp_path, *settings)
    assert {path: path.read_bytes() for path in run.rglob("*.*") if path.is_file()} == before
    softmax.write_bytes(original[softmax])
    assert trained(tmp_path, *settings).finished


def test_failed_noise_leaves_no_folder(tmp_path: Path) -> None:
    """The corrected command can use the same run_dir."""
    softmax = tmp_path / "softmax.npy"
    np.save(softmax, np.full((7, 10), 0.1, dtype=np.float32))
    settings = ["noise=prediction_error", f"noise.softmax={softmax}", "noise.rate=0.2", f"run_dir={tmp_path / 'run'}"]
    with pytest.raises(UserError):
        trained(tmp_path, *settings)
    assert not (tmp_path / "run").exists()
    assert trained(tmp_path, "noise=none", f"run_dir={tmp_path / 'run'}").finished
