"""The further kinds of mask noise: what beta promises, and what no kind may ever do."""

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from data_prep.mask_kinds import Structure, mask_kinds
from data_prep.mask_kinds.components import exchanged, with_holes, with_spurious, without_components
from data_prep.mask_kinds.contours import polygonal, wavering
from data_prep.mask_noise import add_mask_noise, label_values
from data_prep.spline_field import _cubic_weights, smooth_field
from tests.data_prep.conftest import ellipse

LESION = ellipse((96, 110), (24, 31), (50, 52))
ORGAN = ellipse((20, 40, 44), (7, 12, 13))
RATIOS = (0.1, 0.3, 0.6)


def generator(seed=0):
    return np.random.default_rng(seed)


def changed(noisy, clean):
    return (noisy ^ clean).sum()


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("mask", [LESION, ORGAN], ids=["lesion", "organ"])
@pytest.mark.parametrize("kind", [wavering, with_holes, with_spurious], ids=lambda kind: kind.__name__)
def test_strength_is_exact_to_the_element(kind, mask, ratio):
    for seed in range(4):
        noisy, _, note = kind(Structure(mask), ratio, generator(seed))
        tied = 2**mask.ndim if kind is with_spurious else 1  # an ellipsoid has as many points at one distance
        assert abs(changed(noisy, mask) - int(mask.sum() * ratio)) < tied + 1
        assert note == ""


def test_a_wavering_contour_moves_both_ways_and_only_near_itself():
    noisy, _, _ = wavering(Structure(LESION), 0.3, generator(1))
    added, lost = (noisy & ~LESION).sum(), (LESION & ~noisy).sum()
    assert added > 50
    assert lost > 50
    reach = scipy.ndimage.distance_transform_edt(~LESION) + scipy.ndimage.distance_transform_edt(LESION)
    assert reach[noisy ^ LESION].max() < 24  # the lesion's smaller radius


def test_a_polygon_has_the_corners_it_says_and_comes_near_its_strength():
    for ratio in (0.1, 0.25, 0.5):
        realised = [
            changed(polygonal(Structure(LESION), ratio, generator(seed))[0], LESION) / LESION.sum()
            for seed in range(12)
        ]
        assert abs(np.median(realised) - ratio) < 0.08
    noisy, parameters, _ = polygonal(Structure(LESION), 0.58, generator(0))
    assert parameters["points"] == 3
    rows, columns = np.nonzero(noisy)
    corners = scipy.spatial.ConvexHull(np.stack([rows, columns], 1), qhull_options="QJ")
    assert noisy.sum() == pytest.approx(corners.volume, rel=0.08)  # full within its hull: convex


def test_a_polygon_keeps_holes_and_pages_through_the_coarse_axis():
    ring = LESION & ~ellipse(LESION.shape, (10, 12), (50, 52))
    noisy, *_ = polygonal(Structure(ring), 0.05, generator(0))
    assert not noisy[50, 52]
    volume = np.stack([LESION] * 3)
    noisy, *_ = polygonal(Structure(volume), 0.3, generator(0))
    np.testing.assert_array_equal(noisy[0], noisy[2])
    turned, *_ = polygonal(Structure(np.moveaxis(volume, 0, 2)), 0.3, generator(0))
    np.testing.assert_array_equal(np.moveaxis(turned, 2, 0), noisy)


def test_holes_leave_the_rim():
    noisy, parameters, _ = with_holes(Structure(LESION), 0.4, generator(2))
    rim = LESION & ~scipy.ndimage.binary_erosion(LESION)
    assert noisy[rim].all()
    assert scipy.ndimage.label(LESION & ~noisy)[1] == parameters["holes"]
    thin = np.zeros((9, 9), bool)
    thin[4, 1:8] = True
    noisy, _, _ = with_holes(Structure(thin), 0.5, generator())
    np.testing.assert_array_equal(noisy, thin)


def test_whole_components_go_and_one_always_stays():
    mask = np.zeros((40, 90), bool)
    for center, radius in ((15, 12), (42, 8), (62, 5), (78, 3)):
        mask |= ellipse(mask.shape, (radius, radius), (20, center))
    labeled, count = scipy.ndimage.label(mask)
    assert count == 4
    for seed in range(12):
        for ratio in (0.01, 0.3, 0.9, 1.0):
            noisy, parameters, _ = without_components(Structure(mask), ratio, generator(seed))
            left = {value for value in range(1, 5) if noisy[labeled == value].any()}
            assert all(noisy[labeled == value].all() for value in left)
            assert len(left) == 4 - parameters["left_out"]
            assert 1 <= len(left) <= 3
    sizes = np.bincount(labeled.ravel())[1:]
    noisy, _, _ = without_components(Structure(mask), 0.5, generator(1))
    assert abs(changed(noisy, mask) / mask.sum() - 0.5) < sizes.max() / mask.sum() / 2
    large_and_small = (labeled == 1) | (labeled == 4)
    for seed in range(6):
        noisy, _, _ = without_components(Structure(large_and_small), 0.4, generator(seed))
        np.testing.assert_array_equal(noisy, labeled == 1)  # losing the large one would overshoot
    alone, _, note = without_components(Structure(LESION), 0.5, generator())
    np.testing.assert_array_equal(alone, LESION)
    assert "only one component" in note


