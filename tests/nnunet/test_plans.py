import json

import pytest

from seg_anl.nnunet.plans import add_configuration, add_to_plans_file, dataset_folder
from seg_anl.records import UserError

PLANS = {
    "plans_name": "nnUNetPlans",
    "configurations": {
        "2d": {
            "batch_size": 49,
            "patch_size": [192, 256],
            "median_image_size_in_voxels": [192.0, 256.0],
            "architecture": {"arch_kwargs": {"strides": [[1, 1], [2, 2], [2, 2]]}},
        },
        "2d_other": {"inherits_from": "2d", "batch_size": 3},
    },
}


def test_nnunet_reads_the_new_configuration():
    plans_handler = pytest.importorskip("nnunetv2.utilities.plans_handling.plans_handler")
    added = plans_handler.PlansManager(add_configuration(PLANS, "mine", "2d_other", 16, [256, 256]))
    configuration = added.get_configuration("mine")
    assert (configuration.batch_size, configuration.patch_size) == (16, [256, 256])
    assert configuration.configuration["architecture"] == PLANS["configurations"]["2d"]["architecture"]
    assert "mine" not in PLANS["configurations"]


def test_adding_twice_changes_nothing():
    once = add_configuration(PLANS, "mine", "2d", 16, [256, 256])
    assert add_configuration(once, "mine", "2d", 16, [256, 256]) == once


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mine", "2d", 16, [4, 4]), "single pixel.*smallest.*4 8"),
        (("2d", "2d", 16, [256, 256]), "other values"),
        (("mine", "3d", 16, [256, 256]), "no configuration '3d'; known: 2d, 2d_other"),
        (("mine", "2d", 16, [256, 254]), "divisible by"),
        (("mine", "2d", 16, [64, 64, 64]), "2 dimensions, got 3"),
    ],
)
def test_invalid_configuration_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        add_configuration(PLANS, *arguments)


def test_plans_files(tmp_path):
    path = tmp_path / "nnUNetPlans.json"
    with pytest.raises(UserError, match="no such plans"):
        add_to_plans_file(path, "mine", "2d", 16, [256, 256])
    path.write_text("{}")
    with pytest.raises(UserError, match="not a plans file"):
        add_to_plans_file(path, "mine", "2d", 16, [256, 256])
    path.write_text(json.dumps(PLANS))
    assert add_to_plans_file(path, "mine", "2d", 16, [256, 256]) == [192.0, 256.0]
    assert json.loads(path.read_text())["configurations"]["mine"]["batch_size"] == 16


@pytest.mark.parametrize(
    "configuration",
    [
        {"patch_size": [64, 64], "architecture": []},
        {"patch_size": [64, 64], "architecture": {"arch_kwargs": {"strides": [[1]]}}},
    ],
    ids=str,
)
def test_damaged_plans_are_one_line_and_stay_unchanged(tmp_path, configuration):
    path = tmp_path / "nnUNetPlans.json"
    path.write_text(json.dumps({"configurations": {"2d": configuration}}))
    before = path.read_bytes()
    with pytest.raises(UserError, match="not a plans file"):
        add_to_plans_file(path, "mine", "2d", 16, [64, 64])
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["²", "/nowhere", "**"])
def test_invalid_dataset_names(tmp_path, name):
    with pytest.raises(UserError, match="found none"):
        dataset_folder(tmp_path, name)


def test_datasets_by_number_or_name(tmp_path):
    (tmp_path / "Dataset007_A").mkdir()
    assert dataset_folder(tmp_path, "7") == dataset_folder(tmp_path, "Dataset007_A") == tmp_path / "Dataset007_A"
    with pytest.raises(UserError, match="found none"):
        dataset_folder(tmp_path, "8")
    (tmp_path / "Dataset007_B").mkdir()
    with pytest.raises(UserError, match="found Dataset007_A, Dataset007_B"):
        dataset_folder(tmp_path, "7")
