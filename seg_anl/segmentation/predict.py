"""The command ``seg-anl-predict``: masks for new images from a trained run, at the images' own size."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from data_prep.pairing import IMAGE_SUFFIXES, image_files
from data_prep.pictures import read_image
from seg_anl.engine import RunDirectory, started
from seg_anl.records import UserError, make_directory, run_command, written_aside

from .augmentation import normalised
from .datasets import image_size
from .picture import overlay as drawn_overlay
from .train import load_run_model

EXAMPLE = """
example:
  seg-anl-predict runs/segmentation/.../seed1-0123abcd photos/ masks/ --overlay

Writes OUT/NAME.png for every image of IMAGES (a file, or a folder with its sub-folders): 0 and 255 for two classes,
class indices for more. --overlay adds OUT/overlay/NAME.png, the image with the outline drawn on it.
"""


def main() -> None:
    """Entry point of ``seg-anl-predict``."""
    parser = argparse.ArgumentParser(
        prog="seg-anl-predict",
        description="Predict masks with a trained run.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run directory of seg-anl-train")
    parser.add_argument("images", type=Path, metavar="IMAGES", help="an image, or a folder of images")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write masks to")
    parser.add_argument("--overlay", action="store_true", help="also write the images with the outlines drawn on them")
    parser.add_argument(
        "--checkpoint",
        choices=("last", "best"),
        default="last",
        help="last epoch (default), or the one with the best Dice on the run's test images",
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:N or mps")
    parser.add_argument("--overwrite", action="store_true", help="replace masks that OUT already holds")
    args = parser.parse_args()
    run_command("seg-anl-predict", lambda: predict(**vars(args)))


def predict(
    run: Path, images: Path, out: Path, *, overlay: bool, checkpoint: str, device: str, overwrite: bool
) -> None:
    """Predict every image below ``images`` into ``out``.

    Raises:
        UserError: for a folder that is no run, an image that cannot be read, or masks that would be replaced. Masks
            written before an unreadable image was met stay.
    """
    files = _images(images)
    directory = RunDirectory(run)
    weights = directory.last if checkpoint == "last" else directory.best
    if not overwrite:
        there = [target for _, target in files if (out / target).exists()]
        if there:
            raise UserError(f"{out / there[0]} exists already; give --overwrite or another folder")
    with started(device) as process:
        directory.config()  # says "not a run directory" before a checkpoint is missed
        model, config = load_run_model(directory, weights, process.device)
        size = image_size(config.data.size)
        for source, target in tqdm(files, unit="image", dynamic_ncols=True):
            image, _ = read_image(source, str(source))
            mask = predict_mask(model, image, size, process.device)
            _save(out / target, mask * 255 if config.data.classes == 2 else mask)
            if overlay:
                _save(out / "overlay" / target, drawn_overlay(image, mask))
    print(f"{len(files)} mask(s) in {out}" + (f", overlays in {out / 'overlay'}" if overlay else ""))


@torch.inference_mode()
def predict_mask(
    model: nn.Module, image: NDArray[np.uint8], size: tuple[int, int], device: torch.device
) -> NDArray[np.uint8]:
    """Class indices ``(H, W)`` of an RGB image ``(H, W, 3)``; logits are resized back before the class is chosen."""
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None].to(device)
    small = _resized(tensor.float(), size).round().clamp(0, 255).to(torch.uint8)
    logits = _resized(model(normalised(small)), image.shape[:2])
    return logits.argmax(dim=1)[0].to(torch.uint8).cpu().numpy()


def _resized(tensor: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(tensor, size=size, mode="bilinear", align_corners=False)


def _save(path: Path, array: NDArray[np.uint8]) -> None:
    make_directory(path.parent)
    with written_aside(path) as aside:
        Image.fromarray(array).save(aside, format="PNG")


def _images(path: Path) -> list[tuple[Path, Path]]:
    """Image files with the relative path of their mask."""
    if path.is_file():
        return [(path, Path(path.stem + ".png"))]
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder")
    files = image_files(path)
    if not files:
        raise UserError(f"{path}: no images in it ({', '.join(IMAGE_SUFFIXES)})")
    targets: dict[Path, Path] = {}
    for file in files:
        target = file.relative_to(path).with_suffix(".png")
        if target in targets:
            raise UserError(f"{file} and {targets[target]} would both become {target}; rename one")
        targets[target] = file
    return [(file, target) for target, file in targets.items()]


if __name__ == "__main__":
    main()
