"""Noise on the masks of volumes, kept in a run as NIfTI files to look at.

RUN/noise/NAME.nii.gz holds class indices in the prepared geometry (RAS axes, mm from its corner), 255 for unlabeled
voxels. Clean masks have no file.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from data_prep.mask_noise import MaskNoiseSettings, apply_noise, plan_noise
from seg_anl.records import NoiseRecord, UserError, array_digest, make_directory, write_manifest, written_aside
from seg_anl.records.foreign_files import read_json
from seg_anl.records.manifest import MANIFEST

from .files import read_volume
from .preparation import Volume
from .shelf import Shelf


def noisy_volumes(
    folder: Path,
    clean: Sequence[Volume],
    noise: MaskNoiseSettings,
    settings: Mapping[str, Any],
    classes: int,
    shelf: Shelf,
    *,
    anew: bool = False,
) -> tuple[list[Volume], list[NoiseRecord]]:
    """Training volumes with noisy masks and their records: made in ``folder``, or unless ``anew`` read from there.

    Erosion, dilation and rotation are in mm; unlabeled voxels (255) stay, and nothing grows into them.
    """
    if anew or not (folder / MANIFEST).exists():
        _make(folder, clean, noise, settings, classes)
    try:
        records = [NoiseRecord(**item) for item in read_json(folder / MANIFEST)["items"]]
    except (TypeError, KeyError) as error:
        raise UserError(f"{folder / MANIFEST}: damaged; delete the run's folder") from error
    if [record.item for record in records] != [volume.item for volume in clean]:
        raise UserError(f"{folder}: the noise in it is that of other cases; delete the run's folder")
    return [_read(folder, *pair, shelf) for pair in zip(clean, records, strict=True)], records


def _make(
    folder: Path, clean: Sequence[Volume], noise: MaskNoiseSettings, settings: Mapping[str, Any], classes: int
) -> None:
    make_directory(folder)
    planned = {name: value for name, value in vars(noise).items() if name != "beta"}
    records = []
    for volume, plan in zip(clean, plan_noise([volume.item for volume in clean], **planned), strict=True):
        try:
            mask, record = apply_noise(
                np.asarray(volume.mask), noise.beta, plan, labels=range(1, classes), spacing=volume.spacing
            )
        except ValueError as error:
            raise UserError(f"noise: {volume.item}: {error}") from error
        records.append(record)
        if record.realised > 0:
            path = folder / f"{volume.item}.nii.gz"
            make_directory(path.parent)
            steps = (*volume.spacing, 1.0)[:3]
            image = nibabel.Nifti1Image(mask if mask.ndim == 3 else mask[..., None], np.diag((*steps, 1.0)))
            with written_aside(path) as aside:
                aside.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
    write_manifest(folder, dict(settings), records)


def _read(folder: Path, volume: Volume, record: NoiseRecord, shelf: Shelf) -> Volume:
    if not record.realised > 0:
        mask = volume.mask
    else:
        values, _ = read_volume(folder / f"{volume.item}.nii.gz")
        mask = shelf.kept(values.astype(np.uint8).reshape(volume.mask.shape), f"{record.result_sha256[:24]}-noisy")
    if record.source_sha256 != array_digest(volume.mask):
        raise UserError(
            f"{folder}: the clean mask of {volume.item} has changed since the noise was made; delete the run's folder"
        )
    if record.result_sha256 != array_digest(mask):
        raise UserError(f"{folder}: the noisy mask of {volume.item} does not fit its manifest; delete the run's folder")
    return replace(volume, mask=mask)
