"""Curves over epochs: drawn values match metrics.csv, and runs with different settings are not averaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Text

from seg_anl.records import UserError
from seg_anl.reporting.figures.catalog import FIGURES
from seg_anl.reporting.run_directories import Run, read_run

MakeRun = Callable[..., Run]


def panels_of(name: str, runs: list[Run]) -> dict[str, Axes]:
    drawing = FIGURES[name].compose(runs).drawing
    return {axes.get_title(): axes for axes in drawing.axes if axes.has_data()}


def heights(axes: Axes) -> list[list[float]]:
    drawn = [np.round(np.asarray(line.get_ydata(), float), 9).tolist() for line in axes.get_lines()]
    return [values for values in drawn if values]  # those without stand for the legend's entries


def rising(percent: float) -> dict[tuple[str, str], list[float]]:
    return {("test", "accuracy"): [percent / 100 + 0.1 * epoch for epoch in range(4)]}


def test_each_loss_has_a_panel_with_three_accuracies_in_percent(make_run: MakeRun) -> None:
    panels = panels_of("accuracies", [make_run("a", loss__name="ce"), make_run("b", loss__name="mae")])
    assert list(panels) == ["CE", "MAE"]
    assert heights(panels["CE"]) == [[10, 30, 50, 70], [15, 35, 55, 75], [5, 15, 25, 35]]
    assert panels["CE"].get_lines()[0].get_xdata().tolist() == [1, 2, 3, 4]


def test_seeds_are_drawn_as_mean_with_band_from_lowest_to_highest(make_run: MakeRun) -> None:
    runs = [make_run(f"s{seed}", rising(start), loss__name="nce", seed=seed) for seed, start in enumerate((10, 20, 60))]
    (axes,) = panels_of("normalized", runs).values()
    assert heights(axes) == [[30, 40, 50, 60]]
    low, high = axes.collections[0].get_paths()[0].get_extents().get_points()[:, 1]
    assert (low, high) == pytest.approx((10, 90))
    caption = FIGURES["normalized"].compose(runs).drawing.get_supxlabel()
    assert "3 seeds" in caption
    assert "lowest to the highest" in " ".join(caption.split())


def test_active_negative_losses_are_distinguished_by_their_regularizer(make_run: MakeRun) -> None:
    l1 = make_run("l1", loss__name="anl_ce", optim__l1=1e-5, optim__weight_decay=0.0)
    l2 = make_run("l2", loss__name="anl_ce")
    assert list(panels_of("accuracies", [l1, l2])) == ["ANL-CE (w/ L2)", "ANL-CE (w/ L1)"]


def test_noises_and_weights_have_their_own_rows(make_run: MakeRun) -> None:
    noises = [make_run(f"{rate}", noise__rate=rate) for rate in (0.8, 0.2)]
    labels = [axes.get_ylabel() for axes in FIGURES["accuracies"].compose(noises).drawing.axes]
    assert labels == ["digits, symmetric 0.2\naccuracy (%)", "digits, symmetric 0.8\naccuracy (%)"]
    weights = [(a, b) for b in (5.0, 1.0) for a in (0.1, 5.0)]
    runs = [make_run(f"{a}-{b}", loss={"name": "anl_ce", "alpha": a, "beta": b}) for a, b in weights]
    axes = FIGURES["anl-grid"].compose(runs).drawing.axes
    assert [panel.get_title() for panel in axes] == ["α = 0.1", "α = 5"] * 2
    assert [panel.get_ylabel().split("\n")[0] for panel in axes[::2]] == ["β = 1", "β = 5"]


def _pair(active: str, passive: str, alpha: float = 1.0, beta: float = 1.0) -> dict[str, Any]:
    loss = {"name": "active_passive", "active": active, "passive": passive, "alpha": alpha, "beta": beta}
    return {"loss": loss}


def _sr(**changed: float) -> dict[str, Any]:
    return {"loss": {"name": "ce_sr", "tau": 1.0, "p": 0.1, "lam": 5.0, **changed}}


ANL, OFF = {"loss__name": "anl_ce"}, {"optim__weight_decay": 0.0}
CONDITION = "digits, symmetric 0.6"
# Figure, settings of runs with accuracies starting at 0, 10, 20, ... %, start of the lines in each panel, legend.
CASES: list[tuple[str, list[dict[str, Any]], dict[str, list[int]], list[str]]] = [
    (  # no regularizer stands in all panels, several at once in none
        "regularizers-anl",
        [
            {**ANL, **OFF},
            {**ANL, **OFF, "optim__l1": 1e-5},
            {**ANL, **OFF, "optim__l1": 1e-4},
            {**ANL, "optim__weight_decay": 0.01},
            {**ANL, **OFF, "optim__jacobian": 0.1},
            {**ANL, "optim__jacobian": 0.1},
        ],
        {"L1": [0, 10, 20], "L2": [0, 30], "Jacobian": [0, 40]},
        ["no regularizer", "δ = 1e-5", "δ = 0.0001", "δ = 0.01", "δ = 0.1"],
    ),
    (
        "regularizers-apl",
        [{**ANL, **OFF, "optim__l1": 1e-5}, {"loss__name": "nce_rce"}],
        {"L2": [0, 10]},
        ["ANL-CE (w/ L1)", "δ = 0.0001"],
    ),
    (
        "normalized",
        [{"loss__name": loss} for loss in ("nfl", "mae", "focal", "nce")],
        {"CE / NCE": [30], "FL / NFL": [20, 0], "MAE / NMAE": [10]},
        ["not normalized", "normalized"],
    ),
    (  # a pair with one weight 0 is a scaled loss, and so is one of a loss with itself
        "scaled",
        [
            {"loss__name": "nce"},
            _pair("nce", "mae", 10.0, 0.0),
            _pair("nce", "mae", 0.0, 2.0),
            _pair("nce", "mae"),
            _pair("nce", "nce", 3.0, 4.0),
        ],
        {"NCE": [0, 40, 10], "MAE": [20]},
        ["× 1", "× 2", "× 7", "× 10"],
    ),
    (
        "combinations",
        [{"loss__name": "nce_rce"}, _pair("nfl", "nce"), _pair("mae", "rce"), {"loss__name": "ce"}],
        {CONDITION: [0, 10, 20]},
        ["NCE+RCE (APL)", "NFL+NCE (AAL)", "MAE+RCE (PPL)"],
    ),
    ("sr-weight", [_sr(lam=5.0), _sr(lam=1.0)], {"CE+SR": [10, 0]}, ["λ = 1", "λ = 5"]),
    ("sr-power", [_sr(p=5.0), _sr(p=1.0)], {CONDITION: [10, 0]}, ["p = 1", "p = 5"]),
    ("sr-temperature", [_sr(lam=0.0, tau=0.1), _sr(lam=5.0)], {CONDITION: [0]}, ["τ = 0.1"]),
]


@pytest.mark.parametrize(("name", "settings", "starts", "legend"), CASES, ids=[case[0] for case in CASES])
def test_runs_are_placed_as_in_the_paper(
    make_run: MakeRun,
    name: str,
    settings: list[dict[str, Any]],
    starts: dict[str, list[int]],
    legend: list[str],
) -> None:
    runs = [make_run(f"run{i}", rising(10 * i), **some) for i, some in enumerate(settings)]
    found = {title: heights(axes) for title, axes in panels_of(name, runs).items()}
    assert found == {
        title: [[start, start + 10, start + 20, start + 30] for start in some] for title, some in starts.items()
    }
    drawing, notes = FIGURES[name].compose(runs)
    assert [text.get_text() for text in drawing.legends[0].get_texts()] == legend
    drawn = {start // 10 for some in starts.values() for start in some}
    for i in {*range(len(runs))} - drawn:  # whatever is not drawn is named
        assert any(f"run{i}: has no place in this figure" in note for note in notes)


def test_run_for_comparison_needs_a_run_to_compare_with(make_run: MakeRun) -> None:
    runs = [make_run(f"anl{rate}", loss__name="anl_ce", noise__rate=rate) for rate in (0.2, 0.6)]
    composed = FIGURES["regularizers-apl"].compose([*runs, make_run("nce", loss__name="nce_rce", noise__rate=0.6)])
    assert len(composed.drawing.axes) == 1
    assert any("anl0.2: for comparison only, without other runs of its data set" in note for note in composed.notes)


def test_error_says_what_a_figure_needs(make_run: MakeRun) -> None:
    bare = make_run("bare", rising(10), loss={"name": "nce_rce", "alpha": 1.0, "beta": 1.0})
    anl = make_run("anl", rising(10), loss__name="anl_ce")
    for name, run, words in (
        ("apl-grid", bare, r"bare has no tuning/accuracy.*needed: .*data.tuning=0.2"),
        ("anl-grid", anl, r"train/accuracy_clean"),
        ("regularizers-apl", anl, r"for comparison only.*nce_rce"),
    ):
        with pytest.raises(UserError, match=words):
            FIGURES[name].compose([run])


def test_different_settings_and_duplicates_are_not_averaged(make_run: MakeRun) -> None:
    runs = [make_run("one", seed=1), make_run("two", seed=2, optim__lr=0.1)]
    with pytest.raises(UserError, match=r"one and .*two would share .* differ in optim.lr \(0.01, 0.1\)"):
        FIGURES["normalized"].compose(runs)
    with pytest.raises(UserError, match="have the same settings and seed"):
        FIGURES["normalized"].compose([runs[0], make_run("copy")])


def test_note_names_extra_differences_between_lines(make_run: MakeRun) -> None:
    runs = [make_run("a", loss__name="ce"), make_run("b", loss__name="nce", optim__lr=0.5)]
    assert FIGURES["normalized"].compose(runs).notes == ["panel 'CE / NCE': its lines also differ in optim.lr"]


def test_damaged_and_unfinished_runs_are_left_out(make_run: MakeRun) -> None:
    good, damaged, unfinished = make_run("good"), make_run("bad", loss__name="mae"), make_run("half", loss__name="gce")
    (damaged.folder / "metrics.csv").write_text("epoch,split,accuracy\n0,test,what\n")
    (unfinished.folder / "summary.json").unlink()
    composed = FIGURES["accuracies"].compose([good, read_run(damaged.path), read_run(unfinished.path)])
    assert [axes.get_title() for axes in composed.drawing.axes if axes.has_data()] == ["CE"]
    notes = "\n".join(composed.notes)
    assert "bad: is damaged: metrics.csv: line 2" in notes
    assert "half: is unfinished: 4 of 4" in notes
    for name in ("accuracies", "marginals", "masks", "sparse-rate"):
        with pytest.raises(UserError, match=r"bad is damaged: metrics.csv") as caught:
            FIGURES[name].compose([read_run(damaged.path)])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_output_does_not_depend_on_order_or_user_style(make_run: MakeRun, tmp_path: Path, suffix: str) -> None:
    runs = [make_run(loss, loss__name=loss) for loss in ("ce", "mae")]
    paths = [tmp_path / f"{i}{suffix}" for i in range(2)]
    FIGURES["accuracies"].draw(runs, paths[0])
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9}):
        FIGURES["accuracies"].draw(runs[::-1], paths[1])
        assert matplotlib.rcParams["font.size"] == 30
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert b"2026" not in paths[0].read_bytes()[:2000]
    assert not [*tmp_path.glob(".partial-*")]


def test_no_text_is_smaller_than_eight_points(make_run: MakeRun) -> None:
    drawing = FIGURES["accuracies"].compose([make_run(loss, loss__name=loss) for loss in ("ce", "mae")]).drawing
    assert min(text.get_fontsize() for text in drawing.findobj(Text)) >= 8
