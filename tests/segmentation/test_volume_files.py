"""Files of volumes: what is read of every kind, what is refused, and that predictions lie where their image does."""

from __future__ import annotations

import json
import locale
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pytest
import torch
from monai.data import load_decathlon_datalist
from PIL import Image

from seg_anl.records import UserError
from seg_anl.segmentation.volumes.cases import Case, find_cases, image_cases, listed_images
from seg_anl.segmentation.volumes.files import read_geometry, read_volume, target_name, write_labels
from seg_anl.segmentation.volumes.labels import IGNORED, Labels
from seg_anl.segmentation.volumes.planning import Plan, planned_patch
from seg_anl.segmentation.volumes.prediction import predicted_values
from seg_anl.segmentation.volumes.preparation import Preparation, find_frame, scaled
from seg_anl.segmentation.volumes.settings import VolumeDataSettings
from seg_anl.segmentation.volumes.shelf import Shelf, load_volumes

from .volume_files import affine_of, balls, nnunet_dataset, save

TWO = Labels.plain((0, 1, 2))


def prepared(case: Case, spacing: object = None) -> Preparation:
    return Preparation(find_frame([case], spacing), TWO, "zscore", None)


def saved(folder: Path, affine: np.ndarray, shape: tuple[int, ...] = (20, 18, 12)) -> tuple[Case, np.ndarray]:
    image, mask = balls(shape, affine, 0)
    paths = save(folder / "a.nii.gz", image, affine), save(folder / "a_mask.nii.gz", mask, affine)
    return Case("a", paths[:1], paths[1]), mask


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR"])
def test_any_orientation_becomes_ras_and_comes_back(tmp_path: Path, axes: str) -> None:
    case, mask = saved(tmp_path, affine_of((1, 1.5, 2), axes, angle=15))
    preparation = prepared(case)
    volume = preparation.volume(case)
    canonical = nibabel.as_closest_canonical(nibabel.load(case.mask))
    np.testing.assert_array_equal(volume.mask, canonical.get_fdata())
    assert volume.spacing == pytest.approx(canonical.header.get_zooms(), rel=1e-5)
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(volume.mask).long()).movedim(-1, 0).float()
    np.testing.assert_array_equal(preparation.image(case).restored(one_hot).argmax(0), mask)


def test_resampling_keeps_mm_and_the_way_back(tmp_path: Path) -> None:
    """A ball keeps its volume in mm^3 on a finer grid, and comes back nearly whole."""
    case, mask = saved(tmp_path, affine_of((1, 1, 3), "PIR", angle=20), (22, 8, 24))
    preparation = prepared(case, (1.0, 1.0, 1.0))
    volume = preparation.volume(case)
    assert volume.mask.size == pytest.approx(mask.size * 3, rel=0.2)
    assert (volume.mask == 1).sum() == pytest.approx((mask == 1).sum() * 3, rel=0.1)
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(volume.mask).long(), 3).movedim(-1, 0).float()
    back = preparation.image(case).restored(one_hot).argmax(0).numpy()
    assert back.shape == mask.shape
    assert 2 * ((back == 1) & (mask == 1)).sum() / ((back == 1).sum() + (mask == 1).sum()) > 0.95


def test_voxels_of_another_size_are_not_predicted_unresampled(tmp_path: Path) -> None:
    case, _ = saved(tmp_path, affine_of((1, 1, 3)))
    preparation = prepared(case)
    plan = Plan(preparation.frame, (1.0, 1.0, 2.0), (16, 16, 8), TWO, suffixed=False)
    with pytest.raises(UserError, match=r"a.nii.gz: voxels of 1 x 1 x 3 mm, but the run was trained on 1 x 1 x 2 mm"):
        predicted_values(torch.nn.Identity(), case, preparation, plan, torch.device("cpu"))


