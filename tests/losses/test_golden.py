"""Values and gradients of the published implementations, at the tolerances of the design."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seg_anl.losses import build_loss, t_loss

COPY = Path(__file__).parents[1] / "data"
FULL = Path(__file__).parents[2].parent / "shared" / "golden"
STEMS = {"copy": COPY / "golden_losses", "full": FULL / "losses"}


def entries(kind: str) -> list[tuple[str, dict[str, Any]]]:
    return [
        (source, entry)
        for source, stem in STEMS.items()
        if stem.with_suffix(".json").exists()
        for entry in json.loads(stem.with_suffix(".json").read_text())[kind]
    ]


@pytest.fixture(scope="module")
def arrays() -> dict[str, Any]:
    return {
        name: np.load(stem.with_suffix(".npz")) for name, stem in STEMS.items() if stem.with_suffix(".npz").exists()
    }


@pytest.mark.parametrize("name", sorted({entry["loss"] for _, entry in entries("losses")}))
def test_published_values_and_gradients(name: str, arrays: dict[str, Any]) -> None:
    for source, entry in entries("losses"):
        if entry["loss"] == name:
            case = entry["case"]
            logits = torch.tensor(arrays[source][f"logits_{case}"], requires_grad=True)
            labels = torch.tensor(arrays[source][f"labels_{case}"])
            tolerance = 1e-6
            if case == 3:  # extreme logits, where the published RCE clamps probabilities
                tolerance = 1e-3 if "rce" in name or name == "sce" else 1e-5

            value = build_loss(name, **entry["params"])(logits, labels)
            value.backward()

            assert value.item() == pytest.approx(entry["value"], rel=tolerance), (source, case)
            published = arrays[source][f"grad_{case}_{name}"]
            assert np.abs(logits.grad.numpy() - published).max() <= tolerance * np.abs(published).max(), (source, case)


@pytest.mark.parametrize(("source", "entry"), entries("tloss"))
def test_published_t_loss(source: str, entry: dict[str, Any], arrays: dict[str, Any]) -> None:
    stem = f"tloss_{entry['case']}"
    probability = torch.tensor(arrays[source][f"{stem}_prob"], requires_grad=True)
    mask = torch.tensor(arrays[source][f"{stem}_mask"])
    log_nu = torch.tensor(entry["nu"], requires_grad=True)

    value = t_loss(probability, mask, log_nu).mean()
    value.backward()

    assert value.item() == pytest.approx(entry["value"], rel=1e-4)
    assert log_nu.grad.item() == pytest.approx(entry["grad_nu"], rel=1e-4)
    published = arrays[source][f"{stem}_grad"]
    assert np.abs(probability.grad.numpy() - published).max() <= 1e-4 * np.abs(published).max()


def test_every_published_loss_is_in_the_copy() -> None:
    copied = {entry["loss"] for source, entry in entries("losses") if source == "copy"}
    assert len(copied) == 29


def test_the_copy_is_a_part_of_the_whole(arrays: dict[str, Any]) -> None:
    if "full" not in arrays:
        pytest.skip("the full set of golden values is not here")
    for key in arrays["copy"].files:
        np.testing.assert_array_equal(arrays["copy"][key], arrays["full"][key])
