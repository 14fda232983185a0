"""Noise must stay what it was: digests of every kind's results on small masks, taken from the first release."""

import numpy as np
import pytest

from data_prep.mask_noise import add_mask_noise, noisy_dataset
from seg_anl.records import array_digest
from tests.data_prep.conftest import ellipse


def pictures():
    """Eight masks: several labels, one label, touching the edge, with a hole, of two parts."""
    masks = []
    for number in range(8):
        mask = np.zeros((46, 58), np.uint8)
        mask[ellipse(mask.shape, (6 + number, 12), (18, 16 + number))] = 1
        if number % 2:
            mask[ellipse(mask.shape, (9, 5 + number), (30, 42))] = 3
        if number % 4 == 2:
            mask[ellipse(mask.shape, (3, 4), (18, 16 + number))] = 0
        if number % 4 == 1:
            mask[:12] = 0
            mask[40:44, 3:9] = 1
        masks.append(mask)
    return masks


def volumes():
    """Three volumes of two labels, of different shapes."""
    masks = []
    for number in range(3):
        mask = np.zeros((11 + number, 22, 26 - number), np.uint8)
        mask[ellipse(mask.shape, (3, 6, 5 + number), (5, 9, 9))] = 1
        mask[ellipse(mask.shape, (4, 5, 4), (6, 13, 19))] = 2
        masks.append(mask)
    return masks


def digest(masks, kind, spacing=None, mode="corrected"):
    """Of the noise at three strengths."""
    results = [
        add_mask_noise(mask, ratio, [kind], seed=5, item_id=str(number), mode=mode, spacing=spacing)[0].ravel()
        for number, mask in enumerate(masks)
        for ratio in (0.15, 0.5, 0.9)
    ]
    return array_digest(np.concatenate(results))[:12]


# kind: 2-D, 3-D, 3-D in millimeters
CORRECTED = {
    "erode": ("7ffc2f70f81b", "8397d672726c", "7dcf0d502f6e"),
    "dilate": ("12e984e212b1", "8cd07cfb4c9c", "7a70571d57a7"),
    "affine": ("8869c5348cc5", "144a5924a87d", "e88f5a53e542"),
    "boundary": ("1ced5616fe8c", "f8b6c8ee1578", "51dde9562a74"),
    "polygon": ("936dc2cfef8d", "734fd42be6ce", "0c027a3e980c"),
    "holes": ("fc43a7eaffa3", "ba4d68029e58", "ba4d68029e58"),
    "miss": ("2d0544249574", "e6666fb968d6", "e6666fb968d6"),
    "spurious": ("95cadb742b98", "01aa92a392d3", "824ee4dd419d"),
    "swap": ("eeb5c1e9238c", "4d309306f3ba", "4d309306f3ba"),
}
OFFICIAL = {"erode": "7ffc2f70f81b", "dilate": "12e984e212b1", "affine": "0d0367dafc70"}
DATASETS = {
    "corrected": ("none affine erode dilate affine erode none dilate", "28077bf72a55"),
    "official": ("none erode affine affine affine affine none none", "98c5f34477c1"),
}


@pytest.mark.parametrize("kind", CORRECTED)
def test_every_kind_repeats_its_noise(kind):
    flat, solid = pictures(), volumes()
    assert (digest(flat, kind), digest(solid, kind), digest(solid, kind, (1.0, 0.8, 2.5))) == CORRECTED[kind]


@pytest.mark.parametrize("kind", OFFICIAL)
def test_the_published_kinds_repeat_their_noise(kind):
    assert digest(pictures(), kind, mode="official") == OFFICIAL[kind]


@pytest.mark.parametrize("mode", DATASETS)
def test_a_dataset_repeats_choice_and_noise(mode):
    masks = pictures()
    ids = [f"case_{number}" for number in range(len(masks))]
    noisy, records = noisy_dataset(masks, ids, alpha=0.7, beta=0.6, seed=2, mode=mode)
    kinds = " ".join(record.kind for record in records)
    assert (kinds, array_digest(np.stack(noisy))[:12]) == DATASETS[mode]
