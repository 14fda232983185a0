"""nnU-Net's own commands on real images, on the CPU: plan, train, continue, predict, evaluate."""

import csv
import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from nibabel.affines import from_matvec
from nibabel.eulerangles import euler2mat
from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder_simple
from PIL import Image

from seg_anl.records import SUMMARY_SCHEMA, read_metrics
from tests.processes import without_this_package

from .conftest import NNUNet, command, nnunet_train, ours

audit = command("seg_anl.audit.command:main")
install = command("nnunetv2.model_sharing.entry_points:install_from_zip_entry_point")
predict_from_folder = command("nnunetv2.inference.predict_from_raw_data:predict_entry_point_modelfolder")
SHORT = "epochs=2 iterations=2 validation_iterations=1"
SHORT_NAME = "-epochs=2-iterations=2-validation_iterations=1"

pytestmark = pytest.mark.slow


def monai_network() -> None:
    """Load a model of nnU-Net through MONAI; its ModelnnUNetWrapper (1.6.1) builds no network of nnU-Net 2.8."""
    from monai.apps.nnunet.nnunet_bundle import convert_nnunet_to_monai_bundle, get_network_from_nnunet_plans

    bundle, weights = map(Path, sys.argv[1:])
    (bundle / "models").mkdir(parents=True)
    convert_nnunet_to_monai_bundle({"dataset_name_or_id": 501, "nnunet_configuration": "2d"}, str(bundle))
    network = get_network_from_nnunet_plans(
        *(str(bundle / f"models/{name}.json") for name in ("plans", "dataset")),
        *("2d", str(bundle / "models/fold_0/model.pt"), "network_weights"),
    )
    torch.save(network.state_dict(), weights)


def fold(nnunet: NNUNet, dataset: str, variant: str, configuration: str = "2d") -> Path:
    return nnunet.root / "results" / dataset / f"{variant}__nnUNetPlans__{configuration}" / "fold_0"


def checkpoint(folder: Path, name: str) -> dict:
    return torch.load(folder / f"checkpoint_{name}.pth", weights_only=False)


def dice(predicted: Path, truth: Path) -> float:
    p, t = (np.asarray(Image.open(path)) > 0 for path in (predicted, truth))
    return 2 * (p & t).sum() / (p.sum() + t.sum())


def check_that_the_exported_model_predicts_the_same(
    isic: NNUNet, model: Path, predictions: Path, isic_folder: Path, tmp_path: Path
) -> None:
    plain, theirs, images = tmp_path / "plain", tmp_path / "theirs", tmp_path / "images"
    isic.succeed(ours, "export", str(model), str(plain))
    images.mkdir()
    for image in sorted((isic_folder / "imagesTs").glob("*"))[:2]:
        (images / image.name).symlink_to(image)
    isic.succeed(
        without_this_package(predict_from_folder),
        *("-m", str(plain), "-f", "0", "-device", "cpu", "--disable_tta", "-npp", "1", "-nps", "1"),
        *("-i", str(images), "-o", str(theirs)),
    )
    masks = sorted(theirs.glob("*.png"))
    assert len(masks) == 2
    for mask in masks:
        np.testing.assert_array_equal(np.asarray(Image.open(mask)), np.asarray(Image.open(predictions / mask.name)))

    isic.succeed(ours, "export", str(model), str(tmp_path / "plain.zip"))
    elsewhere = str(tmp_path / "results")
    isic.succeed(without_this_package(install), str(tmp_path / "plain.zip"), nnUNet_results=elsewhere)
    installed = tmp_path / "results/Dataset501_ISIC/nnUNetTrainer__nnUNetPlans__2d/fold_0"
    weights = torch.load(installed / "checkpoint_final.pth", weights_only=True)["network_weights"]
    trained = checkpoint(model / "fold_0", "final")["network_weights"]
    assert weights.keys() == trained.keys()
    assert all(torch.equal(weights[name], trained[name]) for name in weights)

    isic.succeed(
        without_this_package(monai_network),
        str(tmp_path / "bundle"),
        str(tmp_path / "monai.pt"),
        nnUNet_results=elsewhere,
    )
    loaded = torch.load(tmp_path / "monai.pt", weights_only=True)
    assert loaded.keys() == trained.keys()
    assert all(torch.equal(loaded[name], trained[name]) for name in loaded)

    status, _, errors = isic.run(ours, "export", str(model / "fold_0"), str(tmp_path / "none"))
    assert status == 2
    assert "expected TRAINER__PLANS__CONFIGURATION" in errors
    assert not (tmp_path / "none").exists()


