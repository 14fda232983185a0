"""Mask noise as MONAI transforms, drawn anew each time a mask passes.

To study training on wrong masks, each mask should be wrong in one way for good: use ``seg-anl-noise masks`` or
:func:`data_prep.mask_noise.noisy_dataset`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import convert_data_type, convert_to_dst_type
from monai.utils.enums import TransformBackends

from .mask_kinds import DEFAULT_KINDS, checked_kinds
from .mask_noise import add_mask_noise, check_fraction

_SEEDS = 2**32 - 1


class RandMaskNoise(RandomizableTransform):
    """Randomly put annotation noise on a segmentation mask.

    Args:
        prob: probability that a mask is changed.
        beta: strength, one number or a range to draw from; its meaning depends on the kind, see
            :func:`data_prep.mask_kinds.mask_kinds`.
        kinds: names of noise kinds, one of which is drawn for each mask.
        labels: change these values only. Default: all.
        spacing: mm per element along each spatial axis, for noise in millimeters. Default: in elements.

    Raises:
        ValueError: ``prob`` or ``beta`` out of [0, 1], or an unknown kind.

    Example:
        >>> noise = RandMaskNoise(prob=1.0, beta=(0.3, 0.7)).set_random_state(seed=0)
        >>> mask = np.zeros((1, 64, 64), np.uint8)
        >>> mask[:, 20:44, 16:48] = 1
        >>> noisy = noise(mask)
        >>> noisy.shape, bool((noisy != mask).any())
        ((1, 64, 64), True)
    """

    backend = [TransformBackends.NUMPY]  # noqa: RUF012 - MONAI's own form

    def __init__(
        self,
        prob: float = 0.1,
        beta: float | tuple[float, float] = 0.5,
        kinds: Sequence[str] = DEFAULT_KINDS,
        labels: Sequence[int] | None = None,
        spacing: Sequence[float] | None = None,
    ) -> None:
        check_fraction("prob", prob)
        RandomizableTransform.__init__(self, prob)
        self.beta = tuple(sorted(beta)) if isinstance(beta, tuple | list) else (beta, beta)
        for strength in self.beta:
            check_fraction("beta", strength)
        self.kinds = checked_kinds(kinds, "corrected")
        self.labels = None if labels is None else tuple(labels)
        self.spacing = None if spacing is None else tuple(spacing)
        self._seed = 0
        self._strength = self.beta[0]

    def randomize(self, data: Any | None = None) -> None:
        """Draw whether to change the mask, how strongly, and the seed of its noise."""
        super().randomize(None)
        if self._do_transform:
            self._strength = float(self.R.uniform(*self.beta))
            self._seed = int(self.R.randint(_SEEDS, dtype=np.uint32))

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> NdarrayOrTensor:
        """The noisy version of a mask of labels, (1, H, W) or (1, H, W, D), in its type, dtype and with its metadata.

        Without ``randomize`` the last draw is repeated. More than one channel, as in a one-hot mask, is a ValueError.
        """
        if randomize:
            self.randomize()
        if not self._do_transform:
            return img
        array = np.asarray(convert_data_type(img, np.ndarray)[0])
        if array.ndim not in (3, 4) or array.shape[0] != 1:
            raise ValueError(f"expected one channel of labels, (1, H, W[, D]), got {array.shape}; apply before one-hot")
        spacing = None if self.spacing is None else (1.0, *self.spacing)  # the channel is an axis of length one
        noisy, _ = add_mask_noise(
            array, self._strength, self.kinds, seed=self._seed, labels=self.labels, spacing=spacing
        )
        return convert_to_dst_type(noisy, img, dtype=array.dtype)[0]


class RandMaskNoised(RandomizableTransform, MapTransform):
    """Dictionary version of :class:`RandMaskNoise`, with its arguments: all ``keys`` get the same noise."""

    backend = RandMaskNoise.backend

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.1,
        beta: float | tuple[float, float] = 0.5,
        kinds: Sequence[str] = DEFAULT_KINDS,
        labels: Sequence[int] | None = None,
        spacing: Sequence[float] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.noise = RandMaskNoise(1.0, beta, kinds, labels, spacing)
        check_fraction("prob", prob)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandMaskNoised:
        """Set the random state of this transform and of the noise."""
        super().set_random_state(seed, state)
        self.noise.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Change the masks of all keys; everything else is passed on."""
        result = dict(data)
        self.randomize(None)
        if self._do_transform:
            self.noise.randomize()
            for key in self.key_iterator(result):
                result[key] = self.noise(result[key], randomize=False)
        return result


RandMaskNoiseD = RandMaskNoiseDict = RandMaskNoised
