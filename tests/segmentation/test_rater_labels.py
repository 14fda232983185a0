"""Training on class probabilities and on the masks of several raters."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from seg_anl.engine.command import compose
from seg_anl.losses import build_loss
from seg_anl.records import UserError
from seg_anl.segmentation.augmentation import Augmentation
from seg_anl.segmentation.criterion import SegmentationCriterion
from seg_anl.segmentation.datasets import ImageSet
from seg_anl.segmentation.experiment import train
from seg_anl.segmentation.rater_labels import drawn_masks
from seg_anl.segmentation.settings import AugmentationSettings

SMALL = ["data=folder", "data.size=32", "batch_size=4", "model.base_filters=4", "progress=false", "epochs=2",
         "logger=null", "device=cpu"]  # fmt: skip


def trained(root: Path, run: Path, *settings: str) -> str:
    train(compose("segmentation", [f"data.root={root}", *SMALL, f"run_dir={run}", *settings]))
    return (run / "metrics.csv").read_text()


def soft_folder(root: Path, folder: Path, kind: type = np.float16) -> Path:
    """The masks as one-hot class probabilities."""
    folder.mkdir(parents=True)
    for path in (root / "masks").iterdir():
        mask = np.asarray(Image.open(path)) > 0
        np.savez(folder / f"{path.stem}.npz", probabilities=np.stack([~mask, mask]).astype(kind))
    return folder


def moved(root: Path, folder: Path, by: int) -> Path:
    """A rater whose masks are all shifted to the right."""
    folder.mkdir(parents=True)
    for path in (root / "masks").iterdir():
        Image.fromarray(np.roll(np.asarray(Image.open(path)), by, axis=1)).save(folder / path.name)
    return folder


@pytest.mark.parametrize("heads", [[], ["model.deep_supervision=true"]], ids=["one head", "deep supervision"])
def test_one_hot_probabilities_are_the_masks(
    make_folder: Callable[..., Path], tmp_path: Path, heads: list[str]
) -> None:
    root = make_folder()
    plain = trained(root, tmp_path / "plain", "loss=anl_ce", *heads)
    soft = trained(root, tmp_path / "soft", "loss=anl_ce", f"data.soft={soft_folder(root, tmp_path / 's')}", *heads)
    assert soft == plain
    manifest = json.loads((tmp_path / "soft/noise/manifest.json").read_text())
    assert {row["kind"] for row in manifest["items"]} == {"soft"}
    assert max(row["realised"] for row in manifest["items"]) == 0


def test_one_rater_twice_is_that_rater_and_two_are_drawn_from(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    root = make_folder()
    plain = trained(root, tmp_path / "plain", "loss=ce")
    masks, shifted = root / "masks", moved(root, tmp_path / "shifted", 8)
    assert trained(root, tmp_path / "same", "loss=ce", f"data.raters=[{masks},{masks}]") == plain
    both = trained(root, tmp_path / "both", "loss=ce", f"data.raters=[{masks},{shifted}]")
    assert both != plain
    # Resumed after the first epoch it draws as it would have drawn.
    cut = tmp_path / "cut"
    config = compose("segmentation", [f"data.root={root}", *SMALL, f"run_dir={cut}", "loss=ce",
                                      f"data.raters=[{masks},{shifted}]"])  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seg_anl.engine.progress.Progress.epoch", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(config)
    assert len(list(csv.DictReader((cut / "metrics.csv").open()))) == 2
    train(config)
    assert (cut / "metrics.csv").read_text() == both


def test_the_rater_is_drawn_from_seed_epoch_and_item() -> None:
    raters = torch.arange(3, dtype=torch.uint8)[None, :, None, None].expand(300, 3, 2, 2)
    items = [f"case_{i}" for i in range(300)]
    images = ImageSet(items, torch.zeros(300, 3, 2, 2, dtype=torch.uint8), raters[:, 0], {}, raters=raters)
    first = drawn_masks(images, 1, 0)[:, 0, 0]
    torch.testing.assert_close(drawn_masks(images, 1, 0)[:, 0, 0], first)
    assert (first.bincount(minlength=3) - 100).abs().max() < 40
    for seed, epoch in ((1, 1), (2, 0)):  # a third stays the same by chance
        assert 0.2 < (drawn_masks(images, seed, epoch)[:, 0, 0] == first).float().mean() < 0.47
    half = images.part(np.arange(0, 300, 2))
    torch.testing.assert_close(drawn_masks(half, 1, 0)[:, 0, 0], first[::2])


def test_probabilities_are_augmented_and_learned_linearly() -> None:
    """Both the augmentation and the loss of a mean are the mean of those of the raters."""
    generator = torch.Generator().manual_seed(0)
    raters = torch.randint(0, 2, (3, 6, 16, 16), generator=generator)
    images = torch.randint(0, 256, (6, 3, 16, 16), generator=generator, dtype=torch.uint8)
    augmentation = Augmentation(AugmentationSettings())
    draws = augmentation.draw(6, generator)
    one_hot = F.one_hot(raters, 2).movedim(-1, 2).float()
    soft = augmentation(images, one_hot.mean(dim=0), draws)[1]
    hard = [augmentation(images, rater.to(torch.uint8), draws)[1] for rater in raters]
    torch.testing.assert_close(soft, torch.stack([F.one_hot(h.long(), 2).movedim(-1, 1) for h in hard]).float().mean(0))
    assert not torch.equal(soft, one_hot.mean(dim=0))
    logits = torch.randn(6, 3, 2, 16, 16, generator=generator)  # three heads
    criterion = SegmentationCriterion(build_loss("anl_ce"))
    mean = torch.stack([criterion(logits, h) for h in hard]).mean()
    torch.testing.assert_close(criterion(logits, soft), mean, rtol=1e-5, atol=1e-6)


def bad_sum(root: Path, folder: Path) -> None:
    np.savez(folder / "a03.npz", probabilities=np.full((2, 43, 48), 0.6, np.float16))


@pytest.mark.parametrize(
    ("spoil", "settings", "message"),
    [
        (lambda root, folder: (folder / "a03.npz").unlink(), [], "{folder} has no file of the training image a03"),
        (lambda root, folder: (folder / "a03.npy").touch(), [], "a03.npy and {folder}/a03.npz have the same id 'a03'"),
        (bad_sum, [], "a03.npz: not class probabilities"),
        (lambda root, folder: np.savez(folder / "a03.npz", probabilities=np.ones((3, 4, 4))),
         [], "expected (2, height"),
        (lambda root, folder: None, ["noise.alpha=0.5"], "noise.alpha=0.5 does not go with data.soft"),
        (lambda root, folder: None, ["loss.dice_weight=1"], "data.soft needs loss.dice_weight=0"),
        (lambda root, folder: None, ["data.raters=[a,b]"], "data.soft and data.raters do not go together"),
        (lambda root, folder: None, ["data.soft=null", "data.raters=[a]"], "data.raters must be a list of 2 or more"),
        (lambda root, folder: None, ["data.soft=null", "data.raters=[a,b]"], "data.raters: a is not a folder"),
    ],
)  # fmt: skip
def test_bad_labels_are_one_line(
    make_folder: Callable[..., Path], tmp_path: Path, spoil: Callable[..., None], settings: list[str], message: str
) -> None:
    root = make_folder()
    folder = soft_folder(root, tmp_path / "soft")
    spoil(root, folder)
    with pytest.raises(UserError) as raised:
        trained(root, tmp_path / "run", f"data.soft={folder}", "data.test_share=0.1", *settings)
    assert message.format(folder=folder) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()
