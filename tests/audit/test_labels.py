"""Audit of labels: a simulation with known truth, the definitions of the scores, runs, and bad input."""

from __future__ import annotations

import csv
import json
import re
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from classification.experiment import train
from seg_anl.audit import labels_command
from seg_anl.engine.command import compose
from seg_anl.records import UserError

TRANSITION = np.array([[0.6, 0.4, 0.0], [0.1, 0.8, 0.1], [0.0, 0.0, 1.0]])


def audit(source: Path, out: Path) -> dict[str, Any]:
    parser = ArgumentParser()
    labels_command.add_arguments(parser)
    assert labels_command.run(parser.parse_args([str(source), str(out)])) == 0
    return json.loads((out / "audit.json").read_text())


def rows(out: Path) -> list[dict[str, str]]:
    with open(out / "audit.csv", newline="") as file:
        return list(csv.DictReader(file))


def simulate(folder: Path, count: int = 900, separation: float = 6.0) -> np.ndarray:
    """Write samples of three classes with labels corrupted by TRANSITION; returns which labels are wrong."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    true = generator.integers(0, 3, count)
    given = np.array([generator.choice(3, p=TRANSITION[label]) for label in true])
    logits = generator.normal(0, 1, (count, 3))
    logits[np.arange(count), true] += separation
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.save(folder / "probabilities.npy", probabilities)
    np.save(folder / "labels.npy", given)
    np.save(folder / "images.npy", generator.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8))
    return given != true


def test_wrong_labels_rank_first_and_the_transition_is_recovered(tmp_path: Path) -> None:
    wrong = simulate(tmp_path / "source")
    result = audit(tmp_path / "source", tmp_path / "out")
    ranked = rows(tmp_path / "out")
    assert len(ranked) == 900
    scores = [float(row["score"]) for row in ranked]
    assert scores == sorted(scores, reverse=True)
    first = [wrong[int(row["item"])] for row in ranked[: wrong.sum()]]
    assert np.mean(first) > 0.97
    assert result["noise_rate"] == pytest.approx(wrong.mean(), abs=0.02)
    assert result["suspected"] == len((tmp_path / "out/exclude.txt").read_text().split())
    transition = np.loadtxt(tmp_path / "out/transition.csv", delimiter=",")
    np.testing.assert_allclose(transition, TRANSITION, atol=0.05)
    np.testing.assert_allclose(transition.sum(axis=1), 1, atol=1e-9)
    # Scores recomputed from their definitions.
    given = np.load(tmp_path / "source/labels.npy")
    probabilities = np.load(tmp_path / "source/probabilities.npy")
    for row in ranked[:20]:
        p, label = probabilities[int(row["item"])], int(row["given"])
        assert float(row["self_confidence"]) == pytest.approx(1 - p[label], abs=1e-5)
        assert float(row["normalized_margin"]) == pytest.approx(
            (1 + np.delete(p, label).max() - p[label]) / 2, abs=1e-5
        )
        assert (int(row["suggested"]), label) == (p.argmax(), given[int(row["item"])])
    pair = result["pairs"][0]
    assert (pair["given"], pair["suggested"]) == ("1", "0")
    assert Image.open(tmp_path / "out" / pair["picture"]).mode == "RGB"
    page = (tmp_path / "out/review.html").read_text()
    shown = json.loads(re.search(r"(\[\{\"item\".*\}\])", page)[1])
    assert [one["item"] for one in shown] == [row["item"] for row in ranked]
    assert sum(one["suspected"] for one in shown) == result["suspected"]
    assert all(one["pictures"][0].startswith("data:image/png") for one in shown)


def test_networks_that_know_too_little_are_said_to(tmp_path: Path) -> None:
    for separation, too_little in ((6.0, False), (0.0, True)):
        simulate(tmp_path / f"{separation}", separation=separation)
        remarks = audit(tmp_path / f"{separation}", tmp_path / f"out{separation}")["remarks"]
        assert any("know too little to accuse" in remark for remark in remarks) == too_little


def test_probabilities_just_above_1_are_scaled(tmp_path: Path) -> None:
    """Rounded probabilities, which cleanlab refuses."""
    labels = np.arange(40) % 2
    (tmp_path / "source").mkdir()
    np.save(tmp_path / "source/probabilities.npy", (np.eye(2)[labels] * 1.005).astype(np.float32))
    np.save(tmp_path / "source/labels.npy", labels)
    assert audit(tmp_path / "source", tmp_path / "out")["suspected"] == 0


def test_repeated_audit_writes_the_same_bytes_and_removes_old_files(tmp_path: Path) -> None:
    simulate(tmp_path / "source", 200)
    audit(tmp_path / "source", tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    (tmp_path / "out/pairs/099-098.png").write_bytes(b"")
    (tmp_path / "out/.partial-abcd1234.csv").write_bytes(b"")  # left by a killed process
    audit(tmp_path / "source", tmp_path / "out")
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


QUICK = ["data.limit=200", "data.test_limit=20", "batch_size=20", "progress=false", "device=cpu", "loss=ce"]
QUICK += ["noise.rate=0.3", "noise.counts=iid", "optim.lr=0.1"]


def test_runs_are_audited_and_the_output_can_be_trained_on(tmp_path: Path) -> None:
    config = [*QUICK, "epochs=6", f"run_root={tmp_path}/runs"]
    folds = [run.path for run in train(compose("classification", [*config, "folds=2"]))]
    result = audit(folds[0].parent, tmp_path / "folds")
    assert (result["layout"], result["in_sample"], result["items"]) == ("fold runs", False, 200)
    labels = np.load(folds[0] / "noise/labels.npy")
    with np.load(folds[0] / "predictions/predictions.npz") as archive:
        index = archive["index"]
    clean = np.loadtxt(folds[0] / "noise/manifest.csv", delimiter=",", skiprows=1, dtype=int)[:, 1]
    assert len(set(index)) == 100
    ranked = rows(tmp_path / "folds")
    # Digits are easy: after six epochs the ranking is far better than chance (0.3).
    position_of = dict(zip(sorted(int(row["item"]) for row in ranked), range(200), strict=True))
    first = [position_of[int(row["item"])] for row in ranked[:50]]
    assert np.mean(labels[first] != clean[first]) > 0.6
    # A single run with dynamics is in-sample and ranked by fit.
    (one,) = (run.path for run in train(compose("classification", [*config, "record=[predictions,dynamics]"])))
    result = audit(one, tmp_path / "one")
    assert (result["in_sample"], result["score"]) == (True, "fit")
    # Training accepts the files the audit writes.
    again = [*config, "epochs=1", f"data.exclude_file={tmp_path}/folds/exclude.txt"]
    again += ["loss=forward", f"loss.transition={tmp_path}/folds/transition.csv"]
    (run,) = train(compose("classification", again))
    assert run.summary is not None
    assert run.summary["counts"]["train"] == 200 - len((tmp_path / "folds/exclude.txt").read_text().split())
    # A missing fold is reported; a second sweep in the same folder is refused.
    (folds[1] / "predictions/predictions.json").unlink()
    result = audit(folds[0].parent, tmp_path / "half")
    assert result["items"] == 100
    assert result["remarks"] == ["1 in-sample run(s) left out", "of 2 folds, 1 is missing and not audited"]
    train(compose("classification", [*config, "folds=2", "fold=0", "seed=2"]))
    with pytest.raises(UserError, match="both predict fold 0"):
        audit(folds[0].parent, tmp_path / "both")


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("probabilities", np.full((4, 3), 0.5), "the probabilities of sample 0 sum to 1.500"),
        ("probabilities", np.full((4, 3), np.nan), "hold NaN"),
        ("probabilities", np.full((5, 3), 1 / 3), "labels of shape (4,)"),
        ("probabilities", np.ones((4, 1)), "floats (N, K) of K > 1"),
        ("labels", np.array([0, 1, 2, 3]), "label 3, but there are 3 classes"),
        ("labels", np.array([0.0, 1, 2, 1]), "expected integers"),
        ("labels", np.array([{}], dtype=object), "holds Python objects"),
    ],
)
def test_invalid_arrays_are_refused(tmp_path: Path, name: str, array: np.ndarray, message: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    np.save(source / "probabilities.npy", np.full((4, 3), 1 / 3))
    np.save(source / "labels.npy", np.array([0, 1, 2, 0]))
    np.save(source / f"{name}.npy", array, allow_pickle=True)
    with pytest.raises(UserError) as error:
        audit(source, tmp_path / "out")
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


def test_invalid_folders_are_refused(tmp_path: Path) -> None:
    simulate(tmp_path / "source", 60)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("")
    (tmp_path / "mine/.partial-abcd1234").write_text("another program's")
    for source, out, message in (
        ("source", "source/out", "overlap"),
        ("source", "mine", "holds thesis.txt"),
        ("mine", "out", "no run with predictions"),
        ("nowhere", "out", "is not a folder"),
    ):
        with pytest.raises(UserError, match=message):
            audit(tmp_path / source, tmp_path / out)
    assert (tmp_path / "mine/.partial-abcd1234").exists()
    np.save(tmp_path / "source/images.npy", np.zeros((60, 3, 8, 8), np.uint8))
    with pytest.raises(UserError, match=r"uint8 of shape \(60, 3, 8, 8\); expected uint8 images \(N, H, W\), "):
        audit(tmp_path / "source", tmp_path / "out")
