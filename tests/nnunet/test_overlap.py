import numpy as np
import pytest
import torch
from monai.metrics import compute_dice

from seg_anl.nnunet.overlap import dice_from_overlaps, overlap


def scores(predicted, truth, regions=((1,),), ignore=None):
    return dice_from_overlaps(
        [overlap(np.array(p), np.array(t), regions, ignore) for p, t in zip(predicted, truth, strict=True)]
    )


def test_mean_over_images_and_pooled_differ():
    # images with dice 2*1/(1+1) = 1 and 2*1/(1+3) = 0.5; pooled 2*2/(2+4)
    dice = scores([[1, 0, 0, 0], [1, 0, 0, 0]], [[1, 0, 0, 0], [1, 1, 1, 0]])
    assert dice == {"dice": 0.75, "dice_pooled": pytest.approx(2 / 3)}


def test_empty_truth_scores_one_if_nothing_is_predicted_and_zero_otherwise():
    assert scores([[0, 0]], [[0, 0]])["dice"] == 1
    assert scores([[0, 1]], [[0, 0]])["dice"] == 0


def test_regions_overlap_and_ignored_pixels_do_not_count():
    counts = overlap(np.array([1, 2, 2, 1]), np.array([2, 2, 3, 0]), [(1, 2), (2,)], ignore=3)
    assert counts.tolist() == [[3, 1], [2, 2], [2, 1]]  # predicted, true, both


def test_dice_of_random_maps_matches_monai():
    generator = np.random.default_rng(0)
    predicted, truth = generator.integers(0, 3, (2, 4, 16, 16))
    theirs = [
        compute_dice(
            torch.nn.functional.one_hot(torch.from_numpy(p)[None], 3).movedim(-1, 1),
            torch.nn.functional.one_hot(torch.from_numpy(t)[None], 3).movedim(-1, 1),
            include_background=False,
        ).mean()
        for p, t in zip(predicted, truth, strict=True)
    ]
    assert scores(predicted, truth, [(1,), (2,)])["dice"] == pytest.approx(float(np.mean(theirs)), abs=1e-6)
