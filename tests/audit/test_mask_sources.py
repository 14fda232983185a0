"""All layouts of annotations and predictions, with real headers, and errors for input that does not match."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from data_prep.mask_archive import write_noisy_masks
from seg_anl.audit.cases import _read_archive, load_case
from seg_anl.audit.images import read_case_image
from seg_anl.audit.sources import open_source, pairs_of_run
from seg_anl.audit.streaming import score_cases
from seg_anl.records import NoiseRecord, UserError, array_digest, write_json

SHAPE = (12, 10, 8)
# Rotated about all axes, 1 x 1 x 3 mm.
ROTATION = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3], OBLIQUE[:3, 3] = ROTATION @ np.diag([1.0, 1.0, 3.0]), (10, -20, 30)


def labels(seed: int = 0) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:7, 3:8, 2:6], mask[8:11, 2:5, 1:4] = 1, 2
    mask[seed, 0, 0] = 1  # distinguishes cases and axes
    return mask


def probabilities(mask: np.ndarray, classes: int = 3) -> np.ndarray:
    one_hot = np.stack([mask == k for k in range(classes)]).astype(np.float32)
    return (one_hot * 0.9 + 0.1 / classes).astype(np.float16)


def save_nifti(path: Path, array: np.ndarray, affine=OBLIQUE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


def raw_dataset(folder: Path, label_values: dict, cases=("a", "b", "c", "d")) -> Path:
    for seed, case in enumerate(cases):
        save_nifti(folder / "labelsTr" / f"{case}.nii.gz", labels(seed))
        save_nifti(folder / "imagesTr" / f"{case}_0000.nii.gz", labels(seed).astype(np.float32))
    content = {"labels": label_values, "file_ending": ".nii.gz", "channel_names": {"0": "MRI"}}
    write_json(folder / "dataset.json", content)
    return folder


def nnunet_results(folder: Path, raw: Path, reader: str, in_file_axes) -> Path:
    """Validation predictions of two folds as written by nnU-Net; ``in_file_axes`` reorders the axes of an array."""
    results = folder / "nnUNet_results" / raw.name / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    for fold, cases in enumerate((("a", "b"), ("c",))):
        validation = results / f"fold_{fold}" / "validation"
        validation.mkdir(parents=True)
        for case in cases:
            mask = labels("abcd".index(case))
            array = np.stack([in_file_axes(channel) for channel in probabilities(mask)])
            np.savez_compressed(validation / f"{case}.npz", probabilities=array)
            save_nifti(validation / f"{case}.nii.gz", mask)
            (validation / f"{case}.pkl").write_bytes(b"")
        (validation / "summary.json").write_text("{}")
    write_json(results / "dataset.json", json.loads((raw / "dataset.json").read_text()))
    write_json(results / "plans.json", {"image_reader_writer": reader})
    return results


def reoriented(array: np.ndarray) -> np.ndarray:
    image = nibabel.Nifti1Image(array.astype(np.float32), OBLIQUE)
    return image.as_reoriented(nibabel.io_orientation(OBLIQUE)).get_fdata().transpose(2, 1, 0)


@pytest.mark.parametrize(
    ("reader", "in_file_axes"),
    [("SimpleITKIO", lambda array: array.transpose(2, 1, 0)), ("NibabelIOWithReorient", reoriented)],
)
def test_nnunet_folds_find_their_raw_data(tmp_path, reader, in_file_axes):
    raw = raw_dataset(tmp_path / "nnUNet_raw" / "Dataset007_X", {"background": 0, "head": 1, "tail": 2})
    source = open_source(nnunet_results(tmp_path, raw, reader, in_file_axes), None, None, None)
    assert [case.item for case in source.cases] == ["a", "b", "c"]
    assert not source.in_sample
    assert source.missing == ["d"]
    assert any("2, 3, 4 are missing" in remark for remark in source.remarks)
    for seed, files in enumerate(source.cases):
        case = load_case(files, source.labels)
        assert [structure.name for structure in case.structures] == ["head", "tail"]
        assert case.spacing == pytest.approx((1, 1, 3), rel=1e-4)
        for structure in case.structures:
            prediction = case.of(structure)
            np.testing.assert_array_equal(prediction.annotated, labels(seed) == structure.values[0])
            np.testing.assert_array_equal(prediction.annotated, prediction.probability > 0.5)


def test_wrong_axis_order_is_detected_from_the_predicted_mask(tmp_path):
    raw = raw_dataset(tmp_path / "nnUNet_raw" / "Dataset007_X", {"background": 0, "head": 1, "tail": 2})
    flipped = nnunet_results(tmp_path, raw, "SimpleITKIO", lambda array: array.transpose(2, 1, 0)[::-1, ::-1, ::-1])
    source = open_source(flipped, None, None, None)
    with pytest.raises(UserError, match=r"a\.npz.*axis order"):
        load_case(source.cases[0], source.labels)


def test_predictions_of_networks_that_have_seen_the_masks_are_not_mixed_in(tmp_path, monkeypatch):
    raw = raw_dataset(tmp_path / "nnUNet_raw" / "Dataset007_X", {"background": 0, "head": 1, "tail": 2})
    results = nnunet_results(tmp_path, raw, "SimpleITKIO", lambda array: array.transpose(2, 1, 0))
    (results / "fold_1").rename(results / "fold_all")  # trained and validated on every case; here it predicts c
    source = open_source(results, None, None, None)
    assert ([case.item for case in source.cases], source.missing, source.in_sample) == (["a", "b"], ["c", "d"], False)
    assert "fold_all left out: it was trained on all annotations" in source.remarks
    monkeypatch.chdir(results)
    assert open_source(Path("."), None, None, None).raw == raw
    (results / "fold_0").rename(tmp_path / "elsewhere")
    source = open_source(results, None, None, None)
    assert ([case.item for case in source.cases], source.in_sample) == (["c"], True)


def test_axes_of_a_small_structure_in_a_cube(tmp_path):
    """No shape gives the order of the axes away, and the structure is less than 1 % of the volume."""
    mask, affine = np.zeros((40, 40, 40), np.uint8), np.diag([-1.0, -1, 1, 1])
    mask[3:7, 10:15, 20:26] = 1
    save_nifti(tmp_path / "raw/labelsTr/a.nii.gz", mask, affine)
    save_nifti(tmp_path / "raw/imagesTr/a_0000.nii.gz", mask.astype(np.float32), affine)
    content = {"labels": {"background": 0, "tumor": 1}, "file_ending": ".nii.gz"}
    write_json(tmp_path / "raw/dataset.json", content)
    folder = tmp_path / "predicted"  # as nnUNetv2_predict --save_probabilities writes it
    save_nifti(folder / "a.nii.gz", mask, affine)
    (folder / "a.pkl").touch()
    canonical = nibabel.as_closest_canonical(nibabel.Nifti1Image(mask, affine)).get_fdata()
    np.savez(folder / "a.npz", probabilities=probabilities(canonical.transpose(2, 1, 0), 2))
    write_json(folder / "plans.json", {"image_reader_writer": "NibabelIOWithReorient"})

    def case():
        source = open_source(folder, tmp_path / "raw", None, None)
        return load_case(source.cases[0], source.labels)

    prediction = case().of(case().structures[0])
    np.testing.assert_array_equal(prediction.annotated, prediction.probability > 0.5)
    write_json(folder / "plans.json", {"image_reader_writer": "SimpleITKIO"})
    with pytest.raises(UserError, match=r"a\.npz: does not match a\.nii\.gz; unknown axis order"):
        case()
    save_nifti(folder / "a.nii.gz", mask[1:], affine)
    with pytest.raises(UserError, match=r"a\.nii\.gz: shape \(39, 40, 40\) does not match that of a\.npz"):
        case()


def test_axes_of_a_single_region_in_a_cube(tmp_path):
    """nnU-Net's only channel has the shape of the mask, with reversed axes."""
    mask = np.zeros((8, 8, 8), np.uint8)
    mask[1:3, 2:6, 5:7] = 2
    save_nifti(tmp_path / "raw/labelsTr/a.nii.gz", mask)
    (tmp_path / "raw/imagesTr").mkdir()
    content = {"labels": {"background": 0, "whole": [1, 2]}, "file_ending": ".nii.gz"}
    write_json(tmp_path / "raw/dataset.json", content)
    (tmp_path / "predicted").mkdir()
    (tmp_path / "predicted/a.pkl").touch()
    foreground = np.where(mask, 0.9, 0.1).astype(np.float16)
    np.savez(tmp_path / "predicted/a.npz", probabilities=foreground.transpose(2, 1, 0)[None])
    source = open_source(tmp_path / "predicted", tmp_path / "raw", None, None)
    case = load_case(source.cases[0], source.labels)
    np.testing.assert_array_equal(case.labels > 0, case.predicted[0] > 0.5)


