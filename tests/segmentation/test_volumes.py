"""seg-anl-train and seg-anl-predict on volumes, from files to files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import nibabel
import numpy as np
import pytest
import torch

from data_prep.mask_files import load_mask
from seg_anl.audit.cases import load_case
from seg_anl.audit.sources import open_source
from seg_anl.engine.command import compose
from seg_anl.engine.distribution import Process
from seg_anl.records import UserError
from seg_anl.segmentation.experiment import train
from seg_anl.segmentation.mask_prediction import predict_masks
from seg_anl.segmentation.volumes.experiment import VolumeExperiment
from tests.processes import start

from .volume_files import affine_of, balls, nnunet_dataset, save

QUICK = ["model.base_filters=4", "progress=false", "device=cpu", "data.patch=[16,16,8]", "data.test_share=0.34"]
PREDICT = {"overlay": False, "checkpoint": "last", "device": "cpu", "overwrite": False, "trust": False}


def trained(*settings: str) -> Path:
    (run,) = train(compose("segmentation", [*QUICK, *settings]))
    return run.path


def check_audited_as_predicted(run: Path, predicted: Path, masks: Path | None = None) -> None:
    """What the audit lays over the masks are the predictions that seg-anl-predict writes in the files' geometry."""
    source = open_source(run, masks, None, None)
    for files in source.cases:
        case = load_case(files, source.labels)
        assert case.soft
        written = load_mask(predicted / files.mask.name).array
        for structure in case.structures:
            inside = case.predicted[structure.channel] > 0.5
            assert np.mean(inside == np.isin(written, structure.values)) > 0.995
    assert len(source.cases) > 1


