"""Segmentation runs on volumes, built on the skeleton in :mod:`seg_anl.engine.experiment`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import Tensor, nn

from seg_anl.engine.distribution import Process
from seg_anl.engine.division import Division, divided
from seg_anl.engine.experiment import Experiment
from seg_anl.engine.ledger import Metrics
from seg_anl.engine.loop import Task
from seg_anl.engine.optimization import loss_from_config
from seg_anl.engine.run_directory import RunDirectory, run_path
from seg_anl.engine.settings import plain
from seg_anl.losses import ScheduledLoss
from seg_anl.records import MetricRow, NoiseRecord, UserError, array_digest
from seg_anl.records.atomic import remove_partial
from seg_anl.records.paths import configured_path
from seg_anl.records.predictions import write_predictions

from ..criterion import SegmentationCriterion, build_criterion
from ..datasets import check_masks
from ..settings import noise_name
from .augmentation import VolumeAugmentation
from .cases import Case, find_cases
from .files import ITK, suffix_of
from .labels import IGNORED, Labels
from .noise import noisy_volumes
from .patches import PatchBatches
from .planning import Plan, planned_patch
from .prediction import PLAN_FILE, predicted_logits
from .preparation import Preparation, Volume, by_axes, find_frame
from .scores import case_scores, mean_scores, write_cases
from .settings import read_volume_settings
from .shelf import Shelf, load_volumes

CASES_FILE = "cases.csv"


@dataclass(frozen=True)
class VolumeSet:
    """Training and test volumes with clean masks, their plan, storage and preparation, and the training files."""

    train: list[Volume]
    test: list[Volume]
    plan: Plan
    shelf: Shelf
    cases: list[Case]
    preparation: Preparation


NoisyVolumes = tuple[list[Volume], list[NoiseRecord]]
"""The training volumes with their noisy masks, and a record of each."""


class VolumeExperiment(Experiment[VolumeSet, NoisyVolumes]):
    """Volumes, trained on patches, evaluated by Dice on whole volumes."""

    headline = "test/dice"

    def __init__(self, config: DictConfig) -> None:
        given = read_volume_settings(config)
        self.config, self.settings, self.optim = config, given.run, given.optim
        self.data, self.noise, self.augmentation = given.data, given.noise, given.augmentation
        self.evaluation, self.records = given.evaluation, given.records
        self.dice_weight = given.dice_weight
        loss_from_config(config.loss, "dice_weight")  # refuses a bad loss before files are read
        self.run, self.data_seed = RunDirectory(run_path(config, noise_name(config))), self.noise.seed

    def load(self) -> tuple[VolumeSet, list[str]]:
        """Read and prepare the training and test cases, and plan patch and network."""
        data = self.data
        found = find_cases(data, self.noise.seed)
        if found.labels.ignore is not None and self.dice_weight:
            raise UserError(
                "loss.dice_weight needs masks without unlabeled voxels: the Dice term knows no ignore label"
            )
        division = self._division([case.item for case in found.train])
        self._sizes(len(division.trained))  # like the line before, refuses what is wrong before volumes are read
        # Without resampling, the test images need the training images' spacing.
        frame = find_frame(found.train if data.spacing else [*found.train, *found.test], data.spacing)
        if found.channels not in (None, frame.channels):
            raise UserError(f"{found.train[0].images[0]}: {frame.channels} channel(s), {found.channels} are described")
        root = configured_path(self.config.run_root, "run_root") if data.cache is None else None
        cache = root / "cache" if root else configured_path(data.cache, "data.cache")
        remove_partial(cache, below=False)
        shelf, preparation = Shelf(data.budget, cache), Preparation(frame, found.labels, data.intensity, data.window)
        spacing, divisible = preparation.spacing(found.train[0]), self.config.model.name == "nnunet"

        def planned(shapes: Sequence[Sequence[int]]) -> Plan:
            patch = planned_patch(data.patch, spacing, shapes, divisible=divisible)
            return Plan(frame, spacing, patch, found.labels, found.suffixed)

        if data.patch is not None:
            planned([data.patch]).model(self.config.model)  # refuses what does not fit before volumes are read
        train, test = (
            load_volumes(cases, preparation, shelf, workers=self.settings.workers, progress=self.settings.progress)
            for cases in (found.train, found.test)
        )
        values = found.labels.values
        counts = np.stack([np.bincount(volume.mask.ravel(), minlength=IGNORED + 1)[: len(values)] for volume in train])
        names = [f"label {value}" for value in values]
        remarks = check_masks(counts, [volume.item for volume in train], names, "data.labels or dataset.json")
        shapes = [volume.mask.shape for volume in train]
        plan, size = planned(shapes), by_axes(np.median(shapes, axis=0))
        grid = f"voxels of {by_axes(spacing)} mm, {size} of them (median), patches of {by_axes(plan.patch)}"
        return VolumeSet(train, test, plan, shelf, found.train, preparation), [found.remark, grid, *remarks]

    def network(self, data: VolumeSet, process: Process) -> nn.Module:
        """The network of the ``model`` group."""
        division = self._division([volume.item for volume in data.train], process.world_size)
        self._sizes(len(division.trained), process.world_size)  # refuses bad sizes before noise is made
        for part in (data.test, division.trained, division.tuning):
            if len(part):
                process.share(len(part))  # refuses too few to evaluate
        return data.plan.model(self.config.model)

    def fingerprints(self, data: VolumeSet) -> dict[str, str]:
        """Digests of images and masks."""
        return {
            f"{name} {part}s": _digest(getattr(volume, part) for volume in volumes)
            for name, volumes in (("training", data.train), ("test", data.test))
            for part in ("image", "mask")
        }

    def noisy(self, data: VolumeSet) -> NoisyVolumes:
        """The noisy masks in RUN/noise."""
        classes, settings, anew = len(data.plan.labels.values), plain(self.config.noise), not self.run.begun
        return noisy_volumes(self.run.path / "noise", data.train, self.noise, settings, classes, data.shelf, anew=anew)

    def prepare(self, data: VolumeSet, noisy: NoisyVolumes, process: Process) -> tuple[ScheduledLoss, Task, str]:
        """Patches of the noisy training set, and evaluation on whole volumes of all splits."""
        given, self.noise_records = noisy
        division = self._division([volume.item for volume in data.train], process.world_size)
        self.clean, self.train = ([volumes[i] for i in division.trained] for volumes in (data.train, given))
        self.test, self.plan, self.preparation = data.test, data.plan, data.preparation
        self.cases = {case.item: case for case in data.cases}
        self.tuning = [given[i] for i in division.tuning]
        self.predicted = self.train if self.settings.fold is None else [given[i] for i in division.unseen]
        if process.is_main:
            data.plan.write(self.run.path / PLAN_FILE)
        batches = PatchBatches(
            self.train,
            data.plan.patch,
            patches=self.data.patches,
            foreground=self.data.foreground,
            augmentation=VolumeAugmentation(self.augmentation, data.plan.spacing, data.plan.patch),
            sizes=self._sizes(len(self.train), process.world_size),
            seed=self.settings.seed,
            process=process,
            weights=division.weights,
        )
        task = Task(
            batches.epoch,
            len(batches),
            lambda model, epoch: self.evaluate(model, epoch, process),
            headline=("test", "dice"),
        )
        return self._criterion(data.plan.labels), task, ""

    def evaluate(self, model: nn.Module, epoch: int, process: Process) -> Metrics:
        """Dice on the test volumes and on the training volumes against noisy and clean masks, of those that are due."""
        labels, epochs, metrics = self.plan.labels, self.settings.epochs, {}
        if self.evaluation.test_is_due(epoch, epochs):
            metrics["test"] = mean_scores(self._scores(model, self.test, [self.test], process)[0], labels)
            if self.tuning:
                metrics["tuning"] = mean_scores(self._scores(model, self.tuning, [self.tuning], process)[0], labels)
        if self.evaluation.train_is_due(epoch, epochs):
            noisy, clean = self._scores(model, self.train, [self.train, self.clean], process)
            metrics["train"] = mean_scores(noisy, labels)
            metrics["train"] |= {f"{name}_clean": value for name, value in mean_scores(clean, labels).items()}
        return metrics

    @torch.inference_mode()
    def finish(self, model: nn.Module, rows: list[MetricRow], process: Process) -> Mapping[str, int | None]:
        """Write the scores of each test case and, on request, predictions."""
        model.eval()
        scores = self._scores(model, self.test, [self.test], Process(process.device))[0]
        write_cases(self.run.path / CASES_FILE, [volume.item for volume in self.test], scores, self.plan.labels)
        if self.settings.fold is not None or "predictions" in self.records:
            items = [volume.item for volume in self.predicted]
            arrays = ((item, {"probabilities": each}) for item, each in self._probabilities(model, process.device))
            write_predictions(self.run.path, arrays, items, fold=self.settings.fold, folds=self.settings.folds)
        wrong = {record.item for record in self.noise_records if record.realised > 0}
        wrong &= {volume.item for volume in self.train}
        return {"train": len(self.train), "test": len(self.test), "wrong_masks": len(wrong)}

    def _scores(
        self, model: nn.Module, volumes: Sequence[Volume], truths: Sequence[Sequence[Volume]], process: Process
    ) -> list[Tensor]:
        """:func:`case_scores` ``(N, structures, 5)`` of all volumes against the masks of each of ``truths``."""
        share, labels = process.share(len(volumes)), self.plan.labels
        tolerance = self.evaluation.tolerance if self.evaluation.surface else None
        found: list[list[Tensor]] = [[] for _ in truths]
        for position in range(len(volumes))[share]:
            image = torch.from_numpy(np.array(volumes[position].image))
            logits = predicted_logits(model, image, self.plan.patch, process.device)
            predicted = labels.decided(labels.probabilities(logits))
            for scores, truth in zip(found, truths, strict=True):
                mask = torch.from_numpy(np.array(truth[position].mask)).to(predicted.device)
                scores.append(case_scores(predicted, mask, labels, truth[position].spacing, tolerance))
        return [process.gathered(torch.stack(scores), len(volumes)) for scores in found]

    def _probabilities(self, model: nn.Module, device: torch.device) -> Iterator[tuple[str, NDArray[np.float16]]]:
        """Probabilities ``(heads, X, Y, Z)`` of each case in its files' geometry, for the audit."""
        labels = self.plan.labels
        for volume in self.predicted:
            case = self.cases[volume.item]
            prepared = self.preparation.image(case)
            logits = predicted_logits(model, prepared.image, self.plan.patch, device)
            found = prepared.restored(labels.probabilities(logits).cpu())
            if labels.order is None:
                found[0] = 1 - found[1:].sum(dim=0)  # outside of the crop is background
            assert case.mask is not None
            # The audit reads these masks by SimpleITK, which reverses the axes.
            order = (0, 3, 2, 1) if suffix_of(case.mask) in ITK else (0, 1, 2, 3)
            yield volume.item, found.permute(order).half().numpy()

    def _criterion(self, labels: Labels) -> SegmentationCriterion:
        """The loss, without unlabeled voxels; regions are two-class problems."""
        decided: dict[str, Any] = {} if labels.ignore is None else {"ignore_index": IGNORED}
        if labels.order is None:
            return build_criterion(self.config.loss, self.dice_weight, **decided)
        return build_criterion(self.config.loss, self.dice_weight, labels.multi_hot(), activation="sigmoid", **decided)

    def _sizes(self, count: int, world_size: int = 1) -> list[int]:
        return self.settings.batch_sizes(count * self.data.patches, world_size)

    def _division(self, items: Sequence[str], world_size: int = 1) -> Division:
        return divided(items, self.settings, self.data, self.noise.seed, world_size)


def _digest(arrays: Iterator[NDArray[np.generic]]) -> str:
    return hashlib.sha256("".join(map(array_digest, arrays)).encode()).hexdigest()