def test_what_is_zero_everywhere_is_cut_off_and_predicted_background(tmp_path: Path) -> None:
    image, mask = np.zeros((20, 20, 20), np.float32), np.zeros((20, 20, 20), np.uint8)
    image[4:14, 5:17, 6:18], mask[8:10, 8:10, 8:10] = 7.0, 1
    image[5, 5:17, 6:18] = 9
    paths = save(tmp_path / "a.nii", image, affine_of()), save(tmp_path / "m.nii", mask, affine_of())
    case = Case("a", paths[:1], paths[1])
    preparation = prepared(case)
    volume = preparation.volume(case)
    assert volume.mask.shape == (10, 12, 12)
    assert (volume.image.mean(), volume.image.std()) == pytest.approx((0, 1), abs=1e-5)
    back = preparation.image(case).restored(torch.ones(1, 10, 12, 12))[0]
    assert back.shape == mask.shape
    np.testing.assert_array_equal(back > 0, image > 0)


def test_sixteen_bits_stay_sixteen_bits(tmp_path: Path) -> None:
    values = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 15
    for name, array in (
        ("a.png", values),
        ("b.tiff", values),
        ("c.png", np.stack([values, values // 2, values // 3], -1)),
    ):
        cv2.imwrite(str(tmp_path / name), array)
        found, _ = read_volume(tmp_path / name)
        assert found.shape == (1 if array.ndim == 2 else 3, 64, 64, 1)
        np.testing.assert_array_equal(found[-1, ..., 0], values)  # red comes last in OpenCV, and first here
        break_even = scaled(torch.from_numpy(found.astype(np.float32)), "window", (0, 61425))
        assert len(break_even[0].unique()) == values.size
    np.testing.assert_array_equal(found[0, ..., 0], values // 3)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("meter", 0.001), ("micron", 1000)])
def test_nifti_in_other_units_lies_where_itk_puts_it(tmp_path: Path, unit: str, factor: float) -> None:
    itk = pytest.importorskip("SimpleITK")
    affine = affine_of((1, 1.5, 2), angle=10)
    affine[:3] *= factor
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.float32), affine)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "a.nii")
    itk.WriteImage(itk.ReadImage(str(tmp_path / "a.nii")), str(tmp_path / "b.mha"))
    expected = read_geometry(tmp_path / "b.mha")[1]
    np.testing.assert_allclose(read_geometry(tmp_path / "a.nii")[1], expected, atol=1e-4)
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii")[1], expected, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(expected[:3, :3], axis=0), (1, 1.5, 2), rtol=1e-5)


def test_voxels_of_a_micrometer_are_taken_as_they_are_or_refused(tmp_path: Path) -> None:
    case, mask = saved(tmp_path, np.diag([0.00025, 0.00025, 0.001, 1]))
    volume = prepared(case, "median").volume(case)
    assert volume.spacing == (0.00025, 0.00025, 0.001)
    np.testing.assert_array_equal(volume.mask, mask)
    with pytest.raises(UserError, match=r"a.nii.gz: voxels of 0.00025 x 0.00025 x 0.001 mm cannot be resampled to"):
        prepared(case, [0.0005, 0.0005, 0.001]).volume(case)


@pytest.mark.parametrize("ending", ["nrrd", "mha"])
def test_other_formats_lie_where_nifti_does(tmp_path: Path, ending: str) -> None:
    itk = pytest.importorskip("SimpleITK")
    case, mask = saved(tmp_path, affine_of((1, 1.5, 2), "LPS", angle=10))
    path = tmp_path / f"b.{ending}"
    itk.WriteImage(itk.ReadImage(str(case.images[0])), str(path))
    values, affine = read_volume(path)
    expected, where = read_volume(case.images[0])
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_allclose(affine, where, atol=1e-4)
    write_labels(path, mask, tmp_path / "out" / target_name(path, "b"))
    np.testing.assert_array_equal(read_volume(tmp_path / f"out/b.{ending}")[0][0], mask)
    np.testing.assert_allclose(read_geometry(tmp_path / f"out/b.{ending}")[1], affine, atol=1e-5)
    itk.WriteImage(itk.JoinSeries([itk.ReadImage(str(path))] * 2), str(path))  # channels as a fourth axis
    np.testing.assert_array_equal(read_volume(path)[0], np.concatenate([expected, expected]))
    write_labels(path, mask, tmp_path / f"out/c.{ending}")
    np.testing.assert_array_equal(read_volume(tmp_path / f"out/c.{ending}")[0][0], mask)
    np.testing.assert_allclose(read_geometry(tmp_path / f"out/c.{ending}")[1], affine, atol=1e-5)


def test_a_dicom_series_is_one_volume(tmp_path: Path) -> None:
    itk = pytest.importorskip("SimpleITK")
    before = locale.setlocale(locale.LC_ALL)
    values = np.random.default_rng(0).integers(0, 1000, (4, 6, 5)).astype(np.int16)  # slices, rows, columns
    (tmp_path / "images/s").mkdir(parents=True)
    for number, plane in enumerate(values):
        image = itk.GetImageFromArray(plane[None])
        image.SetSpacing((0.5, 0.75, 3.0))
        position = "\\".join(map(str, (1.0, 2.0, 3.0 * number)))
        tags = {
            "0008|0060": "CT",
            "0020|000e": "1.2.3",
            "0020|0032": position,
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(number),
            "0008|0018": f"1.2.3.{number}",
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer = itk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(tmp_path / f"images/s/{number}.dcm"))
        writer.Execute(image)
    locale.setlocale(locale.LC_ALL, before)  # the writer has left another
    ((item, paths),) = image_cases(tmp_path / "images").items()
    found, affine = read_volume(paths[0])
    assert locale.setlocale(locale.LC_ALL) == before
    assert item == "s"
    np.testing.assert_array_equal(found[0], values.transpose(2, 1, 0))
    np.testing.assert_allclose(np.abs(np.diag(affine)[:3]), (0.5, 0.75, 3.0))
    write_labels(paths[0], found[0] > 500, tmp_path / target_name(paths[0], "s"))
    np.testing.assert_allclose(nibabel.load(tmp_path / "s.nii.gz").affine, affine)


def test_an_image_in_two_files_gets_a_mask_in_one_and_is_read_anew_when_its_data_change(tmp_path: Path) -> None:
    itk = pytest.importorskip("SimpleITK")
    case, mask = saved(tmp_path, affine_of((1, 1.5, 2), "LPS"))
    itk.WriteImage(itk.ReadImage(str(case.images[0])), str(tmp_path / "a.mhd"))
    case = Case("a", (tmp_path / "a.mhd",), case.mask)
    preparation, found = prepared(case), []
    for _ in range(2):
        (volume,) = load_volumes([case], preparation, Shelf(0, tmp_path / "shelf"), workers=1, progress=False)
        found.append(np.array(volume.image))
        np.fromfile(tmp_path / "a.raw", np.float32)[::-1].tofile(tmp_path / "a.raw")
    np.testing.assert_allclose(found[0], found[1][:, ::-1, ::-1, ::-1], atol=1e-4)
    assert np.abs(found[0] - found[1]).max() > 1
    target = tmp_path / "out" / target_name(case.images[0], "a")
    write_labels(case.images[0], mask, target)
    assert [path.name for path in target.parent.iterdir()] == ["a.mha"]
    np.testing.assert_array_equal(read_volume(target)[0][0], mask)


def test_pictures_with_a_palette_are_colors_but_labels_in_masks(tmp_path: Path) -> None:
    indices = np.arange(12, dtype=np.uint8).reshape(3, 4)
    picture = Image.fromarray(indices)
    picture.putpalette([value for index in range(256) for value in (255 - index, index, 7)])
    picture.save(tmp_path / "a.png")
    image, mask = read_volume(tmp_path / "a.png")[0], read_volume(tmp_path / "a.png", mask=True)[0]
    np.testing.assert_array_equal(image[..., 0], np.stack([255 - indices, indices, np.full_like(indices, 7)]))
    np.testing.assert_array_equal(mask[0, ..., 0], indices)
    Image.fromarray(indices > 5).save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_volume(tmp_path / "b.png", mask=True)[0][0, ..., 0], indices > 5)


