"""Figures from records: drawn values against those computed from the arrays, and damaged records."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from seg_anl.records import UserError
from seg_anl.reporting.figures.catalog import FIGURES, select_figures
from seg_anl.reporting.figures.curves import sparse_rate
from seg_anl.reporting.figures.recorded import curves_of_losses, values_and_gradients
from seg_anl.reporting.run_directories import Run

MakeRun = Callable[..., Run]
Arrays = dict[str, Any]
MARGINALS = {("train", f"marginal_{k}"): [0.3, value] for k, value in enumerate((0.5, 0.2, 0.3))}
BESIDE = {("test", "accuracy"): [0.5, 0.6]}


def gradients(seed: int = 0, size: int = 60) -> Arrays:
    generator = np.random.default_rng(seed)
    clean = generator.integers(0, 3, size)
    labels = np.where(np.arange(size) % 3 == 0, (clean + 1) % 3, clean)
    return {"nnce": generator.gamma(2, 0.2, size).astype(np.float32), "labels": labels, "clean": clean}


def softmaxes(seed: int = 0, size: int = 80, classes: int = 4, sharpness: float = 2.0) -> Arrays:
    generator = np.random.default_rng(seed)
    logits = sharpness * generator.normal(size=(size, classes))
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    clean = softmax.argmax(axis=1)
    labels = np.where(np.arange(size) % 2 == 0, (clean + 1) % classes, clean)
    of_label = softmax[np.arange(size), labels].astype(np.float32)
    return {"softmax": softmax.astype(np.float16), "p_label": of_label, "labels": labels, "clean": clean}


def drawn_panels(name: str, runs: list[Run]) -> list[Axes]:
    return [axes for axes in FIGURES[name].compose(runs).drawing.axes if axes.has_data()]


def lines(axes: Axes) -> list[list[float]]:
    drawn = [np.round(np.asarray(line.get_ydata(), float), 6).tolist() for line in axes.get_lines()]
    return [values for values in drawn if values]  # those without stand for the legend's entries


def test_boxes_show_medians_and_means_of_pooled_clean_and_noisy_samples(make_run: MakeRun) -> None:
    kept = {seed: {f"gradients/epoch_000{epoch}": gradients(seed + epoch) for epoch in (0, 3)} for seed in (1, 2)}
    runs = [make_run(f"s{seed}", records=records, seed=seed) for seed, records in kept.items()]
    (axes,) = drawn_panels("nnce-gradients", runs)

    def pooled(epoch: int, wrong: bool) -> np.ndarray:
        records = [records[f"gradients/epoch_000{epoch}"] for records in kept.values()]
        return np.concatenate([one["nnce"][(one["labels"] != one["clean"]) == wrong] for one in records]).astype(float)

    samples = [pooled(epoch, wrong) for wrong in (False, True) for epoch in (0, 3)]
    medians = [line.get_ydata()[0] for line in axes.get_lines() if line.get_linewidth() == 1.2]
    means = [line.get_ydata()[0] for line in axes.get_lines() if line.get_marker() == "^"]
    assert medians == pytest.approx([np.percentile(chosen, 50) for chosen in samples])
    assert means == pytest.approx([chosen.mean() for chosen in samples])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "4"]


def test_bars_show_label_shares_and_mean_predictions_with_range_over_seeds(
    make_run: MakeRun, write_confusion: Callable[[Run, list[list[int]]], None]
) -> None:
    runs = []
    for seed, shift in ((1, 0.0), (2, 0.0), (3, 0.3)):
        predicted = {("train", f"marginal_{k}"): [0.0, value] for k, value in enumerate((0.1 + shift, 0.9 - shift))}
        runs.append(make_run(f"s{seed}", {**BESIDE, **predicted}, epochs=2, seed=seed))
        write_confusion(runs[-1], [[10, 0], [20, 70]])
    (axes,) = drawn_panels("marginals", runs)
    given, predicted_bars = axes.containers[:2]
    assert [bar.get_height() for bar in given] == pytest.approx([30, 70])
    assert [bar.get_height() for bar in predicted_bars] == pytest.approx([20, 80])
    *_, low, high, true = (line for line in axes.get_lines() if len(line.get_ydata()))
    assert [low.get_ydata(), high.get_ydata()] == pytest.approx(np.array([[10, 40], [60, 90]]))
    assert true.get_ydata() == pytest.approx([10, 90])


def test_marginals_need_the_confusion_matrix(
    make_run: MakeRun, write_confusion: Callable[[Run, list[list[int]]], None]
) -> None:
    run = make_run("a", {**BESIDE, **MARGINALS}, epochs=2)
    with pytest.raises(UserError, match=r"a has no noise/confusion\.csv"):
        FIGURES["marginals"].compose([run])
    write_confusion(run, [[1, 2], [3, 4]])
    with pytest.raises(UserError, match="different numbers of classes"):
        FIGURES["marginals"].compose([run])
    write_confusion(run, [[1, 2, 3]])
    with pytest.raises(UserError, match=r"confusion\.csv: damaged"):
        FIGURES["marginals"].compose([run])


def test_sparse_rate_matches_the_sharpened_logits() -> None:
    logits = np.random.default_rng(3).normal(scale=0.6, size=(500, 10))
    sharp = np.exp(logits / 0.1 - (logits / 0.1).max(axis=1, keepdims=True))
    expected = ((sharp / sharp.sum(axis=1, keepdims=True)).max(axis=1) > 0.99).mean()
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert 0.2 < expected < 0.9
    assert sparse_rate(softmax) == expected
    assert sparse_rate(softmax.astype(np.float16)) == pytest.approx(expected, abs=0.01)


def test_sparse_rate_is_drawn_next_to_test_accuracy(make_run: MakeRun) -> None:
    one_hot, flat = np.eye(4), np.full((4, 4), 0.25)
    records = {
        f"probabilities/epoch_{epoch:04d}": {**softmaxes(size=4), "softmax": softmax.astype(np.float16)}
        for epoch, softmax in ((0, flat), (1, np.concatenate((one_hot[:2], flat[:2]))))
    }
    run = make_run("a", BESIDE, records, epochs=2, loss={"name": "ce_sr", "normalize": True})
    composed = FIGURES["sparse-rate"].compose([run])
    left, right = composed.drawing.axes
    assert lines(left) == [[0, 50]]
    assert lines(right) == [[50, 60]]
    assert "loss.normalize=true" in composed.drawing.get_supxlabel()


def test_densities_have_area_one_and_cross_entropy_has_gradient_two_minus_two_p(make_run: MakeRun) -> None:
    arrays = softmaxes(size=400)
    run = make_run("a", records={"probabilities/epoch_0001": arrays}, loss__name="ce", noise__rate=0.5)
    densities, gradient = drawn_panels("target-probability", [run])
    right, wrong = (np.array(heights[:-1]) for heights in lines(densities))
    assert [right.sum() / 25, wrong.sum() / 25] == pytest.approx([1, 1])
    of_wrong = arrays["p_label"][arrays["labels"] != arrays["clean"]]
    assert wrong[0] == pytest.approx(25 * (of_wrong < 0.04).mean(), rel=1e-6)
    (drawn,) = lines(gradient)
    mean_norm = (2 - 2 * arrays["p_label"].astype(float)).mean()
    assert sum(drawn[:-1]) / 25 == pytest.approx(mean_norm, rel=1e-3)


def test_clean_labels_have_no_density_of_wrong_ones(make_run: MakeRun) -> None:
    arrays = softmaxes()
    run = make_run("a", records={"probabilities/epoch_0001": {**arrays, "labels": arrays["clean"]}}, loss__name="ce")
    with np.errstate(all="raise"):
        densities, _ = drawn_panels("target-probability", [run])
    assert len(lines(densities)) == 1


def test_epoch_and_number_of_samples_can_be_chosen(make_run: MakeRun) -> None:
    early, late = softmaxes(size=400), softmaxes(size=100)
    run = make_run("a", records={"probabilities/epoch_0001": early, "probabilities/epoch_0003": late}, loss__name="ce")
    drawn = select_figures(["target-probability"], {"epoch": 4}).popitem()[1].compose([run]).drawing
    assert "epoch 4." in drawn.get_supxlabel()
    with pytest.raises(UserError, match=r"--epoch 3: .* has records of the epochs 2, 4"):
        select_figures(["target-probability"], {"epoch": 3}).popitem()[1].compose([run])
    features = {"features": np.random.default_rng(0).normal(size=(60, 3)), "labels": np.arange(60) % 3}
    run = make_run("b", records={"features/epoch_0003": features})
    for samples, shown in ((None, 60), (30, 30), (600, 60)):
        figure = select_figures(["features"], {"samples": samples}).popitem()[1]
        assert len(figure.compose([run]).drawing.axes[0].collections[0].get_offsets()) == shown
    with pytest.raises(UserError, match="3 samples in records/features"):
        select_figures(["features"], {"samples": 3}).popitem()[1].compose([run])
    with pytest.raises(UserError, match="--samples needs --figure features"):
        select_figures(["accuracies"], {"samples": 5})


@pytest.mark.parametrize(("name", "kind"), [("target-probability", "probabilities"), ("nnce-gradients", "gradients")])
def test_error_names_seeds_without_a_common_epoch(make_run: MakeRun, name: str, kind: str) -> None:
    arrays = {"probabilities": softmaxes(), "gradients": gradients()}[kind]
    runs = [make_run(f"s{i}", records={f"{kind}/epoch_000{i}": arrays}, seed=i) for i in (1, 2)]
    with pytest.raises(UserError, match=rf"s1 and .*s2 have no recorded epoch of records/{kind} in common"):
        FIGURES[name].compose(runs)


def test_loss_with_a_batch_regularizer_has_no_gradient_density(make_run: MakeRun) -> None:
    run = make_run("a", records={"probabilities/epoch_0001": softmaxes()}, loss={"name": "anl_ce_er", "lam": 2.0})
    composed = FIGURES["target-probability"].compose([run])
    assert any("no gradient density" in note for note in composed.notes)


@pytest.mark.parametrize("p", [0.05, 0.3, 0.9])
def test_gradient_norms_match_closed_forms(p: float) -> None:
    softmax, label = np.array([[p, 0.6 * (1 - p), 0.4 * (1 - p)]]), np.array([0])

    def norm(name: str, **parameters: float) -> float:
        return float(values_and_gradients(name, softmax, label, **parameters)[1][0])

    assert norm("ce") == pytest.approx(2 * (1 - p), rel=1e-5)
    assert norm("el", epsilon=0.1) == pytest.approx(1.1 * p / (p + 0.1) * 2 * (1 - p), rel=1e-5)
    assert norm("mae") == pytest.approx(2 * p * (1 - p), rel=1e-5)


def test_equal_loss_lies_between_cross_entropy_and_its_limit() -> None:
    values = {name: curve["loss"].to_numpy() for name, curve in curves_of_losses().groupby("line")}
    p = curves_of_losses().groupby("line")["x"].get_group("MAE").to_numpy()
    assert values["MAE"] == pytest.approx(1 - p, abs=1e-6)
    order = ["MAE", "EL, ε = 2", "EL, ε = 0.5", "EL, ε = 0.1", "CE"]
    for below, above in itertools.pairwise(order):
        assert (values[below] <= values[above] + 1e-6).all()


def test_figures_of_losses_need_no_runs() -> None:
    right = FIGURES["gradient-curves"].compose([]).drawing.axes[1]
    np.testing.assert_allclose(lines(right)[0], 1)
    assert len(lines(FIGURES["loss-curves"].compose([]).drawing.axes[0])) == 6


def test_feature_maps_separate_clusters_reproducibly(make_run: MakeRun) -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = (10 * np.eye(3)[labels] + generator.normal(size=(60, 3))).astype(np.float32)
    run = make_run("a", records={"features/epoch_0003": {"features": features, "labels": labels}})

    def places() -> list[np.ndarray]:
        (axes,) = drawn_panels("features", [run])
        return [np.asarray(axes.collections[0].get_offsets())[labels == k] for k in range(3)]

    clusters = places()
    assert [len(points) for points in clusters] == [20, 20, 20]
    within = max(float(points.std(axis=0).max()) for points in clusters)
    centers = np.array([points.mean(axis=0) for points in clusters])
    between = min(float(np.linalg.norm(centers[i] - centers[j])) for i, j in ((0, 1), (0, 2), (1, 2)))
    assert between > 2 * within
    for first, second in zip(clusters, places(), strict=True):
        np.testing.assert_array_equal(first, second)


def masks(kinds: list[str]) -> Arrays:
    count = len(kinds)
    truth = np.zeros((count, 8, 8), np.uint8)
    truth[:, 2:6, 2:6] = 1
    noisy = np.zeros_like(truth)
    noisy[:, 2:6, 2:4] = 1
    images = np.arange(count * 8 * 8 * 3, dtype=np.uint64).astype(np.uint8).reshape(count, 8, 8, 3)
    items = np.array([f"ISIC_{i}" for i in range(count)])
    drawn = {"images": images, "truth": truth, "noisy": noisy, "predicted": truth}
    return {**drawn, "kinds": np.array(kinds), "items": items}


def test_masks_are_drawn_below_their_image_by_kind_of_noise(make_run: MakeRun) -> None:
    arrays = masks(["erode", "affine", "erode", "erode", "dilate"])
    run = make_run("a", records={"masks": arrays}, noise={"alpha": 0.7, "beta": 0.7, "seed": 0}, loss__name="anl_ce")
    drawing = FIGURES["masks"].compose([run]).drawing
    grid = np.array(drawing.axes).reshape(4, 4)
    assert [axes.get_title() for axes in grid[0]] == ["affine", "dilated", "eroded", "eroded"]
    shown = [[axes.findobj(AxesImage)[0].get_array() for axes in row] for row in grid]
    np.testing.assert_array_equal(shown[0][0], arrays["images"][1])
    np.testing.assert_array_equal(shown[2][0], arrays["noisy"][1])
    # 8 of 16 true pixels and no others: Dice 2 * 8 / 24.
    assert [axes.get_xlabel() for axes in grid[2]] == ["Dice 0.67"] * 4
    assert [axes.get_xlabel() for axes in grid[3]] == ["Dice 1.00"] * 4


RECORDED = {
    "nnce-gradients": ("gradients", "gradients/epoch_0003", gradients()),
    "sparse-rate": ("probabilities", "probabilities/epoch_0003", softmaxes()),
    "target-probability": ("probabilities", "probabilities/epoch_0003", softmaxes()),
    "features": ("features", "features/epoch_0003", {"features": np.ones((9, 2), np.float32), "labels": np.arange(9)}),
    "masks": ("masks", "masks", masks(["erode"])),
}


@pytest.mark.parametrize("name", RECORDED)
def test_error_for_a_missing_or_damaged_record_names_the_remedy(make_run: MakeRun, name: str) -> None:
    kind, place, arrays = RECORDED[name]

    def complaint(folder: str, records: dict[str, Arrays] | None, cut: int | None = None) -> str:
        run = make_run(folder, records=records)
        if cut:
            path = run.folder / "records" / f"{place}.npz"
            path.write_bytes(path.read_bytes()[:cut])
        with pytest.raises(UserError) as caught:
            FIGURES[name].compose([run])
        assert "\n" not in str(caught.value)
        assert f"record=[{kind}]" in str(caught.value)
        return str(caught.value)

    first = next(iter(arrays))
    assert f"bare has no records/{kind}" in complaint("bare", None)
    assert f"{place}.npz: damaged " in complaint("cut", {place: arrays}, cut=-40)
    fewer = {key: value for key, value in arrays.items() if key != first}
    assert f"no array {first!r}" in complaint("fewer", {place: fewer})
    if name != "sparse-rate":  # which reads the softmax alone
        assert "has shape" in complaint("shorter", {place: {**arrays, first: arrays[first][:-1]}})


def test_error_names_a_record_without_true_labels_or_of_a_diverged_run(make_run: MakeRun) -> None:
    unknown = {key: value for key, value in gradients().items() if key != "clean"}
    diverged = {**gradients(), "nnce": np.full(60, np.nan, np.float32)}
    for name, arrays, words in (
        ("a", unknown, "the true labels of this data set are unknown"),
        ("b", diverged, "NaN or infinite values"),
    ):
        with pytest.raises(UserError, match=words):
            FIGURES["nnce-gradients"].compose([make_run(name, records={"gradients/epoch_0003": arrays})])


def test_run_without_the_record_is_left_out(make_run: MakeRun) -> None:
    runs = [make_run("with", records={"gradients/epoch_0003": gradients()}), make_run("without", loss__name="mae")]
    composed = FIGURES["nnce-gradients"].compose(runs)
    (note,) = composed.notes
    assert "without: has no records/gradients: train it with record=[gradients]" in note
    assert len(composed.drawing.axes) == 1
