"""How a decoded image becomes the network's input: torchvision's transforms in the order of the published code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from omegaconf import DictConfig
from PIL.Image import Image
from torch import Tensor
from torchvision.transforms import v2

from seg_anl.records import UserError, is_number, is_whole_number


@dataclass(frozen=True)
class FileTransforms:
    """Cropping, augmentation and normalization of images in files.

    Training: ``resize``, random (or central) crop of ``crop`` pixels after ``crop_padding``; or, with ``crop_scale``, a
    random resized crop of the whole image in the place of these. Then flip, rotation and color jitter. Evaluation:
    ``resize`` and central crop.

    Attributes:
        resize: the shorter side, or (height, width); None: as it is.
        crop: side of the crop; None: none.
        random_crop: False: the central crop in training too.
        crop_padding: black pixels put around before the random crop.
        crop_scale: lowest and highest share of the area; None: no random resized crop.
        flip: probability of a horizontal flip.
        rotation: within plus and minus so many degrees, nearest neighbor.
        jitter: brightness, contrast, saturation, hue, as torchvision's ColorJitter takes them.
        mean, std: per channel, on a scale where white is 1.
    """

    resize: int | tuple[int, int] | None
    crop: int | None
    random_crop: bool
    crop_padding: int
    crop_scale: tuple[float, float] | None
    flip: float
    rotation: float
    jitter: tuple[float, float, float, float]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def from_config(cls, augmentation: DictConfig, mean: Sequence[float], std: Sequence[float]) -> FileTransforms:
        """The ``augmentation`` group, checked.

        Raises:
            UserError: naming the setting that cannot be.
        """
        crop = augmentation.crop
        scale = None if augmentation.crop_scale is None else _numbers(augmentation, "crop_scale", 2, 0, 1)
        if scale is not None and (crop is None or not 0 < scale[0] <= scale[1]):
            raise UserError(
                f"augmentation.crop_scale={list(scale)} must be a lowest and a highest share of the area, and needs "
                "augmentation.crop"
            )
        if scale is not None and not augmentation.random_crop:
            raise UserError("augmentation.crop_scale is of a random crop: it does not go with random_crop=false")
        resize = _resize(augmentation.resize)
        smallest = min(resize) if isinstance(resize, tuple) else resize
        if smallest is not None and is_whole_number(crop) and crop > smallest:
            raise UserError(f"augmentation.crop={crop} is more than augmentation.resize={augmentation.resize} leaves")
        jitter = _numbers(augmentation, "jitter", 4, 0, 100)
        if jitter[3] > 0.5:
            raise UserError(f"augmentation.jitter: the last number, for the hue, is at most 0.5; got {jitter[3]}")
        return cls(
            resize=resize,
            crop=None if crop is None else _whole(crop, "crop", 1),
            random_crop=bool(augmentation.random_crop),
            crop_padding=_whole(augmentation.crop_padding, "crop_padding", 0),
            crop_scale=None if scale is None else (scale[0], scale[1]),
            flip=_number(augmentation.flip, "flip", 0, 1),
            rotation=_number(augmentation.rotation, "rotation", 0, 180),
            jitter=(jitter[0], jitter[1], jitter[2], jitter[3]),
            mean=tuple(mean),
            std=tuple(std),
        )

    def training(self, image: Image) -> Tensor:
        """uint8 ``(3, H, W)``, augmented by draws from torch's global generator.

        Raises:
            UserError: an image smaller than the crop.
        """
        if self.crop_scale is None:
            image = self._resized(image)
            self._check_size(image, 2 * self.crop_padding if self.random_crop else 0)
        return self._random(image)  # type: ignore[no-any-return]

    def evaluation(self, image: Image) -> Tensor:
        """uint8 ``(3, H, W)``, the same every time.

        Raises:
            UserError: an image smaller than the crop.
        """
        image = self._resized(image)
        self._check_size(image, 0)
        return self._central(image)  # type: ignore[no-any-return]

    @cached_property
    def _resized(self) -> Any:
        size = list(self.resize) if isinstance(self.resize, tuple) else self.resize
        return v2.Identity() if size is None else v2.Resize(size)

    @cached_property
    def _random(self) -> v2.Compose:
        steps: list[Any] = []
        if self.crop_scale is not None:
            steps.append(v2.RandomResizedCrop(self.crop, scale=self.crop_scale))
        elif self.crop is not None and self.random_crop:
            steps.append(v2.RandomCrop(self.crop, padding=self.crop_padding or None))
        elif self.crop is not None:
            steps.append(v2.CenterCrop(self.crop))
        if self.flip:
            steps.append(v2.RandomHorizontalFlip(self.flip))
        if self.rotation:
            steps.append(v2.RandomRotation(self.rotation))
        if any(self.jitter):
            steps.append(v2.ColorJitter(*self.jitter))
        return v2.Compose([*steps, v2.PILToTensor()])

    @cached_property
    def _central(self) -> v2.Compose:
        steps: list[Any] = [] if self.crop is None else [v2.CenterCrop(self.crop)]
        return v2.Compose([*steps, v2.PILToTensor()])

    def _check_size(self, image: Image, padding: int) -> None:
        if self.crop is not None and min(image.size) + padding < self.crop:
            width, height = image.size
            raise UserError(
                f"{width} x {height} pixels, smaller than augmentation.crop={self.crop}; set augmentation.resize, or a "
                "smaller crop"
            )


def _resize(value: Any) -> int | tuple[int, int] | None:
    if value is None:
        return None
    if isinstance(value, int):
        return _whole(value, "resize", 1)
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise UserError(f"augmentation.resize must be one whole number (the shorter side) or two, got {value}")
    return _whole(value[0], "resize", 1), _whole(value[1], "resize", 1)


def _numbers(augmentation: DictConfig, name: str, count: int, lowest: float, highest: float) -> list[float]:
    values = augmentation[name]
    if isinstance(values, str | int | float) or values is None or len(values) != count:
        raise UserError(f"augmentation.{name} must be {count} numbers, got {values!r}")
    return [_number(value, name, lowest, highest) for value in values]


def _number(value: Any, name: str, lowest: float, highest: float) -> float:
    if not is_number(value) or not lowest <= value <= highest:
        raise UserError(f"augmentation.{name} must be from {lowest} to {highest}, got {value!r}")
    return float(value)


def _whole(value: Any, name: str, lowest: int) -> int:
    if not is_whole_number(value) or value < lowest:
        raise UserError(f"augmentation.{name} must be a whole number from {lowest}, got {value!r}")
    return value