def test_pictures_of_nnunet_have_all_channels_in_one_file(tmp_path: Path) -> None:
    form = {"channel_names": {"0": "R", "1": "G", "2": "B"}, "file_ending": ".png", "labels": {"background": 0, "a": 1}}
    for number in range(3):
        for folder, shape in (("imagesTr", (8, 9, 3)), ("labelsTr", (8, 9))):
            (tmp_path / folder).mkdir(exist_ok=True)
            name = f"c{number}_0000.png" if folder == "imagesTr" else f"c{number}.png"
            Image.fromarray(np.ones(shape, np.uint8)).save(tmp_path / folder / name)
    (tmp_path / "dataset.json").write_text(json.dumps(form))
    cases = find_cases(VolumeDataSettings(name="nnunet", root=str(tmp_path)), 0)
    assert cases.suffixed
    assert find_frame(cases.train, None).channels == cases.channels == 3


def test_a_second_mask_is_refused_and_one_without_image_is_named(tmp_path: Path) -> None:
    image, mask = balls((8, 8, 8), affine_of(), 0)
    for number in range(3):
        save(tmp_path / f"images/c{number}.nii.gz", image, affine_of())
        save(tmp_path / f"masks/c{number}.nii.gz", mask, affine_of())
    save(tmp_path / "masks/other.nii.gz", mask, affine_of())
    data = VolumeDataSettings(name="volumes", root=str(tmp_path), test_share=0.34)
    assert (
        f"masks without an image left out: {tmp_path}/masks/other.nii.gz; 2 to train on" in find_cases(data, 0).remark
    )
    save(tmp_path / "masks/c1_seg.nii.gz", mask, affine_of())
    with pytest.raises(UserError, match=r"c1.nii.gz and .*c1_seg.nii.gz have the same id 'c1'; rename one"):
        find_cases(data, 0)