def test_files_of_one_name(tmp_path):
    mask = np.eye(16, dtype=np.uint8)
    for folder in ("masks", "predicted", "images"):
        (tmp_path / folder).mkdir()
    for item in ("IMG_0000", "IMG_0001"):  # a camera's names, which end like a channel of nnU-Net
        Image.fromarray(mask).save(tmp_path / f"masks/{item}.png")
        Image.fromarray(mask).save(tmp_path / f"images/{item}.jpg")
        write_json(tmp_path / f"images/{item}.json", {})  # of a program for annotations
        Image.fromarray(mask).save(tmp_path / f"predicted/{item}.png")
        np.save(tmp_path / f"predicted/{item}.npy", probabilities(mask, 2))
    folders = [tmp_path / folder for folder in ("predicted", "masks", "images")]
    for case in open_source(*folders, None).cases:
        assert case.prediction.name == f"{case.item}.npy"
        assert case.image is not None
        assert Path(case.image.name).name == f"{case.item}.jpg"
    (tmp_path / "other").mkdir()
    Image.fromarray(mask).save(tmp_path / "other/x.png")
    with pytest.raises(UserError, match=r"other: no image is named like a mask, such as IMG_0000"):
        open_source(*folders[:2], tmp_path / "other", None)
    (tmp_path / "predicted/IMG_0000.npy").unlink()
    remarks = open_source(*folders, None).remarks
    assert remarks[0] == "assumed to be predictions of networks that have not seen the masks"
    assert any(remark.startswith("no probabilities for IMG_0000: ranked as if certain") for remark in remarks)
    np.savez(tmp_path / "predicted/IMG_0001.npz", probabilities=probabilities(mask, 2))
    with pytest.raises(UserError, match=r"IMG_0001\.npy and .*IMG_0001\.npz have the same id"):
        open_source(*folders, None)


