"""Erosion, dilation and displacement to the pixel: brute force, symmetry, and the ends of their ranges."""

import random

import numpy as np
import pytest
import scipy.ndimage
import skimage.transform
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from data_prep.mask_kinds.affine import PUBLISHED_DIRECTIONS, PublishedDraw, displaced, published_affine
from data_prep.mask_kinds.morphology import dilated, eroded
from tests.data_prep.conftest import ellipse

SQUARE = np.pad(np.ones((10, 10), bool), 30)


def nearest_state(states, target, forbidden):
    """The published rule over a list of masks: the first that reaches the target, or the one before if nearer."""
    areas = [int(state.sum()) for state in states]
    shrinking = areas[0] > target
    reached = [i for i, a in enumerate(areas) if (a <= target if shrinking else a >= target) or a == forbidden]
    last = reached[0] if reached else len(states) - 1
    earlier = last > 0 and (areas[last] == forbidden or abs(areas[last - 1] - target) < abs(areas[last] - target))
    return states[last - 1] if earlier else states[last]


@pytest.mark.parametrize(
    ("shape", "confined"), [((11, 9), False), ((11, 9), True), ((4, 5, 6), False), ((4, 5, 6), True)]
)
def test_a_ball_equals_thresholds_of_the_whole_distance_map(shape, confined):
    spacing = (0.71234567, *[1.0] * (len(shape) - 1))
    for seed in range(8):
        generator = np.random.default_rng(seed)
        mask, ratio = generator.random(shape) < 0.1 + 0.1 * seed, float(generator.uniform(0.2, 1))
        area = int(mask.sum())
        distance = scipy.ndimage.distance_transform_edt(~mask, sampling=spacing)
        free = generator.random(shape) < 0.5 if confined else None
        if free is not None:
            distance[~(free | mask)] = np.inf
        grown, found = dilated(mask, ratio, spacing, free)
        states = [distance <= radius for radius in np.unique(distance[np.isfinite(distance)])]
        np.testing.assert_array_equal(grown, nearest_state(states, area + int(area * ratio), mask.size))
        assert found["radius_mm"] == round(distance[grown].max(), 6)
        depth = scipy.ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing)[(slice(1, -1),) * mask.ndim]
        states = [mask, *(depth > radius for radius in np.unique(depth[mask]))]
        shrunk, found = eroded(mask, ratio, spacing)
        np.testing.assert_array_equal(shrunk, nearest_state(states, area - int(area * ratio), 0))
        assert found["radius_mm"] == round(depth[mask & ~shrunk].max(initial=0), 6)


@pytest.mark.parametrize("guess", [None, 1.0, 2.0])
@pytest.mark.parametrize("shape", [(70, 64), (16, 30, 34)])
def test_growth_in_a_window_equals_growth_in_the_whole_array(shape, guess, monkeypatch):
    """Thin and scattered masks in a large array: the window around them must be widened until it is enough."""
    if guess is not None:  # how far the first window reaches
        monkeypatch.setattr("data_prep.mask_kinds.morphology._expected_reach", lambda *_: guess)
    generator = np.random.default_rng(0)
    for turn in range(12):
        mask = np.zeros(shape, bool)
        for _ in range(1 + turn % 3):
            corner = [int(generator.integers(length - 6)) for length in shape]
            mask[tuple(slice(c, c + int(generator.integers(1, 6))) for c in corner)] = True
        ratio, area = 0.3 + 0.06 * turn, int(mask.sum())
        if int(area * ratio) == 0:
            continue
        steps = scipy.ndimage.distance_transform_cdt(~mask, metric="taxicab")
        mm = scipy.ndimage.distance_transform_edt(~mask, sampling=(3.0, *[0.5] * (mask.ndim - 1)))
        for distance, spacing in ((steps, None), (mm, (3.0, *[0.5] * (mask.ndim - 1)))):
            states = [distance <= level for level in np.unique(distance)]
            expected = nearest_state(states, area + int(area * ratio), mask.size)
            np.testing.assert_array_equal(dilated(mask, ratio, spacing)[0], expected)


def test_a_window_that_was_guessed_too_small_is_widened():
    mask = ellipse((300, 700), (40, 40), (150, 120))
    mask[150, 600] = True  # a box that is mostly empty
    distance = scipy.ndimage.distance_transform_cdt(~mask, metric="taxicab")
    states = [distance <= level for level in range(80)]
    np.testing.assert_array_equal(dilated(mask, 1.0)[0], nearest_state(states, 2 * int(mask.sum()), mask.size))
    square, far = np.zeros((120, 120), bool), np.zeros((120, 120), bool)
    square[20:30, 20:30], far[24:26, 70:] = True, True  # the only room lies farther off than a free ball would reach
    grown, found = dilated(square, 0.78, (1.0, 1.0), far)
    expected = square.copy()
    expected[24:26, 70:109] = True  # 78 elements, the nearest ones
    np.testing.assert_array_equal(grown, expected)
    assert found == {"radius_mm": 79.0}


