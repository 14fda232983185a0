"""The noisy masks of a training run: one NumPy archive and a manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_anl.records import NoiseRecord, UserError, array_digest, make_directory, write_manifest, written_aside
from seg_anl.records.foreign_files import check_regular, read_json
from seg_anl.records.manifest import MANIFEST

MASKS_FILE = "masks.npz"


def write_noisy_masks(
    folder: Path, masks: NDArray[Any], records: Sequence[NoiseRecord], settings: Mapping[str, Any]
) -> None:
    """Write masks ``(N, ...)``, sorted by item, with their records and settings."""
    with written_aside(make_directory(folder) / MASKS_FILE) as aside:
        np.savez_compressed(aside, masks=masks)
    write_manifest(folder, dict(settings), records)


def has_noisy_masks(folder: Path) -> bool:
    """Whether ``folder`` holds what :func:`write_noisy_masks` writes."""
    return (folder / MASKS_FILE).exists() and (folder / MANIFEST).exists()


def read_noisy_masks(folder: Path, sources: Mapping[str, str]) -> tuple[NDArray[Any], list[NoiseRecord]]:
    """The masks ``(N, ...)`` and records of :func:`write_noisy_masks`.

    ``sources`` are the digests (:func:`seg_anl.records.array_digest`) of the clean masks by item, sorted; noise made
    from other masks is refused.
    """
    try:
        check_regular(folder / MASKS_FILE)
        with np.load(folder / MASKS_FILE, allow_pickle=False) as archive:
            masks = archive["masks"]
        records = [NoiseRecord(**item) for item in read_json(folder / MANIFEST)["items"]]
    except Exception as error:  # a damaged archive fails in zipfile, zlib or NumPy, each with errors of its own
        raise UserError(f"{folder}: the noisy masks in it are damaged ({error}); delete the folder") from error
    results = [record.result_sha256 for record in records]
    if [record.item for record in records] != list(sources) or results != [array_digest(mask) for mask in masks]:
        raise UserError(f"{folder}: its noisy masks do not fit their manifest or these images; delete the folder")
    if [record.source_sha256 for record in records] != list(sources.values()):
        raise UserError(
            f"{folder}: the clean masks have changed since the noisy ones were made; delete the run's folder"
        )
    return masks, records