def test_gray_values_are_no_predicted_labels(tmp_path):
    for folder, values in (("masks", np.eye(16) * 255), ("predicted", np.eye(16) * 240)):
        (tmp_path / folder).mkdir()
        Image.fromarray(values.astype(np.uint8)).save(tmp_path / folder / "x.png")
    source = open_source(tmp_path / "predicted", tmp_path / "masks", None, None)
    with pytest.raises(UserError, match=r"x\.png: holds the value 240, but the mask .* only 0 and 255; save"):
        load_case(source.cases[0], source.labels)


def test_only_the_masks_in_labels_tr_are_those_of_the_raw_dataset(tmp_path, monkeypatch):
    """Other masks next to them, such as a second rater's: a mended data set must not be made of those in labelsTr."""
    raw = raw_dataset(tmp_path / "raw", {"background": 0, "one": 1, "two": 2})
    for folder in ("second", "predicted"):
        save_nifti(raw / folder / "a.nii.gz", labels())
    assert open_source(raw / "predicted", raw / "labelsTr", None, None).raw == raw
    assert open_source(raw / "predicted", raw / "second", None, None).raw is None
    monkeypatch.chdir(raw / "second")
    assert open_source(raw / "predicted", Path(), None, None).raw is None


def test_regions_overlap_and_ignored_elements_do_not_count(tmp_path):
    label_values = {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}
    raw = raw_dataset(tmp_path / "raw", label_values, cases=("a",))
    annotation = labels()
    annotation[9:, :, :] = 3
    save_nifti(raw / "labelsTr" / "a.nii.gz", annotation)
    (tmp_path / "predicted").mkdir()
    sigmoid = np.stack([(labels() > 0).T, (labels() == 2).T]).astype(np.float16)
    np.savez(tmp_path / "predicted" / "a.npz", probabilities=sigmoid)
    (tmp_path / "predicted" / "a.pkl").touch()  # as nnU-Net writes them: next to the predicted mask, axes reversed
    save_nifti(tmp_path / "predicted" / "a.nii.gz", labels())
    source = open_source(tmp_path / "predicted", raw, None, None)
    assert open_source(tmp_path / "predicted", raw / "labelsTr", None, None) == source
    case = load_case(source.cases[0], source.labels)
    whole, core = (case.of(structure) for structure in case.structures)
    assert np.count_nonzero(whole.annotated) == np.count_nonzero((annotation == 1) | (annotation == 2))
    assert core.annotated[8].any()
    assert not core.annotated[9:].any()
    assert not core.probability[9:].any()
    np.testing.assert_array_equal(whole.annotated, whole.probability > 0.5)


