"""Mask noise against published results, brute-force iteration and properties that any annotation noise must have."""

import random
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import skimage.transform
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from data_prep.mask_kinds.affine import PUBLISHED_DIRECTIONS, PublishedDraw, displaced, published_affine
from data_prep.mask_kinds.morphology import dilate, dilated, erode, eroded
from data_prep.mask_noise import add_mask_noise, label_values, noisy_dataset, plan_noise
from seg_anl.records import array_digest

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT.parent / "shared" / "golden" / "mask_noise.npz"
SMALL_COPY = ROOT / "tests" / "data" / "mask_noise_small.npz"


@pytest.fixture(scope="module")
def golden():
    file = np.load(PUBLISHED if PUBLISHED.exists() else SMALL_COPY)
    return {
        name: np.unpackbits(file[name], axis=-1) if file[name].dtype == np.uint8 else file[name] for name in file.files
    }


def ball(shape, radii, center=None):
    center = [(n - 1) / 2 for n in shape] if center is None else center
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, center, radii, strict=True)) <= 1


def iterated(mask, ratio, step, target_sign):
    """The published rule, one scipy step after the other."""
    area = int(mask.sum())
    target = area + target_sign * int(area * ratio)
    state = previous = mask
    useless = mask.size if target_sign > 0 else 0
    while target_sign * (target - state.sum()) > 0 and state.sum() != useless:
        previous, state = state, step(state)
    if state.sum() == useless:
        return previous
    return previous if abs(int(previous.sum()) - target) < abs(int(state.sum()) - target) else state


@pytest.mark.parametrize("ratio", [0.5, 0.7])
@pytest.mark.parametrize(("kind", "function"), [("erode", erode), ("dilate", dilate)])
def test_equals_the_published_masks_bit_for_bit(golden, kind, function, ratio):
    for clean, expected in zip(golden["clean"], golden[f"{kind}_{ratio}"], strict=True):
        np.testing.assert_array_equal(function(clean, ratio), expected)
        for mode in ("corrected", "official"):
            np.testing.assert_array_equal(add_mask_noise(clean, ratio, [kind], mode=mode)[0], expected)


def test_the_small_copy_is_part_of_the_published_file(golden):
    small = np.load(SMALL_COPY)
    names = list(golden["ids"])
    for position, name in enumerate(small["ids"]):
        np.testing.assert_array_equal(
            np.unpackbits(small["dilate_0.7"][position], axis=-1), golden["dilate_0.7"][names.index(name)]
        )


@settings(max_examples=60, deadline=None)
@given(
    arrays(bool, st.tuples(st.integers(2, 24), st.integers(2, 24))) | arrays(bool, (5, 6, 7)),
    st.floats(0, 1),
)
def test_erosion_and_dilation_equal_iterated_scipy(mask, ratio):
    if mask.any() and int(mask.sum() * ratio) > 0:
        np.testing.assert_array_equal(eroded(mask, ratio)[0], iterated(mask, ratio, scipy.ndimage.binary_erosion, -1))
        if not mask.all():
            expected = iterated(mask, ratio, scipy.ndimage.binary_dilation, 1)
            np.testing.assert_array_equal(dilated(mask, ratio)[0], expected)


def test_distances_beyond_eight_bits_count():
    mask = np.zeros((600, 600), bool)
    mask[:, 0] = True
    assert dilated(mask, 1.0)[0].sum() == 1200
    wide = np.zeros((600, 900), bool)
    wide[:, :600] = True
    deep = eroded(wide, 0.9)[0]
    assert 0 < deep.sum() < 0.15 * wide.sum()
    mask = np.zeros((10, 700), bool)
    mask[:, :350] = True
    assert dilated(mask, 0.9)[0].sum() == 350 * 10 + 315 * 10


def test_a_ball_in_millimeters_is_round_in_space():
    spacing = (5.0, 1.0, 1.0)
    mask = ball((15, 61, 61), (2, 10, 10))
    grown, parameters = dilated(mask, 1.0, spacing)
    assert grown.sum() == pytest.approx(2 * mask.sum(), rel=0.08)
    reach = scipy.ndimage.distance_transform_edt(~mask, sampling=spacing)
    np.testing.assert_array_equal(grown, reach <= parameters["radius_mm"] + 1e-6)
    rows, slices = (np.flatnonzero(grown.any(axis=axes)) for axes in ((0, 2), (1, 2)))
    assert rows.size > np.flatnonzero(mask.any(axis=(0, 2))).size
    assert slices.size == np.flatnonzero(mask.any(axis=(1, 2))).size  # 5 mm slices: out of reach
    shrunk, _ = eroded(mask, 0.5, spacing)
    assert shrunk.sum() == pytest.approx(0.5 * mask.sum(), rel=0.15)
    assert not (shrunk & ~mask).any()


