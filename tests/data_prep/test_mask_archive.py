"""Noisy masks kept for a training run: what is read is what was written, or is refused."""

import json

import numpy as np
import pytest

from data_prep.mask_archive import has_noisy_masks, read_noisy_masks, write_noisy_masks
from data_prep.mask_noise import noisy_dataset
from seg_anl.records import UserError, array_digest
from tests.data_prep.conftest import ellipse

CLEAN = [ellipse((40, 40), (8 + number, 11)).astype(np.uint8) for number in range(5)]
SOURCES = {f"a{number}": array_digest(mask) for number, mask in enumerate(CLEAN)}


@pytest.fixture
def folder(tmp_path):
    masks, records = noisy_dataset(CLEAN, list(SOURCES), alpha=0.6, beta=0.5)
    assert not has_noisy_masks(tmp_path / "noise")
    write_noisy_masks(tmp_path / "noise", masks, records, {"alpha": 0.6})
    assert has_noisy_masks(tmp_path / "noise")
    return tmp_path / "noise", masks, records


def test_what_was_written_is_read_and_each_mask_hashed_once(folder, monkeypatch):
    path, masks, records = folder
    hashed = []
    monkeypatch.setattr("data_prep.mask_archive.array_digest", lambda mask: hashed.append(1) or array_digest(mask))
    read, again = read_noisy_masks(path, SOURCES)
    np.testing.assert_array_equal(read, np.stack(masks))
    assert again == records
    assert len(hashed) == len(CLEAN)
    assert json.loads((path / "manifest.json").read_text())["settings"] == {"alpha": 0.6}


def test_other_masks_and_damage_are_refused(folder):
    path, masks, _ = folder
    with pytest.raises(UserError, match="the clean masks have changed"):
        read_noisy_masks(path, {**SOURCES, "a1": "0"})
    with pytest.raises(UserError, match="do not fit their manifest or these images"):
        read_noisy_masks(path, {"b": "0", **SOURCES})
    np.savez_compressed(path / "masks.npz", masks=np.stack(masks)[::-1])
    with pytest.raises(UserError, match="do not fit their manifest"):
        read_noisy_masks(path, SOURCES)
    whole = (path / "masks.npz").read_bytes()
    for damaged in (whole[:200], whole[:90] + b"xxxx" + whole[94:], b""):
        (path / "masks.npz").write_bytes(damaged)
        with pytest.raises(UserError, match="damaged"):
            read_noisy_masks(path, SOURCES)