def test_fold_runs_use_their_training_masks(tmp_path):
    masks = [np.roll(np.eye(16, dtype=np.uint8), step, 0) for step in range(4)]
    records = [NoiseRecord(f"i{n}", "none", 0, 0, "", {}, *(array_digest(m),) * 2) for n, m in enumerate(masks)]
    for fold, rows in enumerate(((0, 2), (1,))):
        run = tmp_path / "sweep" / f"fold{fold}"
        write_noisy_masks(run / "noise", masks, records, {})
        (run / "predictions").mkdir()
        for row in rows:
            np.savez(run / "predictions" / f"i{row}.npz", probabilities=probabilities(masks[row], 2))
        header = {"out_of_sample": True, "fold": fold, "items": [f"i{row}" for row in rows]}
        write_json(run / "predictions" / "predictions.json", header)
    source = open_source(tmp_path / "sweep", None, None, None)
    assert (source.kind, source.in_sample, source.missing) == ("fold runs", False, ["i3"])
    assert [remark for remark in source.remarks if "images" in remark][-1].startswith("no images: ranked without them")
    assert any(remark.startswith("the run's images are not found: ") for remark in source.remarks)
    for files in source.cases:
        case = load_case(files, source.labels)
        np.testing.assert_array_equal(case.labels, masks[int(files.item[1])])
        prediction = case.of(case.structures[0])
        np.testing.assert_array_equal(prediction.annotated, prediction.probability > 0.5)
    assert not open_source(tmp_path / "sweep" / "fold0", None, None, None).in_sample
    _read_archive.cache_clear()
    assert [row["item"] for row in score_cases(source, tmp_path, None, 1)] == ["i0", "i1", "i2"]
    assert _read_archive.cache_info().misses == 2  # one for each run, although their items alternate
    ignoring = open_source(tmp_path / "sweep", None, None, 7)
    assert ignoring.labels == source.labels
    assert any(remark.startswith("--ignore 7 has no effect") for remark in ignoring.remarks)
    (tmp_path / "others").mkdir()
    for item in ("i0", "i7"):
        np.save(tmp_path / "others" / f"{item}.npy", masks[0])
    source = open_source(tmp_path / "sweep", tmp_path / "others", None, None)
    assert ([case.item for case in source.cases], source.missing) == (["i0"], ["i7"])
    assert any(remark.startswith("no annotation in ") and "i2, i1 (2 in all)" in remark for remark in source.remarks)


def test_predicted_masks_of_255_and_1_are_the_same_structure(tmp_path):
    for folder, value in (("masks", 255), ("predicted", 1)):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.uint8(value) * np.eye(9, dtype=np.uint8)).save(tmp_path / folder / "x.png")
    source = open_source(tmp_path / "predicted", tmp_path / "masks", None, None)
    case = load_case(source.cases[0], source.labels)
    assert [structure.values for structure in case.structures] == [(1,)]
    prediction = case.of(case.structures[0])
    np.testing.assert_array_equal(prediction.annotated, prediction.probability > 0.5)


