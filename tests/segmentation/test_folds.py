"""Folds of ``seg-anl-train``: every image is predicted once, by a network that has not seen it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seg_anl.engine.command import compose
from seg_anl.records import UserError
from seg_anl.segmentation.experiment import train

QUICK = ["data.size=32", "batch_size=4", "model.base_filters=4", "epochs=1", "progress=false", "device=cpu"]


def trained(folder: Path, *settings: str) -> list[Path]:
    return [run.path for run in train(compose("segmentation", [*QUICK, f"run_root={folder}", *settings]))]


def header(run: Path) -> dict:
    return json.loads((run / "predictions/predictions.json").read_text())


def probabilities(run: Path, item: str) -> np.ndarray:
    with np.load(run / f"predictions/{item}.npz") as archive:
        return archive["probabilities"]


def test_every_image_is_predicted_once_under_the_same_wrong_masks(
    make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    settings = ["data=folder", f"data.root={make_folder(21)}", "noise.alpha=0.5", "folds=3"]
    runs = trained(tmp_path, *settings)
    items = [item for run in runs for item in header(run)["items"]]
    manifests = [(run / "noise/manifest.json").read_text() for run in runs]
    assert len(set(manifests)) == 1
    assert sorted(items) == sorted(record["item"] for record in json.loads(manifests[0])["items"])
    assert sorted(len(header(run)["items"]) for run in runs) == [5, 6, 6]
    for run in runs:
        for item in header(run)["items"]:
            found = probabilities(run, item)
            assert (found.shape, found.dtype) == ((2, 32, 32), np.float16)
            np.testing.assert_allclose(found.astype(float).sum(axis=0), 1, atol=2e-3)
    # Killed after training, before the run was finished: a second start predicts the same.
    item = header(runs[1])["items"][0]
    before = probabilities(runs[1], item)
    (runs[1] / "summary.json").unlink()
    shutil.rmtree(runs[1] / "predictions")
    assert trained(tmp_path, *settings, "fold=1") == [runs[1]]
    np.testing.assert_array_equal(probabilities(runs[1], item), before)


def test_images_of_a_patient_are_held_out_together(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    root = make_folder(21)
    patient = {path.stem: str(position // 3) for position, path in enumerate(sorted((root / "images").iterdir()))}
    table = tmp_path / "patients.csv"
    rows = [
        f"{item},{name}" if position % 2 else f"{item}, {name} "
        for position, (item, name) in enumerate(patient.items())
    ]
    table.write_text("\n".join(["item,group", *rows]))
    data = ["data=folder", f"data.root={root}", f"data.groups_file={table}"]
    runs = trained(tmp_path, *data, "folds=3")
    parts = [header(run)["items"] for run in runs]
    parts.append(sorted({*patient} - {item for part in parts for item in part}))  # data.test_share
    assert [len({patient[item] for item in part}) for part in parts] == [2, 2, 1, 2]
    assert [len(part) for part in parts] == [6, 6, 3, 6]
    with pytest.raises(UserError, match="folds=6 are more than the 5 groups"):
        trained(tmp_path, *data, "folds=6")
    table.write_text(table.read_text().replace(f"{parts[0][0]},", "elsewhere,"))
    with pytest.raises(UserError, match=f"patients.csv: no group for the training item '{parts[0][0]}'"):
        trained(tmp_path / "other", *data)


def test_runs_of_several_seeds_have_the_data_that_each_would_have_alone(
    make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[str]] = []
    monkeypatch.setattr(
        "seg_anl.engine.experiment._train", lambda group, data, process: read.append(data[0].items) or []
    )
    settings = ["data=folder", f"data.root={make_folder(12)}"]
    trained(tmp_path, *settings, "seed=[1,2]")
    shared = read.pop()
    assert read.pop() is shared
    trained(tmp_path, *settings, "seed=[1,2]", "noise.seed=${seed}")
    for seed in (1, 2):
        trained(tmp_path, *settings, f"seed={seed}", f"noise.seed={seed}")
    assert read[:2] == read[2:]
    assert read[0] != read[1]


def test_in_sample_predictions_and_dynamics(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    """The recorded loss is the mean of -log of what is predicted for the given class."""
    data = ["data=folder", f"data.root={make_folder(12)}", "noise.alpha=0.5"]
    (run,) = trained(tmp_path, *data, "record=[predictions,dynamics]", "epochs=2")
    assert header(run)["out_of_sample"] is False
    with np.load(run / "records/dynamics/epoch_0001.npz") as record:
        losses = dict(zip(record["items"].tolist(), record["loss"], strict=True))
    assert sorted(losses) == header(run)["items"]
    with np.load(run / "noise/masks.npz") as archive:
        names = [each["item"] for each in json.loads((run / "noise/manifest.json").read_text())["items"]]
        masks = dict(zip(names, archive["masks"], strict=True))
    for item, loss in losses.items():
        of_label = np.take_along_axis(probabilities(run, item), masks[item][None].astype(int), axis=0)
        assert loss == pytest.approx(-np.log(of_label.astype(float)).mean(), rel=5e-3)
    # Left out after the noise has been made, which stays what it was.
    (tmp_path / "out.txt").write_text("\n".join(sorted(losses)[:3]))
    (fewer,) = trained(tmp_path, *data, "record=predictions", f"data.exclude_file={tmp_path}/out.txt")
    assert header(fewer)["items"] == sorted(losses)[3:]
    records = json.loads((run / "noise/manifest.json").read_text())["items"]
    wrong = sum(each["realised"] > 0 for each in records if each["item"] in sorted(losses)[3:])
    assert json.loads((fewer / "summary.json").read_text())["counts"]["wrong_masks"] == wrong
    assert wrong < sum(each["realised"] > 0 for each in records)
    assert (fewer / "noise/manifest.json").read_bytes() == (run / "noise/manifest.json").read_bytes()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["folds=3", "fold=7"], "fold=7 must be from 0 to 2"),
        (["data.exclude_file=LIST"], "no training item 'nobody'"),
        (["data.weights_file=LIST", "loss.dice_weight=0.5"], "data.weights_file needs loss.dice_weight=0"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, settings: list[str], message: str) -> None:
    (tmp_path / "LIST").write_text("nobody\n")
    with pytest.raises(UserError) as error:
        trained(tmp_path / "runs", "data.limit=16", *(each.replace("LIST", f"{tmp_path}/LIST") for each in settings))
    assert message in str(error.value)
    assert not (tmp_path / "runs").exists()
