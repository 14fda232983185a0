"""Curves over epochs: what is drawn is what metrics.csv holds; runs that do not belong together are not averaged."""

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
    return [np.round(np.asarray(line.get_ydata(), float), 9).tolist() for line in axes.get_lines()]


def legend_texts(name: str, runs: list[Run]) -> list[str]:
    (legend,) = FIGURES[name].compose(runs).drawing.legends
    return [text.get_text() for text in legend.get_texts()]


def rising(start: float) -> dict[tuple[str, str], list[float]]:
    return {("test", "accuracy"): [start, start + 0.1, start + 0.2, start + 0.3]}


def test_a_panel_for_each_loss_shows_the_three_accuracies_in_percent(make_run: MakeRun) -> None:
    runs = [make_run("a", loss__name="ce"), make_run("b", loss__name="mae")]
    panels = panels_of("accuracies", runs)
    assert list(panels) == ["CE", "MAE"]
    assert heights(panels["CE"]) == [[10, 30, 50, 70], [15, 35, 55, 75], [5, 15, 25, 35]]
    assert panels["CE"].get_lines()[0].get_xdata().tolist() == [1, 2, 3, 4]


def test_seeds_become_a_mean_with_a_band_from_lowest_to_highest(make_run: MakeRun) -> None:
    runs = [
        make_run(f"s{seed}", rising(start), loss__name="nce", seed=seed)
        for seed, start in ((1, 0.1), (2, 0.2), (3, 0.6))
    ]
    (axes,) = panels_of("normalized", runs).values()
    assert heights(axes) == [[30, 40, 50, 60]]
    (band,) = axes.collections
    low, high = band.get_paths()[0].get_extents().get_points()[:, 1]
    assert (low, high) == pytest.approx((10, 90))
    caption = FIGURES["normalized"].compose(runs).drawing.get_supxlabel()
    assert "3 seeds" in caption
    assert "lowest to the highest" in caption


def test_active_negative_losses_are_told_apart_by_their_regularizer(make_run: MakeRun) -> None:
    runs = [
        make_run("l1", loss__name="anl_ce", optim__l1=1e-5, optim__weight_decay=0.0),
        make_run("l2", loss__name="anl_ce"),
    ]
    assert list(panels_of("accuracies", runs)) == ["ANL-CE (w/ L2)", "ANL-CE (w/ L1)"]


def test_each_noise_has_a_row_of_its_own(make_run: MakeRun) -> None:
    runs = [make_run(f"{rate}", noise__rate=rate) for rate in (0.8, 0.2)]
    labels = [axes.get_ylabel() for axes in FIGURES["accuracies"].compose(runs).drawing.axes]
    assert labels == ["digits, symmetric 0.2\naccuracy (%)", "digits, symmetric 0.8\naccuracy (%)"]


def test_regularizers_stand_in_panels_and_no_regularizer_in_all_of_them(make_run: MakeRun) -> None:
    off = {"optim__weight_decay": 0.0}
    runs = [
        make_run("none", rising(0.5), loss__name="anl_ce", **off),
        make_run("l1a", rising(0.1), loss__name="anl_ce", optim__l1=1e-5, **off),
        make_run("l1b", rising(0.2), loss__name="anl_ce", optim__l1=1e-4, **off),
        make_run("wd", rising(0.3), loss__name="anl_ce", optim__weight_decay=0.01),
        make_run("jac", rising(0.4), loss__name="anl_ce", optim__jacobian=0.1, **off),
        make_run("both", rising(0.4), loss__name="anl_ce", optim__jacobian=0.1),
    ]
    panels = panels_of("regularizers-anl", runs)
    assert {title: heights(axes) for title, axes in panels.items()} == {
        "L1": [[50, 60, 70, 80], [10, 20, 30, 40], [20, 30, 40, 50]],
        "L2": [[50, 60, 70, 80], [30, 40, 50, 60]],
        "Jacobian": [[50, 60, 70, 80], [40, 50, 60, 70]],
    }
    assert legend_texts("regularizers-anl", runs) == ["no regularizer", "δ = 1e-5", "δ = 0.0001", "δ = 0.01", "δ = 0.1"]
    (note,) = FIGURES["regularizers-anl"].compose(runs).notes
    assert "both" in note