@pytest.mark.parametrize("exclude", ["two", "[two]", "12"])
def test_a_run_that_left_out_images_leads_to_the_others(tmp_path, exclude):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for item in ("12", "one", "two", "three"):
            Image.fromarray(np.eye(9, dtype=np.uint8)).save(tmp_path / kind / f"{item}.png")
    data = f"{{name: folder, root: {tmp_path}, test_share: 0.25, exclude: {exclude}}}"
    every = pairs_of_config(tmp_path, data.replace(f", exclude: {exclude}", ""))
    assert pairs_of_config(tmp_path, data) == every - {exclude.strip("[]")}


def pairs_of_config(run: Path, data: str) -> set[str]:
    (run / "config.yaml").write_text(f"data: {data}\nnoise: {{seed: 1}}\n")
    return {pair.item for pair in pairs_of_run(run)[0].train}


BAD = {
    "size": (lambda p: p[:, :-1], r"a\.npz: shape \(2, 15, 16\) does not match the mask .*a\.npy"),
    "sum": (lambda p: p * np.float16(0.5), "sum to 0.5"),
    "logits": (lambda p: p * 7 - 3, "are not probabilities"),
    "nan": (lambda p: np.where(np.arange(16) == 3, np.nan, p), "NaN"),
    "classes": (lambda p: p[:1].repeat(2, 0)[:, :, :, None].repeat(2, 3), "does not match"),
}


@pytest.mark.parametrize("kind", BAD)
def test_error_names_an_invalid_prediction(tmp_path, kind):
    corrupt, message = BAD[kind]
    for folder in ("masks", "predicted"):
        (tmp_path / folder).mkdir()
    np.save(tmp_path / "masks" / "a.npy", np.eye(16, dtype=np.uint8))
    np.savez(tmp_path / "predicted" / "a.npz", probabilities=corrupt(probabilities(np.eye(16), 2)))
    source = open_source(tmp_path / "predicted", tmp_path / "masks", None, None)
    with pytest.raises(UserError, match=message):
        load_case(source.cases[0], source.labels)


def test_error_names_a_wrong_affine_or_damaged_archive(tmp_path):
    save_nifti(tmp_path / "masks" / "a.nii.gz", labels())
    save_nifti(tmp_path / "masks" / "b.nii.gz", labels())
    moved = OBLIQUE.copy()
    moved[0, 3] += 5
    save_nifti(tmp_path / "predicted" / "a.nii.gz", labels(), moved)
    damaged = tmp_path / "predicted" / "b.npz"
    np.savez_compressed(damaged, probabilities=probabilities(labels()))
    damaged.write_bytes(damaged.read_bytes()[:-200])
    source = open_source(tmp_path / "predicted", tmp_path / "masks", None, None)
    for files, message in zip(source.cases, (r"a\.nii\.gz: its affine differs from that of", r"b\.npz"), strict=True):
        with pytest.raises(UserError, match=message):
            load_case(files, source.labels)


@pytest.mark.parametrize("change", ["SetOrigin", "SetSpacing"])
def test_error_names_a_volume_of_another_place_in_other_formats(tmp_path, change):
    library = pytest.importorskip("SimpleITK")
    image = library.GetImageFromArray(labels())
    for folder, values in (("masks", (1.0, 1.0, 2.0)), ("same", (1.0, 1.0, 2.0)), ("other", (1.0, 1.0, 2.5))):
        (tmp_path / folder).mkdir()
        getattr(image, change)(values)
        library.WriteImage(image, str(tmp_path / folder / "a.nrrd"))
    source = open_source(tmp_path / "same", tmp_path / "masks", None, None)
    assert load_case(source.cases[0], source.labels).labels.shape == SHAPE
    source = open_source(tmp_path / "other", tmp_path / "masks", None, None)
    with pytest.raises(UserError, match=r"a\.nrrd: its affine differs from that of"):
        load_case(source.cases[0], source.labels)