@pytest.mark.parametrize("change", [eroded, dilated])
def test_flips_and_turns_of_the_mask_turn_the_result(change):
    mask = ellipse((40, 46), (9, 13), (17, 20)) & ~ellipse((40, 46), (3, 2), (19, 16))
    expected, parameters = change(mask, 0.4)
    for turn in (np.flipud, np.fliplr, np.transpose, np.rot90):
        result, same = change(np.ascontiguousarray(turn(mask)), 0.4)
        np.testing.assert_array_equal(result, turn(expected))
        assert same == parameters
    once, _ = change(mask, 0.4, (1.0, 1.0))
    scaled, _ = change(mask, 0.4, (2.5, 2.5))
    np.testing.assert_array_equal(once, scaled)


def test_the_number_of_steps_is_that_of_the_formula():
    for steps in range(1, 5):
        removed = 100 - (10 - 2 * steps) ** 2
        assert eroded(SQUARE, removed / 100)[1] == {"steps": steps}
    assert dilated(SQUARE, (40 + 44) / 100)[1] == {"steps": 2}  # by the sides, then sides and the corners' diagonals
    with_a_gap = np.zeros_like(SQUARE)
    with_a_gap[[40, 42], 30:40] = True
    assert dilated(SQUARE, 0.1, free=with_a_gap)[1] == {"steps": 1}  # not the steps across the gap as well


def test_nothing_to_do_and_nowhere_to_go():
    empty, full = np.zeros((7, 8), bool), np.ones((7, 8), bool)
    for mask in (empty, full):
        assert dilated(mask, 0.6)[1] == {"steps": 0}
        np.testing.assert_array_equal(dilated(mask, 0.6)[0], mask)
    assert not eroded(empty, 0.6)[0].any()
    assert eroded(SQUARE, 0.005)[1] == dilated(SQUARE, 0.005)[1] == {"steps": 0}
    np.testing.assert_array_equal(dilated(SQUARE, 0.6, free=np.zeros_like(SQUARE))[0], SQUARE)
    assert eroded(SQUARE, 0.1, (1.0, 1.0))[1] == {"radius_mm": 0.0}  # 36 of 100 would go at once
    one_more = dilated(full ^ np.pad(np.ones((1, 1), bool), ((0, 6), (0, 7))), 1.0)[0]
    assert not one_more.all()


def test_the_published_search_at_its_ends():
    moved, found = published_affine(SQUARE, 0.4, PublishedDraw(0.0, (0, 1)))
    np.testing.assert_array_equal(moved, np.roll(SQUARE, 2, 1))  # 2 of 10 columns on each side differ: met exactly
    assert found == {"angle": 0.0, "direction": [0, 1], "shift": 2}
    assert published_affine(SQUARE, 0.01, PublishedDraw(0.0, (0, 1)))[1]["shift"] == 0
    huge = np.pad(np.ones((300, 300), bool), 100)
    assert published_affine(huge, 1.0, PublishedDraw(0.0, (1, 0)))[1]["shift"] == 99  # the last probe below 100
    with pytest.raises(ValueError, match="only 2-D masks"):
        published_affine(np.ones((3, 3, 3), bool), 0.5, PublishedDraw(0.0, (0, 1)))
    assert PUBLISHED_DIRECTIONS == ((1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, 1), (0, -1), (1, -1))


def iterated(mask, step):
    states = [mask]
    while not np.array_equal(step(states[-1]), states[-1]):
        states.append(step(states[-1]))
    return states


@settings(max_examples=60, deadline=None)
@given(
    arrays(bool, st.tuples(st.integers(2, 24), st.integers(2, 24))) | arrays(bool, (5, 6, 7)),
    st.floats(0, 1),
)
def test_erosion_and_dilation_equal_iterated_scipy(mask, ratio):
    if mask.any() and int(mask.sum() * ratio) > 0:
        area, change = int(mask.sum()), int(mask.sum() * ratio)
        expected = nearest_state(iterated(mask, scipy.ndimage.binary_erosion), area - change, 0)
        np.testing.assert_array_equal(eroded(mask, ratio)[0], expected)
        if not mask.all():
            expected = nearest_state(iterated(mask, scipy.ndimage.binary_dilation), area + change, mask.size)
            np.testing.assert_array_equal(dilated(mask, ratio)[0], expected)