def test_anl_stands_beside_every_regularizer_of_apl_but_not_alone(make_run: MakeRun) -> None:
    anl = make_run("anl", rising(0.5), loss__name="anl_ce", optim__l1=1e-5, optim__weight_decay=0.0)
    apl = make_run("apl", rising(0.1), loss__name="nce_rce")
    assert heights(panels_of("regularizers-apl", [anl, apl])["L2"]) == [[50, 60, 70, 80], [10, 20, 30, 40]]
    with pytest.raises(UserError, match=r"for comparison only.*nce_rce"):
        FIGURES["regularizers-apl"].compose([anl])


def test_the_grid_of_weights_has_beta_downwards_and_alpha_across(make_run: MakeRun) -> None:
    with pytest.raises(UserError, match="train/accuracy_clean"):
        FIGURES["anl-grid"].compose([make_run("bare", rising(0.1), loss__name="anl_ce")])
    weights = [(a, b) for b in (5.0, 1.0) for a in (0.1, 5.0)]
    runs = [make_run(f"{a}-{b}", loss={"name": "anl_ce", "alpha": a, "beta": b}) for a, b in weights]
    axes = FIGURES["anl-grid"].compose(runs).drawing.axes
    assert [panel.get_title() for panel in axes] == ["α = 0.1", "α = 5"] * 2
    assert axes[0].get_ylabel().startswith("β = 1\n")
    assert axes[2].get_ylabel().startswith("β = 5\n")


def test_normalized_losses_stand_beside_what_they_normalize(make_run: MakeRun) -> None:
    runs = [make_run(loss, rising(0.1 * i), loss__name=loss) for i, loss in enumerate(["nfl", "mae", "focal", "nce"])]
    panels = panels_of("normalized", runs)
    assert {title: heights(axes) for title, axes in panels.items()} == {
        "CE / NCE": [[30, 40, 50, 60]],
        "FL / NFL": [[20, 30, 40, 50], [0, 10, 20, 30]],
        "MAE / NMAE": [[10, 20, 30, 40]],
    }


def test_a_pair_with_one_weight_zero_is_a_scaled_loss(make_run: MakeRun) -> None:
    def pair(alpha: float, beta: float) -> dict[str, Any]:
        return {"name": "active_passive", "active": "nce", "passive": "mae", "alpha": alpha, "beta": beta}

    runs = [
        make_run("plain", rising(0.1), loss={"name": "nce"}),
        make_run("scaled", rising(0.2), loss=pair(10.0, 0.0)),
        make_run("mae", rising(0.3), loss=pair(0.0, 2.0)),
        make_run("apl", rising(0.4), loss=pair(1.0, 1.0)),
    ]
    panels = panels_of("scaled", runs)
    assert {title: heights(axes) for title, axes in panels.items()} == {
        "NCE": [[10, 20, 30, 40], [20, 30, 40, 50]],
        "MAE": [[30, 40, 50, 60]],
    }
    assert legend_texts("scaled", runs) == ["× 1", "× 2", "× 10"]


def test_combinations_name_their_kind(make_run: MakeRun) -> None:
    pairs = [
        {"name": "active_passive", "active": a, "passive": p, "alpha": 1, "beta": 1}
        for a, p in (("nfl", "nce"), ("mae", "rce"))
    ]
    runs = [make_run("apl", loss__name="nce_rce"), *(make_run(f"p{i}", loss=pair) for i, pair in enumerate(pairs))]
    assert legend_texts("combinations", runs) == ["NCE+RCE (APL)", "NFL+NCE (AAL)", "MAE+RCE (PPL)"]


def test_the_grid_of_apl_needs_the_tuning_set(make_run: MakeRun) -> None:
    run = make_run("a", loss={"name": "nce_rce", "alpha": 1.0, "beta": 1.0})
    with pytest.raises(UserError, match=r"tuning/accuracy.*data.tuning=0.2"):
        FIGURES["apl-grid"].compose([run])


