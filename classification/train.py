"""The command ``seg-anl-classify``: a configuration to a finished run directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from seg_anl.engine import (
    LoopSettings,
    Metrics,
    OptimSettings,
    Process,
    RunDirectory,
    Task,
    check_batch_size,
    check_switches,
    check_tuning_share,
    check_whole_numbers,
    checked_records,
    fit,
    hydra_command,
    is_main_process,
    loss_from_config,
    run_path,
    started,
)
from seg_anl.engine.checkpoint import load_model
from seg_anl.engine.randomness import epoch_generator, seed_everything
from seg_anl.records import MetricRow, UserError, chosen_items, config_folder
from seg_anl.records.runs import summarise

from .batches import Samples, check_augmentation, evaluation_samples, training_batches
from .datasets import Dataset, FileImages, Split, load_dataset
from .evaluation import evaluation_scores, predict, training_scores
from .methods import Method, build_method
from .models import build_model, penultimate_features
from .noise import check_noise_settings, noise_name, read_noise, write_noise
from .recording import RECORDS, Recorder

HELP = """
seg-anl-classify: train a classification network through wrong labels.

  seg-anl-classify noise.rate=0.6                                          scikit-learn's digits, no download
  seg-anl-classify data=cifar10 noise.rate=0.8 loss=anl_ce preset=anl2024  a cell of a published table, exactly
  seg-anl-classify data=cifar10 noise=asymmetric loss=anl_ce_er preset=anl2024 seed=2
  seg-anl-classify data=arrays data.file=MINE.npz noise=none loss=gce loss.q=0.5
  seg-anl-classify -m data=cifar10 loss=ce,gce,anl_ce noise.rate=0.2,0.8 seed=1,2,3 preset=anl2024
  torchrun --nproc-per-node 4 -m classification.train data=webvision data.root=W preset=anl2024

Settings (SETTING=VALUE; command line over preset over default):
  data=digits | mnist | fashion_mnist | cifar10 | cifar100 | webvision | animal10n | clothing1m | imagenet | arrays |
       imagefolder                      with data.root, data.limit, data.test_limit, data.imbalance, data.tuning
  noise=symmetric | asymmetric | pair_flip | part_dependent | prediction_error | matrix | human | none
                                        with noise.rate, noise.seed (default: the seed), noise.counts, ...
  loss=NAME                             any loss of `python -c "import seg_anl.losses as l; print(l.list_losses())"`
  method=plain | forward | co_teaching | d2l
  model=published | cnn4 | cnn8 | resnet18 | resnet34 | resnet44 | resnet50 | resnet101 | vgg19_bn
  optim=sgd | adam                      optim.lr, optim.weight_decay, optim.l1, optim.jacobian, optim.schedule, ...
  preset=default | anl2023 | anl2024 | apl2020 | alf2021 | sr2021 | sr2021_imbalance | el2021 |
         re2024
  record=[probabilities,gradients,features]  record_every    what some figures of seg-anl-report need
  seed epochs batch_size precision compile channels_last device workers run_root run_dir

