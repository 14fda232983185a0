"""Limits and imbalance: published counts, and properties for arbitrary labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classification.datasets import load_dataset
from classification.datasets.selection import draw_positions, even_counts, imbalanced_counts
from seg_anl.records import UserError

LONG_TAILED_CIFAR10 = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]


def test_published_counts_of_long_tailed_cifar():
    full10, full100 = np.full(10, 5000), np.full(100, 500)
    assert imbalanced_counts(full10, "long_tailed", 0.01).tolist() == LONG_TAILED_CIFAR10
    # Totals stated in the papers on long-tailed CIFAR.
    assert imbalanced_counts(full10, "long_tailed", 0.1).sum() == 20431
    assert imbalanced_counts(full100, "long_tailed", 0.01).sum() == 10847
    assert imbalanced_counts(full100, "long_tailed", 0.1).sum() == 19573


def test_step_imbalance():
    assert imbalanced_counts(np.full(10, 5000), "step", 0.1).tolist() == [5000] * 5 + [500] * 5
    assert imbalanced_counts(np.array([90, 80, 100]), "step", 0.1).tolist() == [90, 80, 10]


@given(st.lists(st.integers(1, 40), min_size=2, max_size=8), st.floats(0, 1))
def test_even_counts_are_balanced(available, share):
    room = np.array(available)
    total = round(share * room.sum())
    counts = even_counts(room, total)
    assert counts.sum() == total
    assert (counts <= room).all()
    # A class with at least two fewer than another one is exhausted.
    assert all(counts[i] == room[i] for i in range(len(room)) if counts[i] < counts.max() - 1)


@given(
    st.lists(st.integers(1, 50), min_size=2, max_size=8), st.sampled_from(["long_tailed", "step"]), st.floats(0.001, 1)
)
def test_imbalance_keeps_every_class(available, kind, ratio):
    room = np.array(available)
    counts = imbalanced_counts(room, kind, ratio)
    assert (counts >= 1).all()
    assert (counts <= room).all()
    assert np.array_equal(imbalanced_counts(room, kind, 1.0), room)


@given(st.integers(0, 10), st.integers(2, 60), st.integers(2, 60))
def test_limits_are_nested(seed, first, second):
    labels = np.arange(80) % 3
    sets = [
        set(draw_positions(labels, even_counts(np.bincount(labels), total), seed).tolist())
        for total in sorted([first, second])
    ]
    assert sets[0] <= sets[1]


def test_limits_through_the_configuration(data_config):
    data = load_dataset(data_config("digits", limit=205, test_limit=50))
    assert sorted(np.bincount(data.train.labels).tolist()) == [20] * 5 + [21] * 5
    assert np.bincount(data.tests["test"].labels).tolist() == [5] * 10
    whole = load_dataset(data_config("digits"))
    assert np.array_equal(whole.train.images[data.kept].numpy(), data.train.images.numpy())
    assert np.array_equal(data.found_labels[data.kept], data.train.labels)
    assert np.array_equal(data.found_labels, whole.train.labels)
    other = load_dataset(data_config("digits", limit=205, subset_seed=1))
    assert not np.array_equal(other.kept, data.kept)


def test_imbalance_is_applied_after_the_limit(data_config):
    data = load_dataset(data_config("digits", limit=1000, imbalance="step", imbalance_ratio=0.1))
    assert np.bincount(data.train.labels).tolist() == [100] * 5 + [10] * 5
    assert len(data.tests["test"]) == 360


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"limit": 9}, r"data\.limit must be from 10 \(one per class\) to 1437"),
        ({"limit": 1438}, "to 1437"),
        ({"limit": 0.5}, "whole number"),
        ({"test_limit": 0}, "data.test_limit must be a whole number >= 1"),
        ({"imbalance": "longtailed"}, "data.imbalance must be one of 'long_tailed', 'step'"),
        ({"imbalance": "step", "imbalance_ratio": 10}, "data.imbalance_ratio must be a number > 0 and <= 1"),
        ({"limit": 100, "subset_seed": "a"}, "data.subset_seed"),
    ],
)
def test_settings_out_of_range(data_config, settings, message):
    with pytest.raises(UserError, match=message):
        load_dataset(data_config("digits", **settings))