def test_train_predict_and_evaluate_with_nnunets_commands(isic: NNUNet, isic_folder: Path, tmp_path: Path):
    variant = f"nnUNetTrainerANLCE-alpha=10{SHORT_NAME}"
    path = isic.succeed(ours, "path").strip()
    log = isic.succeed(
        nnunet_train,
        *("501", "2d", "0", "-tr", "nnUNetTrainerANLCE", "-device", "cpu"),
        nnUNet_extTrainer=path,
        SEG_ANL_LOSS="anl_ce alpha=10",
        SEG_ANL_TRAIN=SHORT,
        SEG_ANL_TEST=str(isic_folder),
    )
    assert "anl_ce alpha=10.0 beta=5.0" in log
    folder = fold(isic, "Dataset501_ISIC", variant)
    assert checkpoint(folder, "final")["seg_anl"]["loss"]["alpha"] == 10.0

    rows = read_metrics(folder / "metrics.csv")
    assert {(row.epoch, row.split) for row in rows} == {(e, s) for e in (0, 1) for s in ("train", "validation", "test")}
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["schema"] == SUMMARY_SCHEMA
    assert summary["status"] == "finished"
    assert summary["loss"]["name"] == "anl_ce"
    assert summary["counts"] == {"train": 19, "test": 6}
    assert (folder / "config.yaml").exists()
    assert "nnunetv2" in json.loads((folder / "environment.json").read_text())["versions"]

    predictions = tmp_path / "predictions"
    isic.succeed(
        ours,
        *("predict", "-d", "501", "-c", "2d", "-f", "0", "-tr", variant, "-device", "cpu", "--disable_tta"),
        *("-i", str(isic_folder / "imagesTs"), "-o", str(predictions), "-npp", "1", "-nps", "1"),
    )
    values = [dice(predictions / label.name, label) for label in sorted((isic_folder / "labelsTs").glob("*.png"))]
    assert len(values) == 6
    # The weights are those of the last epoch, so the predicted masks must have the Dice measured in training.
    assert np.mean(values) == pytest.approx(summary["metrics"]["test/dice"]["last"], abs=1e-6)

    check_that_the_exported_model_predicts_the_same(isic, folder.parent, predictions, isic_folder, tmp_path)

    compute_metrics_on_folder_simple(str(isic_folder / "labelsTs"), str(predictions), [1], num_processes=1)
    theirs = json.loads((predictions / "summary.json").read_text())["foreground_mean"]["Dice"]
    assert theirs == pytest.approx(summary["metrics"]["test/dice"]["last"], abs=1e-6)