The run directory follows from the settings. The same command on it resumes a run that was stopped and leaves a finished
one alone. It ends with a table, RUN/summary.json and RUN/metrics.csv; seg-anl-report makes tables of many runs.
"""


@dataclass(frozen=True, eq=False)
class Prepared:
    """The data of a run as the trainer sees them: ``data.train`` has the given labels, ``clean`` the true ones."""

    data: Dataset
    clean: NDArray[np.int64] | None
    tuning: Split | None

    @property
    def mislabelled(self) -> int | None:
        """How many training labels are wrong, where that is known."""
        return None if self.clean is None else int((self.clean != self.data.train.labels).sum())


def main() -> None:
    """Entry point of ``seg-anl-classify``."""
    hydra_command("seg-anl-classify", "classification", HELP, _train_and_tell)


def _train_and_tell(config: DictConfig) -> None:
    run = train(config)
    if is_main_process():
        print_result(run)


def train(config: DictConfig) -> RunDirectory:
    """Run a configuration to its end, or find that it has been; returns its run directory.

    Raises:
        UserError: for bad settings or files; nothing is written before the settings have been checked.
    """
    settings = LoopSettings.from_config(config)
    optim = OptimSettings.from_config(config.optim)
    loss = loss_from_config(config.loss)
    method = build_method(config.method, str(config.loss.name))
    _check(config)
    run = RunDirectory(run_path(config, noise_name(config.noise)))
    say = print if is_main_process() else _silent
    run.check(config)
    if run.finished:
        say(f"{run.path}: finished already, left alone")
        return run
    first = _first_run(config, run, method)
    with started(str(config.device)) as process:
        data = load_dataset(config.data)
        say(f"{data.remark}; {len(data.train)} to train on")
        check_augmentation(data, config)
        seed_everything(config.seed)
        model = method.network(lambda: _network(config, data))
        held_out = _tuning_items(len(data.train), config)
        check_batch_size(config.batch_size, len(data.train) - len(held_out), process.world_size)
        _check_batch_norm(model, config.batch_size // process.world_size)
        if process.is_main:
            run.create(config)
        with run.locked() if process.is_main else nullcontext():
            if process.is_main:
                write_noise(data, config.noise, run.path / "noise")
            process.wait()
            prepared = _prepare(data, read_noise(data, config.noise, run.path / "noise"), held_out)
            say(f"{_told(prepared, config.noise)}\n{run.path}", "resumes" if run.last.exists() else "begins")
            samples = evaluation_samples(prepared.data, config, process.device)
            if first is not None:
                method.learn(_probabilities(first, _network(config, data), samples(prepared.data.train), process))
            criterion = method.criterion(loss, epochs=settings.epochs)
            recorder = Recorder(run.path / "records", config, prepared.data.train.labels, prepared.clean)
            task = _task(prepared, config, method, samples, recorder, process)
            rows = fit(model, criterion, task, settings, optim, run, process)
            if process.is_main:
                recorder.finish()
                _finish(run, config, criterion, rows, prepared)
            process.wait()
    return run


def print_result(run: RunDirectory) -> None:
    """The table at the end of a run."""
    summary = run.summary
    if summary is None:
        return
    print(f"\n{'metric':<28}{'last':>9}{'best':>9}   (best as seen on the split itself)")
    for name, values in summary["metrics"].items():
        if "/marginal_" not in name:
            print(f"{name:<28}{values['last']:>9.4f}{values['best']:>9.4f}   epoch {values['best_epoch'] + 1}")
    print(f"\ncurves    tensorboard --logdir {run.path / 'tb'}")
    print(f"tables    seg-anl-report {run.path}")


def _check(config: DictConfig) -> None:
    """Settings that no part checks when it is built."""
    check_noise_settings(config.noise)
    check_whole_numbers(config, 0, "seed", "noise.seed", "evaluation.train_every", "workers")
    check_whole_numbers(config, 1, "evaluation.last_k", "evaluation.batch_size", "record_every")
    check_switches(config, "channels_last", "compile", "progress", "data.download", "augmentation.random_crop")
    check_switches(config, "noise.reflip", "noise.bidirectional", "noise.pairs")
    check_tuning_share(config)
    checked_records(config, RECORDS)
    _check_preset(config)


def _check_preset(config: DictConfig) -> None:
    """A preset that says nothing of the data set would change nothing, silently."""
    recipes = config_folder() / "recipe" / str(config.preset)
    if not (recipes / f"{config.data.name}.yaml").is_file():
        known = ", ".join(sorted(path.stem for path in recipes.glob("*.yaml")))
        raise UserError(
            f"preset={config.preset} has no settings for data={config.data.name}; "
            + (f"it has them for {known}" if known else "it is not a preset of seg-anl-classify")
        )


def _check_batch_norm(model: nn.Module, share: int) -> None:
    """Batch norm over feature vectors has no deviation of one sample."""
    if share == 1 and any(isinstance(module, nn.BatchNorm1d) for module in model.modules()):
        raise UserError("this network has batch norm: batch_size must be 2 or more for every process")


def _network(config: DictConfig, data: Dataset) -> nn.Module:
    images = data.train.images
    if isinstance(images, FileImages):
        channels, size = 3, _file_image_size(config)
    else:
        channels, size = images.shape[1], (images.shape[2], images.shape[3])
    weights = config.model.get("weights")
    return build_model(
        str(config.model.name), data.num_classes, channels, size, None if weights is None else str(weights)
    )


def _file_image_size(config: DictConfig) -> tuple[int, int]:
    """Rows and columns of images in files, as the network gets them."""
    crop, resize = config.augmentation.crop, config.augmentation.resize
    if crop is not None:
        return int(crop), int(crop)
    if OmegaConf.is_list(resize) and len(resize) == 2:
        return int(resize[0]), int(resize[1])
    raise UserError("images of one size are needed: set augmentation.crop, or augmentation.resize=[ROWS,COLUMNS]")


def _tuning_items(count: int, config: DictConfig) -> set[int]:
    """Positions of the training samples held out for tuning, with their noisy labels."""
    seed = config.noise.get("seed", config.seed)
    held_out = {int(item) for item in chosen_items(map(str, range(count)), config.data.tuning, seed, "tuning")}
    if config.data.tuning and not held_out:
        raise UserError(f"data.tuning={config.data.tuning} of {count} images is none")
    return held_out


def _prepare(data: Dataset, labels: NDArray[np.int64], held_out: set[int]) -> Prepared:
    clean = data.train.labels if data.labels_are_clean else None
    train = data.train.with_labels(labels)
    if not held_out:
        return Prepared(replace(data, train=train), clean, None)
    aside = np.array(sorted(held_out))
    kept = np.setdiff1d(np.arange(len(train)), aside)
    return Prepared(
        replace(data, train=train.subset(kept)), None if clean is None else clean[kept], train.subset(aside)
    )


def _told(prepared: Prepared, noise: DictConfig) -> str:
    """How wrong the labels are, for the person."""
    wrong, total = prepared.mislabelled, len(prepared.data.train)
    if wrong is None:
        return "the labels are noisy as they come; nobody knows which are wrong"
    told = f"{wrong} of {total} training labels are wrong ({wrong / total:.2%})"
    if wrong == 0 and noise.get("rate", 0) > 0 and noise.get("counts") == "cell":
        told += "; counts of so few samples are rounded down to none: noise.counts=iid draws for each sample"
    return told


def _task(
    prepared: Prepared, config: DictConfig, method: Method, samples: Samples, recorder: Recorder, process: Process
) -> Task:
    data = prepared.data
    batches = training_batches(data, config, process)
    given = torch.from_numpy(data.train.labels)
    clean = None if prepared.clean is None else torch.from_numpy(prepared.clean)
    tests = {**data.tests, **({} if prepared.tuning is None else {"tuning": prepared.tuning})}
    truths = {name: torch.from_numpy(split.labels) for name, split in tests.items()}
    train_every = config.evaluation.train_every

    def drawn(epoch: int, count: int) -> Iterator[Tensor]:
        order = torch.randperm(len(data.train), generator=epoch_generator(config.seed, epoch, "method"))
        return samples(data.train.subset(order[:count].numpy()))

    def evaluate(model: nn.Module, epoch: int) -> Metrics:
        metrics = {
            name: evaluation_scores(predict(model, samples(split)), truths[name]) for name, split in tests.items()
        }
        recording = recorder.due(epoch, "probabilities", "gradients")
        scoring = train_every and ((epoch + 1) % train_every == 0 or epoch + 1 == config.epochs)
        if scoring or recording:
            predictions = predict(model, samples(data.train), keep_log_probs=recording)
            if scoring:
                metrics["train"] = training_scores(predictions, given, clean)
            if predictions.log_probs is not None:
                recorder.training(epoch, predictions.log_probs)
        if recorder.due(epoch, "features"):
            test = next(iter(data.tests.values()))
            found = torch.cat([penultimate_features(model, images) for images in samples(test)])
            recorder.features(epoch, found, test.labels)
        return metrics

    def after_epoch(model: nn.Module, epoch: int) -> dict[str, float]:
        return method.after_epoch(model, epoch, drawn)

    return Task(
        batches.epoch,
        batches.steps,
        evaluate,
        headline=(next(iter(tests)), "accuracy"),
        after_epoch=after_epoch,
        state=method.state,
    )


def _first_run(config: DictConfig, run: RunDirectory, method: Method) -> RunDirectory | None:
    """Train the network that a method learns from: a plain run of its own, the one that the same command would make."""
    if method.first_loss is None:
        return None
    first = config.copy()
    first.loss, first.method = {"name": method.first_loss}, {"name": "plain"}
    first.run_dir = None if config.run_dir is None else str(run.path / "first_network")
    return train(first)


def _probabilities(first: RunDirectory, model: nn.Module, images: Iterator[Tensor], process: Process) -> Tensor:
    """What the network of a finished run says of ``images``: ``(N, K)``."""
    load_model(first.last, model, process.device)
    with torch.inference_mode():
        log_probs = predict(model.to(process.device).eval(), images, keep_log_probs=True).log_probs
    assert log_probs is not None
    return log_probs.exp()


def _finish(
    run: RunDirectory, config: DictConfig, criterion: nn.Module, rows: list[MetricRow], prepared: Prepared
) -> None:
    """Write the summary, last of all: it says that the run is finished."""
    groups: dict[str, Any] = {
        name: OmegaConf.to_container(config[name], resolve=True)
        for name in ("data", "model", "loss", "noise", "method", "optim")
    }
    state = {name: value.item() for name, value in criterion.state_dict().items() if value.ndim == 0}
    counts = {"train": len(prepared.data.train), **{name: len(split) for name, split in prepared.data.tests.items()}}
    run.write_summary(
        {
            "status": "finished",
            "task": config.task,
            "preset": config.preset,
            **groups,
            "loss_state": state,
            "seed": config.seed,
            "epochs": config.epochs,
            "headline": f"{'test' if 'test' in prepared.data.tests else next(iter(prepared.data.tests))}/accuracy",
            "k": config.evaluation.last_k,
            "counts": {**counts, "wrong_labels": prepared.mislabelled},
            "metrics": summarise(rows, config.evaluation.last_k),
        }
    )


def _silent(*_: object) -> None:
    return None


if __name__ == "__main__":
    main()
