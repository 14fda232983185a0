"""The noise as MONAI transforms: seeded by MONAI, composed by MONAI, metadata kept."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, RandFlipd

from data_prep.transforms import RandMaskNoise, RandMaskNoised
from tests.data_prep.conftest import ellipse

MASK = ellipse((64, 72), (15, 20)).astype(np.uint8)[None]


def test_the_same_state_gives_the_same_noise_and_another_another():
    def run(seed):
        noise = RandMaskNoise(prob=0.5, beta=(0.2, 0.7)).set_random_state(seed=seed)
        return [np.asarray(noise(MASK)) for _ in range(8)]

    for one, other in zip(run(3), run(3), strict=True):
        np.testing.assert_array_equal(one, other)
    assert any((one != other).any() for one, other in zip(run(3), run(4), strict=True))
    unchanged = [np.array_equal(mask, MASK) for mask in run(3)]
    assert 0 < sum(unchanged) < 8


@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (np.asarray, np.uint8),
        (torch.as_tensor, np.float32),
        (lambda mask: MetaTensor(mask, meta={"name": "x"}), np.int64),
    ],
)
def test_type_dtype_and_metadata_stay(make, dtype):
    mask = make(MASK.astype(dtype))
    noisy = RandMaskNoise(prob=1.0, beta=0.5).set_random_state(0)(mask)
    assert type(noisy) is type(mask)
    assert noisy.dtype == mask.dtype
    assert noisy.shape == mask.shape
    assert getattr(noisy, "meta", None) == getattr(mask, "meta", None)
    np.testing.assert_array_equal(np.asarray(mask), MASK)  # the source is not written to
    assert (np.asarray(noisy) != MASK).any()


def test_keys_share_the_noise_and_the_rest_passes():
    noise = RandMaskNoised(keys=["a", "b"], prob=1.0, beta=0.5).set_random_state(seed=1)
    data = {"a": MASK, "b": MASK.copy(), "image": "untouched"}
    result = noise(data)
    np.testing.assert_array_equal(result["a"], result["b"])
    assert (result["a"] != MASK).any()
    assert result["image"] == "untouched"
    with pytest.raises(KeyError):
        noise({"a": MASK})
    assert set(RandMaskNoised(["a", "b"], prob=1.0, allow_missing_keys=True)({"a": MASK})) == {"a"}


def test_compose_hands_on_the_seed():
    def run(seed):
        chain = Compose([RandFlipd("m", prob=0.5), RandMaskNoised("m", prob=0.8)]).set_random_state(seed)
        return np.concatenate([np.asarray(chain({"m": MASK})["m"]) for _ in range(6)])

    np.testing.assert_array_equal(run(7), run(7))
    assert (run(7) != run(8)).any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"prob": 1.5}, "prob"), ({"beta": (0.2, 1.2)}, "beta"), ({"kinds": ["erod"]}, "did you mean 'erode'")],
)
def test_wrong_arguments_say_what_is_wrong(arguments, words):
    with pytest.raises(ValueError, match=words):
        RandMaskNoise(**arguments)
    with pytest.raises(ValueError, match=words):
        RandMaskNoised("m", **arguments)


def test_one_hot_masks_are_refused():
    with pytest.raises(ValueError, match="one-hot"):
        RandMaskNoise(prob=1.0)(np.repeat(MASK, 3, axis=0))
