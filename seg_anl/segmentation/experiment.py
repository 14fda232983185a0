"""Segmentation runs on images, built on the skeleton in :mod:`seg_anl.engine.experiment`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from data_prep.layouts import find_pairs
from data_prep.mask_archive import has_noisy_masks, write_noisy_masks
from data_prep.mask_noise import noisy_dataset
from data_prep.pictures import IGNORED
from seg_anl.engine.batches import Batch, ResidentBatches
from seg_anl.engine.checkpoint import load_model
from seg_anl.engine.distribution import Process
from seg_anl.engine.division import Division, divided
from seg_anl.engine.experiment import Experiment, print_result, run_configuration, tuning_metric
from seg_anl.engine.ledger import Metrics
from seg_anl.engine.loop import Task
from seg_anl.engine.optimization import check_loss
from seg_anl.engine.run_directory import RunDirectory, run_path
from seg_anl.engine.settings import plain
from seg_anl.losses import ScheduledLoss
from seg_anl.records import MetricRow, NoiseRecord, UserError, array_digest
from seg_anl.records.predictions import write_predictions

from .augmentation import Augmentation, normalized
from .criterion import build_criterion
from .datasets import ImageSet, check_training_set, load_images, read_noise
from .dice import dice_scores
from .masks_record import record_losses, record_masks
from .methods import build_method
from .networks import PREDICTION_BATCH, build_model, predict_labels, predict_losses, predict_probabilities
from .rater_labels import consensus, drawn_masks, rater_files, with_rater_labels
from .run_picture import save_report, worst_and_best
from .settings import noise_name, read_settings
from .volumes.experiment import CASES_FILE, VolumeExperiment
from .volumes.settings import is_of_volumes

Splits = tuple[ImageSet, ImageSet]
"""Training and test images with their clean masks."""
NoisyMasks = tuple[ImageSet, list[NoiseRecord]]
"""The training images with their noisy masks, and a record of each."""


def train(config: DictConfig) -> list[RunDirectory]:
    """Train a configuration, unless it is finished; returns the run directory of each seed and fold.

    Raises:
        UserError: bad settings or files; nothing is written before the settings have been checked.
    """
    return run_configuration(config, VolumeExperiment if is_of_volumes(config) else SegmentationExperiment)


def train_and_print(config: DictConfig) -> float:
    """Train and print the results; returns the mean tuning metric of the runs."""
    runs = train(config)
    for run in runs:
        predict = f"predict   seg-anl-predict {shlex.quote(str(run.path))} IMAGES OUT"
        if is_of_volumes(config):
            print_result(run, f"cases     {run.path / CASES_FILE}", predict)
        else:
            print_result(run, f"picture   {run.path / 'report.png'}", f"{predict} --overlay")
    return tuning_metric(runs)


class SegmentationExperiment(Experiment[Splits, NoisyMasks]):
    """Images and masks of one size, evaluated by Dice."""

    headline = "test/dice"

    def __init__(self, config: DictConfig) -> None:
        given = read_settings(config)
        self.config, self.settings, self.optim = config, given.run, given.optim
        self.data, self.noise = given.data, given.noise
        self.evaluation, self.records = given.evaluation, given.records
        self.augmentation = Augmentation(given.augmentation)
        decided: dict[str, Any] = {} if self.data.ignore is None else {"ignore_index": IGNORED}
        self.criterion = build_criterion(config.loss, given.dice_weight, **decided)
        self.method = build_method(given.method)
        check_loss(self.criterion.loss, self.data.classes)
        self.run, self.data_seed = RunDirectory(run_path(config, noise_name(config))), self.noise.seed

    def load(self) -> tuple[Splits, list[str]]:
        """Decode the training and test pairs, after all that may refuse them."""
        if self.config.model.name != "dynunet":  # whose settings have been checked
            build_model(self.config.model, self.data)
        pairs = find_pairs(seed=self.noise.seed, **self.data.pairing)
        self._division([pair.item for pair in pairs.train])
        of_raters = rater_files(pairs.train, self.data)
        remarks = [f"{pairs.remark}; {len(pairs.train)} to train on"]
        loaded = []
        for name, split in (("training", pairs.train), ("test", pairs.test)):
            images = load_images(split, self.data, workers=self.settings.workers, progress=self.settings.progress)
            remarks += [
                f"{count} {name} image(s) stored as {mode} were converted to RGB"
                for mode, count in images.conversions.items()
            ]
            loaded.append(images)
        train = with_rater_labels(loaded[0], pairs.train, of_raters, self.data, self.settings.workers)
        return (train, loaded[1]), remarks + check_training_set(train, loaded[1], self.data.classes)

    def network(self, data: Splits, process: Process) -> nn.Module:
        """The network of the ``model`` group, as the method wants it."""
        if self.method.one_process and process.world_size > 1:
            raise UserError(f"method={self.config.method.name} works in one process, without torchrun")
        clean, test = data
        trained = self._division(clean.items, process.world_size).trained
        self.settings.batch_sizes(len(trained), process.world_size)  # refuses bad sizes before noise is made
        self.method.identify([clean.items[position] for position in trained], clean.items)
        process.share(len(test))  # refuses too few images for the processes
        return self.method.network(lambda: build_model(self.config.model, self.data))

    def fingerprints(self, data: Splits) -> dict[str, str]:
        """Digests of images, masks and labels of raters."""
        return {
            f"{name} {part}": array_digest(getattr(images, part).numpy())
            for name, images in zip(("training", "test"), data, strict=True)
            for part in ("images", "masks", "soft", "raters")
            if getattr(images, part) is not None
        }

    def noisy(self, data: Splits) -> NoisyMasks:
        """The noisy masks in RUN/noise."""
        clean, folder = data[0], self.run.path / "noise"
        if self.run.begun and has_noisy_masks(folder):
            return read_noise(folder, clean)
        if clean.soft is not None or clean.raters is not None:
            found, records = consensus(clean)
            write_noisy_masks(
                folder, found, records, {name: plain(self.config.data)[name] for name in ("soft", "raters")}
            )
            return clean.with_masks(found), records
        try:
            made, records = noisy_dataset(list(clean.masks.numpy()), clean.items, **vars(self.noise))
        except ValueError as error:
            raise UserError(f"noise: {error}") from error
        masks = np.stack(made)
        write_noisy_masks(folder, masks, records, plain(self.config.noise))
        return clean.with_masks(masks), records

    def prepare(self, data: Splits, noisy: NoisyMasks, process: Process) -> tuple[ScheduledLoss, Task, str]:
        """Batches of the noisy training set, and evaluation on all splits."""
        (clean, test), (given, self.noise_records) = data, noisy
        division = self._division(clean.items, process.world_size)
        self.clean, self.test = clean.part(division.trained), test
        self.train = self.clean.with_masks(given.masks.numpy()[division.trained])  # sharing the images
        self.tuning = given.part(division.tuning) if len(division.tuning) else None
        self.predicted = self.train if self.settings.fold is None else given.part(division.unseen)
        if self.tuning is not None:
            process.share(len(self.tuning))
        if self.first_run is not None:
            self.method.learn(self._first_probabilities(self.first_run, process))
        batches = self._batches(division, process)

        def samples() -> Iterator[Tensor]:
            images = self.train.images[process.share(len(self.train))]
            return (normalized(batch.to(process.device)) for batch in images.split(PREDICTION_BATCH))

        def of_epoch(epoch: int) -> Iterator[Batch]:
            if self.train.raters is not None:
                batches.targets = drawn_masks(self.train, self.settings.seed, epoch).to(batches.targets.device)
            return batches.epoch(epoch)

        task = Task(
            of_epoch,
            len(batches),
            lambda model, epoch: self.evaluate(model, epoch, process),
            headline=("test", "dice"),
            after_epoch=lambda model, epoch: self.method.after_epoch(model, epoch, samples),
            state=self.method.state,
        )
        return self._criterion(process), task, ""

    def evaluate(self, model: nn.Module, epoch: int, process: Process) -> Metrics:
        """Dice on the test images and on the training images against noisy and clean masks, of those that are due."""

        def predicted(data: ImageSet) -> Tensor:
            part = predict_labels(model, data.images[process.share(len(data))], process.device)
            return process.gathered(part, len(data))

        classes, epochs, metrics = self.data.classes, self.settings.epochs, {}
        if self.evaluation.test_is_due(epoch, epochs):
            metrics["test"] = dice_scores(predicted(self.test), self.test.masks, classes)
            if self.tuning is not None:
                metrics["tuning"] = dice_scores(predicted(self.tuning), self.tuning.masks, classes)
        if self.evaluation.train_is_due(epoch, epochs):
            labels = predicted(self.train)
            clean = dice_scores(labels, self.clean.masks, classes)
            metrics["train"] = dice_scores(labels, self.train.masks, classes)
            metrics["train"] |= {f"{name}_clean": value for name, value in clean.items()}
        if "dynamics" in self.records:
            share = process.share(len(self.train))
            part = predict_losses(model, self.train.images[share], self.train.masks[share], process.device)
            losses = process.gathered(part, len(self.train))
            if process.is_main:
                record_losses(self.run.path / "records", epoch, self.train.items, losses)
        return metrics

    @torch.inference_mode()
    def finish(self, model: nn.Module, rows: list[MetricRow], process: Process) -> Mapping[str, int | None]:
        """Draw report.png and, on request, record masks."""
        model.eval()
        classes, noise = self.data.classes, self.noise
        test = predict_labels(model, self.test.images, process.device)
        train = predict_labels(model, self.train.images, process.device)
        wrong = {record.item for record in self.noise_records if record.realised > 0}
        among = [i for i, item in enumerate(self.clean.items) if item in wrong]
        groups = [
            worst_and_best("training", self.clean, self.train, train, classes, among),
            worst_and_best("test", self.test, None, test, classes),
        ]
        title = f"{self.config.loss.name}, {self.data.name}, alpha {noise.alpha}, beta {noise.beta}"
        save_report(self.run.path / "report.png", f"{title}, seed {self.settings.seed}", groups, rows)
        if "masks" in self.records:
            record_masks(self.run.path / "records", self.clean, self.train, train, self.noise_records)
        if self.settings.fold is not None or "predictions" in self.records:
            self._predict(model, process)
        return {"train": len(self.train), "test": len(self.test), "wrong_masks": len(among)}

    def _predict(self, model: nn.Module, process: Process) -> None:
        """Write class probabilities of the images that the fold holds out or, without a fold, of the training
        images.
        """
        items, each = self.predicted.items, predict_probabilities(model, self.predicted.images, process.device)
        arrays = ((item, {"probabilities": one.cpu().numpy()}) for item, one in zip(items, each, strict=True))
        write_predictions(self.run.path, arrays, items, fold=self.settings.fold, folds=self.settings.folds)

    def _batches(self, division: Division, process: Process) -> ResidentBatches:
        """Batches of the training set, as the method wants them."""
        batches = ResidentBatches(
            self.train.images,
            self.train.masks if self.train.soft is None else self.train.soft,
            self.augmentation,
            self.settings.batch_sizes(len(self.train), process.world_size),
            self.settings.seed,
            process,
            division.weights,
            indexed=self.method.indexed,
            order=self.method.order,
        )
        self.method.prepare(batches)
        return batches

    @torch.inference_mode()
    def _first_probabilities(self, first: RunDirectory, process: Process) -> Tensor:
        """Probabilities ``(N, C, H, W)`` float16 of the training images, by the network of a finished run."""
        model = build_model(self.config.model, self.data)
        load_model(first.last, model, process.device)
        model.to(process.device).eval()
        return torch.stack([one.cpu() for one in predict_probabilities(model, self.train.images, process.device)])

    def _criterion(self, process: Process) -> ScheduledLoss:
        loss, sizes = self.criterion.loss, {"samples": len(self.train), "classes": self.data.classes}
        wanted = self.method.criterion(loss, epochs=self.settings.epochs, process=process, **sizes)
        return self.criterion if wanted is loss else wanted  # the loss with its Dice term and heads

    def _division(self, items: Sequence[str], world_size: int = 1) -> Division:
        return divided(items, self.settings, self.data, self.noise.seed, world_size)