@pytest.mark.parametrize("mask", [LESION, ORGAN], ids=["lesion", "organ"])
def test_a_spurious_component_is_one_and_apart(mask):
    for seed in range(8):
        noisy, _, _ = with_spurious(Structure(mask), 0.2, generator(seed))
        assert noisy[mask].all()
        structure = np.ones((3,) * mask.ndim)
        assert scipy.ndimage.label(noisy, structure)[1] == 2
    full, _, note = with_spurious(Structure(np.ones((8, 8), bool)), 0.5, generator())
    assert full.all()
    assert "no background" in note
    bar = np.zeros((48, 48), bool)
    bar[:, 17:31] = True  # leaves 17 columns on both sides
    cut, _, note = with_spurious(Structure(bar, spacing=(1.0, 0.2)), 0.9, generator())
    assert scipy.ndimage.label(cut & ~bar)[1] == 1
    assert note == f"less than asked: room for {changed(cut, bar)} elements in one piece"


def test_swap_exchanges_two_labels_and_nothing_else():
    mask = np.zeros((60, 90), np.uint8)
    mask[ellipse(mask.shape, (14, 14), (30, 22))] = 2
    mask[ellipse(mask.shape, (14, 14), (30, 52))] = 7
    mask[50:58, 70:88] = 9
    foreground = np.count_nonzero((mask == 2) | (mask == 7))
    for ratio in RATIOS:
        noisy, parameters, _ = exchanged(mask, [2, 7], ratio, generator())
        assert np.count_nonzero(noisy != mask) == pytest.approx(ratio * foreground, abs=1)
        assert parameters["exchanged"] == [2, 7]
        np.testing.assert_array_equal(noisy == 9, mask == 9)
        np.testing.assert_array_equal(noisy == 0, mask == 0)
    everywhere, _, _ = exchanged(mask, [2, 7], 1.0, generator())
    np.testing.assert_array_equal(everywhere == 2, mask == 7)
    np.testing.assert_array_equal(everywhere == 7, mask == 2)
    noisy, record = add_mask_noise((mask == 2).astype(np.uint8), 0.5, ["swap"])
    assert "two labels" in record.note


def test_a_smooth_field_is_smooth_and_of_order_one():
    field = smooth_field((120, 150), 5, generator())
    steps = np.abs(np.diff(field, axis=1)).max(), np.abs(np.diff(field, axis=0)).max()
    assert max(steps) < 0.2 * field.std() + 0.1
    assert 0.2 < field.std() < 1.5
    constant = np.ones(8)
    weights = _cubic_weights(37, 8)
    np.testing.assert_allclose(weights @ constant, 1)
    places = (np.arange(37) + 0.5) / 37 * 5
    np.testing.assert_allclose(weights @ np.arange(8), places + 1)  # a cubic B-spline reproduces straight lines


label_maps = arrays(
    np.uint8, st.tuples(st.integers(1, 18), st.integers(1, 18)), elements=st.sampled_from([0, 0, 0, 1, 4])
) | arrays(np.uint8, st.tuples(*[st.integers(1, 6)] * 3), elements=st.sampled_from([0, 0, 2, 200]))
NOISE = [*((kind, "corrected") for kind in mask_kinds()), ("dilate", "official"), ("affine", "official")]


@settings(max_examples=150, deadline=None)
@given(label_maps, st.floats(0, 1), st.integers(0, 2**31), st.sampled_from(NOISE), st.booleans())
def test_no_kind_empties_a_mask_or_makes_up_a_label(mask, beta, seed, noise, in_mm):
    kind, mode = noise
    spacing = (1.5,) * mask.ndim if in_mm else None
    if mode == "official" and mask.ndim == 3:
        mask = mask[0]
        spacing = spacing and spacing[1:]
    noisy, record = add_mask_noise(mask, beta, [kind], seed, "x", mode, spacing=spacing)
    again, same = add_mask_noise(mask, beta, [kind], seed, "x", mode, spacing=spacing)
    np.testing.assert_array_equal(noisy, again)
    assert record == same
    assert (noisy.dtype, noisy.shape) == (mask.dtype, mask.shape)
    assert set(label_values(noisy)) <= set(label_values(mask))
    assert noisy.any() == mask.any()
    if kind != "swap":
        assert label_values(noisy) == label_values(mask)
        both = (mask != 0) & (noisy != 0)
        np.testing.assert_array_equal(noisy[both], mask[both])
    assert record.note or not np.array_equal(noisy, mask)


@settings(max_examples=60, deadline=None)
@given(arrays(bool, (13, 15)) | arrays(bool, (4, 6, 7)), st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
def test_a_stronger_beta_changes_more_of_the_same(mask, one, other, seed):
    if mask.any():
        for kind in ("erode", "dilate", "boundary", "holes"):
            change = mask_kinds()[kind].change
            weaker, stronger = (
                change(Structure(mask), beta, generator(seed))[0] ^ mask for beta in sorted((one, other))
            )
            assert not (weaker & ~stronger).any()