def test_displaced_lesions_reach_the_strength_asked_for():
    generator = np.random.default_rng(0)
    for ratio in (0.3, 0.5, 0.7):
        realised = []
        for _ in range(80):
            radii = generator.uniform(13, 60, 2)
            mask = ball((256, 256), radii, generator.uniform(70, 186, 2))
            assert mask.sum() > 500
            moved, _ = displaced(mask, ratio, generator)
            realised.append((moved ^ mask).sum() / mask.sum())
        assert abs(np.median(realised) - ratio) < 0.03


def test_displaced_real_lesions_have_the_strength_that_was_found_for_them(golden):
    """Published search at beta 0.7 on 120 real masks of 256 pixels: median 0.695, 10 % 0.648, 90 % 0.724."""
    lesions = [mask for mask in golden["clean"] if mask.sum() > 500]
    for mode, tolerance in (("corrected", 0.03), ("official", 0.05)):
        realised = [
            add_mask_noise(mask, 0.7, ["affine"], seed, str(number), mode)[1].realised
            for seed in range(5)
            for number, mask in enumerate(lesions)
        ]
        assert abs(np.median(realised) - (0.7 if mode == "corrected" else 0.695)) < tolerance


def test_displacement_keeps_the_area_and_goes_all_eight_ways():
    mask = ball((256, 256), (25, 18))
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
    mask = ball((24, 60, 60), (4, 22, 11))
    spacing = (2.5, 1.0, 1.0)
    moved, parameters = displaced(mask, 0.6, np.random.default_rng(3), spacing)
    assert (moved ^ mask).sum() / mask.sum() == pytest.approx(0.6, abs=0.08)
    assert moved.sum() == pytest.approx(mask.sum(), rel=0.08)
    assert np.linalg.norm(parameters["axis"]) == pytest.approx(1.0, abs=1e-5)


def test_rotation_agrees_with_scipy():
    mask = ball((81, 81), (30, 12)) | ball((81, 81), (6, 6), (22, 46))
    moved, parameters = displaced(mask, 1.0, np.random.default_rng(5))
    center = np.array(scipy.ndimage.center_of_mass(mask))
    turn = np.deg2rad(parameters["angle"])
    backward = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    target = center + np.array(parameters["direction"]) * parameters["shift"]
    expected = scipy.ndimage.affine_transform(mask.astype(np.uint8), backward, center - backward @ target, order=0)
    np.testing.assert_array_equal(moved, expected.astype(bool))


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
        mask = ball((96, 96), (stream.uniform(4, 20), stream.uniform(4, 20)))
        result, _ = published_affine(mask, 0.7, draw)
        np.testing.assert_array_equal(result, published_by_hand(mask, 0.7, draw.angle, draw.direction))
    up = published_affine(ball((96, 96), (15, 15)), 0.7, PublishedDraw(0.0, (-1, 0)))[0]
    assert scipy.ndimage.center_of_mass(up)[0] > 47.5  # the sign is ignored: it moved down
    assert PUBLISHED_DIRECTIONS.count((-1, 1)) == 2
    assert (-1, -1) not in PUBLISHED_DIRECTIONS


def test_official_draws_are_those_of_one_sequential_stream():
    ids = [f"ISIC_{number:04d}" for number in range(40)]
    stream = random.Random(3)
    shuffled = list(ids)
    stream.shuffle(shuffled)
    noisy = shuffled[:28]
    expected = {}
    for item in ids:
        if item in noisy:
            expected[item] = stream.choice(["dilate", "erode", "affine"])
            if expected[item] == "affine":
                stream.uniform(-30, 30)
                stream.choice(range(8))
    plan = plan_noise(ids[::-1], alpha=0.7, seed=3, mode="official")
    assert {item.item: item.kind for item in plan if item.kind != "none"} == expected
    weaker = plan_noise(ids, alpha=0.3, seed=3, mode="official")
    assert {item.item for item in weaker if item.kind != "none"} < set(expected)


