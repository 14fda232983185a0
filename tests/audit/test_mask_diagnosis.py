"""Synthetic mistakes are diagnosed with the right kind, size and direction."""

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
    """Probabilities that are confident away from the outline."""
    if predicted.ndim == 3:
        return predicted * 0.98 + 0.01
    return cv2.GaussianBlur(predicted.astype(np.float32), (0, 0), 1.0)


def diagnose_pair(annotated: np.ndarray, predicted: np.ndarray, spacing=None, others=()):
    spacing = spacing or (1.0,) * annotated.ndim
    compared = compare(Prediction(Structure("1", (1,), 1), annotated, soft(predicted).astype(np.float32)), spacing)
    assert compared is not None
    cropped = [(name, a[compared.box], p[compared.box]) for name, a, p in others]
    return diagnose(compared, "mm", cropped)


@pytest.mark.parametrize(("row", "column"), [(9, 0), (0, -12), (8, 8), (-7, 10)])
def test_shift_vector_is_recovered(row, column):
    diagnosis = diagnose_pair(disk(20, (50 + row, 50 + column)), disk(20))
    assert diagnosis.kind == "shifted"
    assert diagnosis.repair.measures["shift"] == [row, column]
    assert diagnosis.repair.after > 0.95


def test_large_structure_is_subsampled():
    diagnosis = diagnose_pair(disk(600, (720, 690), 1500), disk(600, (700, 700), 1500))
    assert diagnosis.kind == "shifted"
    assert diagnosis.repair.measures["shift"] == pytest.approx([20, -10], abs=2)


def test_shift_in_mm_on_an_anisotropic_volume():
    grid = np.stack(np.meshgrid(np.arange(14) * 4.0, np.arange(60.0), np.arange(60.0), indexing="ij"))
    ball = lambda center: ((grid - np.array(center)[:, None, None, None]) ** 2).sum(0) <= 16**2  # noqa: E731
    diagnosis = diagnose_pair(ball((32, 30, 20)), ball((28, 30, 30)), (4.0, 1.0, 1.0))
    assert diagnosis.kind == "shifted"
    assert diagnosis.repair.measures["shift"] == pytest.approx([4, 0, -10], abs=1)


@pytest.mark.parametrize(("kind", "radius"), [("eroded", 15), ("dilated", 27)])
def test_erosion_and_dilation_width_is_recovered(kind, radius):
    diagnosis = diagnose_pair(disk(radius), disk(21))
    assert diagnosis.kind == kind
    assert diagnosis.repair.measures["offset"] == pytest.approx(abs(21 - radius), abs=1)


def test_missing_part_and_added_part():
    whole = disk(24)
    rest = whole & ~disk(11, (50, 62))
    diagnosis = diagnose_pair(rest, whole)
    assert diagnosis.kind == "part missing"
    assert diagnosis.repair.measures["size"] == pytest.approx(np.count_nonzero(whole & ~rest), rel=0.15)
    hollow = whole & ~disk(12)
    assert diagnose_pair(hollow, whole).kind == "part missing"
    extra = disk(24, (40, 40)) | disk(10, (84, 84))
    diagnosis = diagnose_pair(extra, disk(24, (40, 40)))
    assert diagnosis.kind == "part added"
    assert diagnosis.repair.measures["size"] == pytest.approx(np.count_nonzero(disk(10, (84, 84))), rel=0.15)


def test_triangle_instead_of_disk_is_a_coarse_outline():
    corners = np.array([[50 + 24 * np.sin(a), 50 + 24 * np.cos(a)] for a in (0, 2.1, 4.2)]).round().astype(int)
    triangle = cv2.fillPoly(np.zeros((100, 100), np.uint8), [corners], 1).astype(bool)
    diagnosis = diagnose_pair(triangle, disk(24))
    assert diagnosis.kind == "coarse outline"
    assert "3 corners" in diagnosis.text


def test_swap_names_the_other_label():
    left, right = disk(14, (50, 30)), disk(14, (50, 70))
    diagnosis = diagnose_pair(right, left, others=[("2", left, right)])
    assert diagnosis.kind == "swapped"
    assert diagnosis.repair.measures["with"] == "2"


def test_annotation_without_prediction_and_the_reverse():
    nothing = np.zeros((100, 100), bool)
    assert diagnose_pair(disk(12), nothing).kind == "part added"
    assert diagnose_pair(nothing, disk(12)).kind == "part missing"


def test_random_specks_are_not_diagnosed_as_erosion():
    specks = np.zeros((100, 100), bool)
    specks[10:90:8, 45:90:8] = True
    diagnosis = diagnose_pair(disk(9, (50, 25)), cv2.dilate(specks.astype(np.uint8), np.ones((5, 5))) > 0)
    assert diagnosis.kind == "coarse outline"
