"""What a training step asks of a device: how many operations it starts, and that none waits for the host."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from classification.crop_flip_rotate import CropFlipRotate
from classification.networks import build_model
from classification.settings import Augmentation
from seg_anl.engine.batches import BatchAugmentation, ResidentBatches
from seg_anl.engine.distribution import Process
from seg_anl.engine.loop import Learner, Task, Training, fit
from seg_anl.engine.run_directory import RunDirectory
from seg_anl.engine.settings import LoopSettings, OptimSettings
from seg_anl.losses import build_loss
from seg_anl.segmentation.augmentation import Augmentation as Mirroring
from seg_anl.segmentation.settings import AugmentationSettings

STEPS = 3
# Views and allocations start nothing; labels are looked at on the CPU alone.
NOTHING = {"alias", "detach", "empty", "empty_like", "expand", "select", "slice", "split", "squeeze", "t", "transpose"}
NOTHING |= {"unbind", "unsqueeze", "view", "_unsafe_view", "permute", "aminmax", "_local_scalar_dense"}
NOTHING |= {"_record_function_enter_new", "_record_function_exit", "split_with_sizes"}
ANL2024 = OptimSettings("sgd", lr=0.01, clip_norm=5.0, l1=5e-5)


class Started(TorchDispatchMode):
    """Counts operations by the phase of a step, from the second step on, and copies from the host by the step."""

    def __init__(self) -> None:
        super().__init__()
        self.phase, self.step = "batch", 0
        self.launches: Counter[str] = Counter()
        self.copies: Counter[int] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        self.launches[self.phase] += self.step > 0 and name not in NOTHING  # the first batch has the epoch's draws
        if name in ("_to_copy", "copy_"):
            source = args[name == "copy_"]
            self.copies[self.step] += source.device.type == "cpu" and found.device.type != "cpu"
        return found


def trained(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    augmentation: BatchAugmentation,
) -> Started:
    """The operations of an epoch of the loop, without its end."""
    started, loss = Started(), build_loss("anl_ce")

    def enters(phase: str) -> Callable[..., None]:
        return lambda *_: setattr(started, "phase", phase)

    model.register_forward_pre_hook(enters("network"))
    loss.register_forward_pre_hook(enters("loss"))
    loss.register_forward_hook(enters("backward"))
    step = Learner.step

    def update(self: Learner, value: Tensor) -> None:
        started.phase = "update"
        step(self, value)
        started.phase, started.step = "batch", started.step + 1

    monkeypatch.setattr(Learner, "step", update)
    monkeypatch.setattr(Learner, "finish", lambda *_: None)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # it knows no device "meta"
    process = Process(torch.device(device))
    images, targets = data
    batches = ResidentBatches(images, targets, augmentation, [len(images) // STEPS] * STEPS, 1, process)
    task = Task(batches.epoch, STEPS, lambda model, epoch: {}, ("test", "accuracy"))
    run = RunDirectory(folder)
    run.create(OmegaConf.create({}))
    settings = LoopSettings(epochs=1, progress=False, logger=None)
    with started:
        fit(Training(model, loss, task, run), settings, ANL2024, process)
    assert started.step == STEPS
    return started


def cifar10() -> tuple[tuple[Tensor, Tensor], BatchAugmentation]:
    augmentation = CropFlipRotate(Augmentation(crop_padding=4, flip=0.5), (0.5,) * 3, (0.25,) * 3)
    images = torch.randint(0, 256, (4 * STEPS, 3, 32, 32), dtype=torch.uint8)
    return (images, torch.randint(0, 10, (4 * STEPS,))), augmentation


def test_a_step_starts_no_more_operations_than_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """cnn8, anl_ce: a GPU computes a step of 128 images in the time in which the host starts a few dozen more."""
    data, augmentation = cifar10()
    started = trained(tmp_path, monkeypatch, "cpu", build_model("cnn8", 10, 3, (32, 32)), data, augmentation)
    each = {phase: count / (STEPS - 1) for phase, count in started.launches.items()}
    most = {"batch": 20, "network": 32, "loss": 39, "backward": 31, "update": 12}
    assert {phase: count for phase, count in each.items() if count > most[phase]} == {}


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_no_step_copies_from_the_host_or_asks_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    """On a device without values: a question for one is an error, and each copy from the host is seen."""
    if task == "classification":
        model, (data, augmentation) = build_model("cnn4", 10, 3, (32, 32)), cifar10()
    else:
        model = nn.Conv2d(3, 2, 3, padding=1)
        images = torch.zeros(2 * STEPS, 3, 16, 16, dtype=torch.uint8)
        data, augmentation = (images, images[:, 0]), Mirroring(AugmentationSettings())
    started = trained(tmp_path, monkeypatch, "meta", model, data, augmentation)
    assert sum(started.copies[step] for step in range(1, STEPS)) == 0