def test_a_dataset_gets_exactly_its_share_and_nested_sets():
    ids = [f"case_{number}" for number in range(41)]
    masks = [ball((40, 40), (8, 11)).astype(np.uint8)] * 41
    chosen = {}
    for alpha in (0.0, 0.3, 0.5, 0.7, 1.0):
        noisy, records = noisy_dataset(masks, ids, alpha=alpha, beta=0.5)
        changed = {record.item: record for record in records if record.kind != "none"}
        assert len(changed) == round(alpha * 41)
        chosen[alpha] = changed
        for mask, clean, record in zip(noisy, masks, records, strict=True):
            assert (record.kind == "none") == bool(np.array_equal(mask, clean))
            assert record.source_sha256 == array_digest(clean)
            assert record.result_sha256 == array_digest(mask)
            assert record.realised == pytest.approx((mask != clean).sum() / clean.sum())
    assert chosen[0.3].items() <= chosen[0.5].items() <= chosen[0.7].items() <= chosen[1.0].items()


def test_what_happens_to_an_item_does_not_depend_on_the_others():
    masks = [ball((50, 50), (8 + n, 12)).astype(np.uint8) for n in range(12)]
    ids = [f"a/{n}" for n in range(12)]
    whole, records = noisy_dataset(masks, ids, alpha=1.0, beta=0.6, seed=9)
    backwards, _ = noisy_dataset(masks[::-1], ids[::-1], alpha=1.0, beta=0.6, seed=9)
    for mask, clean, item, record in zip(whole, masks, ids, records, strict=True):
        alone, record_alone = add_mask_noise(clean, 0.6, seed=9, item_id=item)
        np.testing.assert_array_equal(mask, alone)
        assert record == record_alone
    for mask, other in zip(whole, backwards[::-1], strict=True):
        np.testing.assert_array_equal(mask, other)
    assert {record.kind for record in records} == {"erode", "dilate", "affine"}


@pytest.mark.parametrize("mode", ["corrected", "official"])
def test_an_encoding_as_255_or_as_a_single_slice_gets_the_same_noise(mode):
    mask = ball((64, 64), (12, 17)).astype(np.uint8)
    for item in "abcdef":
        noisy, _ = add_mask_noise(mask, 0.7, item_id=item, mode=mode)
        bright, _ = add_mask_noise(mask * np.uint8(255), 0.7, item_id=item, mode=mode)
        np.testing.assert_array_equal(bright, noisy * np.uint8(255))
        for axis in range(3):
            slab, _ = add_mask_noise(np.expand_dims(mask, axis), 0.7, item_id=item, mode=mode)
            np.testing.assert_array_equal(slab, np.expand_dims(noisy, axis))


def four_labels(dtype=np.int16):
    labels = np.zeros((20, 48, 48), dtype)
    for value, center in zip((1, 2, 5, 9), ((16, 16), (16, 30), (30, 16), (32, 33)), strict=True):
        labels[ball(labels.shape, (7, 8, 8), (10, *center)) & (labels == 0)] = value
    return labels


