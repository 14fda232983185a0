"""``seg-anl-audit masks`` from the command line: ranking, reproducible output, resumption, and bad input."""

from __future__ import annotations

import csv
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.mask_noise import noisy_dataset
from seg_anl.audit import command, masks_report, streaming
from seg_anl.records import UserError
from tests.processes import Process, main_of

CASES, SIDE = 30, 48
OUTPUTS = ("audit.csv", "structures.csv", "components.csv", "audit.json", "overview.png", "review.html")


def lesions(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Dark ellipses on a noisy background: masks ``(N, S, S)`` and images ``(N, S, S, 3)``."""
    generator = np.random.default_rng(3)
    rows, columns = np.ogrid[:SIDE, :SIDE]
    masks, images = [], []
    for _ in range(count):
        center, radius, stretch = generator.uniform(18, 30, 2), generator.uniform(7, 12), generator.uniform(0.8, 1.25)
        inside = ((rows - center[0]) * stretch) ** 2 + ((columns - center[1]) / stretch) ** 2 <= radius**2
        masks.append(inside.astype(np.uint8))
        image = 170 - 70 * inside[..., None] + generator.normal(0, 12, (SIDE, SIDE, 3))
        images.append(image.clip(0, 255).astype(np.uint8))
    return np.array(masks), np.array(images)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Masks of which a third are wrong, images, and probabilities with small errors everywhere."""
    root = tmp_path_factory.mktemp("data")
    masks, images = lesions(CASES)
    items = [f"case{n:02d}" for n in range(CASES)]
    kinds = ("erode", "affine", "spurious")
    noisy, records = noisy_dataset(list(masks), items, alpha=1 / 3, beta=0.7, kinds=kinds, seed=5)
    predicted, _ = noisy_dataset(list(masks), items, alpha=1, beta=0.1, kinds=("boundary",), seed=6)
    for folder in ("masks", "images", "predicted"):
        (root / folder).mkdir()
    for item, mask, image, network in zip(items, noisy, images, predicted, strict=True):
        Image.fromarray(mask * np.uint8(255)).save(root / "masks" / f"{item}.png")
        Image.fromarray(image).save(root / "images" / f"{item}.png")
        foreground = np.where(network, 0.95, 0.05)
        soft = np.stack([1 - foreground, foreground]).astype(np.float16)
        np.savez_compressed(root / "predicted" / f"{item}.npz", probabilities=soft)
    (root / "wrong.json").write_text(json.dumps([record.item for record in records if record.realised > 0]))
    with open(root / "table.csv", "w", newline="") as file:
        csv.writer(file).writerows([("item", "annotator"), *((item, "AB"[n % 2]) for n, item in enumerate(items))])
    return root


def audit(data: Path, out: Path, *more: str, images: bool = True) -> None:
    arguments = ["masks", data / "predicted", out, "--masks", data / "masks", *more]
    arguments += ["--images", data / "images"] if images else []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["seg-anl-audit", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_info:
            command.main()
    if exit_info.value.code:
        raise UserError(f"status {exit_info.value.code}")


def read_outputs(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in OUTPUTS}


@pytest.fixture(scope="module")
def once(data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("once") / "out"
    audit(data, out, "--by", str(data / "table.csv"), "annotator")
    return out


def test_wrong_masks_rank_first_and_are_suspected(data, once):
    with open(once / "audit.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    wrong = set(json.loads((data / "wrong.json").read_text()))
    assert len(rows) == CASES
    ranks = [(row["suspected"], float(row["score"])) for row in rows]
    assert ranks == sorted(ranks, reverse=True)
    first = {row["item"] for row in rows[: len(wrong)]}
    assert len(first & wrong) >= 0.9 * len(wrong)
    assert {row["item"] for row in rows if row["suspected"] == "1"} <= wrong
    assert all(row["diagnosis"] == "plausible" for row in rows if row["suspected"] == "0")
    result = json.loads((once / "audit.json").read_text())
    assert (result["kind"], result["score"], result["in_sample"]) == ("masks", "contradiction", False)
    assert result["wrong"]["low"] <= 1 / 3 <= result["wrong"]["high"]
    assert set(result["wrong_by_group"]) == {"A", "B"}


def test_images_that_do_not_show_the_outlines_have_no_say(data, tmp_path, capsys):
    generator = np.random.default_rng(0)
    for path in (data / "images").iterdir():
        noise = generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        (tmp_path / "noise").mkdir(exist_ok=True)
        Image.fromarray(noise).save(tmp_path / "noise" / path.name)
    audit(data, tmp_path / "out", "--images", str(tmp_path / "noise"), images=False)
    assert "the images show no edge at the outlines of 1: judged by Dice, not by images" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "audit.json").read_text())["score"] == "excess"
    wrong = set(json.loads((data / "wrong.json").read_text()))
    with open(tmp_path / "out" / "audit.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["item"] for row in rows[: len(wrong)]} == wrong
    assert {row["item"] for row in rows if row["suspected"] == "1"} == wrong


def test_output_does_not_depend_on_workers_or_repetition(data, once, tmp_path):
    audit(data, tmp_path / "three", "--workers", "3", "--by", str(data / "table.csv"), "annotator")
    assert read_outputs(tmp_path / "three") == read_outputs(once)
    journal = (once / ".cases.jsonl").read_bytes()
    audit(data, once, "--by", str(data / "table.csv"), "annotator")
    assert read_outputs(tmp_path / "three") == read_outputs(once)
    assert (once / ".cases.jsonl").read_bytes() == journal


def test_killed_run_resumes(data, once, tmp_path):
    out = tmp_path / "killed"
    arguments = ["masks", data / "predicted", out, "--masks", data / "masks", "--images", data / "images"]

    def slowly() -> None:
        score = streaming.score_case
        streaming.score_case = lambda task: (time.sleep(0.2), score(task))[1]
        command.main()

    process = Process(main_of("seg-anl-audit", slowly, *arguments))
    journal = out / ".cases.jsonl"
    process.until(lambda: journal.is_file() and journal.read_bytes().count(b"\n") >= 4)
    process.kill()
    finished = journal.read_bytes()
    assert 4 <= finished.count(b"\n") < CASES
    assert not (out / "audit.json").exists()
    journal.write_bytes(finished + b'{"item": "case')  # a truncated line
    audit(data, out, "--by", str(data / "table.csv"), "annotator")
    assert read_outputs(out) == read_outputs(once)
    assert journal.read_bytes().startswith(finished)


def test_an_audit_that_ends_early_is_not_taken_for_the_one_before(data, tmp_path, monkeypatch, capsys):
    def fail(task: object) -> list[bytes]:
        raise UserError("a picture cannot be drawn")

    lines = (data / "table.csv").read_text().splitlines()
    (tmp_path.parent / "half.csv").write_text("\n".join(lines[: 1 + CASES // 2]))
    audit(data, tmp_path, "--show", "1", "--by", str(tmp_path.parent / "half.csv"), "annotator")
    assert f"no group for {CASES // 2} of {CASES} cases" in capsys.readouterr().out
    assert (tmp_path / "audit.json").exists()
    monkeypatch.setattr(masks_report, "_draw_case", fail)
    with pytest.raises(UserError, match="status 2"):
        audit(data, tmp_path, "--show", "1")
    assert not (tmp_path / "audit.json").exists()


def test_ranking_without_images_and_probabilities(data, tmp_path):
    (tmp_path / "labels").mkdir()
    for path in (data / "predicted").iterdir():
        label = np.load(path)["probabilities"].argmax(0).astype(np.uint8)
        Image.fromarray(label * np.uint8(255)).save(tmp_path / "labels" / f"{path.stem}.png")
    (tmp_path / "masks").symlink_to(data / "masks")
    (tmp_path / "labels").rename(tmp_path / "predicted")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="status 2"):
        audit(tmp_path, tmp_path / "full", images=False)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".partial-abcd1234.jsonl").touch()  # left by a process killed before its first case
    audit(tmp_path, tmp_path / "out", images=False)
    result = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert result["score"] == "excess"
    with open(tmp_path / "out" / "audit.csv", newline="") as file:
        first = [row["item"] for row in csv.DictReader(file)][: CASES // 3]
    wrong = set(json.loads((data / "wrong.json").read_text()))
    assert len(wrong & set(first)) >= 0.9 * len(wrong)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["masks", "{data}/predicted", "{data}/predicted/out", "--masks", "{data}/masks"], "overlap"),
        (["masks", "{data}/predicted", "{data}/masks/out", "--masks", "{data}/masks"], "overlap"),
        (["masks", "{data}/predicted", "{raw}/out", "--masks", "{raw}"], "overlap"),
        (["masks", "{data}/nowhere", "{tmp}/out"], "nowhere is not a folder"),
        (["masks", "{data}/predicted", "{tmp}/out", "--masks", "{data}/masks", "--tolerance", "-1"], "--tolerance"),
        (["masks", "{data}/predicted", "{tmp}/out", "--by", "{data}/table.csv", "site"], "columns item and site"),
        (
            ["masks", "{data}/predicted", "{tmp}/out", "--by", "{raw}/both.csv", "annotator"],
            "case00 belongs to two groups, 'A' and 'B'",
        ),
        (
            ["masks", "{data}/predicted", "{tmp}/out", "--masks", "{data}/masks", "--by", "{raw}/no.csv", "site"],
            "--by: none of its items is a case; an example of a case is case00",
        ),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(data, tmp_path, capsys, monkeypatch, words, message):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "both.csv").write_text("item,annotator\ncase00,A\ncase01,A\ncase00,B\n")
    (raw / "no.csv").write_text("item,site\nother,A\n")
    (raw / "labelsTr").symlink_to(data / "masks")
    (raw / "dataset.json").write_text('{"labels": {"background": 0, "lesion": 1}, "file_ending": ".png"}')
    arguments = [word.format(data=data, tmp=tmp_path, raw=raw) for word in words]
    monkeypatch.setattr(sys, "argv", ["seg-anl-audit", *arguments])
    with pytest.raises(SystemExit) as exit_info:
        command.main()
    error = capsys.readouterr().err
    assert exit_info.value.code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not Path(arguments[2]).exists()


def test_failed_cases_are_named_and_the_others_kept(data, tmp_path, capsys):
    (tmp_path / "masks").symlink_to(data / "masks")
    (tmp_path / "predicted").mkdir()
    for path in (data / "predicted").iterdir():
        (tmp_path / "predicted" / path.name).write_bytes(path.read_bytes())
    broken = tmp_path / "predicted" / "case07.npz"
    original = broken.read_bytes()
    broken.write_bytes(b"not an archive")
    with pytest.raises(UserError, match="status 2"):
        audit(tmp_path, tmp_path / "out", images=False)
    assert "case07.npz" in capsys.readouterr().err
    assert not (tmp_path / "out" / "audit.csv").exists()
    assert (tmp_path / "out" / ".cases.jsonl").read_bytes().count(b"\n") == CASES  # including a line of settings
    broken.write_bytes(original)
    audit(tmp_path, tmp_path / "out", images=False)
    assert (tmp_path / "out" / "audit.csv").exists()


def test_16_bit_images(data, once, tmp_path):
    (tmp_path / "images").mkdir()
    for path in (data / "images").iterdir():
        gray = np.asarray(Image.open(path).convert("L")).astype(np.uint16) * 257
        Image.fromarray(gray).save(tmp_path / "images" / path.name)
    for folder in ("masks", "predicted"):
        (tmp_path / folder).symlink_to(data / folder)
    audit(tmp_path, tmp_path / "out")
    ranked = []
    for out in (tmp_path / "out", once):
        with open(out / "audit.csv", newline="") as file:
            ranked.append({row["item"] for row in csv.DictReader(file) if row["suspected"] == "1"})
    assert json.loads((tmp_path / "out" / "audit.json").read_text())["score"] == "contradiction"
    assert len(ranked[0] & ranked[1]) >= 0.8 * len(ranked[1])
