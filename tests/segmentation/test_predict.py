"""seg-anl-predict and the photos it is given: nothing of theirs is lost, and masks lie where the photos do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image, ImageOps

from seg_anl.segmentation import mask_prediction, predict

PHOTO = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
Command = Callable[..., tuple[int, str]]


class LeftHalf(torch.nn.Module):
    """A network that calls the left half foreground."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(images), 2, *images.shape[2:])
        logits[:, 1] = torch.linspace(1, -1, images.shape[3])
        return logits


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run whose network is known."""
    run = tmp_path / "run"
    run.mkdir()
    config = OmegaConf.create({"task": "segmentation", "data": {"name": "embedded", "size": 16, "classes": 2}})
    OmegaConf.save(config, run / "config.yaml")
    (run / "summary.json").write_text('{"status": "finished", "k": 1, "epochs": 1, "metrics": {}}')
    monkeypatch.setattr(mask_prediction, "load_run_model", lambda directory, *_, **__: (LeftHalf(), directory.config()))
    return run


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["seg-anl-predict", *map(str, arguments), "--device", "cpu"])
        try:
            predict.main()
            status = 0
        except SystemExit as leaving:
            status = int(leaving.code or 0)
        error = capsys.readouterr().err
        return status, error

    return run


def save(path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(PHOTO).save(path, **options)
    return path


@pytest.mark.parametrize("images", ["photos", "photos/a.png"])
def test_a_photo_is_never_replaced_by_its_mask(trained: Path, tmp_path: Path, command: Command, images: str) -> None:
    photo = save(tmp_path / "photos" / "a.png")
    before = photo.read_bytes()
    (tmp_path / "same").symlink_to(tmp_path / "photos")
    for out in ("photos", "same"):
        status, error = command(trained, tmp_path / images, tmp_path / out, "--overwrite")
        assert (status, error.count("\n")) == (2, 1)
        assert "a.png is an image to predict and would be replaced" in error
    assert photo.read_bytes() == before


def test_masks_below_the_photos_are_not_photos(trained: Path, tmp_path: Path, command: Command) -> None:
    save(tmp_path / "photos" / "a.jpg")
    for _ in range(2):
        assert command(trained, tmp_path / "photos", tmp_path / "photos" / "masks", "--overwrite") == (0, "")
    assert sorted(path.name for path in (tmp_path / "photos").rglob("*.*")) == ["a.jpg", "a.png"]


def test_an_overlay_takes_no_masks_place(trained: Path, tmp_path: Path, command: Command) -> None:
    save(tmp_path / "photos" / "x.jpg")
    save(tmp_path / "photos" / "overlay" / "x.jpg")
    assert command(trained, tmp_path / "photos", tmp_path / "plain")[0] == 0
    status, error = command(trained, tmp_path / "photos", tmp_path / "out", "--overlay")
    assert status == 2
    assert "would both become" in error


def test_overlays_that_are_there_are_not_replaced_unasked(trained: Path, tmp_path: Path, command: Command) -> None:
    save(tmp_path / "photos" / "x.jpg")
    mine = save(tmp_path / "out" / "overlay" / "x.png").read_bytes()
    status, error = command(trained, tmp_path / "photos", tmp_path / "out", "--overlay")
    assert status == 2
    assert "overlay/x.png exists already" in error
    assert (tmp_path / "out" / "overlay" / "x.png").read_bytes() == mine


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_a_mask_lies_on_its_photo_for_those_who_turn_it_and_those_who_do_not(
    trained: Path, tmp_path: Path, command: Command, orientation: int, ending: str
) -> None:
    tags = Image.Exif()
    tags[0x0112] = orientation
    photo = save(tmp_path / "photos" / f"a{ending}", exif=tags)
    assert command(trained, tmp_path / "photos", tmp_path / "out", "--overlay") == (0, "")
    for result in (tmp_path / "out" / "a.png", tmp_path / "out" / "overlay" / "a.png"):
        with Image.open(photo) as image, Image.open(result) as mask:
            assert mask.size == image.size
            turned_image, turned_mask = ImageOps.exif_transpose(image), ImageOps.exif_transpose(mask)
            assert turned_mask.size == turned_image.size
    # The network finds the left half of the upright photo, whichever way that is stored.
    with Image.open(tmp_path / "out" / "a.png") as mask:
        shown = np.asarray(ImageOps.exif_transpose(mask)) > 0
    assert shown[:, : shown.shape[1] // 2].all()
    assert not shown[:, shown.shape[1] // 2 :].any()


def test_a_run_of_another_task_and_a_damaged_one_are_one_line(tmp_path: Path, command: Command) -> None:
    photo = save(tmp_path / "a.jpg")
    (tmp_path / "run").mkdir()
    for content, words in (
        ({"task": "classification", "data": {}}, "a run of the task 'classification'"),
        ({"task": "segmentation", "data": {"name": "embedded", "size": 16, "classes": 2}}, "config.yaml is damaged"),
        (
            {
                "task": "segmentation",
                "data": {"name": "embedded", "size": None, "classes": 2},
                "model": {"name": "dynunet"},
            },
            "data.size",
        ),
    ):
        OmegaConf.save(OmegaConf.create(content), tmp_path / "run" / "config.yaml")
        status, error = command(tmp_path / "run", photo, tmp_path / "out")
        assert (status, error.count("\n")) == (2, 1)
        assert words in error


def test_a_mistake_in_the_command_is_one_line(tmp_path: Path, command: Command) -> None:
    status, error = command(tmp_path)
    assert (status, error.count("\n")) == (2, 1)


def test_one_unreadable_photo_leaves_the_others_their_masks(
    trained: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "z.jpg"):
        save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "b.png").write_bytes(b"no picture")
    (tmp_path / "photos" / "list.txt").write_text("a, z")
    (trained / "summary.json").write_text("{")
    status, error = command(trained, tmp_path / "photos", tmp_path / "out")
    assert "summary.json: damaged" in error
    assert (status, (tmp_path / "out").exists()) == (2, False)
    (trained / "summary.json").unlink()
    status, error = command(trained, tmp_path / "photos", tmp_path / "out")
    assert status == 1
    assert "its training has not finished" in error
    assert [line for line in error.splitlines() if "b.png" in line and "error:" in line]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "z.png"]
