"""seg-anl-compare: layouts, verdicts, and one small comparison with real processes."""

from __future__ import annotations

import json
import zipfile
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from seg_anl.compare import command
from seg_anl.compare.plan import make_plan
from seg_anl.compare.trainers import CLASSES, FOLDER, VOLUMES, Trainer
from seg_anl.compare.verdict import Difference, sentence
from seg_anl.records import UserError
from tests.processes import call

pytestmark = pytest.mark.usefixtures("_no_pictures_of_runs")
TINY = ["data.size=32", "data.limit=32", "epochs=1", "model.base_filters=4", "model.max_filters=8", "workers=1"]


@pytest.fixture
def lesions(tmp_path: Path) -> Path:
    """Some of the embedded ISIC-2017 images, as a folder with training and validation images."""
    content = resources.files("seg_anl.segmentation").joinpath("embedded/isic2017_96.zip")
    with resources.as_file(content) as path, zipfile.ZipFile(path) as archive:
        for split, count in (("train", 32), ("validation", 8)):
            images = sorted(name for name in archive.namelist() if name.startswith(f"images/{split}/"))[:count]
            for name in images:
                archive.extractall(tmp_path / "data", [name, name.replace("images", "masks").replace("jpg", "png")])
    return tmp_path / "data"


def test_interval_matches_the_paired_t_test() -> None:
    ours, reference = [0.81, 0.84, 0.79, 0.83], [0.78, 0.83, 0.78, 0.80]
    difference = Difference.paired(ours, reference)
    low, high = scipy.stats.ttest_rel(ours, reference).confidence_interval(0.95)
    assert (difference.mean - difference.half, difference.mean + difference.half) == pytest.approx((low, high))
    assert difference.clear == (scipy.stats.ttest_rel(ours, reference).pvalue < 0.05)


def test_verdict_claims_no_more_than_the_seeds_show() -> None:
    ahead = Difference.paired([0.81, 0.82, 0.83], [0.70, 0.71, 0.72001])
    assert sentence("anl_ce", "ce", ahead, "test/dice").startswith("anl_ce is ahead of ce by 0.1100 ± 0.0000")
    assert "behind" in sentence("ce", "anl_ce", Difference.paired([0.70, 0.71, 0.72001], [0.81, 0.82, 0.83]), "x")
    noise = Difference.paired([0.8, 0.7, 0.9], [0.75, 0.8, 0.81])
    assert sentence("anl_ce", "ce", noise, "x").startswith("No difference larger than the spread of seeds")
    assert "one seed, which says little" in sentence("a", "b", Difference.paired([0.9], [0.1]), "x")