def test_masks_carry_their_images_header(tmp_path: Path) -> None:
    case, mask = saved(tmp_path, affine_of((0.7, 1.1, 2.5), "PIR", angle=17))
    write_labels(case.images[0], np.where(mask == 2, 420, mask.astype(int)), tmp_path / "out/a.nii.gz")
    source, made = nibabel.load(case.images[0]), nibabel.load(tmp_path / "out/a.nii.gz")
    for name in ("pixdim", "qform_code", "sform_code", "srow_x", "quatern_b", "xyzt_units", "dim"):
        np.testing.assert_array_equal(source.header[name], made.header[name])
    assert set(np.unique(made.get_fdata())) == {0, 1, 420}


def test_channels_in_files_or_in_one(tmp_path: Path) -> None:
    affine = affine_of()
    image, mask = balls((16, 16, 16), affine, 0)
    both = np.stack([image, image**2], -1)
    save(tmp_path / "one/images/ä 1.nii.gz", both, affine)
    save(tmp_path / "one/masks/ä 1.nii.gz", mask, affine)
    for number in range(2):
        save(tmp_path / f"two/images/ä 1_000{number}.nii.gz", both[..., number], affine)
    save(tmp_path / "two/masks/ä 1.nii.gz", mask, affine)
    found = []
    for name in ("one", "two"):
        for more in (2, 3):  # cases whose names end as channels do
            save(tmp_path / name / f"images/b_000{more}{'_0000' if name == 'two' else ''}.nii.gz", image, affine)
            save(tmp_path / name / f"masks/b_000{more}.nii.gz", mask, affine)
        cases = find_cases(
            VolumeDataSettings(name="volumes", root=str(tmp_path / name), labels=(0, 1, 2), test_share=0.34), 0
        )
        assert cases.suffixed == (name == "two")
        (case,) = [case for case in cases.train + cases.test if case.item == "ä 1"]
        assert {case.item for case in cases.train + cases.test} == {"ä 1", "b_0002", "b_0003"}
        found.append(prepared(case).volume(case))
    np.testing.assert_array_equal(found[0].image, found[1].image)
    assert found[0].image.shape == (2, 16, 16, 16)


