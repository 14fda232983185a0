"""Which annotations are suspected: by the images, or by a score of each structure."""

from __future__ import annotations

import numpy as np
import pytest

from seg_anl.audit import suspects
from seg_anl.audit.cases import Prediction, Structure
from seg_anl.audit.scores import compare, image_scores
from seg_anl.audit.suspects import SUSPECTED_RATIO, excess_of, hidden_in_images, suspect_by_dice, suspect_by_images

SIDE, RADIUS = 96, 24


def sharpness(image: np.ndarray) -> float:
    """Of a predicted disk in an image ``(S, S)``."""
    disk = distance_to_center() <= RADIUS
    compared = compare(Prediction(Structure("1", (1,), 1), disk, disk.astype(np.float32)), (1.0, 1.0))
    assert compared is not None
    return image_scores(compared, image[(None, *compared.box)].astype(np.float32), 0.0)["sharpness"]


def distance_to_center() -> np.ndarray:
    rows, columns = np.ogrid[:SIDE, :SIDE]
    return np.hypot(rows - SIDE / 2, columns - SIDE / 2)


def test_an_edge_at_the_outline_is_sharp_and_a_slope_across_it_is_not():
    noise = np.random.default_rng(0).normal(0, 1, (SIDE, SIDE))
    distance = distance_to_center()
    assert sharpness(4.0 * (distance <= RADIUS) + noise) > 2
    assert sharpness(noise) < SUSPECTED_RATIO
    assert sharpness(distance + noise) == pytest.approx(1, abs=0.1)  # equal contrast wherever the outline is


def test_a_structure_is_hidden_if_most_of_its_outlines_show_no_edge():
    rows = [{"structure": "edge", "sharpness": value} for value in (0.9, 1.6, 1.7)]
    rows += [{"structure": "none", "sharpness": value} for value in (1.0, 1.1, 3.0)]
    rows += [{"structure": "never predicted", "sharpness": 0.0}]
    assert hidden_in_images(rows) == ["never predicted", "none"]


def test_a_hard_structure_does_not_hide_a_wrong_annotation_of_an_easy_one():
    """Every tumor disagrees more than any liver, and six livers are wrong."""
    generator = np.random.default_rng(1)
    tumor, liver = generator.normal(0.4, 0.03, 60), generator.normal(0.05, 0.005, 60)
    wrong = np.arange(0, 60, 10)
    liver[wrong] = generator.uniform(0.15, 0.25, len(wrong))
    assert tumor.min() > liver.max()
    rows = [
        {"item": f"case{case:02d}", "structure": name, "hard_dice": float(score)}
        for name, scores in (("liver", liver), ("tumor", tumor))
        for case, score in enumerate(scores)
    ]
    share = suspect_by_dice(rows, 60)
    expected = {("liver", f"case{case:02d}") for case in wrong}
    suspected = {(row["structure"], row["item"]) for row in rows if row["suspected"]}
    assert expected <= suspected
    assert len(suspected - expected) <= 3  # the tail of a normal distribution
    highest = sorted(rows, key=lambda row: -row["excess"])[: len(wrong)]
    assert {(row["structure"], row["item"]) for row in highest} == expected
    assert share.low <= 0.1 <= share.high


@pytest.mark.parametrize("perfect", [0, 10, 60, 200])
def test_cases_of_perfect_agreement_do_not_change_which_others_are_suspected(perfect):
    """Such as slices where nothing is annotated and nothing predicted."""
    generator = np.random.default_rng(0)
    plausible, wrong = generator.normal(np.log(0.02), 0.3, 60), generator.normal(np.log(0.3), 0.5, 30)
    excess = excess_of(np.exp(np.concatenate([np.full(perfect, -np.inf), plausible, wrong])))
    assert set(range(perfect + 60, perfect + 90)) <= set(np.flatnonzero(excess > 2))
    assert np.count_nonzero(excess > 2) <= 33
    assert excess[perfect : perfect + 60].mean() == pytest.approx(0, abs=0.1)
    assert excess[perfect : perfect + 60].std() == pytest.approx(1, abs=0.15)


def test_two_cases_that_differ_among_many_that_agree_stand_out():
    scores = np.zeros(50)
    scores[[3, 7]] = 0.3, 0.5
    np.testing.assert_array_equal(np.flatnonzero(excess_of(scores) > 2), [3, 7])


def test_too_few_or_equal_scores_do_not_stand_out():
    assert not excess_of(np.array([0.1, 0.5, 0.9])).any()
    assert not excess_of(np.full(20, 0.3)).any()


def test_images_suspect_what_is_displaced_and_contradicted():
    """A row on either side of every threshold of docs/audit.md."""
    cases = (
        # displacement, ratio, contradiction, suspected
        (0.006, 1.26, 0.01, True),
        (0.004, 1.26, 0.01, False),
        (0.006, 1.24, 0.01, False),
        (0.000, 1.01, 0.11, True),
        (0.000, 0.99, 0.11, False),
        (0.000, 1.24, 0.09, False),
    )
    names = ("displacement", "contrast_ratio", "contradiction")
    rows = [{"item": str(case), **dict(zip(names, values, strict=False))} for case, values in enumerate(cases)]
    share = suspect_by_images(rows, len(rows))
    assert [bool(row["suspected"]) for row in rows] == [expected for *_, expected in cases]
    assert share.value == pytest.approx(1 / 3)


def test_the_interval_reaches_to_the_shares_at_other_thresholds():
    """A hundred cases each slightly above 1.15, 1.25 and 1.35, and 200 far below; normal approximation of each end."""
    ratios = np.repeat([1.2, 1.3, 1.4, 0.5], (100, 100, 100, 200))
    rows = [
        {"item": str(case), "displacement": 0.02, "contrast_ratio": ratio, "contradiction": 0.0}
        for case, ratio in enumerate(ratios)
    ]
    share = suspect_by_images(rows, 500)
    assert share.value == pytest.approx(0.4)
    assert share.low == pytest.approx(0.2 - 1.96 * np.sqrt(0.2 * 0.8 / 500), abs=0.005)
    assert share.high == pytest.approx(0.6 + 1.96 * np.sqrt(0.6 * 0.4 / 500), abs=0.005)
    for row, excess in zip(rows, np.repeat([1.6, 2.1, 2.6, 0.0], (100, 100, 100, 200)), strict=True):
        row |= {"structure": "1", "hard_dice": float(np.exp(excess))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suspects, "excess_of", np.log)
        by_dice = suspect_by_dice(rows, 500)
    assert (by_dice.value, by_dice.low, by_dice.high) == (share.value, share.low, share.high)


def test_a_case_with_two_suspected_structures_counts_once():
    rows = [
        {"item": item, "displacement": 0.02, "contrast_ratio": 2.0, "contradiction": 0.0} for item in ("a", "a", "b")
    ]
    assert suspect_by_images(rows, 8).value == 2 / 8
