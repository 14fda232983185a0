"""Mistakes made on purpose are recognized, with the right size and direction."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from seg_anl.audit.cases import Prediction, Structure
from seg_anl.audit.diagnosis import diagnose
from seg_anl.audit.scores import compare


def disk(radius: float, center=(50.0, 50.0), size: int = 100) -> np.ndarray:
    rows, columns = np.ogrid[:size, :size]
    return (rows - center[0]) ** 2 + (columns - center[1]) ** 2 <= radius**2


def soft(predicted: np.ndarray) -> np.ndarray:
    """A prediction that is sure away from the outline."""
    if predicted.ndim == 3:
        return predicted * 0.98 + 0.01
    return cv2.GaussianBlur(predicted.astype(np.float32), (0, 0), 1.0)


def found(annotated: np.ndarray, predicted: np.ndarray, spacing=None, others=()):
    spacing = spacing or (1.0,) * annotated.ndim
    both = compare(Prediction(Structure("1", (1,), 1), annotated, soft(predicted).astype(np.float32)), spacing)
    assert both is not None
    cut = [(name, a[both.box], p[both.box]) for name, a, p in others]
    return diagnose(both, "mm", cut)


@pytest.mark.parametrize(("row", "column"), [(9, 0), (0, -12), (8, 8), (-7, 10)])
def test_shifted_by_the_right_vector(row, column):
    told = found(disk(20, (50 + row, 50 + column)), disk(20))
    assert told.kind == "shifted"
    assert told.repair.measures["shift"] == [row, column]
    assert told.repair.after > 0.95


def test_a_large_structure_is_diagnosed_on_a_coarser_grid():
    told = found(disk(600, (720, 690), 1500), disk(600, (700, 700), 1500))
    assert told.kind == "shifted"
    assert told.repair.measures["shift"] == pytest.approx([20, -10], abs=2)


def test_shift_in_mm_on_an_anisotropic_volume():
    grid = np.stack(np.meshgrid(np.arange(14) * 4.0, np.arange(60.0), np.arange(60.0), indexing="ij"))
    ball = lambda center: ((grid - np.array(center)[:, None, None, None]) ** 2).sum(0) <= 16**2  # noqa: E731
    told = found(ball((32, 30, 20)), ball((28, 30, 30)), (4.0, 1.0, 1.0))
    assert told.kind == "shifted"
    assert told.repair.measures["shift"] == pytest.approx([4, 0, -10], abs=1)


@pytest.mark.parametrize(("kind", "radius"), [("eroded", 15), ("dilated", 27)])
def test_grown_and_shrunk_by_the_right_width(kind, radius):
    told = found(disk(radius), disk(21))
    assert told.kind == kind
    assert told.repair.measures["offset"] == pytest.approx(abs(21 - radius), abs=1)


def test_a_part_missing_and_a_part_added():
    whole = disk(24)
    rest = whole & ~disk(11, (50, 62))
    told = found(rest, whole)
    assert told.kind == "part missing"
    assert told.repair.measures["size"] == pytest.approx(np.count_nonzero(whole & ~rest), rel=0.15)
    hollow = whole & ~disk(12)
    assert found(hollow, whole).kind == "part missing"
    extra = disk(24, (40, 40)) | disk(10, (84, 84))
    told = found(extra, disk(24, (40, 40)))
    assert told.kind == "part added"
    assert told.repair.measures["size"] == pytest.approx(np.count_nonzero(disk(10, (84, 84))), rel=0.15)


def test_a_triangle_in_place_of_a_disk_is_a_coarse_outline():
    corners = np.array([[50 + 24 * np.sin(a), 50 + 24 * np.cos(a)] for a in (0, 2.1, 4.2)]).round().astype(int)
    triangle = cv2.fillPoly(np.zeros((100, 100), np.uint8), [corners], 1).astype(bool)
    told = found(triangle, disk(24))
    assert told.kind == "coarse outline"
    assert "3 corners" in told.text


def test_swapped_with_the_label_that_lies_there():
    left, right = disk(14, (50, 30)), disk(14, (50, 70))
    told = found(right, left, others=[("2", left, right)])
    assert told.kind == "swapped"
    assert told.repair.measures["with"] == "2"


def test_annotated_without_a_prediction_and_the_reverse():
    nothing = np.zeros((100, 100), bool)
    assert found(disk(12), nothing).kind == "part added"
    assert found(nothing, disk(12)).kind == "part missing"


def test_specks_of_a_network_that_knows_nothing_do_not_make_a_mask_eroded():
    specks = np.zeros((100, 100), bool)
    specks[10:90:8, 45:90:8] = True
    told = found(disk(9, (50, 25)), cv2.dilate(specks.astype(np.uint8), np.ones((5, 5))) > 0)
    assert told.kind == "coarse outline"