def test_parameters_of_sparse_regularization_are_lines_in_rising_order(make_run: MakeRun) -> None:
    loss = {"name": "ce_sr", "tau": 1.0, "p": 0.1, "lam": 5.0}
    for name, varied, symbol in (("sr-weight", "lam", "λ"), ("sr-power", "p", "p")):
        runs = [make_run(f"{varied}{value}", loss={**loss, varied: value}) for value in (5.0, 1.0)]
        assert legend_texts(name, runs) == [f"{symbol} = 1", f"{symbol} = 5"]


def test_the_temperature_is_that_of_runs_without_the_norm(make_run: MakeRun) -> None:
    runs = [make_run(f"{lam}", loss={"name": "ce_sr", "tau": 0.1, "p": 0.1, "lam": lam}) for lam in (0.0, 5.0)]
    composed = FIGURES["sr-temperature"].compose(runs)
    assert len(composed.notes) == 1
    assert "5.0" in composed.notes[0]
    assert legend_texts("sr-temperature", runs) == ["τ = 0.1"]


def test_runs_of_other_settings_are_not_averaged_nor_one_run_twice(make_run: MakeRun) -> None:
    runs = [make_run("one", seed=1), make_run("two", seed=2, optim__lr=0.1)]
    with pytest.raises(UserError, match=r"one and .*two would share .* differ in optim.lr \(0.01, 0.1\)"):
        FIGURES["normalized"].compose(runs)
    with pytest.raises(UserError, match="twice"):
        FIGURES["normalized"].compose([runs[0], make_run("copy")])


def test_lines_of_a_panel_that_differ_in_more_than_the_loss_are_named(make_run: MakeRun) -> None:
    runs = [make_run("a", loss__name="ce"), make_run("b", loss__name="nce", optim__lr=0.5)]
    (note,) = FIGURES["normalized"].compose(runs).notes
    assert "optim.lr" in note
    assert "CE / NCE" in note


def test_damaged_and_unfinished_runs_are_left_out_by_name(make_run: MakeRun) -> None:
    good, damaged, unfinished = make_run("good"), make_run("bad", loss__name="mae"), make_run("half", loss__name="gce")
    (damaged.folder / "metrics.csv").write_text("epoch,split,accuracy\n0,test,what\n")
    (unfinished.folder / "summary.json").unlink()
    composed = FIGURES["accuracies"].compose([good, read_run(damaged.path), read_run(unfinished.path)])
    assert [axes.get_title() for axes in composed.drawing.axes if axes.has_data()] == ["CE"]
    notes = "\n".join(composed.notes)
    assert "bad: is damaged: metrics.csv: line 2" in notes
    assert "half: is unfinished: 4 of 4" in notes


@pytest.mark.parametrize("name", ["accuracies", "marginals", "masks", "sparse-rate"])
def test_a_damaged_run_alone_is_one_line_that_names_it(make_run: MakeRun, name: str) -> None:
    run = make_run("bad")
    (run.folder / "metrics.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"bad is damaged: metrics.csv") as caught:
        FIGURES[name].compose([read_run(run.path)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_the_same_runs_in_any_order_give_the_same_bytes(make_run: MakeRun, tmp_path: Path, suffix: str) -> None:
    runs = [make_run(loss, loss__name=loss) for loss in ("ce", "mae")]
    paths = [tmp_path / f"{i}{suffix}" for i in range(2)]
    for path, some in zip(paths, (runs, runs[::-1]), strict=True):
        FIGURES["accuracies"].draw(some, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert b"2026" not in paths[0].read_bytes()[:2000]
    assert not list(tmp_path.glob(".partial-*"))


def test_a_style_of_ones_own_changes_nothing_and_is_left_alone(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("a")
    with pytest.raises(UserError, match=r"\.png, \.pdf, \.svg; got \.jpg"):
        FIGURES["accuracies"].draw([run], tmp_path / "x.jpg")
    assert not list(tmp_path.glob("*.jpg"))
    FIGURES["accuracies"].draw([run], tmp_path / "plain.png")
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9}):
        FIGURES["accuracies"].draw([run], tmp_path / "mine.png")
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "mine.png").read_bytes()


def test_no_text_is_smaller_than_eight_points(make_run: MakeRun) -> None:
    drawing = FIGURES["accuracies"].compose([make_run(loss, loss__name=loss) for loss in ("ce", "mae")]).drawing
    assert min(text.get_fontsize() for text in drawing.findobj(Text)) >= 8