def test_labels_of_a_description() -> None:
    regions = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}
    labels = Labels.of_description({"labels": regions, "regions_class_order": [1, 2, 3]}, "dataset.json")
    stored = np.array([0, 1, 2, 3, 4])
    assert labels.indices(stored, "a").tolist() == [0, 1, 2, 3, IGNORED]
    assert labels.multi_hot()[torch.from_numpy(labels.indices(stored, "a")).long()].tolist() == [
        [0, 0, 0],
        [1, 0, 0],
        [1, 1, 0],
        [1, 1, 1],
        [255] * 3,
    ]
    assert labels.decided(labels.multi_hot()[:4].T.float()).tolist() == [0, 1, 2, 3]
    with pytest.raises(UserError, match=r"dataset.json: labels must have different values"):
        Labels.of_description({"labels": {"background": 0, "a": 1, "b": 1}}, "dataset.json")
    with pytest.raises(UserError, match=r"dataset.json: regions need regions_class_order"):
        Labels.of_description({"labels": regions, "regions_class_order": [[1], 2, 3]}, "dataset.json")
    with pytest.raises(UserError, match=r"the ignore label must be one value of its own, got 1"):
        Labels.of_description({"labels": {"a": 1, "ignore": "1"}}, "dataset.json")
    with pytest.raises(UserError, match=r"dataset.json: labels must be at most 65535, got 70000"):
        Labels.of_description({"labels": {"a": 70000}}, "dataset.json")  # RUN/plan.json could not be read again
    plain = Labels.of_description({"labels": {"b": 2, "a": 1, "background": 0}}, "dataset.json")
    assert (plain.names, plain.heads) == (("a", "b"), 3)


def _shifted(root: Path) -> None:
    path = root / "labelsTr/case 0.nii.gz"
    image = nibabel.load(path)
    save(path, np.asarray(image.dataobj), image.affine + np.diag([0, 0, 0.5, 0]))


def _cropped(root: Path) -> None:
    path = root / "labelsTr/case 0.nii.gz"
    image = nibabel.load(path)
    save(path, np.asarray(image.dataobj)[:-1], image.affine)


def _truncated(root: Path) -> None:
    path = root / "imagesTr/case 0_0000.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])


def _with_nan(root: Path) -> None:
    path = root / "imagesTr/case 0_0000.nii.gz"
    image = nibabel.load(path)
    values = np.asarray(image.dataobj).copy()
    values[3, 3, 3] = np.nan
    save(path, values, image.affine)


def _stranger(root: Path) -> None:
    path = root / "labelsTr/case 0.nii.gz"
    image = nibabel.load(path)
    values = np.asarray(image.dataobj).copy()
    values[3, 3, 3] = 7
    save(path, values, image.affine)


def _two_channels(root: Path) -> None:
    description = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(description | {"channel_names": {"0": "T1", "1": "T2"}}))


def _coarser(root: Path) -> None:
    path, affine = "case 0", affine_of((1, 1, 3))
    image, mask = balls((24, 24, 14), affine, 0)
    save(root / f"imagesTr/{path}_0000.nii.gz", image, affine)
    save(root / f"labelsTr/{path}.nii.gz", mask, affine)