@pytest.mark.parametrize("kind", ["erode", "dilate", "affine"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_labels_never_overwrite_each_other(kind, dtype):
    clean = four_labels(dtype)
    noisy, record = add_mask_noise(clean, 0.6, [kind], item_id="x")
    assert noisy.dtype == clean.dtype
    assert label_values(noisy) == [1, 2, 5, 9]
    both = (clean != 0) & (noisy != 0)
    np.testing.assert_array_equal(noisy[both], clean[both])
    assert set(record.parameters) == {"1", "2", "5", "9"}
    assert record.realised > 0.2


def test_the_lower_label_has_a_background_element_both_reach_for():
    clean = np.zeros((9, 30), np.uint8)
    clean[:, 2:12], clean[:, 13:23] = 3, 7
    noisy, _ = add_mask_noise(clean, 0.3, ["dilate"])
    assert set(noisy[:, 12]) == {3}


def test_only_the_labels_asked_for_change():
    clean = four_labels()
    every, _ = add_mask_noise(clean, 0.5, ["erode"], item_id="x")
    some, record = add_mask_noise(clean, 0.5, ["erode"], item_id="x", labels=[2, 9])
    for value in (1, 5):
        np.testing.assert_array_equal(some == value, clean == value)
    for value in (2, 9):
        np.testing.assert_array_equal(some == value, every == value)
    assert set(record.parameters) == {"2", "9"}
    untouched, record = add_mask_noise(clean, 0.5, ["erode"], labels=[77])
    np.testing.assert_array_equal(untouched, clean)
    assert "77" in record.note


@pytest.mark.parametrize("mode", ["corrected", "official"])
@pytest.mark.parametrize("kind", ["erode", "dilate", "affine"])
def test_what_cannot_be_changed_comes_back_with_a_reason(kind, mode):
    empty = np.zeros((16, 16), np.uint8)
    noisy, record = add_mask_noise(empty, 0.7, [kind], mode=mode)
    np.testing.assert_array_equal(noisy, empty)
    assert (record.note, record.realised) == ("empty mask", 0.0)
    dot = empty.copy()
    dot[5, 5] = 1
    noisy, record = add_mask_noise(dot, 0.5, [kind], mode=mode)
    assert noisy.any()
    assert (record.realised > 0) or record.note.startswith("unchanged")
    full = np.ones((16, 16), np.uint8)
    noisy, record = add_mask_noise(full, 0.5, [kind], mode=mode)
    assert noisy.any()
    assert kind != "dilate" or record.note.startswith("unchanged")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"ratio": 1.5}, "beta"),
        ({"ratio": float("nan")}, "beta"),
        ({"kinds": ["erod"]}, "did you mean 'erode'"),
        ({"kinds": []}, "no kind"),
        ({"mode": "oficial"}, "did you mean 'official'"),
        ({"mask": np.zeros((2, 3, 4, 5), np.uint8)}, "two or three dimensions"),
        ({"mask": np.zeros(7, np.uint8)}, "two or three dimensions"),
        ({"mask": np.full((4, 4), 0.5)}, "fractions"),
        ({"mask": np.full((4, 4), np.nan)}, "fractions"),
        ({"mask": np.full((4, 4), -1)}, "negative"),
        ({"spacing": (1.0, 0.0)}, "spacing"),
        ({"mask": np.ones((4, 4, 4)), "mode": "official", "kinds": ["affine"]}, "2-D"),
    ],
)
def test_wrong_arguments_say_what_is_wrong(arguments, words):
    with pytest.raises(ValueError, match=words) as caught:
        add_mask_noise(**{"mask": np.ones((8, 8), np.uint8), "ratio": 0.5, **arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"alpha": -0.1}, "alpha"), ({"beta": 2}, "beta"), ({"ids": ["a", "a"]}, "'a'"), ({"ids": ["a"]}, "1 ids")],
)
def test_wrong_dataset_settings_say_what_is_wrong(arguments, words):
    masks = [np.ones((8, 8), np.uint8)] * 2
    with pytest.raises(ValueError, match=words):
        noisy_dataset(masks, **{"ids": ["a", "b"], "alpha": 0.5, "beta": 0.5, **arguments})


def test_a_dataset_of_one_is_noisy_or_not_as_rounding_says():
    mask = [np.pad(np.ones((9, 9), np.uint8), 9)]
    assert noisy_dataset(mask, ["x"], alpha=0.4, beta=0.5)[1][0].kind == "none"
    assert noisy_dataset(mask, ["x"], alpha=0.6, beta=0.5)[1][0].kind != "none"


label_maps = arrays(
    np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=st.sampled_from([0, 0, 0, 1, 4])
) | arrays(np.uint8, st.tuples(*[st.integers(1, 6)] * 3), elements=st.sampled_from([0, 0, 2, 200]))


@settings(max_examples=80, deadline=None)
@given(label_maps, st.floats(0, 1), st.integers(0, 2**31), st.sampled_from(["corrected", "official"]))
def test_random_masks_keep_their_labels_and_repeat(mask, beta, seed, mode):
    kinds = ["erode", "dilate"] if mode == "official" and mask.ndim == 3 else ["erode", "dilate", "affine"]
    noisy, record = add_mask_noise(mask, beta, kinds, seed, "x", mode)
    again, same = add_mask_noise(mask, beta, kinds, seed, "x", mode)
    np.testing.assert_array_equal(noisy, again)
    assert record == same
    assert label_values(noisy) == label_values(mask)
    both = (mask != 0) & (noisy != 0)
    np.testing.assert_array_equal(noisy[both], mask[both])
    assert record.note or not np.array_equal(noisy, mask)


@settings(max_examples=40, deadline=None)
@given(arrays(bool, (17, 15)), st.floats(0, 1), st.floats(0, 1))
def test_strength_is_monotone_for_erosion_and_dilation(mask, one, other):
    weak, strong = sorted((one, other))
    for change in (eroded, dilated):
        weaker, stronger = ((change(mask, beta)[0] ^ mask) for beta in (weak, strong))
        assert not (weaker & ~stronger).any()
