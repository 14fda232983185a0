"""ADELE: consistency between scales, and masks that the network corrects, class by class, when its learning slows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.networks.nets import DynUNet
from scipy.optimize import least_squares
from torch import Tensor, nn

from seg_anl.engine.distribution import Process
from seg_anl.engine.method import AroundLoss, Batches, Method, Samples
from seg_anl.losses import RobustLoss, ScheduledLoss

from .settings import Adele

BEGUN = 0.1  # IoU from which a class is being learned; our choice
LEAST_EPOCHS = 3  # the curve has three parameters
SAFE_MULTIPLE = 32  # pixels, divisible by the strides of networks of unknown depth


class MultiScale(nn.Module):
    """In training, logits ``(B, S, C, H, W)`` of images at several scales, scale 1 first; else of the network alone."""

    def __init__(self, network: nn.Module, scales: Sequence[float]) -> None:
        super().__init__()
        self.network, self.scales = network, tuple(scales)
        self.multiple = (
            math.prod(stride[0] for stride in network.strides) if isinstance(network, DynUNet) else SAFE_MULTIPLE
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits at the images' size."""
        return self.at_all_scales(images) if self.training else self.network(images)

    def at_all_scales(self, images: Tensor) -> Tensor:
        """``(B, S, C, H, W)``, in evaluation too."""
        size = images.shape[2:]
        found = [self.network(images)]
        for scale in self.scales:
            scaled = [max(self.multiple, round(scale * side / self.multiple) * self.multiple) for side in size]
            logits = self.network(F.interpolate(images, scaled, mode="bilinear", align_corners=True))
            found.append(F.interpolate(logits, size, mode="bilinear", align_corners=True))
        return torch.stack(found, dim=1)