def test_distances_beyond_eight_bits_count():
    mask = np.zeros((10, 700), bool)
    mask[:, :350] = True
    assert dilated(mask, 0.9)[0].sum() == 350 * 10 + 315 * 10
    assert eroded(np.pad(mask, ((300, 300), (0, 0)), mode="edge"), 0.95)[0].any()


def test_displacement_keeps_the_area_and_goes_all_eight_ways():
    mask = ellipse((256, 256), (25, 18))
    seen = set()
    for seed in range(200):
        moved, parameters = displaced(mask, 0.5, np.random.default_rng(seed))
        assert abs(int(moved.sum()) - int(mask.sum())) <= 0.02 * mask.sum()
        offset = np.array(scipy.ndimage.center_of_mass(moved)) - scipy.ndimage.center_of_mass(mask)
        direction = np.array(parameters["direction"])
        np.testing.assert_allclose(offset, parameters["shift"] * direction, atol=0.6)
        seen.add(tuple(direction))
    assert len(seen) == 8


def test_displacement_of_a_volume_turns_it_in_space():
    mask = ellipse((24, 60, 60), (4, 22, 11))
    moved, parameters = displaced(mask, 0.6, np.random.default_rng(3), (2.5, 1.0, 1.0))
    assert (moved ^ mask).sum() / mask.sum() == pytest.approx(0.6, abs=0.08)
    assert moved.sum() == pytest.approx(mask.sum(), rel=0.08)
    assert np.linalg.norm(parameters["axis"]) == pytest.approx(1.0, abs=1e-5)
    for nothing, ratio in ((np.zeros((9, 9), bool), 0.5), (SQUARE, 0.0)):
        moved, found = displaced(nothing, ratio, np.random.default_rng(0))
        np.testing.assert_array_equal(moved, nothing)
        assert (found["angle"], found["shift"]) == (0.0, 0)


def test_rotation_agrees_with_scipy():
    mask = ellipse((81, 81), (30, 12)) | ellipse((81, 81), (6, 6), (22, 46))
    moved, parameters = displaced(mask, 1.0, np.random.default_rng(5))
    center = np.array(scipy.ndimage.center_of_mass(mask))
    turn = np.deg2rad(parameters["angle"])
    backward = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    target = center + np.array(parameters["direction"]) * parameters["shift"]
    expected = scipy.ndimage.affine_transform(mask.astype(np.uint8), backward, center - backward @ target, order=0)
    np.testing.assert_array_equal(moved, expected.astype(bool))
    turned = scipy.ndimage.affine_transform(mask.astype(np.uint8), backward, center - backward @ center, order=0) > 0
    _, found = displaced(mask, (turned ^ mask).sum() / mask.sum(), np.random.default_rng(5))
    assert (found["angle"], found["shift"]) == (parameters["angle_drawn"], 0)  # the whole angle is just allowed


def published_by_hand(mask, ratio, angle, direction):
    """The published search, told again: pad, place at the absolute offset, crop, compare; keep the last probe."""
    rotated = skimage.transform.rotate(mask.astype(float), angle).astype(np.uint8)
    height, width = mask.shape
    low, high = 0, 100
    while low < high:
        middle = (low + high) // 2
        down, right = abs(middle * direction[0]), abs(middle * direction[1])
        sheet = np.zeros((height + down, width + right), np.uint8)
        sheet[down : down + height, right : right + width] = rotated
        probe = sheet[:height, :width]
        share = (probe != mask).sum() / mask.sum()
        if share == ratio:
            break
        low, high = (low, middle - 1) if share > ratio else (middle + 1, high)
    return probe.astype(bool)


def test_the_published_displacement_is_repeated_with_its_faults():
    stream = random.Random(4)
    for _ in range(25):
        draw = PublishedDraw.from_stream(stream)
        mask = ellipse((96, 96), (stream.uniform(4, 20), stream.uniform(4, 20)))
        result, _ = published_affine(mask, 0.7, draw)
        np.testing.assert_array_equal(result, published_by_hand(mask, 0.7, draw.angle, draw.direction))
    up = published_affine(ellipse((96, 96), (15, 15)), 0.7, PublishedDraw(0.0, (-1, 0)))[0]
    assert scipy.ndimage.center_of_mass(up)[0] > 47.5  # the sign is ignored: it moved down
    assert PUBLISHED_DIRECTIONS.count((-1, 1)) == 2
    assert (-1, -1) not in PUBLISHED_DIRECTIONS