def test_killed_and_continued_t_loss_keeps_nu(isic: NNUNet, isic_folder: Path):
    train = ("train", "501", "2d", "0", "-tr", "nnUNetTrainerTLoss", "-device", "cpu")
    settings = {"SEG_ANL_TRAIN": SHORT, "SEG_ANL_TEST": str(isic_folder)}
    folder = fold(isic, "Dataset501_ISIC", f"nnUNetTrainerTLoss{SHORT_NAME}")
    isic.kill_in_second_epoch(ours, *train, **settings)
    before = checkpoint(folder, "best")["seg_anl"]
    nu = before["loss_state"]["log_nu"].item()
    assert nu != 1.0
    assert not (folder / "summary.json").exists()

    isic.succeed(ours, *train, "--c", **settings)
    after = checkpoint(folder, "final")["seg_anl"]
    assert after["loss_state"]["log_nu"].item() not in (1.0, nu)
    # Adam's step counter: two before the kill and two after it.
    assert [s["step"].item() for s in before["loss_optimiser"]["state"].values()] == [2]
    assert [s["step"].item() for s in after["loss_optimiser"]["state"].values()] == [4]
    with open(folder / "metrics.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file) if row["split"] == "test"] == ["0", "1"]
    assert after["rows"][: len(before["rows"])] == before["rows"]
    assert json.loads((folder / "environment.json").read_text())["resumed"][0]["epoch"] == 1


def oblique_balls(raw: Path) -> np.ndarray:
    """Five cases of a ball with a core and two unlabeled slices, 1 x 1 x 2 mm; returns the oblique affine."""
    affine = from_matvec(euler2mat(0.2, -0.1, 0.3) @ np.diag([1.0, 1.0, 2.0]), [-40.0, 25.0, 7.0])
    grid = np.stack(np.meshgrid(np.arange(32), np.arange(32), 2 * np.arange(16), indexing="ij"))
    generator = np.random.default_rng(0)
    for kind in ("imagesTr", "labelsTr"):
        (raw / kind).mkdir(parents=True)
    for case in range(5):
        distance = np.linalg.norm(grid - generator.uniform(13, 19, 3)[:, None, None, None], axis=0)
        labels = ((distance < 10).astype(np.uint8) + (distance < 5)).astype(np.uint8)
        image = (labels + generator.normal(0, 0.3, labels.shape)).astype(np.float32)
        labels[:, :, :2] = 3
        nibabel.save(nibabel.Nifti1Image(image, affine), raw / "imagesTr" / f"c{case}_0000.nii.gz")
        nibabel.save(nibabel.Nifti1Image(labels, affine), raw / "labelsTr" / f"c{case}.nii.gz")
    regions = {"background": 0, "ball": [1, 2], "core": 2, "ignore": 3}
    about = {"channel_names": {"0": "CT"}, "regions_class_order": [1, 2], "numTraining": 5, "file_ending": ".nii.gz"}
    (raw / "dataset.json").write_text(json.dumps({"labels": regions, **about}))
    return affine


def test_volumes_with_regions_and_unlabeled_voxels_are_trained_audited_and_mended(tmp_path: Path):
    nnunet = NNUNet(tmp_path)
    raw = tmp_path / "raw" / "Dataset502_Balls"
    affine = oblique_balls(raw)
    nnunet.plan(502, "3d_fullres")
    once = "epochs=1 iterations=2 validation_iterations=1"
    tests = tmp_path / "test"
    tests.mkdir()
    (tests / "images").symlink_to(raw / "imagesTr")
    (tests / "labels").symlink_to(raw / "labelsTr")
    nnunet.succeed(
        ours,
        *("train", "502", "3d_fullres", "0", "-tr", "nnUNetTrainerDiceANLCE", "-device", "cpu", "--npz"),
        SEG_ANL_TRAIN=once,
        SEG_ANL_TEST=str(tests),
    )
    variant = "nnUNetTrainerDiceANLCE-epochs=1-iterations=2-validation_iterations=1"
    folder = fold(nnunet, "Dataset502_Balls", variant, "3d_fullres")
    (row,) = (row for row in read_metrics(folder / "metrics.csv") if row.split == "test")
    assert 0 <= row.values["dice"] <= 1
    (predicted,) = (folder / "validation").glob("*.nii.gz")

    case, audited, mended = (
        predicted.name.removesuffix(".nii.gz"),
        tmp_path / "audit",
        tmp_path / "raw/Dataset503_Mended",
    )
    output = nnunet.succeed(audit, "masks", str(folder.parent), str(audited))
    assert "1 cases (nnU-Net folds), not seen in training" in output
    assert "of nnU-Net's five folds, 1, 2, 3, 4 are missing" in output
    (tmp_path / "decisions.json").write_text(json.dumps({case: "wrong"}))
    nnunet.succeed(
        audit, "apply", str(audited), str(mended), "--ignore", "--decisions", str(tmp_path / "decisions.json")
    )
    before, after, theirs = (
        nibabel.load(path) for path in (raw / f"labelsTr/{case}.nii.gz", mended / f"labelsTr/{case}.nii.gz", predicted)
    )
    np.testing.assert_allclose(after.affine, affine, atol=1e-5)
    labels, prediction = np.asarray(before.dataobj), np.asarray(theirs.dataobj)
    np.testing.assert_array_equal(np.asarray(after.dataobj), np.where(labels == prediction, labels, 3))
    nnunet.plan(503, "3d_fullres", "--verify_dataset_integrity")
    assert (tmp_path / f"preprocessed/Dataset503_Mended/nnUNetPlans_3d_fullres/{case}.b2nd").exists()
