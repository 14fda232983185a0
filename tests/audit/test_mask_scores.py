"""Scores against closed forms and symmetries."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seg_anl.audit.cases import Case, Prediction, Structure
from seg_anl.audit.scores import (
    case_self_confidence,
    compare,
    components,
    equivalent_radius,
    image_scores,
    signed_distance,
    softmin,
    structure_scores,
)
from seg_anl.audit.share import share_of

ONE = Structure("1", (1,), 1)


def disk(radius: float, center: tuple[float, float] = (40, 40), size: int = 80) -> np.ndarray:
    rows, columns = np.ogrid[:size, :size]
    return (rows - center[0]) ** 2 + (columns - center[1]) ** 2 <= radius**2


def pair(annotated: np.ndarray, predicted: np.ndarray, confidence: float = 1.0, spacing=(1.0, 1.0)):
    probability = np.where(predicted, 0.5 + confidence / 2, 0.5 - confidence / 2).astype(np.float32)
    compared = compare(Prediction(ONE, annotated, probability), spacing)
    assert compared is not None
    return compared


def test_equal_masks_score_zero():
    scores = structure_scores(pair(disk(15), disk(15)), tolerance=2)
    for name in ("displacement", "confident_disagreement", "hard_dice", "beyond_tolerance"):
        assert scores[name] == 0


def test_displacement_of_concentric_disks_matches_the_integral_over_the_ring():
    # Integral of (s - r) 2 pi s ds from r to R, divided by pi R^2 R.
    small, large = 10.0, 20.0
    scores = structure_scores(pair(disk(large), disk(small)), tolerance=2)
    integral = 2 * math.pi * ((large**3 - small**3) / 3 - small * (large**2 - small**2) / 2)
    assert scores["displacement"] == pytest.approx(integral / (math.pi * large**3), rel=0.06)  # discretization
    assert scores["hard_dice"] == pytest.approx(1 - 2 * small**2 / (small**2 + large**2), rel=0.03)
    # The annotation is outside the prediction; rim centers are half an element inside the outline.
    assert scores["signed_distance"] == pytest.approx(large - small - 0.5, abs=0.4)
    assert structure_scores(pair(disk(small), disk(large)), tolerance=2)["signed_distance"] < 0


def test_beyond_tolerance_counts_only_larger_distances():
    compared = pair(disk(20), disk(16))
    shares = [structure_scores(compared, tolerance=tolerance)["beyond_tolerance"] for tolerance in (0, 2, 4.5)]
    ring = 1 - 16**2 / 20**2
    assert shares[0] == pytest.approx(ring, rel=0.05)
    assert shares[1] == pytest.approx((20**2 - 18**2) / 20**2, rel=0.1)
    assert shares[2] == 0


def test_low_confidence_lowers_the_displacement():
    confident, unsure = (structure_scores(pair(disk(20), disk(12), c), 2)["displacement"] for c in (0.9, 0.1))
    assert unsure < 0.2 * confident


def test_relative_scores_do_not_depend_on_the_unit():
    annotated, predicted = disk(18, (40, 44)), disk(15)
    coarse, fine = (structure_scores(pair(annotated, predicted, 0.8, (s, s)), 2 * s) for s in (1.0, 0.4))
    for name in ("displacement", "boundary", "beyond_tolerance", "soft_dice"):
        assert coarse[name] == pytest.approx(fine[name])
    assert coarse["signed_distance"] * 0.4 == pytest.approx(fine["signed_distance"])


def test_distances_are_in_mm_on_anisotropic_grids():
    # A box of 4 x 20 elements of 5 mm x 1 mm: its middle is 2 elements, 10 mm, from the long sides.
    inside = np.zeros((12, 40), bool)
    inside[4:8, 10:30] = True
    distance = signed_distance(inside, (5.0, 1.0))
    assert distance[5, 20] == pytest.approx(0.5 - 10)
    assert distance[3, 20] == pytest.approx(4.5)
    assert distance[5, 31] == pytest.approx(1.5)
    assert equivalent_radius(80, (5.0, 1.0)) == pytest.approx(math.sqrt(400 / math.pi))


def test_softmin_matches_its_definition():
    confidence = np.array([0.9, 0.2, 0.6])
    weight = np.exp((1 - confidence) / 0.1)
    assert softmin(confidence) == pytest.approx(float((confidence * weight).sum() / weight.sum()))


def test_case_self_confidence_matches_cleanlab():
    rank = pytest.importorskip("cleanlab.segmentation.rank")
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet((1, 1, 1), (20, 30)).transpose(2, 0, 1).astype(np.float32)
    labels = generator.integers(0, 3, (20, 30))
    structures = tuple(Structure(str(k), (k,), k) for k in (1, 2))
    case = Case("x", labels, probabilities, structures, None, (1.0, 1.0), "px", None)
    theirs = rank.get_label_quality_scores(labels[None], probabilities[None], verbose=False)[0][0]
    assert 1 - case_self_confidence(case) == pytest.approx(theirs, abs=1e-6)


def test_contradiction_favors_the_outline_on_the_image_edge():
    true, shifted = disk(18), disk(18, (40, 52))
    noise = np.random.default_rng(0).normal(0, 5, (80, 80))
    image = (100 * true + noise).astype(np.float32)[None]
    ratios = []
    for annotated, predicted in ((shifted, true), (true, shifted)):
        compared = pair(annotated, predicted)
        cropped = image[(slice(None), *compared.box)]
        ratios.append(image_scores(compared, cropped, structure_scores(compared, 2)["displacement"])["contrast_ratio"])
    assert ratios[0] > 2  # the prediction follows the edge, so the annotation is wrong
    assert ratios[1] < 0.5  # the annotation follows the edge


def test_empty_annotation_or_prediction():
    empty = np.zeros((80, 80), bool)
    assert compare(Prediction(ONE, empty, np.zeros((80, 80), np.float32)), (1.0, 1.0)) is None
    for annotated, predicted in ((disk(10), empty), (empty, disk(10))):
        scores = structure_scores(pair(annotated, predicted), 2)
        assert scores["hard_dice"] == 1
        assert all(math.isfinite(value) for value in scores.values())


def test_components_list_extra_and_missed_pieces():
    annotated = disk(8, (20, 20)) | disk(6, (60, 60))
    predicted = disk(8, (20, 20)) | disk(5, (20, 60))
    rows = components(pair(annotated, predicted, 0.9))
    scores = {(row["kind"], row["center"]): row["score"] for row in rows}
    assert set(scores) == {("annotated", "20.0 20.0"), ("annotated", "60.0 60.0"), ("predicted only", "20.0 60.0")}
    assert scores["annotated", "20.0 20.0"] == pytest.approx(0.05, abs=1e-6)
    assert scores["annotated", "60.0 60.0"] == pytest.approx(0.95, abs=1e-6)
    assert scores["predicted only", "20.0 60.0"] == pytest.approx(0.95, abs=1e-6)


def test_a_share_of_none_or_all_keeps_an_interval():
    """None of five wrong has a probability of 2.5 % at the upper limit; of all wrong, the same from the other side."""
    none, every = share_of(0, 5), share_of(5, 5)
    assert (none.value, none.low, every.value, every.high) == (0, 0, 1, 1)
    assert (1 - none.high) ** 5 == pytest.approx(0.025)
    assert every.low**5 == pytest.approx(0.025)