def test_killed_resumed_mapped_and_with_more_workers_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = nnunet_dataset(tmp_path / "Dataset 501_Bälle", 7, ignore=3)
    (root / "imagesTr/._case 0_0000.nii.gz").touch()  # as macOS leaves it on other disks
    settings = [
        "data=nnunet",
        f"data.root={root}",
        "noise.alpha=0.7",
        "epochs=5",
        "loss=anl_ce",
        "evaluation.surface=true",
        "evaluation.train_every=2",
        "data.tuning=0.2",
    ]
    killed = tmp_path / "killed"
    process = start("train", *QUICK, *settings, f"run_dir={killed}", "workers=1", cwd=tmp_path)
    process.kill_in_the_midst(killed, 0)
    trained(*settings, f"run_dir={killed}", "workers=1")
    whole = trained(
        *settings, f"run_dir={tmp_path / 'whole'}", "workers=4", "data.memory=0MB", f"data.cache={tmp_path / 'cache'}"
    )
    assert (killed / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    assert len(list((tmp_path / "cache").glob("*-image.npy"))) == 7

    rows = list(csv.DictReader((whole / "metrics.csv").open()))
    assert [int(row["epoch"]) for row in rows if row["split"] == "test"] == list(range(5))
    assert {"dice_ball", "dice_moon", "hd95", "nsd"} <= rows[0].keys()
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["headline"] == "test/dice"
    cases = list(csv.DictReader((whole / "cases.csv").open()))
    last = next(row for row in reversed(rows) if row["split"] == "test")
    mean = np.mean([float(row["dice"]) for row in cases if row["structure"] == "ball"])
    assert float(last["dice_ball"]) == pytest.approx(mean)

    predict_masks(whole, root / "imagesTr", tmp_path / "out", **PREDICT)
    for number in range(7):
        image = nibabel.load(root / f"imagesTr/case {number}_0000.nii.gz")
        mask = nibabel.load(tmp_path / f"out/case {number}.nii.gz")
        assert mask.shape == image.shape
        np.testing.assert_array_equal(mask.affine, image.affine)
        assert set(np.unique(mask.get_fdata())) <= {0, 1, 2}  # never the ignore label
    with pytest.raises(UserError, match="exists already"):
        predict_masks(whole, root / "imagesTr", tmp_path / "out", **PREDICT)
    damaged = root / "imagesTr/case 3_0000.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    assert not predict_masks(whole, root / "imagesTr", tmp_path / "again", **PREDICT)
    assert f"error: {damaged}: cannot be read" in capsys.readouterr().err
    assert len(list((tmp_path / "again").iterdir())) == 6


def test_testing_less_often_changes_no_number(tmp_path: Path) -> None:
    root = nnunet_dataset(tmp_path / "data", 5)
    common = ["data=nnunet", f"data.root={root}", "loss=ce", "epochs=7", "evaluation.last_k=2", "data.tuning=0.3"]
    often = trained(*common, f"run_dir={tmp_path / 'often'}")
    seldom = trained(*common, "evaluation.test_every=3", f"run_dir={tmp_path / 'seldom'}")
    rows = {run: list(csv.DictReader((run / "metrics.csv").open())) for run in (often, seldom)}
    assert [row for row in rows[often] if row["split"] == "train" or int(row["epoch"]) in (2, 5, 6)] == rows[seldom]
    headlines = [json.loads((run / "summary.json").read_text())["metrics"]["test/dice"] for run in rows]
    assert headlines[0]["last_k_mean"] == headlines[1]["last_k_mean"]
    assert headlines[1]["best_epoch"] in (2, 5, 6)


def test_spacings_that_differ_are_refused_in_test_cases_too(tmp_path: Path) -> None:
    root = nnunet_dataset(tmp_path / "data", 3)
    affine = affine_of((1, 1, 3))
    image, mask = balls((24, 24, 14), affine, 0)
    save(root / "imagesTr/case 0_0000.nii.gz", image, affine)
    save(root / "labelsTr/case 0.nii.gz", mask, affine)
    kept = ["data=nnunet", f"data.root={root}", "data.spacing=null", f"run_dir={tmp_path / 'run'}"]
    with pytest.raises(UserError, match=r"case 0_0000.nii.gz: voxels of 1 x 1 x 3 mm, but .* has 1 x 1 x 2 mm"):
        trained(*kept)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.patch=[16,16]", r"data.patch=\[16, 16\]: the images have 3 axes"),
        ("data.patch=[15,16,16]", r"data.patch=\[15, 16, 16\] must be divisible"),
        ("model.stages=9", r"model.stages=9 must be from 3"),
        ("batch_size=100", r"batch_size must be from 1 to 2"),
        ("loss.dice_weight=1", r"loss.dice_weight needs masks without unlabeled voxels"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_volumes_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, message: str
) -> None:
    root = nnunet_dataset(tmp_path / "data", 3, ignore=3)
    monkeypatch.setattr("seg_anl.segmentation.volumes.experiment.load_volumes", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(UserError, match=message):
        trained("data=nnunet", f"data.root={root}", "loss=ce", setting, f"run_dir={tmp_path / 'run'}")


def test_regions_with_an_ignore_label_are_learned(tmp_path: Path) -> None:
    labels = {"background": 0, "both": [1, 2], "moon": 2}
    root = nnunet_dataset(tmp_path / "data", 6, labels=labels, ignore=3, regions_class_order=[1, 2])
    run = trained(
        "data=nnunet",
        f"data.root={root}",
        "loss=ce",
        "epochs=12",
        "optim.lr=0.01",
        f"run_dir={tmp_path / 'run'}",
        "augmentation=light",
        "data.patches=2",
        "record=[predictions]",
    )
    metrics = json.loads((run / "summary.json").read_text())["metrics"]
    assert metrics["test/dice_both"]["best"] > 0.6
    predict_masks(run, root / "imagesTr/case 1_0000.nii.gz", tmp_path / "out", **PREDICT)
    assert set(np.unique(nibabel.load(tmp_path / "out/case 1.nii.gz").get_fdata())) <= {0, 1, 2}
    predict_masks(run, root / "imagesTr", tmp_path / "out", **{**PREDICT, "overwrite": True})
    check_audited_as_predicted(run, tmp_path / "out")


def test_sixteen_bit_pictures_of_another_label_and_folds(tmp_path: Path) -> None:
    """Pictures are volumes of one slice: 2-D networks, masks written as pictures with their own values."""
    generator = np.random.default_rng(0)
    for number in range(8):
        image = generator.integers(20000, 30000, (40, 36), dtype=np.uint16)
        mask = np.zeros((40, 36), np.uint8)
        mask[8 + number : 20 + number, 10:24] = 200
        for folder, array in (("images", image + 20000 * (mask > 0).astype(np.uint16)), ("masks", mask)):
            (tmp_path / folder).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / folder / f"röntgen {number}.png"), array)
    settings = [
        "data=volumes",
        f"data.root={tmp_path}",
        "data.patch=[32,32]",
        "data.labels=[0,200]",
        "data.intensity=percentile",
    ]
    settings += [
        "epochs=4",
        "loss=ce",
        "optim.lr=0.01",
        "folds=2",
        "loss.dice_weight=1",
        "data.patches=8",
        f"run_root={tmp_path / 'runs'}",
    ]
    run = train(compose("segmentation", [*QUICK, *settings]))[1].path
    assert json.loads((run / "summary.json").read_text())["metrics"]["test/dice"]["best"] > 0.8
    items = json.loads((run / "predictions/predictions.json").read_text())["items"]
    with np.load(run / f"predictions/{items[0]}.npz") as archive:
        assert archive["probabilities"].shape == (2, 40, 36, 1)
    predict_masks(run, tmp_path / "images", tmp_path / "out", **PREDICT)
    mask = cv2.imread(str(tmp_path / "out/röntgen 3.png"), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(mask)) == {0, 200}
    for fold in run.parent.iterdir():
        predict_masks(fold, tmp_path / "images", tmp_path / "out", **{**PREDICT, "overwrite": True})
        check_audited_as_predicted(fold, tmp_path / "out", tmp_path / "masks")
    with pytest.raises(UserError, match=r"röntgen 0.png is an image to predict and would be replaced"):
        predict_masks(run, tmp_path / "images", tmp_path / "images", **{**PREDICT, "overwrite": True})