def test_each_kind_of_data_is_detected(lesions: Path, tmp_path: Path) -> None:
    plan = make_plan(lesions, ["ce", "gce loss.q=0.5"], 2, ["data.size=64"])
    assert plan.trainer is FOLDER
    assert plan.tested.startswith("the test images")
    assert plan.runs["gce-seed2"][-4:] == ["data.size=64", "loss=gce", "loss.q=0.5", "seed=2"]
    (tmp_path / "flat").mkdir()
    for part in ("images", "masks"):
        (tmp_path / "flat" / part).symlink_to(lesions / part / "train")
    assert "held-out" in make_plan(tmp_path / "flat", [], 1, []).tested
    (tmp_path / "classes/train/cat").mkdir(parents=True)
    classes = make_plan(tmp_path / "classes", [], 1, ["model=resnet18", "epochs=5"])
    assert classes.trainer is CLASSES
    full = CLASSES.full_command([*classes.common, *classes.methods[0].settings]).arguments
    assert full[2:] == ["noise=none", "model=resnet18", "loss=ce"]  # the user's model, no shorter training
    (tmp_path / "raw/labelsTr").mkdir(parents=True)
    (tmp_path / "raw/dataset.json").write_text("{}")
    volumes = make_plan(tmp_path / "raw", [], 1, [])
    assert volumes.trainer is VOLUMES
    assert volumes.runs["ce-seed1"][-1] == "record=[predictions]"  # so that the audit knows them to be in-sample
    (tmp_path / "empty").mkdir()
    for folder, losses, settings, message in (
        (tmp_path / "empty", [], [], "expected an nnU-Net raw data set, images and masks, or train/CLASS"),
        (lesions, ["ce"], [], "two or more different losses"),
        (lesions, ["ce", "q=0.5"], [], "expected a loss, then settings"),
        (lesions, ["ce", "gce loss=ce"], [], "'gce loss=ce': expected a loss, then settings"),
        (lesions, [], ["seed=3"], "not the loss, seed or run_dir"),
    ):
        with pytest.raises(UserError, match=message):
            make_plan(folder, losses, 1, settings)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--losses", "ce", "gce", "anl_cee"], "loss=anl_cee: unknown loss 'anl_cee'; did you mean 'anl_ce'"),
        (["--losses", "ce", "gce loss.p=0.5"], "loss.p=0.5: unknown setting 'loss.p'"),
        (["data.sizes=64"], "data.sizes=64: unknown setting"),
    ],
)
def test_misspelt_settings_are_refused_before_any_training(
    lesions: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    status, _, errors = call("compare", lesions, *words, cwd=tmp_path)
    assert (status, errors.count("\n"), (tmp_path / "compare").exists()) == (2, 1, False)
    assert message in errors


@pytest.mark.parametrize(("kind", "judge"), [("labels", "gce"), ("masks", "anl_ce")])
def test_wrong_labels_are_found_by_the_best_loss_and_wrong_masks_by_the_second(
    lesions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, judge: str
) -> None:
    accuracy = {"ce": 0.6, "anl_ce": 0.5, "gce": 0.7}
    data = lesions if kind == "masks" else tmp_path / "pictures"
    (tmp_path / "pictures/train/cat").mkdir(parents=True)
    asked = []
    monkeypatch.setattr(Trainer, "read_score", lambda _, run: ("test/accuracy", accuracy[run.name[:-6]]))
    monkeypatch.setattr(command, "audit", lambda plan, out, name: asked.append(name) or (0.5, "half"))
    command.report(make_plan(data, [*accuracy], 2, []), tmp_path)
    assert asked == [judge]
    assert json.loads((tmp_path / "compare.json").read_text())["audit"] == "half"


@pytest.mark.slow
def test_comparison_writes_a_page_and_resumes(lesions: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = [lesions, *TINY, "--losses", "ce", "anl_ce", "--out", out]
    status, output, _ = call("compare", *arguments, "--dry-run", cwd=tmp_path)
    assert (status, output.count("seg-anl-train data=folder"), out.exists()) == (0, 6, False)
    status, _, errors = call("compare", *arguments, "--seeds", 1, cwd=tmp_path)
    assert status == 0, errors
    before = {path: path.read_bytes() for path in out.glob("runs/*/metrics.csv")}
    settings_last = [lesions, "--out", out, "--seeds", 2, "--losses", "ce", "anl_ce", *TINY]
    _, output, _ = call("compare", *settings_last, cwd=tmp_path)
    assert output.count("training\n") == 2  # seed 1 is not trained again
    assert {path: path.read_bytes() for path in before} == before
    results, page = json.loads((out / "compare.json").read_text()), (out / "compare.html").read_text()
    dice = [[np.mean(results["scores"][name][seed]) for seed in range(2)] for name in ("ce", "anl_ce")]
    assert results["differences"]["anl_ce"]["mean"] == pytest.approx(np.mean(dice[1]) - np.mean(dice[0]))
    assert results["verdict"] in output
    assert all(
        text in page for text in ("<svg", f"{dice[1][0]:.4f}", "Estimated wrong masks", 'href="audit/review.html"')
    )
    assert "src=" not in page
    assert 'href="http' not in page
    settings = [lesions, *TINY, "data.classes=2", *arguments[len(TINY) + 1 :]]
    status, _, errors = call("compare", *settings, "--seeds", 1, cwd=tmp_path)
    assert (status, errors.count("\n")) == (2, 1)
    assert "with other settings" in errors
