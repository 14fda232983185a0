"""metrics.csv: what training writes, reporting reads; damage is named by file and line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from seg_anl.records import MetricRow, UserError, metric_summary, read_metrics, write_metrics
from seg_anl.records.runs import summarize

ROWS = [
    MetricRow(0, "train", {"loss": 0.1 + 0.2}),
    MetricRow(0, "test", {"dice": 2 / 3, "dice_pooled": 1e-300}),
    MetricRow(1, "train", {"loss": math.nan}),
    MetricRow(1, "test", {"dice": 0.75, "dice_pooled": math.inf}),
]


def test_round_trip_is_exact(tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.csv", ROWS)
    read = read_metrics(tmp_path / "metrics.csv")
    assert [(row.epoch, row.split) for row in read] == [(row.epoch, row.split) for row in ROWS]
    for row, expected in zip(read, ROWS, strict=True):
        assert row.values == pytest.approx(expected.values, rel=0, abs=0, nan_ok=True)


def test_columns_stand_in_the_order_of_their_appearance(tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.csv", ROWS)
    assert (tmp_path / "metrics.csv").read_text().splitlines()[:2] == [
        "epoch,split,loss,dice,dice_pooled",
        "0,train,0.30000000000000004,,",
    ]


def test_writing_what_was_read_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    write_metrics(first, ROWS)
    write_metrics(second, read_metrics(first))
    assert first.read_bytes() == second.read_bytes()


def test_no_rows(tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.csv", [])
    assert read_metrics(tmp_path / "metrics.csv") == []


def test_a_damaged_table_is_told_by_file_and_line(tmp_path: Path) -> None:
    path, header = tmp_path / "metrics.csv", "epoch,split,dice\n"
    for content, message in (
        (b"", "expected columns"),
        (b"step,split,dice\n", "expected columns"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "cannot be read"),
        ((header + "0,test,0.5\n1,test,0.x\n").encode(), "line 3"),
        ((header + "0,test,0.5\none,test,0.5\n").encode(), "line 3"),
        ((header + "0,test,0.5\n1\n").encode(), "line 3"),
        ((header + "0,test,0.5\n1,te").encode(), "line 3"),
        ((header + "0,test,0.5,0.6\n").encode(), "line 2"),
        ((header + "0,test,0.5\n\n\n1,test,0.x\n").encode(), "line 5"),
        ((header + "0,test," + "9" * 200_000 + "\n").encode(), "damaged"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=message) as caught:
            read_metrics(path)
        assert str(path) in str(caught.value)


def test_a_missing_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"metrics\.csv: cannot be read"):
        read_metrics(tmp_path / "metrics.csv")


SERIES = [MetricRow(epoch, "test", {"dice": value}) for epoch, value in enumerate([0.2, 0.9, 0.4, 0.6, 0.8])]


def test_summary() -> None:
    summary = metric_summary([*SERIES, MetricRow(9, "train", {"dice": 1.0})], "test", "dice", k=3)
    assert summary == {
        "last": 0.8,
        "best": 0.9,
        "best_epoch": 1,
        "best_chosen_on": "test",
        "last_k_mean": pytest.approx(0.6),
        "last_k_std": pytest.approx(0.2),  # of a sample: sqrt((0.04 + 0 + 0.04) / 2)
        "k": 3,
    }


def test_summary_of_a_loss_wants_the_lowest() -> None:
    assert metric_summary(SERIES, "test", "dice", k=1, lower_is_better=True)["best"] == 0.2


def test_summary_of_fewer_epochs_than_k_says_so() -> None:
    summary = metric_summary(SERIES[:1], "test", "dice", k=10)
    assert summary["k"] == 1
    assert summary["last_k_std"] is None
    sparse = [MetricRow(5 * row.epoch + 4, row.split, row.values) for row in SERIES]  # evaluated every fifth epoch
    summary = metric_summary(sparse, "test", "dice", k=6)
    assert (summary["k"], summary["last_k_mean"]) == (2, pytest.approx((0.6 + 0.8) / 2))


def test_a_diverged_epoch_is_not_the_best() -> None:
    rows = [MetricRow(0, "test", {"dice": math.nan}), *[MetricRow(r.epoch + 1, r.split, r.values) for r in SERIES]]
    assert metric_summary(rows, "test", "dice", k=2)["best"] == 0.9
    assert math.isnan(metric_summary(rows[:1], "test", "dice", k=2)["best"])


def test_summary_of_nothing_is_refused() -> None:
    for split, name, k, words in (
        ("val", "dice", 1, "no rows"),
        ("test", "iou", 1, "no rows"),
        ("test", "dice", 0, "at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=words):
            metric_summary(SERIES, split, name, k)


def test_a_summary_has_every_metric_but_the_learning_rate() -> None:
    rows = [MetricRow(epoch, "train", {"loss": 1.0 + epoch, "lr": 0.1}) for epoch in range(2)]
    found = summarize(rows, k=2)
    assert set(found) == {"train/loss"}
    assert (found["train/loss"]["best"], found["train/loss"]["best_epoch"]) == (1.0, 0)  # of a loss the lowest