def all_prepared(root: Path) -> None:
    found = find_cases(VolumeDataSettings(name="nnunet", root=str(root)), 0)
    cases = found.train + found.test
    preparation = Preparation(find_frame(cases, None), found.labels, "zscore", None)
    for case in cases:
        preparation.volume(case)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            _shifted,
            r"case 0.nii.gz: lies elsewhere than .*case 0_0000.nii.gz: its affine is RAS \[\[.*\]\], the other's RAS",
        ),
        (_cropped, r"case 0.nii.gz: 23 x 24 x 14 voxels, but .*case 0_0000.nii.gz has 24 x 24 x 14"),
        (_truncated, r"case 0_0000.nii.gz: cannot be read as nii.gz: "),
        (_with_nan, r"case 0_0000.nii.gz: 1 voxels are NaN or infinite"),
        (_stranger, r"case 0.nii.gz: holds the values 7, which are no labels; expected 0, 1, 2$"),
        (_two_channels, r"case 0_0001.nii.gz: missing; it is the channel 'T2' of case 0"),
        (_coarser, r"voxels of 1 x 1 x [23] mm, but .* has 1 x 1 x [23] mm; set data.spacing"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    root = nnunet_dataset(tmp_path, 3)
    damage(root)
    with pytest.raises(UserError) as caught:
        all_prepared(root)
    assert re.search(message, str(caught.value))
    assert "\n" not in str(caught.value)


def test_a_patch_must_fit_images_and_network() -> None:
    shapes = [(30, 40, 20), (34, 44, 24)]
    with pytest.raises(UserError, match=re.escape("larger than all images, which have up to [34, 44, 24] voxels")):
        planned_patch((64, 64, 64), (1, 1, 1), shapes, divisible=True)
    with pytest.raises(UserError, match=re.escape("take [24, 24, 16]")):
        planned_patch((22, 24, 16), (1, 1, 1), shapes, divisible=True)
    assert planned_patch(None, (1, 1, 1), shapes, divisible=True) == (32, 48, 24)


def decathlon_dataset(root: Path, *, labels: object = None, **more: object) -> dict:
    """Two channels in files of their own, in folders a case; three to train on, one to test on, one without label."""
    affine = affine_of((1, 1, 2), "LPS")
    entries = []
    for number in range(5):
        image, mask = balls((24, 24, 14), affine, number)
        names = [f"./cases/{number}/{part}.nii.gz" for part in ("t1", "t2", "seg")]
        for name, values in zip(names, (image, image**2, mask), strict=True):
            save(root / name, values, affine)
        entries.append({"image": names[:2], "label": names[2], "fold": 0})
    content = {
        "modality": {"0": "T1", "1": "T2"},
        "labels": labels or {"0": "background", "2": "moon", "1": "ball"},
        "training": entries[:3],
        "validation": entries[3:4],
        "test": [{"image": entries[4]["image"]}],
        **more,
    }
    (root / "list.json").write_text(json.dumps(content))
    return content


def listed(root: Path) -> VolumeDataSettings:
    return VolumeDataSettings(name="decathlon", root=str(root))


def test_a_list_is_read_as_monai_reads_it(tmp_path: Path) -> None:
    decathlon_dataset(tmp_path)
    cases = find_cases(listed(tmp_path / "list.json"), 0)
    assert cases.labels == Labels.plain((0, 1, 2), names=("ball", "moon"))
    for split, found in (("training", cases.train), ("validation", cases.test)):
        expected = load_decathlon_datalist(tmp_path / "list.json", data_list_key=split)
        assert [[*map(str, case.images)] for case in found] == [entry["image"] for entry in expected]
        assert [str(case.mask) for case in found] == [entry["label"] for entry in expected]
    assert [case.item for case in cases.train] == [
        f"{number}/seg" for number in range(3)
    ]  # as seg-anl-noise names them
    (predicted,) = listed_images(tmp_path / "list.json")
    assert [path.name for path in predicted.images] == ["t1.nii.gz", "t2.nii.gz"]
    assert find_frame(cases.train, None).channels == cases.channels == 2


def test_paths_in_a_list_are_absolute_or_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list.json").write_text(json.dumps({"test": ["sub/b.nii", str(tmp_path / "c.nii")]}))
    assert [case.item for case in listed_images(Path("list.json"))] == ["sub/b", "c"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("training"), "no cases in its list 'training'"),
        (lambda c: c["training"][1].pop("label"), r"no 'label' for .*cases/1/t1.nii.gz"),
        (lambda c: c["training"][1].update(image=7), r"training\[1\] is .*expected a path, or"),
        (lambda c: c["training"].append(c["training"][0]), r"cases/0/seg.nii.gz is listed twice"),
        (lambda c: c["training"][1]["image"].pop(), r"1/seg has 1 images for 2 channels"),
        (lambda c: c["training"][1].update(image=["a", "b.nii"]), r"a: missing; it is the channel 'T1' of 1/seg"),
        (lambda c: c["validation"][0].update(label="no.nii"), r"no.nii: missing; it is the mask of no"),
        (lambda c: c.update(labels={"0": "b", "one": "a"}), "'labels' is .*expected a name for each number"),
        (lambda c: c.update(labels={"1": "a", "2": "a"}), "'labels' must be different names"),
        (lambda c: c.update(labels={"0": "background"}), r"labels must be background \(0\) and 1 to 253 others"),
    ],
)
def test_bad_lists_are_named(tmp_path: Path, change: Callable[[dict], None], message: str) -> None:
    content = decathlon_dataset(tmp_path)
    change(content)
    (tmp_path / "list.json").write_text(json.dumps(content))
    with pytest.raises(UserError) as caught:
        find_cases(listed(tmp_path / "list.json"), 0)
    assert re.search(message, str(caught.value))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