def test_too_few_volumes_for_the_processes_are_refused_before_training() -> None:
    process = Process(torch.device("cpu"), 0, 4)
    for count, tuning, few in ((8, 0.3, 2), (3, 0, 3)):  # to tune on, to train on
        settings = ["data=nnunet", "data.root=.", "data.patches=4", "batch_size=4", f"data.tuning={tuning}"]
        data: Any = SimpleNamespace(train=[SimpleNamespace(item=str(n)) for n in range(count)], test=range(4))
        with pytest.raises(UserError, match=rf"{few} image\(s\) to evaluate are too few for 4 processes"):
            VolumeExperiment(compose("segmentation", settings)).network(data, process)


def test_monai_networks_learn_from_a_list_of_files(tmp_path: Path) -> None:
    """Two channels in one file. A patch that a network cannot take is refused before anything is written."""
    affine, names = affine_of((1.2, 1, 0.8), "PLS", angle=20), [f"{number}.nii.gz" for number in range(4)]
    for number, name in enumerate(names):
        image, mask = balls((25, 32, 38), affine, number)
        image[:4] = 0  # a rim to crop
        save(tmp_path / "images" / name, np.stack([image, -image], -1), affine)
        save(tmp_path / "labels" / name, (mask > 0).astype(np.uint8), affine)
    pairs = [{"image": f"images/{name}", "label": f"labels/{name}"} for name in names]
    content = {"training": pairs[:2], "validation": pairs[2:3], "test": [f"images/{names[3]}"]}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    quick = ["data=decathlon", f"data.root={tmp_path}", "model=monai", "data.spacing=[1,1,1]", "loss=ce", "device=cpu"]
    quick += ["augmentation=light", "evaluation.train_every=5", "progress=false", "record=[predictions]"]

    def predicted(name: str, *settings: str) -> np.ndarray:
        run = tmp_path / name
        train(compose("segmentation", [*quick, f"model.network={name}", *settings, f"run_dir={run}"]))
        predict_masks(run, tmp_path / "dataset.json", tmp_path / name / "out", **PREDICT)
        image = nibabel.load(tmp_path / name / "out" / names[3])
        np.testing.assert_array_equal(image.affine, nibabel.load(tmp_path / "images" / names[3]).affine)
        return np.asarray(image.dataobj)

    swin = ["+model.feature_size=12", "epochs=1", "data.patches=1"]
    with pytest.raises(UserError, match=r"model.network=SwinUNETR cannot take data.patch=\[20, 20, 20\]"):
        predicted("SwinUNETR", *swin, "data.patch=[20,20,20]")
    assert not (tmp_path / "SwinUNETR/config.yaml").exists()
    truth = np.asarray(nibabel.load(tmp_path / "labels" / names[3]).dataobj)
    assert predicted("SwinUNETR", *swin, "data.patch=[32,32,64]").shape == truth.shape
    learned = ["+model.init_filters=8", "epochs=6", "data.patches=4", "loss.dice_weight=1", "optim.lr=0.01"]
    learned += ["data.patch=[32,32,32]", "evaluation.test_every=6"]
    found = predicted("SegResNet", *learned)
    assert 2 * (found * truth).sum() / (found.sum() + truth.sum()) > 0.5
    with pytest.raises(UserError, match=r"SegResNet: pass --masks DIR"):
        open_source(tmp_path / "SegResNet", None, None, None)
    predict_masks(tmp_path / "SegResNet", tmp_path / "images", tmp_path / "all", **PREDICT)
    check_audited_as_predicted(tmp_path / "SegResNet", tmp_path / "all", tmp_path / "labels")


def test_masks_that_teach_nothing_are_refused_or_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = nnunet_dataset(tmp_path / "data", 3, labels={"background": 0, "ball": 1, "moon": 2, "star": 5})
    settings = ["data=nnunet", f"data.root={root}", "epochs=1", "loss=ce", "data.exclude=[]"]
    empty = root / "labelsTr/case 1.nii.gz"
    save(empty, np.zeros_like(np.asarray(nibabel.load(empty).dataobj)), nibabel.load(empty).affine)
    trained(*settings, f"run_dir={tmp_path / 'run'}")
    said = capsys.readouterr().out
    assert "label 5 is in no training mask; look at data.labels or dataset.json" in said
    assert "1 of 2 training masks hold no foreground at this size: case 1\n" in said
    for mask in (root / "labelsTr").iterdir():
        save(mask, np.zeros_like(np.asarray(nibabel.load(mask).dataobj)), nibabel.load(mask).affine)
    with pytest.raises(UserError, match=r"the 2 training masks hold background alone; look at data.labels or"):
        trained(*settings, f"run_dir={tmp_path / 'other'}")
    assert not (tmp_path / "other").exists()