class ScaleConsistency(AroundLoss):
    """The mean over the scales of ``loss`` + lambda KL(p_s || q), where q is the mean of the scales' predictions p_s.

    Images whose q is below ``certain`` everywhere have no second term. The published script for SegTHOR also divides
    the logits by the number of scales.

    Shape:
        - output: logits ``(B, S, C, H, W)``; target: ``(B, H, W)``; weight: of the loss only.

    Reference: Liu et al., Adaptive Early-Learning Correction for Segmentation from Noisy Annotations, CVPR 2022,
    Section 3.2; the authors' repository for the mask.
    """

    def __init__(self, loss: RobustLoss, its: Adele) -> None:
        super().__init__(loss)
        self.its = its

    def forward(self, output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The scalar criterion."""
        values = torch.stack([self.loss(logits, target, weight) for logits in output.unbind(dim=1)])
        log_probs = output.float().log_softmax(dim=2)
        log_mean = log_probs.logsumexp(dim=1, keepdim=True) - math.log(output.shape[1])
        certain = log_mean.detach().amax(dim=(1, 2, 3, 4)) >= math.log(self.its.certain)
        divergences = (log_probs.exp() * (log_probs - log_mean)).sum(dim=2).mean(dim=(1, 2, 3))
        return values.mean() + self.its.consistency * (divergences * certain).mean()


class AdaptiveCorrection(Method):
    """ADELE: trains :class:`MultiScale` on :class:`ScaleConsistency`, and corrects the masks after epochs.

    A curve is fitted to the IoU, over the epochs, of the predictions of a foreground class with the given masks. Once
    its slope has fallen by the share ``slowdown``, pixels labeled and predicted as that class or background take
    confident predictions (the mean over the scales). A mask never gets a class that it did not hold.

    Reference: Liu et al., CVPR 2022, Section 3.1 and Equation 2; the authors' repository for which pixels may change,
    and again ten epochs later.
    """

    one_process = True

    def __init__(self, its: Adele) -> None:
        self.its = its
        self.batches: Batches
        self.given: Tensor
        self.ious: list[list[float]] = []
        self.corrected: list[int] = []

    def network(self, build: Callable[[], nn.Module]) -> nn.Module:
        """The network at several scales."""
        return MultiScale(build(), self.its.scales)

    def criterion(
        self, loss: RobustLoss, *, epochs: int, process: Process, samples: int = 0, classes: int = 0
    ) -> ScheduledLoss:
        """``loss`` at all scales, and their consistency."""
        self.ious, self.corrected = [[] for _ in range(classes)], [-1] * classes
        return ScaleConsistency(loss, self.its)

    def prepare(self, batches: Batches) -> None:
        """Give the batches a copy of the masks to correct."""
        self.batches, self.given = batches, batches.targets
        batches.targets = batches.targets.clone()

    @torch.inference_mode()
    def after_epoch(self, model: nn.Module, epoch: int, samples: Samples) -> dict[str, float]:
        """Measure the IoU of all classes, and correct those that are due."""
        assert isinstance(model, MultiScale)
        predicted, sure = self._predicted(model, samples())
        for label in range(1, len(self.ious)):
            p, t = predicted == label, self.given == label
            self.ious[label].append(((p & t).sum() / (p | t).sum().clamp(min=1)).item())
        due = [label for label in range(1, len(self.ious)) if self._is_due(label, epoch)]
        if due:
            correct(self.batches.targets, predicted, sure, due, len(self.ious))
        for label in due:
            self.corrected[label] = epoch
        changed = (self.batches.targets != self.given).float().mean().item()
        return {"corrected": changed, **{f"iou_{k}": self.ious[k][-1] for k in range(1, len(self.ious))}}

    def _predicted(self, model: MultiScale, samples: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        """The most probable class ``(N, H, W)`` of the mean over the scales, and whether it is confident."""
        classes, confident = [], []
        for images in samples:  # kept as bytes, for the whole data set
            probability, label = model.at_all_scales(images).float().softmax(dim=2).mean(dim=1).max(dim=1)
            classes.append(label.to(self.given.device, torch.uint8))
            confident.append((probability > self.its.confidence).to(self.given.device))
        return torch.cat(classes), torch.cat(confident)

    def _is_due(self, label: int, epoch: int) -> bool:
        last, every = self.corrected[label], self.its.every
        waits = last >= 0 and (every is None or epoch - last < every)
        return not waits and slows(self.ious[label], self.its.slowdown)

    @property
    def state(self) -> dict[str, Any]:
        """The curves, the epochs of corrections, and the corrected pixels."""
        return {"adele": self}

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        positions = (self.batches.targets != self.given).flatten().nonzero().squeeze(1)
        labels = self.batches.targets.flatten()[positions]
        return {"ious": self.ious, "corrected": self.corrected, "positions": positions, "labels": labels}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the corrected masks."""
        self.ious, self.corrected = state["ious"], state["corrected"]
        place = self.given.device
        self.batches.targets.view(-1)[state["positions"].to(place)] = state["labels"].to(place)


def slows(ious: Sequence[float], slowdown: float) -> bool:
    """Whether the curve a (1 - exp(-b t^c)) through ``ious`` has lost the share ``slowdown`` of its slope at t = 1.

    Epochs before the class is learned are left out; later epochs weigh more, as in the published code.
    """
    begun = next((epoch for epoch, iou in enumerate(ious) if iou >= BEGUN), len(ious))
    curve = np.asarray(ious[begun:], dtype=np.float64)
    if len(curve) < LEAST_EPOCHS:
        return False
    t = np.arange(1, len(curve) + 1)
    weight = np.geomspace(1, 10, len(curve))
    fitted = least_squares(
        lambda abc: weight * (abc[0] * (1 - np.exp(-abc[1] * t ** abc[2])) - curve),
        (0.9, 1, 0.9),
        bounds=([0, 0, 0], [1, np.inf, 1]),
    )
    _, b, c = fitted.x
    last = float(t[-1])
    return bool(last ** (c - 1) * np.exp(-b * (last**c - 1)) < 1 - slowdown)  # the slope over that at t = 1


def correct(targets: Tensor, predicted: Tensor, sure: Tensor, due: Sequence[int], classes: int) -> None:
    """Give ``targets`` ``(N, H, W)`` their ``predicted`` class where it is ``sure``, in place.

    Pixels change among background and the classes of ``due``, and only to classes that their mask holds.
    """
    allowed = torch.zeros(classes, dtype=torch.bool, device=targets.device)
    allowed[[0, *due]] = True
    for mask, guess, certain in zip(targets, predicted, sure, strict=True):
        held = mask.long().flatten().bincount(minlength=classes) > 0
        if not held[list(due)].any():
            continue
        held[0] = True
        new = guess.long()
        mask.copy_(guess.where(certain & allowed[mask.long()] & allowed[new] & held[new], mask))