def test_error_names_an_image_that_does_not_lie_on_its_mask(tmp_path):
    """An image along other axes, or of another size, would put the contrast in the wrong place."""
    raw = raw_dataset(tmp_path / "raw", {"background": 0, "head": 1, "tail": 2}, cases="ab")
    for item in "ab":
        save_nifti(tmp_path / f"predicted/{item}.nii.gz", labels())
    (raw / "labelsTr/b.nii.gz").write_bytes((raw / "labelsTr/a.nii.gz").read_bytes())
    flipped, moved = OBLIQUE @ np.diag([-1, 1, 1, 1]), OBLIQUE + np.outer([5, 0, 0, 0], [0, 0, 0, 1])
    save_nifti(raw / "imagesTr/a_0000.nii.gz", labels().astype(np.float32), flipped)
    save_nifti(raw / "imagesTr/b_0000.nii.gz", labels().astype(np.float32), moved)
    source = open_source(tmp_path / "predicted", raw, None, None)
    first, second = (load_case(files, source.labels) for files in source.cases)
    with pytest.raises(UserError, match=r"a_0000\.nii\.gz: its axes are \w+, those of .*a\.nii\.gz \w+; reor"):
        read_case_image(source.cases[0], first)
    assert read_case_image(source.cases[1], second).shape == (1, *SHAPE)  # many headers differ in the origin
    for folder, size in (("masks", (16, 16)), ("images", (32, 20)), ("pictures", (16, 16))):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.eye(*size, dtype=np.uint8)).save(tmp_path / folder / "a.png")
    source = open_source(tmp_path / "pictures", tmp_path / "masks", tmp_path / "images", None)
    with pytest.raises(UserError, match=r"masks/a\.png: a mask of 16 x 16 pixels, but its image has 20 x 32"):
        read_case_image(source.cases[0], load_case(source.cases[0], source.labels))


def test_error_names_files_that_do_not_match_the_raw_dataset(tmp_path):
    raw = raw_dataset(tmp_path / "nnUNet_raw" / "Dataset007_X", {"background": 0, "head": 1, "tail": 2})
    results = nnunet_results(tmp_path, raw, "SimpleITKIO", lambda array: array.transpose(2, 1, 0))
    moved = OBLIQUE + np.outer([5, 0, 0, 0], [0, 0, 0, 1])
    save_nifti(results / "fold_0" / "validation" / "a.nii.gz", labels(0), moved)
    extra = probabilities(labels(1), classes=4).transpose(0, 3, 2, 1)
    np.savez_compressed(results / "fold_0" / "validation" / "b.npz", probabilities=extra)
    unnamed = labels(2)
    unnamed[0, 0, 0] = 7
    save_nifti(raw / "labelsTr" / "c.nii.gz", unnamed)
    source = open_source(results, None, None, None)
    messages = (r"a\.nii\.gz: its affine differs", r"b\.npz: 4 channels, .* need 3", r"c\.nii\.gz: holds the label 7")
    for files, message in zip(source.cases, messages, strict=True):
        with pytest.raises(UserError, match=message):
            load_case(files, source.labels)


@pytest.mark.parametrize("name", ["predictions/predictions.json", "noise/manifest.json"])
def test_error_names_damaged_files_of_a_run(tmp_path, name):
    write_noisy_masks(tmp_path / "noise", np.eye(8, dtype=np.uint8)[None], [NoiseRecord("a", "none", 0, 0)], {})
    (tmp_path / "predictions").mkdir()
    header = {"out_of_sample": False, "fold": None, "items": ["a"]}
    write_json(tmp_path / "predictions" / "predictions.json", header)
    np.savez(tmp_path / "predictions" / "a.npz", probabilities=probabilities(np.eye(8), 2))
    assert open_source(tmp_path, None, None, None).in_sample
    (tmp_path / name).write_text("[1]")
    with pytest.raises(UserError, match=name):
        open_source(tmp_path, None, None, None)


def test_error_says_how_to_give_missing_annotations(tmp_path):
    (tmp_path / "predicted").mkdir()
    with pytest.raises(UserError, match="--masks"):
        open_source(tmp_path / "predicted", None, None, None)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("task: segmentation")
    with pytest.raises(UserError, match=r"run: no finished run with predictions; train with folds=5 or record="):
        open_source(tmp_path / "run", None, None, None)
    (tmp_path / "Dataset9" / "t__p__2d" / "fold_0" / "validation").mkdir(parents=True)
    with pytest.raises(UserError, match="raw data set Dataset9 was not found"):
        open_source(tmp_path / "Dataset9" / "t__p__2d", None, None, None)
