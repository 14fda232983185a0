"""seg-anl-train and seg-anl-predict as a person runs them: real processes, real files, a real kill."""

from __future__ import annotations

import csv
import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_anl.segmentation.run_picture import save_report
from tests.processes import call, start

SMALL = ["data.size=32", "batch_size=4", "model.base_filters=4", "progress=false", "run_root=runs"]


def test_train_predict_and_look(
    make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seg_anl.segmentation.experiment.save_report", save_report)
    root = make_folder(24)
    settings = [
        "data=folder",
        f"data.root={root}",
        *SMALL,
        "epochs=6",
        "loss=anl_ce",
        "noise.alpha=0.5",
        "data.tuning=0.2",
    ]
    settings += ["model.deep_supervision=true", "loss.dice_weight=0.5", "run_dir=my run", "record=[masks]"]
    code, out, err = call("train", *settings, cwd=tmp_path)
    assert (code, err) == (0, "")
    (printed,) = (line for line in out.splitlines() if line.startswith("predict "))
    predict = shlex.split(printed.replace("IMAGES OUT", shlex.join([str(root / "images"), "out"])))[2:]
    assert re.search(r"run begins on .*\d+ (threads?|GiB)\), a network of 0\.\d\d million parameters\n", out)
    assert "test/dice" in out
    summary = json.loads((tmp_path / "my run/summary.json").read_text())
    assert summary["status"] == "finished"
    assert summary["loss"]["name"] == "anl_ce"
    rows = list(csv.DictReader((tmp_path / "my run/metrics.csv").open()))
    assert {row["split"] for row in rows} == {"train", "test", "tuning"}
    assert [int(row["epoch"]) for row in rows if row["split"] == "test"] == list(range(6))
    picture = np.asarray(Image.open(tmp_path / "my run/report.png"))
    assert picture.std() > 20
    manifest = list(csv.DictReader((tmp_path / "my run/noise/manifest.csv").open()))
    assert sum(row["kind"] != "none" for row in manifest) == round(0.5 * len(manifest))
    with np.load(tmp_path / "my run/records/masks.npz", allow_pickle=False) as record:
        assert (record["noisy"] != record["truth"]).any(axis=(1, 2)).all()
        assert record["images"].shape == (*record["predicted"].shape, 3)
        kinds = {row["item"]: row["kind"] for row in manifest}
        assert [kinds[item] for item in record["items"]] == list(record["kinds"])

    code, out, _ = call("train", *settings, cwd=tmp_path)
    assert code == 0
    assert "finished already, left alone" in out

    code, out, err = call("predict", *predict, "--checkpoint", "best", cwd=tmp_path)
    assert code == 0, err
    for image in (root / "images").iterdir():
        mask = Image.open(tmp_path / "out" / image.name)
        assert mask.size == Image.open(image).size
        assert set(np.unique(np.asarray(mask))) <= {0, 255}
        assert Image.open(tmp_path / "out/overlay" / image.name).mode == "RGB"
    code, _, err = call("predict", *predict, cwd=tmp_path)
    assert code == 2
    assert "exists already; give --overwrite" in err


def test_killed_in_an_epoch_and_started_again_ends_as_if_undisturbed(
    make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    settings = ["data=folder", f"data.root={make_folder(60)}", *SMALL, "noise.alpha=0.7", "loss=t_loss", "epochs=3"]
    assert call("train", *settings, "run_dir=whole", cwd=tmp_path)[0] == 0
    process = start("train", *settings, "run_dir=cut", cwd=tmp_path)
    process.kill_in_the_midst(tmp_path / "cut", 0.05)
    code, out, err = call("train", *settings, "run_dir=cut", cwd=tmp_path)
    assert code == 0, err
    assert "cut resumes" in out
    assert (tmp_path / "cut/metrics.csv").read_bytes() == (tmp_path / "whole/metrics.csv").read_bytes()
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("cut", "whole")]
    assert summaries[0] == summaries[1]
    code, _, err = call("train", *settings, "epochs=5", "run_dir=cut", cwd=tmp_path)
    assert code == 2
    assert "epochs=3 there, 5 now" in err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["loss=anl_c"], "unknown loss 'anl_c'; did you mean 'anl_ce'"),
        (["loss.alhpa=2"], "unknown setting 'loss.alhpa'; in loss, did you mean 'alpha'?"),
        (["+loss.gama=2"], "loss 'anl_ce' has no parameter 'gama'"),
        (["noise.alpha=1.5"], "noise.alpha must be a number >= 0 and <= 1, got 1.5"),
        (["run_root=file/below"], "file is a file"),
        (["batch_size=65"], "batch_size must be from 1 to 64"),
        (["data.limit=601"], "data.limit must be from 1 to 600"),
        (["data=folder"], "the setting data.root is needed"),
        (["device=cuda:99"], "device=cuda:99: not available"),
        (["preset=[1]"], "unknown preset '[1]'"),
        (["task=classification"], "this command's task is segmentation"),
        (["data.size=100000"], "data.size must be a whole number >= 8 and <= 8192 or a list of 2 values, got 100000"),
        (["noise.kinds=erodee"], "unknown kind of noise 'erodee': did you mean 'erode'"),
    ],
)
def test_bad_settings_are_one_line_and_leave_nothing(
    tmp_path: Path,
    settings: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from seg_anl.segmentation import train

    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["seg-anl-train", "data.limit=64", *SMALL, *settings])
    with pytest.raises(SystemExit) as left:
        train.main()
    assert left.value.code == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_sweep_goes_on_after_a_failure_and_says_so_at_the_end(
    make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    settings = ["-m", *SMALL, "data=folder", f"data.root={make_folder()}", "epochs=1", "loss=gce", "loss.q=7,0.5"]
    code, _, err = call("train", *settings, cwd=tmp_path)
    assert code == 2
    assert "1 run(s) of the sweep failed" in err
    assert len(list((tmp_path / "runs").rglob("summary.json"))) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"data", "runs"}


def test_a_loss_file_of_ones_own(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    """One YAML file for a new setting of a loss, found through Hydra's --config-dir."""
    (tmp_path / "mine/loss").mkdir(parents=True)
    (tmp_path / "mine/loss/sharp.yaml").write_text("name: gce\nq: 0.3\n")
    settings = ["--config-dir", "mine", *SMALL, "data=folder", f"data.root={make_folder()}", "epochs=1"]
    settings += ["run_dir=run", "loss=sharp"]
    assert call("train", *settings, cwd=tmp_path)[0] == 0
    assert json.loads((tmp_path / "run/summary.json").read_text())["loss"]["q"] == 0.3
    code, _, err = call("train", *settings, "loss.q=7", cwd=tmp_path)
    assert (code, err.count("\n")) == (2, 1)
    assert "q must be a number >= 1e-12 and <= 1, got 7" in err


def test_help_has_an_example(tmp_path: Path) -> None:
    for module, example in (("train", "seg-anl-train loss=anl_ce"), ("predict", "seg-anl-predict runs/")):
        code, out, _ = call(module, "--help", cwd=tmp_path)
        assert code == 0
        assert example in out
