"""Manifests: what was done to each annotation, as CSV for people and as JSON for programs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .atomic import write_csv, write_json

MANIFEST, MANIFEST_TABLE, PREVIEW = "manifest.json", "manifest.csv", "preview.png"
MANIFEST_SCHEMA = 1


@dataclass(frozen=True)
class NoiseRecord:
    """What happened to one item.

    Attributes:
        item: the item's id, see :func:`seg_anl.records.seeds.item_id`.
        kind: the kind of noise, or ``"none"`` for an item left clean.
        asked: the requested strength, as a share of the clean area or volume.
        realised: the strength reached: changed pixels (exclusive or) over the clean area; 0 for an unchanged item.
        note: why an item was not changed, or less than requested; otherwise empty.
        parameters: random parameters (angle, direction, ...) and computed ones (steps, shift, ...).
        source_sha256, result_sha256: of the arrays, see :func:`array_digest`.
        measures: distances between result and source (dice, assd, ...) by name, if measured.
    """

    item: str
    kind: str
    asked: float
    realised: float
    note: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    source_sha256: str = ""
    result_sha256: str = ""
    measures: dict[str, Any] = field(default_factory=dict)


def array_digest(array: NDArray[Any]) -> str:
    """SHA-256 of an array's dtype, shape and values in C order; does not depend on file format or compression."""
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape} ".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def write_manifest(folder: Path, settings: dict[str, Any], records: Sequence[NoiseRecord]) -> None:
    """Write ``manifest.csv`` and ``manifest.json`` of ``records``, sorted by item, into ``folder``.

    In the CSV file, every measure has its own column after the others.
    """
    rows = [asdict(record) for record in sorted(records, key=lambda record: record.item)]
    write_json(folder / MANIFEST, {"schema": MANIFEST_SCHEMA, "settings": settings, "items": rows})
    for row in rows:
        row["parameters"] = json.dumps(row["parameters"], sort_keys=True)
        row.update(row.pop("measures"))
    columns = [name for name in NoiseRecord.__dataclass_fields__ if name != "measures"]
    measures = dict.fromkeys(name for record in records for name in record.measures)
    write_csv(folder / MANIFEST_TABLE, [*columns, *measures], rows)
