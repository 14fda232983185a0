"""Which annotations are suspected: by the images, or by a score of each structure."""

from __future__ import annotations

import numpy as np
import pytest

from seg_anl.audit import suspects
from seg_anl.audit.cases import Prediction, Structure
from seg_anl.audit.scores import compare, image_scores
from seg_anl.audit.suspects import SUSPECTED_RATIO, plausible_range, shown_in_images, suspect_by_dice, suspect_by_images

SIDE, RADIUS = 96, 24


def sharpness(image: np.ndarray, radius: float = RADIUS) -> float | None:
    """Of a predicted disk in an image ``(S, S)``."""
    disk = distance_to_center() <= radius
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
    assert sharpness((distance <= RADIUS) * (5 + noise)) > 2  # nothing but 0 outside, as in a stripped brain
    assert sharpness(np.ones((SIDE, SIDE))) == 1
    assert sharpness(4.0 * (distance <= 2), 2) is None  # too small for a band inside


def test_the_median_of_the_cases_tells_whether_the_images_show_a_structure():
    measured = {"edge": (0.9, 1.6, 1.7, 1.8, None), "none": (1.0, 1.1, 1.2, 3.0), "rare": (0.5,), "small": (None, None)}
    measured["at the threshold"] = (SUSPECTED_RATIO,) * 4
    rows = [{"structure": name, "sharpness": value} for name, values in measured.items() for value in values]
    enough = {"at the threshold": False, "edge": True, "none": False}
    assert shown_in_images(rows, 40) == enough  # a stray label does not veto
    assert shown_in_images(rows, 1) == {**enough, "rare": False}


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


def test_the_range_is_that_of_the_plausible_scores():
    """However many cases agree perfectly, such as slices where nothing is annotated and nothing predicted."""
    generator = np.random.default_rng(0)
    plausible, wrong = generator.normal(np.log(0.02), 0.3, 60), generator.normal(np.log(0.3), 0.5, 30)
    for perfect in (0, 10, 60, 200):
        mean, spread = plausible_range(np.exp([*np.full(perfect, -np.inf), *plausible, *wrong]))
        assert mean == pytest.approx(np.log(0.02), abs=0.1)
        assert spread == pytest.approx(0.3, abs=0.06)


def test_a_few_very_good_masks_do_not_make_the_others_suspected():
    for seed in range(5):
        generator = np.random.default_rng(seed)
        scores = [*generator.normal(0.1, 0.02, 60).clip(0.01), 0.02, 0.02, 0.015]
        rows = [{"item": str(case), "structure": "1", "hard_dice": score} for case, score in enumerate(scores)]
        assert suspect_by_dice(rows, len(rows)).value < 0.15


def test_two_cases_that_differ_among_many_that_agree_are_suspected():
    rows = [{"item": str(case), "structure": "1", "hard_dice": 0.0} for case in range(50)]
    rows[3]["hard_dice"], rows[7]["hard_dice"] = 0.3, 0.5
    suspect_by_dice(rows, 50)
    assert [row["item"] for row in rows if row["suspected"]] == ["3", "7"]


def test_a_structure_of_few_cases_is_compared_with_all():
    generator = np.random.default_rng(0)
    rows = [{"item": str(case), "structure": "organ", "hard_dice": generator.normal(0.1, 0.01)} for case in range(40)]
    rows += [{"item": str(case), "structure": "invented", "hard_dice": 1.0} for case in range(3)]
    assert suspect_by_dice(rows, 40).value == pytest.approx(3 / 40, abs=0.05)
    assert all(row["suspected"] for row in rows[40:])


def test_the_share_is_unknown_where_all_scores_are_equal_or_few():
    for scores in ([0.1, 0.5, 0.9], [1.0] * 20, []):
        rows = [{"item": str(case), "structure": "1", "hard_dice": score} for case, score in enumerate(scores)]
        share = suspect_by_dice(rows, 20)
        assert (share.value, share.low, share.high) == (0, 0, 1)
        assert not any(row["suspected"] or row["excess"] for row in rows)
    assert plausible_range([0.1, 0.11, 0.12, 0.13]) is not None  # four are enough


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
        (0.005, 1.26, 0.01, False),
        (0.006, 1.25, 0.01, False),
        (0.000, 1.00, 0.11, False),
        (0.000, 1.01, 0.10, False),
    )
    names = ("displacement", "contrast_ratio", "contradiction")
    rows = [{"item": str(case), **dict(zip(names, values, strict=False))} for case, values in enumerate(cases)]
    share = suspect_by_images(rows, len(rows))
    assert [bool(row["suspected"]) for row in rows] == [expected for *_, expected in cases]
    assert share.value == pytest.approx(2 / 10)


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
        row |= {"structure": "1", "hard_dice": float(np.exp(excess)) - 0.001}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suspects, "plausible_range", lambda scores: (0.0, 1.0))
        by_dice = suspect_by_dice(rows, 500)
    assert (by_dice.value, by_dice.low, by_dice.high) == (share.value, share.low, share.high)


def test_a_case_with_two_suspected_structures_counts_once():
    rows = [
        {"item": item, "displacement": 0.02, "contrast_ratio": 2.0, "contradiction": 0.0} for item in ("a", "a", "b")
    ]
    assert suspect_by_images(rows, 8).value == 2 / 8
