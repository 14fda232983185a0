"""Predict the masks of image files with a trained run, and write them with overlays and orientation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from PIL import Image
from torch import Tensor, nn

from data_prep.pairing import IMAGE_SUFFIXES, image_files
from data_prep.pictures import read_image, write_png
from seg_anl.engine.distribution import started
from seg_anl.engine.run_directory import RunDirectory
from seg_anl.losses.inputs import most_probable
from seg_anl.records import UserError
from seg_anl.records.atomic import remove_partial
from seg_anl.records.files import files_below
from seg_anl.records.progress import progress_bar

from .augmentation import normalized
from .networks import load_run_model
from .settings import data_settings
from .volumes.prediction import predict_volumes, print_failures, refuse_replaced
from .volumes.settings import is_of_volumes

ORIENTATION = 0x0112  # the EXIF tag
_TO_STORED = dict(enumerate(map(Image.Transpose, (0, 3, 1, 5, 2, 6, 4)), start=2))  # from upright, by orientation


class _Job(NamedTuple):
    """The files of an image, its mask and, if wanted, its overlay."""

    source: Path
    mask: Path
    overlay: Path | None

    @property
    def outputs(self) -> list[Path]:
        return [self.mask] if self.overlay is None else [self.mask, self.overlay]


def predict_masks(
    run: Path, images: Path, out: Path, *, checkpoint: str, device: str, overlay: bool, overwrite: bool, trust: bool
) -> bool:
    """Predict every image below ``images`` into ``out``; returns whether all could be read. Others are named.

    Raises:
        UserError: not a run, masks that would be replaced, or an output that cannot be written.
    """
    directory = RunDirectory(run)
    weights = directory.last if checkpoint == "last" else directory.best
    config = directory.config()
    unfinished = checkpoint == "last" and (directory.summary or {}).get("status") != "finished"
    remove_partial(out)
    if not is_of_volumes(config):
        complete = _predict_photos(directory, images, out, weights, device, overlay, overwrite, trust)
    elif overlay:
        raise UserError("--overlay is for photos; open a volume's mask over it in a viewer")
    else:
        complete = predict_volumes(directory, config, images, out, weights=weights, device=device, overwrite=overwrite)
    if unfinished:
        print(f"{run}: its training has not finished; these are the masks of its last epoch so far", file=sys.stderr)
    return complete


def _predict_photos(
    directory: RunDirectory,
    images: Path,
    out: Path,
    weights: Path,
    device: str,
    overlay: bool,
    overwrite: bool,
    trust: bool,
) -> bool:
    jobs, others = _jobs(images, out, overlay=overlay)
    outputs = [path for job in jobs for path in job.outputs]
    refuse_replaced(outputs, [job.source for job in jobs], overwrite=overwrite)
    with started(device) as process:
        model, config = _trained(directory, weights, process.device, trust)
        size = data_settings(config).shape
        failures = []
        for job in progress_bar(jobs, "image"):
            try:
                image, _ = read_image(job.source, str(job.source))
                mask, orientation = predict_mask(model, image, size, process.device), _orientation(job.source)
            except UserError as error:
                failures.append(str(error))
                continue
            _save(job.mask, mask * 255 if data_settings(config).classes == 2 else mask, orientation)
            if job.overlay is not None:
                _save(job.overlay, outlined(image, mask), orientation)
    print_failures(failures)
    count = len(jobs) - len(failures)
    print(f"{count} mask(s) in {out}" + (f", overlays in {out / 'overlay'}" if overlay else ""))
    if others:
        shown = ", ".join(map(str, others[:3])) + (", ..." if len(others) > 3 else "")
        print(f"{len(others)} other file(s) passed over, which are no images ({shown})")
    return not failures


@torch.inference_mode()
def predict_mask(
    model: nn.Module, image: NDArray[np.uint8], size: tuple[int, int], device: torch.device
) -> NDArray[np.uint8]:
    """Class indices ``(H, W)`` of an RGB image ``(H, W, 3)``; logits are resized back before the class is chosen."""
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None].to(device)
    small = _resized(tensor.float(), size).round().clamp(0, 255).to(torch.uint8)
    output = model(normalized(small))
    if not output.isfinite().all():
        raise UserError("the network's output is not finite: the run diverged, or its checkpoint is damaged")
    logits = _resized(output, image.shape[:2])
    return most_probable(logits)[0].to(torch.uint8).cpu().numpy()


def outlined(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``image`` (H, W, 3) with the outlines of all classes of ``mask`` (H, W) in yellow with a dark edge."""
    from skimage.morphology import dilation, disk
    from skimage.segmentation import find_boundaries

    width = max(1, round(min(mask.shape) / 200))
    outline = dilation(find_boundaries(mask, mode="inner"), disk(width - 1)) if width > 1 else find_boundaries(mask)
    result = image.copy()
    result[dilation(outline, disk(1))] = (20, 20, 20)
    result[outline] = (240, 228, 66)
    return result


def _resized(tensor: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(tensor, size=size, mode="bilinear", align_corners=False)


def _trained(
    directory: RunDirectory, weights: Path, device: torch.device, trusted: bool
) -> tuple[nn.Module, DictConfig]:
    """The network and configuration of a segmentation run; runs of other tasks are refused."""
    task = directory.config().get("task")
    if task != "segmentation":
        raise UserError(f"{directory.path}: a run of the task {task!r}; masks need a run of seg-anl-train")
    try:
        return load_run_model(directory, weights, device, trusted=trusted)
    except OmegaConfBaseException as error:
        raise UserError(f"{directory.path}: config.yaml is damaged: {str(error).splitlines()[0]}") from error


def _orientation(path: Path) -> int | None:
    """The EXIF orientation of an image that is not stored upright.

    Predictions are upright, but stored like their photo: they fit it whether a program turns both or neither.
    """
    with Image.open(path) as picture:
        if picture.format == "TIFF":  # Pillow itself makes it upright
            return None
        orientation = picture.getexif().get(ORIENTATION)
    return orientation if isinstance(orientation, int) and 2 <= orientation <= 8 else None


def _save(path: Path, array: NDArray[np.uint8], orientation: int | None) -> None:
    tags, picture = Image.Exif(), Image.fromarray(array)
    if orientation is not None:
        tags[ORIENTATION], picture = orientation, picture.transpose(_TO_STORED[orientation])
    write_png(path, picture, **({"exif": tags} if len(tags) else {}))


def _jobs(images: Path, out: Path, *, overlay: bool) -> tuple[list[_Job], list[Path]]:
    """The images with their distinct outputs, and the other files."""
    others: list[Path] = []
    if images.is_file():
        targets = {images: Path(images.stem + ".png")}
    elif images.is_dir():
        inside = out.resolve() if out.resolve() != images.resolve() else None  # masks of an earlier run are no images
        given = [file for file in files_below(images) if inside not in file.resolve().parents]
        pictures = set(image_files(images))
        targets = {file: file.relative_to(images).with_suffix(".png") for file in given if file in pictures}
        others = [file for file in given if file not in targets]
    else:
        raise UserError(f"{images}: no such file or folder")
    if not targets:
        raise UserError(f"{images}: no images in it ({', '.join(IMAGE_SUFFIXES)})")
    jobs = [_Job(file, out / target, out / "overlay" / target if overlay else None) for file, target in targets.items()]
    taken: dict[Path, Path] = {}
    for job in jobs:
        for path in job.outputs:
            other = taken.setdefault(path, job.source)
            if other != job.source:
                raise UserError(f"{job.source} and {other} would both become {path}; rename one")
    return jobs, others
