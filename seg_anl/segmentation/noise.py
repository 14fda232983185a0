"""Wrong masks for the training set: made once, kept with their manifest in the run directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from data_prep.mask_kinds import checked_kinds
from data_prep.mask_noise import check_fraction, noisy_dataset
from seg_anl.engine import listed
from seg_anl.records import UserError, array_digest, make_directory, write_manifest, written_aside

from .datasets import ImageSet

MASKS_FILE = "masks.npz"


def check_noise_settings(noise: DictConfig) -> None:
    """Check the ``noise`` group before anything is read or written.

    Raises:
        UserError: naming the setting that is out of range.
    """
    try:
        for name in ("alpha", "beta"):
            check_fraction(f"noise.{name}", noise[name])
        checked_kinds(listed(noise, "kinds"), str(noise.mode))
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from error


def noisy_masks(clean: ImageSet, noise: DictConfig, folder: Path) -> tuple[ImageSet, list[dict[str, Any]]]:
    """``clean`` under its noisy masks, and the manifest's items; read from ``folder`` where a run has left them.

    Raises:
        UserError: for a setting out of range, or files in ``folder`` that are damaged or of other masks.
    """
    if not (folder / MASKS_FILE).exists() or not (folder / "manifest.json").exists():
        _generate(clean, noise, folder)
    return _read(clean, folder)


def _generate(clean: ImageSet, noise: DictConfig, folder: Path) -> None:
    settings = OmegaConf.to_container(noise, resolve=True)
    assert isinstance(settings, dict)
    try:
        masks, records = noisy_dataset(
            list(clean.masks.numpy()),
            clean.items,
            alpha=settings["alpha"],
            beta=settings["beta"],
            kinds=tuple(listed(noise, "kinds")),
            seed=settings["seed"],
            mode=settings["mode"],
        )
    except (ValueError, TypeError) as error:
        raise UserError(f"noise: {error}") from error
    make_directory(folder)
    with written_aside(folder / MASKS_FILE) as aside:
        np.savez_compressed(aside, masks=np.stack(masks))
    write_manifest(folder, {str(key): value for key, value in settings.items()}, records)


def _read(clean: ImageSet, folder: Path) -> tuple[ImageSet, list[dict[str, Any]]]:
    try:
        with np.load(folder / MASKS_FILE, allow_pickle=False) as archive:
            masks = archive["masks"]
        items: list[dict[str, Any]] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["items"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder}: the noisy masks in it are damaged ({error}); delete the folder") from error
    digests = [record["result_sha256"] for record in items]
    if [record["item"] for record in items] != clean.items or digests != [array_digest(mask) for mask in masks]:
        raise UserError(f"{folder}: the noisy masks in it do not fit their manifest or these images; delete the folder")
    sources = [record["source_sha256"] for record in items]
    if sources != [array_digest(mask) for mask in clean.masks.numpy()]:
        raise UserError(
            f"{folder}: the clean masks have changed since the noisy ones were made; delete the run's folder"
        )
    return clean.with_masks(masks), items
