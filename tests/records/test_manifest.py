"""The manifest of a noise: complete, sorted, and independent of how arrays are stored."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from seg_anl.records import NoiseRecord, array_digest, write_manifest


def test_both_files_hold_every_record_in_order(tmp_path: Path) -> None:
    records = [
        NoiseRecord("b", "dilate", 0.5, 0.48, parameters={"steps": 3}),
        NoiseRecord("a", "none", 0.0, 0.0, note="too small to change"),
    ]
    write_manifest(tmp_path, {"seed": 0}, records)
    document = json.loads((tmp_path / "manifest.json").read_text())
    with open(tmp_path / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert document["settings"] == {"seed": 0}
    assert [item["item"] for item in document["items"]] == [row["item"] for row in rows] == ["a", "b"]
    assert document["items"][1]["parameters"] == json.loads(rows[1]["parameters"]) == {"steps": 3}
    assert float(rows[1]["realised"]) == 0.48
    assert rows[0]["note"] == "too small to change"


def test_a_digest_sees_values_shape_and_type_not_memory() -> None:
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert array_digest(mask) == array_digest(np.asfortranarray(mask)) == array_digest(np.pad(mask, 1)[1:-1, 1:-1])
    others = [mask.reshape(4, 3), mask.astype(np.int16), mask + np.uint8(1), mask.ravel()]
    assert len({array_digest(mask), *map(array_digest, others)}) == 5
