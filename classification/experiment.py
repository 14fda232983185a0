"""Classification runs of ``seg-anl-classify``, based on :mod:`seg_anl.engine.experiment`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import Tensor, nn

from seg_anl.engine.checkpoint import load_model
from seg_anl.engine.distribution import Process
from seg_anl.engine.division import Division, divided
from seg_anl.engine.experiment import Experiment, print_result, run_configuration, tuning_metric
from seg_anl.engine.ledger import Metrics
from seg_anl.engine.loop import Task
from seg_anl.engine.optimization import check_loss, loss_from_config
from seg_anl.engine.randomness import epoch_generator
from seg_anl.engine.run_directory import RunDirectory, run_path
from seg_anl.losses import ScheduledLoss
from seg_anl.records import MetricRow, UserError
from seg_anl.records.predictions import write_predictions

from .accuracies import evaluation_scores, predict, predict_split, training_scores
from .datasets import Dataset, FileImages, Split, fingerprints, load_dataset
from .image_batches import evaluation_samples, on_device, training_batches
from .methods import build_method
from .networks import build_model, penultimate_features, trains_on_one
from .noise import NO_NOISE, noise_fingerprints, noise_name, noisy_labels
from .settings import ClassificationRunSettings, read_settings
from .training_records import Recorder

Labels = NDArray[np.int64]


def train(config: DictConfig) -> list[RunDirectory]:
    """Train all runs (seeds and folds) of a configuration, skipping finished ones; returns their run directories.

    Raises:
        UserError: for bad settings or files, before anything is written; for diverged runs, after all have ended.
    """
    return run_configuration(config, ClassificationExperiment)


def train_and_print(config: DictConfig) -> float:
    """Train, print the result table of each run, and return the mean of their tuning metrics."""
    runs = train(config)
    for run in runs:
        print_result(run, f"tables    seg-anl-report {shlex.quote(str(run.path))}")
    return tuning_metric(runs)


class ClassificationExperiment(Experiment[Dataset, Labels]):
    """Train and evaluate a classification network."""

    settings: ClassificationRunSettings

    def __init__(self, config: DictConfig) -> None:
        self.given = read_settings(config)
        self.config, self.settings, self.optim = config, self.given.run, self.given.optim
        self.at_once = self.settings.runs_per_device
        self.loss = loss_from_config(config.loss)
        self.method = build_method(self.given.method)
        self.run = RunDirectory(run_path(config, noise_name(config.noise), noise_follows_seed=True))

    def load(self) -> tuple[Dataset, list[str]]:
        """Read the data set."""
        data = load_dataset(self.config.data)
        if not isinstance(data.train.images, FileImages):
            self.given.augmentation.check_in_memory(str(self.config.data.name), min(data.train.images.shape[2:]))
        return data, [f"{data.remark}; {len(data.train)} to train on"]

    def network(self, data: Dataset, process: Process) -> nn.Module:
        """Build the network (or networks) of the method."""
        check_loss(self.loss, data.num_classes)
        model = self.method.network(lambda: self._plain_network(data))
        sizes = self.settings.batch_sizes(len(self._division(data, process).trained), process.world_size)
        if sizes[-1] == process.world_size and not trains_on_one(model, self.image_shape(data)):
            remedy = "set drop_last=true" if sizes[0] > sizes[-1] else "set a larger batch_size"
            raise UserError(f"this network has batch norm, which needs 2 samples per batch in every process: {remedy}")
        for split in data.tests.values():
            process.share(len(split))  # fails now, and not after an epoch, with fewer samples than processes
        return model

    def fingerprints(self, data: Dataset) -> dict[str, str]:
        """Digests of images, labels and noise files."""
        return {**fingerprints(data), **noise_fingerprints(data, self.config.noise)}

    def noisy(self, data: Dataset) -> Labels:
        """The noisy training labels in RUN/noise."""
        return noisy_labels(data, self.config.noise, self.run.path / "noise", anew=not self.run.begun)

    def prepare(self, data: Dataset, noisy: Labels, process: Process) -> tuple[ScheduledLoss, Task, str]:
        """Set up training batches with noisy labels, and evaluation on all splits."""
        self._divide(data, noisy, process)
        self.samples = evaluation_samples(self.data, self.given, process.device)
        if self.first_run is not None:
            self.method.learn(self._first_probabilities(self.first_run, process))
        sizes = {"samples": len(self.train), "classes": data.num_classes}
        criterion = self.method.criterion(self.loss, epochs=self.settings.epochs, process=process, **sizes)
        # Local variables, so that device memory is freed when this run ends.
        train = on_device(self.train, process.device)
        tests = {name: on_device(split, process.device) for name, split in self.evaluated.items()}
        batches = training_batches(replace(self.data, train=train), self.given, process, indexed=self.method.indexed)
        self.method.prepare(batches)
        task = Task(
            batches.epoch,
            len(batches),
            lambda model, epoch: self.evaluate(model, epoch, process, tests, train),
            headline=(next(iter(data.tests)), "accuracy"),
            after_epoch=lambda model, epoch: self.method.after_epoch(model, epoch, self._drawn),
            state=self.method.state,
        )
        return criterion, task, self._noise_remark()

    def _divide(self, data: Dataset, noisy: Labels, process: Process) -> None:
        """Split the samples into those to train on, evaluate on and predict."""
        self.headline = f"{'test' if 'test' in data.tests else next(iter(data.tests))}/accuracy"
        division = self._division(data, process)
        kept, self.whole = division.trained, replace(data.train, labels=noisy)
        self.predicted = kept if self.settings.fold is None else division.unseen
        train = self.whole if len(kept) == len(noisy) else self.whole.part(kept)  # images in memory are not copied
        self.train = replace(train, weights=division.weights)
        self.clean = data.train.labels[kept] if data.labels_are_clean else None
        self.evaluated = dict(data.tests)
        if len(division.tuning):
            self.evaluated["tuning"] = self.whole.part(division.tuning)
            process.share(len(division.tuning))
        self.data = replace(data, train=self.train)
        records, index = self.run.path / "records", data.kept[kept]
        self.recorder = Recorder(records, self.given.records, self.settings, self.train.labels, self.clean, index)

    def evaluate(
        self, model: nn.Module, epoch: int, process: Process, tests: Mapping[str, Split], train: Split
    ) -> Metrics:
        """Accuracies on the evaluation splits and on the training set, of those that are due; also writes records."""
        evaluation, epochs, metrics = self.given.evaluation, self.settings.epochs, {}
        if evaluation.test_is_due(epoch, epochs):
            for name, split in tests.items():
                predictions = predict_split(model, split, self.samples, process)
                metrics[name] = evaluation_scores(predictions, torch.from_numpy(split.labels))
        scoring = evaluation.train_is_due(epoch, epochs)
        recording = self.recorder.due(epoch, "probabilities", "gradients", "dynamics")
        if scoring or recording:
            predictions = predict_split(model, train, self.samples, process, keep_log_probs=recording)
            if scoring:
                clean = None if self.clean is None else torch.from_numpy(self.clean)
                metrics["train"] = training_scores(predictions, torch.from_numpy(self.train.labels), clean)
            if predictions.log_probs is not None and process.is_main:
                self.recorder.training(epoch, predictions.log_probs)
        if self.recorder.due(epoch, "features"):
            self._record_features(model, epoch, process)
        return metrics

    def _record_features(self, model: nn.Module, epoch: int, process: Process) -> None:
        test = next(iter(self.data.tests.values()))
        part = self.samples(test.part(process.share(len(test))))
        features = process.gathered(torch.cat([penultimate_features(model, images) for images in part]), len(test))
        if process.is_main:
            self.recorder.features(epoch, features, test.labels)

    def finish(self, model: nn.Module, rows: list[MetricRow], process: Process) -> Mapping[str, int | None]:
        """Finish the records, and predict the samples held out by the fold."""
        self.recorder.finish()
        if self.settings.fold is not None or "predictions" in self.given.records:
            self._predict(model)
        tests = {name: len(split) for name, split in self.data.tests.items()}
        return {"train": len(self.train), **tests, "wrong_labels": self._wrong_labels()}

    @torch.inference_mode()
    def _predict(self, model: nn.Module) -> None:
        """Write class probabilities of the held-out samples or, without a fold, of the training samples."""
        split, index = self.whole.part(self.predicted), self.data.kept[self.predicted]
        log_probs = predict(model.eval(), self.samples(split), keep_log_probs=True).log_probs
        assert log_probs is not None
        arrays = {"probabilities": log_probs.exp().half().numpy(), "index": index, "labels": split.labels}
        files = [("predictions", arrays)]
        more = {"classes": list(self.data.classes)}
        if isinstance(split.images, FileImages):
            more["files"] = [str(path.absolute()) for path in split.images.paths]
        else:
            files.append(("images", {"images": split.images.numpy()}))
        fold, folds = self.settings.fold, self.settings.folds
        write_predictions(self.run.path, files, index.astype(str).tolist(), fold=fold, folds=folds, **more)

    def _division(self, data: Dataset, process: Process) -> Division:
        """Items are named by position in the full training set; tuning is drawn by position in the selected part."""
        return divided(
            data.kept.astype(str).tolist(),
            self.settings,
            self.given.data,
            self.config.noise.get("seed", self.settings.seed),
            process.world_size,
            known=set(map(str, range(len(data.found_labels)))),
            drawn_as=list(map(str, range(len(data.train)))),
        )

    def image_shape(self, data: Dataset) -> tuple[int, int, int]:
        """``(C, H, W)`` of the network's input."""
        images = data.train.images
        if isinstance(images, FileImages):
            return (3, *self.given.augmentation.size_in_files())
        return images.shape[1], images.shape[2], images.shape[3]

    def _plain_network(self, data: Dataset) -> nn.Module:
        channels, *size = self.image_shape(data)
        name, weights = str(self.config.model.name), self.config.model.get("weights")
        return build_model(name, data.num_classes, channels, (size[0], size[1]), weights and str(weights))

    def _drawn(self, epoch: int, count: int) -> Iterator[Tensor]:
        """Random training samples for the method, without augmentation."""
        order = torch.randperm(len(self.train), generator=epoch_generator(self.settings.seed, epoch, "method"))
        return self.samples(self.train.part(order[:count].numpy()))

    def _first_probabilities(self, first: RunDirectory, process: Process) -> Tensor:
        """Probabilities ``(N, K)`` of a finished run's network on the training set."""
        model = self._plain_network(self.data)
        load_model(first.last, model, process.device)
        with torch.inference_mode():
            model.to(process.device).eval()
            log_probs = predict_split(model, self.train, self.samples, process, keep_log_probs=True).log_probs
        assert log_probs is not None
        return log_probs.exp()

    def _wrong_labels(self) -> int | None:
        return None if self.clean is None else int((self.clean != self.train.labels).sum())

    def _noise_remark(self) -> str:
        wrong, total, noise = self._wrong_labels(), len(self.train), self.config.noise
        if wrong is None:
            return "the published training labels are noisy; which are wrong is unknown"
        if noise.kind == NO_NOISE:
            return "no noise is added to the training labels"
        remark = f"{wrong} of {total} training labels are wrong ({wrong / total:.2%})"
        if wrong == 0 and noise.get("rate", 0) > 0 and noise.get("counts") == "cell":
            remark += "; with so few samples all counts round down to zero: noise.counts=iid draws for each sample"
        return remark
